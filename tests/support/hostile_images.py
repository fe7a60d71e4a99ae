"""Images made to harm what decodes them: the known ones, and as many others as one likes.

    python tests/support/hostile_images.py --seconds 180 [--seed N]

fuzzes every decoder of the product with mutations of them (`just fuzz`); what was too much stays in a file.
"""

from __future__ import annotations

import argparse
import base64
import io
import random
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.decoder_trial import DECODERS, Trial, TrialFailed

Named = dict[str, bytes]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = (8, 8, 8, 2, 0, 0, 0)


# PNG.


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*header: int, pixels: bytes | None = None, before: bytes = b"", after: bytes = b"") -> bytes:
    """Of a header's seven fields, by default 8 x 8 RGB; `before` and `after` are chunks around the pixels."""
    pixels = zlib.compress((b"\0" + b"A" * 24) * 8) if pixels is None else pixels
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *(header or _RGB)))
    return SIGNATURE + head + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND")


def frame_control(number: int, width: int, height: int, x: int, y: int) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, x, y, 1, 10, 0, 0))


def hostile_pngs() -> Named:
    seven_mib = zlib.compress(random.Random(1).randbytes(7 << 20), 0)
    zeros = zlib.compress(bytes(4000 * (4000 * 8 + 1)), 9)
    animation = chunk(b"acTL", struct.pack(">II", 2, 0))
    frame = chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress((b"\0" + b"B" * 24) * 8))
    return {
        # Issue 12: OpenCV 4.11.0.86 and 4.12.0.88 end with signal 11.
        "frame beyond the canvas": png(before=animation + frame_control(0, 8, 8, 0, 1)),
        "animation": png(
            before=animation + frame_control(0, 8, 8, 0, 0), after=frame_control(1, 8, 8, 0, 0) + frame
        ),
        "second frame beyond the canvas": png(
            before=animation + frame_control(0, 8, 8, 0, 0), after=frame_control(1, 9, 9, 1 << 31, 7) + frame
        ),
        "a million frames": png(before=chunk(b"acTL", struct.pack(">II", 1 << 20, 0))),
        # 3.3 s and 4.1 GB.
        "lying length": base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSnc////80lEQVRhYmMzr9ZyAAAAAElFTkSuQmCC"
        ),
        # 14 MB that never came back.
        "interlace 0x5b": png(8, 8, 8, 2, 0, 0, 0x5B, pixels=seven_mib),
        "seven MiB of noise": png(pixels=seven_mib),
        **{f"field {at} is {value}": png(*_changed(at, value)) for at in range(7) for value in (0, 3, 255)},
        **{f"length is {length:x}": _lying(length) for length in (0, 5, 6, 1 << 31, 0xFFFFFFFF)},
        "thousands of chunks": png(before=chunk(b"tEXt") * 20000),
        "thousands of pixel chunks": png(after=chunk(b"IDAT") * 20000),
        "palette of 257": png(8, 8, 8, 3, 0, 0, 0, before=chunk(b"PLTE", bytes(771))),
        "no palette": png(8, 8, 8, 3, 0, 0, 0),
        "index beyond the palette": png(8, 8, 8, 3, 0, 0, 0, before=chunk(b"PLTE", bytes(3))),
        "large, of nothing": png(4000, 4000, 16, 6, 0, 0, 0, pixels=zeros),
        "large, of nothing, interlaced": png(4000, 4000, 8, 0, 0, 0, 1, pixels=zeros),
        "no pixels": SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", *_RGB)) + chunk(b"IEND"),
        "name of no letters": png(before=chunk(b"\0\0\0\0")),
    }


def _changed(at: int, value: int) -> list[int]:
    fields = list(_RGB)
    fields[at] = value
    return fields


def _lying(length: int) -> bytes:
    body = bytearray(png())
    body[33:37] = struct.pack(">I", length)
    return bytes(body)


# JPEG.


