"""Pictures made to harm what decodes them."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def animated_png_with_a_frame_beyond_its_canvas() -> bytes:
    """130 bytes that end OpenCV 4.11.0.86 and 4.12.0.88 with signal 11."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
        + chunk(b"acTL", struct.pack(">II", 2, 0))
        + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 1, 1, 10, 0, 0))
        + chunk(b"IDAT", zlib.compress((b"\0" + b"A" * 24) * 8))
        + chunk(b"IEND", b"")
    )


def test_the_decoder_outlives_an_animated_png_with_a_frame_beyond_its_canvas() -> None:
    program = (
        "import sys, numpy, cv2; cv2.imdecode(numpy.frombuffer(sys.stdin.buffer.read(), numpy.uint8), 1)"
    )
    body = animated_png_with_a_frame_beyond_its_canvas()
    assert subprocess.run([sys.executable, "-c", program], input=body, timeout=60).returncode == 0
