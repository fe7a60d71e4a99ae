"""Paints the letters of a crop on a background, each in the manner of street, screen or paper."""

from __future__ import annotations

import cv2
import numpy as np

from models.data.rendering import effects
from models.data.rendering.backgrounds import Pixels, TextureBank
from models.data.rendering.colours import (
    LUMA,
    Colour,
    contrasting,
    inked,
    luma,
    paper_pair,
    random_colour,
    screen_pair,
    sign_pair,
)
from models.data.rendering.effects import coverage
from models.data.rendering.glyphs import Image
from models.data.rendering.placing import Placed

Rng = np.random.Generator
#: Chances that the ground is a photograph, if there are any, and that it is all of one colour.
_STREET_GROUND, _SCREEN_GROUND = (0.15, 0.4), (0.07, 0.7)


def paint_street(scene: Placed, bank: TextureBank, rng: Rng) -> Pixels:
    """(H, W, 3) float32 RGB, about 0..255."""
    ink_colour, image, ground_colour = _ground(scene, bank, rng, sign_pair(rng), *_STREET_GROUND)
    if rng.random() < 0.14:
        _draw_edges(image, rng)
    ink = _with_neighbours(image, scene, rng)
    if rng.random() < 0.32:
        ink = effects.bolder(ink, rng)
    dice = rng.random()
    if dice < 0.025:
        _draw_neon(image, ink, rng)
        return image
    if dice < 0.045:
        ink = effects.dotted(ink, rng)
    elif dice < 0.08:
        ink = effects.worn(ink, rng)
    _draw_behind(image, ink, ink_colour, ground_colour, rng)
    _draw_ink(image, ink, ink_colour, bank, rng)
    if rng.random() < 0.04:
        _draw_obstacle(image, rng)
    return image


def paint_screen(scene: Placed, bank: TextureBank, rng: Rng) -> Pixels:
    """(H, W, 3) float32 RGB: even colours, clean edges, a shadow or an outline at most."""
    ink_colour, image, ground_colour = _ground(scene, bank, rng, screen_pair(rng), *_SCREEN_GROUND)
    if rng.random() < 0.08:
        _draw_edges(image, rng)
    ink = _with_neighbours(image, scene, rng)
    small = scene.word.shape[0] < 30
    if not small:
        if rng.random() < 0.35:
            ink = effects.bolder(ink, rng)
        if rng.random() < 0.25:
            _draw_behind(image, ink, ink_colour, ground_colour, rng)
    elif rng.random() < 0.06:
        _blend(image, ground_colour * np.float32(0.4), coverage(effects.shifted(ink, 1, 1)) * np.float32(0.6))
    if rng.random() < 0.08:
        ramp = np.linspace(-1.0, 1.0, ink.shape[0], dtype=np.float32)[:, None, None]
        _blend(image, ink_colour + ramp * rng.normal(0.0, 45.0, 3).astype(np.float32), coverage(ink))
    else:
        _blend(image, ink_colour, coverage(ink))
    return image


def paint_paper(scene: Placed, bank: TextureBank, rng: Rng) -> Pixels:
    """(H, W, 3) float32 RGB: receipts and print, pale in places."""
    ink_colour, paper = paper_pair(rng)
    height, width = scene.word.shape
    image = np.full((height, width, 3), paper, np.float32)
    if rng.random() < 0.3:
        image += bank.piece(height, width, rng)[..., None] * np.float32(rng.uniform(2.0, 14.0))
    ink = np.maximum(scene.word, scene.around)
    dice = rng.random()
    if dice < 0.13 and scene.word.shape[0] > 24:
        ink = effects.dotted(ink, rng)
    elif dice < 0.3:
        ink = effects.worn(ink, rng)
    if rng.random() < 0.18:
        ink = effects.streaked(ink, rng)
    if rng.random() < 0.45:
        ink = effects.bolder(ink, rng)
    if rng.random() < 0.04:
        _draw_edges(image, rng)
    _blend(image, ink_colour, coverage(ink))
    return image


def _ground(
    scene: Placed,
    bank: TextureBank,
    rng: Rng,
    pair: tuple[Colour, Colour],
    photographed: float,
    plain: float,
) -> tuple[Colour, Pixels, Colour]:
    """The letters' colour, the painted ground and its mean colour."""
    ink_colour, ground_colour = pair
    height, width = scene.word.shape
    if rng.random() >= photographed or not bank.photographs:
        return ink_colour, bank.surface(height, width, ground_colour, rng, plain), ground_colour
    image = bank.photograph(height, width, rng)
    mean = image.mean(axis=(0, 1))
    if rng.random() < 0.4:
        # Shown pale or dim, as designers put pictures behind text.
        image = mean + (image - mean) * np.float32(rng.uniform(0.2, 0.7))
    spread = float((image @ LUMA).std())
    return inked(mean, min(170.0, 45.0 + 1.5 * spread), rng), image, mean


def _with_neighbours(image: Pixels, scene: Placed, rng: Rng) -> Image:
    """The letters to paint; now and then the neighbours have a colour of their own, painted at once."""
    if not scene.around.any():
        return scene.word
    if rng.random() < 0.85:
        return np.maximum(scene.word, scene.around)
    _blend(image, random_colour(rng), coverage(scene.around))
    return scene.word