def jpeg(
    segments: bytes = b"", *, width: int = 8, height: int = 8, scans: int = 1, frame: int = 0xC2
) -> bytes:
    """A grey image, progressive by default, whose scans say nothing; `segments` stand before its frame."""
    tables = b"\xff\xdb\0\x43\0" + bytes([1] * 64) + b"\xff\xc4\0\x14\0\1" + bytes(15) + b"\0"
    tables += b"\xff\xc4\0\x14\x10\1" + bytes(15) + b"\0"
    head = bytes([0xFF, frame]) + struct.pack(">HBHHBBBB", 11, 8, height, width, 1, 1, 0x11, 0)
    first = b"\xff\xda\0\x08\1\1\0\0\0\0\x7f" if frame == 0xC2 else b"\xff\xda\0\x08\1\1\0\0\x3f\0\x7f"
    more = b"\xff\xda\0\x08\1\1\0\1\x3f\0\x7f" * (scans - 1)
    return b"\xff\xd8" + segments + tables + head + first + more + b"\xff\xd9"


def hostile_jpegs() -> Named:
    fake = b"\xff\xfe\0\x13\xff\xc0\0\x0b\x08\0\x08\0\x08\1\1\x11\0\0\0\0\0"
    large = {"width": 16000, "height": 1000}
    comment = b"\xff\xfe\0\2"
    return {
        "TEM before the frame": jpeg(b"\xff\x01" + fake, **large),
        "RST before the frame": jpeg(b"\xff\xd0" + fake, **large),
        "frame in a comment": jpeg(fake, **large),
        # 651 kB twice, and others got 504.
        "thousands of scans": jpeg(scans=50000),
        "thousands of scans, large": jpeg(scans=50000, width=4000, height=4000),
        "as many scans as are read, large": jpeg(scans=32, width=4000, height=4000),
        **{f"frame {frame:02X}": jpeg(frame=frame, width=65535, height=244) for frame in range(0xC0, 0xD0)},
        "thousands of segments": jpeg(comment * 100000),
        "filled with FF": b"\xff\xd8" + b"\xff" * (1 << 20),
        "filled between segments": jpeg(b"\xff" * 5000),
        "pixels of FF00": jpeg()[:-2] + b"\xff\0" * (1 << 20) + b"\xff\xd9",
        "pixels of restarts": jpeg()[:-2] + b"\xff\xd0" * (1 << 20) + b"\xff\xd9",
        "no height": jpeg(height=0),
        "two frames": jpeg(jpeg(width=60000, height=60000)[2:-2]),
        "another behind it": jpeg() + jpeg(width=65535, height=65535),
        "segment of length 0": jpeg(b"\xff\xe0\0\0"),
        "Exif that points far away": jpeg(b"\xff\xe1\0\x10Exif\0\0II*\0\xff\xff\xff\x7f"),
    }


# WebP.


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(data) if length is None else length) + data + bytes(len(data) % 2)


def vp8l(width: int, height: int, data: bytes = bytes(24)) -> bytes:
    return b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + data


