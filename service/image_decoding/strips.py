"""Curved text: outlines of 2n points, the upper edge from left to right and then the lower one back."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

Points = TypeVar("Points", np.ndarray, "list[list[float]]")

_UNEVEN = 3
"""How many times as high as at its lowest a curved strip may be: contours begun anywhere are no strips."""
_STRAIGHT = 0.05
"""Of the height: how far the points of a straight strip's edges may be from the lines between its corners."""


def edges(outline: Points) -> tuple[Points, Points]:
    """An outline (2n, 2) -> its upper and its lower edge (n, 2), both from left to right."""
    half = len(outline) // 2
    return outline[:half], outline[half:][::-1]


def is_strip(outline: np.ndarray) -> bool:
    """Whether points (N, 2) can be the edges of a text: longer than high, and no part of it folds over."""
    if len(outline) % 2:
        return False
    upper, lower = edges(outline)
    heights = np.linalg.norm(lower - upper, axis=1)
    if not heights.min():
        return False
    if heights.max() > _UNEVEN * heights.min() and corners_if_straight(outline) is None:
        return False
    if max(length(upper), length(lower)) < heights.max():
        return False
    cells = np.stack([upper[:-1], upper[1:], lower[1:], lower[:-1]], axis=1)
    sides = np.roll(cells, -1, axis=1) - cells
    following = np.roll(sides, -1, axis=1)
    turns = sides[..., 0] * following[..., 1] - sides[..., 1] * following[..., 0]
    return bool((turns >= 0).all() and (turns.max(axis=1) > 0).all())


def corners_if_straight(outline: np.ndarray) -> np.ndarray | None:
    """The four corners (4, 2) of a strip whose edges are straight; None if they are curved."""
    upper, lower = edges(outline)
    least = _STRAIGHT * float(np.linalg.norm(lower - upper, axis=1).max())
    if max(_bend(upper), _bend(lower)) > least:
        return None
    return np.array([upper[0], upper[-1], lower[-1], lower[0]])


def length(edge: np.ndarray) -> float:
    """Of points (n, 2) in a row."""
    return float(_pieces(edge).sum())


def straightened(outline: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Where in the photo the pixels of a strip's crop of `size` (width, height) are: (height, width, 2).

    The lines from the upper to the lower points become upright, as far apart as the mean of both edges says.
    """
    upper, lower = edges(outline)
    width, height = size
    knots = np.concatenate([[0], (_pieces(upper) + _pieces(lower)).cumsum() / 2])
    along = (np.arange(width) + 0.5) / width * knots[-1]
    above, below = (
        np.stack([np.interp(along, knots, edge[:, axis]) for axis in (0, 1)], axis=1)
        for edge in (upper, lower)
    )
    down = ((np.arange(height) + 0.5) / height)[:, None, None]
    places: np.ndarray = above[None] * (1 - down) + below[None] * down
    return places


def _pieces(edge: np.ndarray) -> np.ndarray:
    """The distances of points (n, 2) from the points before: (n - 1)."""
    distances: np.ndarray = np.linalg.norm(np.diff(edge, axis=0), axis=1)
    return distances


def _bend(edge: np.ndarray) -> float:
    """How far the points of an edge are at most from the line between its ends."""
    chord = edge[-1] - edge[0]
    away = edge - edge[0]
    across = np.abs(chord[0] * away[:, 1] - chord[1] * away[:, 0])
    return float(across.max() / max(np.linalg.norm(chord), 1e-9))