def _draw_neon(image: Pixels, ink: Image, rng: Rng) -> None:
    """Glowing tubes in the dark: the rim of the letters or the letters, almost white inside their halo."""
    image *= np.float32(rng.uniform(0.05, 0.35))
    tube = effects.outlined(ink, rng) if rng.random() < 0.5 else ink
    colour = random_colour(rng, vivid=0.9)
    colour = colour * np.float32(255.0 / max(1.0, float(colour.max())))
    halo = cv2.GaussianBlur(tube, (0, 0), rng.uniform(2.0, 7.0))
    image += colour * (coverage(halo) * np.float32(rng.uniform(0.4, 1.4)))[..., None]
    core = colour + (255.0 - colour) * np.float32(rng.uniform(0.0, 0.9))
    _blend(image, core, coverage(tube))


def _draw_behind(image: Pixels, ink: Image, ink_colour: Colour, ground: Colour, rng: Rng) -> None:
    """Shadow, extruded body, glow and outlines: what lies under the face of the letters."""
    shadow, body, glow, outline, second = rng.random(5) < (0.15, 0.08, 0.05, 0.12, 0.03)
    if shadow:
        dx, dy = rng.integers(-5, 6, 2).tolist()
        soft = effects.shifted(ink, dx, dy)
        if rng.random() < 0.7:
            soft = cv2.GaussianBlur(soft, (0, 0), rng.uniform(0.6, 3.5))
        colour = ground * np.float32(rng.uniform(0.1, 0.7)) if rng.random() < 0.8 else random_colour(rng)
        _blend(image, colour, coverage(soft) * np.float32(rng.uniform(0.3, 0.95)))
    if body:
        dark = rng.random() < 0.7
        colour = ink_colour * np.float32(rng.uniform(0.2, 0.75)) if dark else random_colour(rng)
        _blend(image, colour, coverage(effects.extruded(ink, rng)))
    if glow:
        halo = cv2.GaussianBlur(ink, (0, 0), rng.uniform(2.0, 8.0))
        _blend(image, random_colour(rng), coverage(halo) * np.float32(rng.uniform(0.5, 1.0)))
    if second:
        _blend(image, random_colour(rng), coverage(effects.double_outlined(ink)))
    if outline:
        _blend(image, contrasting(ink_colour, rng), coverage(effects.swollen(ink, int(rng.integers(1, 5)))))


def _draw_ink(image: Pixels, ink: Image, colour: Colour, bank: TextureBank, rng: Rng) -> None:
    height, width = ink.shape
    hollow, relief, textured, graded, halved, sunk = rng.random(6) < (0.025, 0.08, 0.12, 0.1, 0.05, 0.02)
    fill: Pixels = colour
    if textured:
        fill = _filling(colour, height, width, bank, rng)
    if graded:
        ramp = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None, None]
        fill = fill + ramp * rng.normal(0.0, 40.0, 3).astype(np.float32)
    if halved:
        # MegaStore: the second part of a name in another colour.
        other = contrasting(image.mean(axis=(0, 1)), rng)
        fill = np.where((np.arange(width) < rng.uniform(0.2, 0.8) * width)[:, None], fill, other)
    cover = coverage(effects.outlined(ink, rng) if hollow else ink)
    if rng.random() < 0.12:
        cover = cover * np.float32(rng.uniform(0.6, 0.95))
    if sunk:
        # Cut out: the ground's shadow falls on what lies behind.
        shadow = cv2.GaussianBlur(effects.shifted(255 - ink, 3, 3), (0, 0), 1.5)
        fill = fill * (1.0 - np.float32(0.7) * coverage(shadow))[..., None]
    _blend(image, fill, cover)
    if relief:
        image += (effects.slope(ink, rng) * np.float32(rng.uniform(0.1, 0.5)))[..., None]


def _filling(colour: Colour, height: int, width: int, bank: TextureBank, rng: Rng) -> Pixels:
    """A texture in the letters, or a photograph brought to their brightness."""
    if bank.photographs and rng.random() < 0.3:
        picture = bank.photograph(height, width, rng)
        return picture * np.float32(0.7) + np.float32(luma(colour) - 0.7 * float(picture.mean()))
    return colour + bank.piece(height, width, rng)[..., None] * np.float32(rng.uniform(10.0, 50.0))


def _draw_edges(image: Pixels, rng: Rng) -> None:
    """Borders, rules and the edge of the sign, near the rim of the crop."""
    height, width = image.shape[:2]
    colour = tuple(random_colour(rng).tolist())
    if rng.random() < 0.5:
        reach = int(rng.uniform(0.02, 0.12) * height) + 1
        box = ((0, 0, width, reach), (0, height - reach, width, height), (0, 0, reach, height),
               (width - reach, 0, width, height))[rng.integers(4)]  # fmt: skip
        cv2.rectangle(image, box[:2], box[2:], colour, -1)
    else:
        y = [int(v) for v in rng.uniform(0.0, 0.14, 2) * height]
        if rng.random() < 0.6:
            y = [height - v for v in y]
        thickness = 1 if height < 30 else int(rng.integers(1, 5))
        cv2.line(image, (0, y[0]), (width, y[1]), colour, thickness, cv2.LINE_AA)


def _draw_obstacle(image: Pixels, rng: Rng) -> None:
    """A wire, pole or twig in front of the letters."""
    height, width = image.shape[:2]
    ends = [(int(rng.uniform(0, width)), y) for y in (-1, height)]
    if rng.random() < 0.4:
        ends = [(x, int(rng.uniform(0, height))) for x in (-1, width)]
    colour = tuple(random_colour(rng).tolist())
    cv2.line(image, ends[0], ends[1], colour, int(rng.integers(1, 5)), cv2.LINE_AA)


def _blend(image: Pixels, colour: Pixels, cover: Pixels) -> None:
    image += (colour - image) * cover[..., None]