def hostile_webps() -> Named:
    huge = base64.b64decode("UklGRiIAAABXRUJQL/6//w8HEBH9D0RE/wMKAAoACgAKAAoACgAKAAoA")
    canvas = webp_chunk(b"VP8X", b"\x02\0\0\0" + bytes(6))
    inner = saved("WEBP", lossless=True)[12:]
    frame = webp_chunk(b"ANMF", bytes(16) + inner)
    return {
        # 16383 x 16383: 2.9 s and 1.6 GB.
        "raw VP8L": huge,
        "VP8L of 16 million pixels": riff(webp_chunk(b"VP8L", vp8l(16383, 976, huge[25:]))),
        "VP8L of 268 million pixels": riff(webp_chunk(b"VP8L", vp8l(16383, 16383, huge[25:]))),
        "small canvas, large picture": riff(canvas, webp_chunk(b"VP8L", vp8l(16383, 16383))),
        "RIFF in RIFF": riff(riff(webp_chunk(b"VP8L", vp8l(8, 8)))),
        "frames": riff(canvas, webp_chunk(b"ANIM", bytes(6)), *[frame] * 5000),
        "frame beyond the canvas": riff(canvas, webp_chunk(b"ANMF", b"\xff" * 6 + bytes(10) + inner)),
        "frame in a frame": riff(canvas, webp_chunk(b"ANMF", bytes(16) + frame)),
        "thousands of chunks": riff(canvas, webp_chunk(b"XMP ", b"") * 100000, inner),
        **{
            f"length is {length:x}": riff(webp_chunk(b"VP8L", vp8l(8, 8), length))
            for length in (0, 4, 1 << 31)
        },
        "VP8 that is scaled": riff(webp_chunk(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\xff\xff\xff\xff" + bytes(20))),
        "VP8 without a key frame": riff(webp_chunk(b"VP8 ", b"\x11\0\0\x9d\x01\x2a\x08\0\x08\0" + bytes(20))),
        "odd length": riff(canvas, webp_chunk(b"ICCP", b"x"), inner),
    }


# TIFF and BMP.


def tiff(*entries: tuple[int, int, int, int], data: bytes = bytes(1024)) -> bytes:
    """Entries of tag, type, count and value, by default those of an 8 x 8 grey image; data start at 400."""
    tags = dict.fromkeys([256, 257, 258, 259, 262, 273, 277, 278, 279])
    values = dict(zip(tags, (8, 8, 8, 1, 1, 400, 1, 8, 64), strict=True))
    changed = {tag for tag, *_ in entries}
    kept = [(tag, 4, 1, value) for tag, value in values.items() if tag not in changed]
    every = sorted([*kept, *entries], key=lambda entry: entry[0])
    body = b"II*\0\x08\0\0\0" + struct.pack("<H", len(every))
    body += b"".join(struct.pack("<HHII", *entry) for entry in every)
    return (body + bytes(4)).ljust(400, b"\0") + data


def big_tiff(*entries: tuple[int, int, int, int], place: int = 16) -> bytes:
    """A BigTIFF's directory, at `place` by what its head says."""
    body = b"II+\0" + struct.pack("<HHQQ", 8, 0, place, len(entries))
    return body + b"".join(struct.pack("<HHQQ", *entry) for entry in entries) + bytes(1024)


def hostile_big_tiffs() -> Named:
    far = (1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
    return {
        **{f"directory at {place:x}": big_tiff(place=place) for place in far},
        **{f"tag {tag} of {many:x}": big_tiff((tag, 16, many, 8)) for tag in _TAGS for many in (2, *far)},
        **{
            f"values of tag {tag} at {place:x}": big_tiff((tag, 16, 2, place))
            for tag in _TAGS
            for place in far
        },
        "a tag less than it says": big_tiff()[:16] + struct.pack("<Q", 1 << 63) + bytes(1024),
        "places of 4 bytes": b"II+\0\x04\0\0\0" + bytes(1024),
    }


def hostile_tiffs() -> Named:
    large = [(256, 4, 1, 65535), (257, 4, 1, 65535)]
    bomb = zlib.compress(bytes(4000 * 4000), 9)
    loop = bytearray(tiff())
    loop[10 + 12 * 9 : 14 + 12 * 9] = struct.pack("<I", 8)
    return {
        "width and height twice": tiff(*large, (256, 4, 1, 8), (257, 4, 1, 8)),
        "width and height twice, first small": tiff((256, 4, 1, 8), (257, 4, 1, 8), *large),
        "LONG8": tiff((256, 16, 1, 400), (257, 16, 1, 400), data=struct.pack("<Q", 65535) * 99),
        "two widths": tiff((256, 3, 2, 8 | 65535 << 16)),
        "directory that follows itself": bytes(loop),
        "directory far away": b"II*\0\xff\xff\xff\x7f",
        "directory in the header": b"II*\0\0\0\0\0" + bytes(64),
        "65535 tags": b"MM\0*\0\0\0\x08\xff\xff" + bytes(12 * 65535),
        "tile of a gigabyte": tiff(
            (322, 4, 1, 1 << 15), (323, 4, 1, 1 << 15), (324, 4, 1, 400), (325, 4, 1, 64)
        ),
        **{f"tag {tag} is {value:x}": tiff((tag, 4, 1, value)) for tag in _TAGS for value in _EXTREMES},
        **{f"tag {tag} of type {kind}": tiff((tag, kind, 1, 8)) for tag in _TAGS for kind in range(20)},
        "strips that are one": tiff(
            (256, 4, 1, 2000), (257, 4, 1, 8000), (278, 4, 1, 1), (273, 4, 8000, 400), (279, 4, 8000, 400),
            data=struct.pack("<I", 60000) * 8000 + bytes(90000),
        ),
        **{
            f"compression {kind} of 16 million pixels": tiff(
                (256, 4, 1, 4000), (257, 4, 1, 4000), (278, 4, 1, 4000), (259, 4, 1, kind),
                (258, 4, 1, 1 if kind < 5 else 8), (279, 4, 1, len(bomb)), data=bomb,
            )
            for kind in (1, 2, 3, 4, 5, 6, 7, 8, 32773, 34712, 34925, 50000)
        },
    }  # fmt: skip


_TAGS = (
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    274,
    277,
    278,
    279,
    284,
    317,
    320,
    322,
    330,
    338,
    339,
    347,
    34665,
)
_EXTREMES = (0, 2, 5, 7, 0xFFFF, 0xFFFFFFFF)


def hostile_bmps() -> Named:
    def bmp(
        width: int = 8, height: int = 8, bits: int = 24, kind: int = 0, colours: int = 0, start: int = 54
    ) -> bytes:
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, kind, 0, 0, 0, colours, 0)
        return b"BM" + struct.pack("<IHHI", 0, 0, 0, start) + head + bytes(4096)

    return {
        "plain": bmp(),
        "large, of nothing": bmp(16000, 1000),
        **{f"height {height}": bmp(height=height) for height in (0, -8, 1 << 30, -(1 << 31))},
        **{f"width {width}": bmp(width=width) for width in (0, -8, 1 << 30, -(1 << 31))},
        **{
            f"{bits} bits of kind {kind}": bmp(bits=bits, kind=kind, start=1078)
            for bits in (0, 1, 2, 4, 8, 16, 24, 32)
            for kind in range(6)
        },
        "palette of millions": bmp(bits=8, colours=1 << 30),
        "pixels in the header": bmp(start=0),
        "pixels far away": bmp(start=1 << 31),
    }  # fmt: skip


# What the extra `formats` reads.


def gif(
    width: int, height: int, frame: bytes, blocks: bytes = b"\2\4\x84\x8f\5\0", before: bytes = b""
) -> bytes:
    """`frame` is its place and size and flags; blocks begin with the bits of a code."""
    palette = bytes(range(12))
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x81, 0, 0)
        + palette
        + before
        + b","
        + frame
        + blocks
        + b";"
    )


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def avif(
    width: int,
    height: int,
    *,
    kind: bytes = b"av01",
    after: bytes = b"",
    properties: bytes = b"",
    more: bytes = b"",
) -> bytes:
    """A still whose coded pixels say nothing; `properties` are its own, `more` describes it further."""
    listed = (
        box(b"ispe", bytes(4), struct.pack(">II", width, height)) + box(b"av1C", b"\x81\0\x0c\0") + properties
    )
    count = listed.count(b"ispe") + listed.count(b"irot") + listed.count(b"clap") + 1
    numbers = bytes(range(1, count + 1))
    described = box(
        b"meta",
        bytes(4),
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", bytes(4), b"\0\1"),
        box(b"iloc", bytes(4), struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, 0, 64)),
        box(b"iinf", bytes(4), b"\0\1", box(b"infe", b"\2\0\0\0", b"\0\1\0\0", kind, b"\0")),
        box(b"iprp", box(b"ipco", listed), box(b"ipma", bytes(4), struct.pack(">IHB", 1, 1, count), numbers)),
        more,
    )
    return box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf") + described + box(b"mdat", bytes(64)) + after


def hostile_formats() -> Named:
    frame = struct.pack("<HHHHB", 0, 0, 8, 8, 0)
    sound = saved("AVIF")
    at = sound.index(b"ispe") + 8
    tiles = box(b"iref", bytes(4), box(b"dimg", b"\0\1\3\xff", b"\0\1" * 1023))
    return {
        "GIF of nothing": gif(8, 8, frame),
        "GIF of 65535 x 244": gif(65535, 244, struct.pack("<HHHHB", 0, 0, 65535, 244, 0)),
        "GIF of 65535 x 65535": gif(65535, 65535, frame),
        "GIF frame beyond the canvas": gif(8, 8, struct.pack("<HHHHB", 1, 0, 8, 8, 0)),
        "GIF of small blocks": gif(8, 8, frame, b"\2" + b"\1\0" * (1 << 20) + b"\0"),
        "GIF codes of 12 bits": gif(8, 8, frame, b"\x0c\1\0\0"),
        "GIF of extensions": gif(8, 8, frame, before=b"!\xfe\0" * 100000),
        "GIF cut in a block": gif(8, 8, frame)[:-4],
        "AVIF of nothing": avif(8, 8),
        "AVIF of 16 million pixels": avif(16000, 1000),
        "AVIF of all numbers": avif(0xFFFFFFFF, 0xFFFFFFFF),
        "AVIF of no pixels": avif(0, 8),
        "AVIF with two sizes": avif(8, 8, properties=box(b"ispe", bytes(4), b"\0\0\xff\xff" * 2)),
        "AVIF whose pixels are larger": sound[:at] + struct.pack(">II", 4, 4) + sound[at + 8 :],
        "AVIF whose pixels are fewer": sound[:at] + struct.pack(">II", 4000, 4000) + sound[at + 8 :],
        "AVIF of boxes": avif(8, 8, after=box(b"free") * 100000),
        "AVIF of a box without end": avif(8, 8, after=struct.pack(">I4sQ", 1, b"moov", 1 << 63)),
        "AVIF that is a grid of itself": avif(8, 8, kind=b"grid", more=tiles),
        "AVIF of JPEG": avif(8, 8, kind=b"jpeg"),
        "AVIF that is cut": avif(8, 8, properties=box(b"clap", struct.pack(">8I", 4, 1, 4, 1, 0, 1, 0, 1))),
        "HEIC of nothing": avif(8, 8, kind=b"hvc1").replace(b"avif", b"heic"),
        "HEIC of a grid": avif(8, 8, kind=b"grid", more=tiles).replace(b"avif", b"heic"),
    }


# All of them.


def saved(form: str, **options: object) -> bytes:
    """A sound image of 37 x 23 pixels."""
    pixels = np.random.default_rng(1).integers(0, 256, (23, 37, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def sound_images() -> Named:
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = Image.fromarray(np.random.default_rng(2).integers(0, 9, (23, 37), np.uint8), "P")
    palette.putpalette(bytes(range(27)))
    indexed = io.BytesIO()
    palette.save(indexed, "PNG", transparency=0)
    return {
        "png": saved("PNG"),
        "palette png": indexed.getvalue(),
        "jpeg": saved("JPEG", exif=exif),
        "progressive jpeg": saved("JPEG", progressive=True),
        "bmp": saved("BMP"),
        "webp": saved("WEBP"),
        "lossless webp": saved("WEBP", lossless=True, exif=exif),
        "tiff": saved("TIFF"),
        "big tiff": saved("TIFF", big_tiff=True),
        **{
            f"{kind} tiff": saved("TIFF", compression=kind)
            for kind in ("tiff_lzw", "tiff_deflate", "packbits")
        },
    }


@cache
def corpus() -> Named:
    """Everything, by what it is; every sound image also cut at many places."""
    found: Named = {"empty": b"", "text": b"hello", **hostile_formats()}
    for form, images in (
        ("PNG", hostile_pngs()), ("JPEG", hostile_jpegs()), ("WebP", hostile_webps()),
        ("TIFF", hostile_tiffs()), ("BigTIFF", hostile_big_tiffs()), ("BMP", hostile_bmps()),
    ):  # fmt: skip
        found.update({f"{form}: {name}": body for name, body in images.items()})
    for name, body in sound_images().items():
        found[name] = body
        cuts = {len(body) * part // 24 for part in range(1, 24)} | {len(body) - 1, len(body) - 4}
        found.update({f"{name}, cut at {length}": body[:length] for length in sorted(cuts)})
    return found


def mutations(seed: int) -> Iterator[bytes]:
    """Without end: sound and hostile images with bytes flipped, set to extremes, cut out or doubled."""
    dice = random.Random(seed)
    sources = [body for body in corpus().values() if 0 < len(body) < 1 << 16]
    sources += 40 * list(sound_images().values())
    while True:
        body = bytearray(dice.choice(sources))
        for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
            _mutate(body, dice)
        yield _mended(bytes(body)) if dice.random() < 0.7 else bytes(body)


def _mutate(body: bytearray, dice: random.Random) -> None:
    at = min(dice.randrange(len(body) + 1), dice.randrange(len(body) + 1))  # headers are at the front
    way = dice.randrange(6)
    if way == 0:
        body[at : at + 1] = bytes([dice.randrange(256)])
    elif way == 1:
        length = dice.choice((1, 2, 4, 8))
        extreme = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
        body[at : at + length] = bytes([extreme]) * length
    elif way == 2:
        del body[at : at + dice.choice((1, 2, 4, 12, 64, 1024))]
    elif way == 3:
        start = dice.randrange(len(body) + 1)
        body[at:at] = body[start : start + dice.choice((1, 4, 12, 64, 512))]
    elif way == 4:
        body[at:at] = dice.randbytes(dice.choice((1, 2, 4, 12)))
    elif body:
        at %= len(body)
        body[at] ^= 1 << dice.randrange(8)


def _mended(body: bytes) -> bytes:
    """A PNG with right checksums again: a decoder would look no further than at the wrong one."""
    if not body.startswith(SIGNATURE):
        return body
    position, mended = len(SIGNATURE), bytearray(body)
    while position + 12 <= len(body):
        (length,) = struct.unpack_from(">I", body, position)
        end = position + 8 + length
        if end + 4 > len(body):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(body[position + 4 : end]))
        position = end + 4
    return bytes(mended)


def fuzz(seconds: float, seed: int, decoders: list[str]) -> int:
    """How many images each decoder was given. Raises TrialFailed with the file of what was too much."""
    count, deadline = 0, time.monotonic() + seconds
    trials = {name: Trial(name) for name in decoders}
    try:
        for body in mutations(seed):
            if time.monotonic() > deadline:
                return count
            for name, trial in trials.items():
                try:
                    trial(body)
                except TrialFailed as failure:
                    file = Path(tempfile.gettempdir()) / f"abinet-fuzz-{zlib.crc32(body):08x}"
                    file.write_bytes(body)
                    raise TrialFailed(f"{name} with seed {seed}, image {count}, {file}: {failure}") from None
            count += 1
    finally:
        for trial in trials.values():
            trial.close()
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzzes every decoder of images.")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--decoders", nargs="*", default=list(DECODERS), choices=DECODERS)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    try:
        count = fuzz(arguments.seconds, arguments.seed, arguments.decoders)
    except TrialFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(f"{count:,} images, and {', '.join(arguments.decoders)} live")
    return 0


if __name__ == "__main__":
    sys.exit(main())
