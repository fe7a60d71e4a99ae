"""Image decoders for which some files are fatal: what the next fault of a C library would do to real ones.

In place of `python -m service.image_decoding.process`.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from service.image_decoding import process as image_process
from service.image_files import Picture

kept: list[np.ndarray] = []


def look(body: bytes, max_pixels: int) -> Picture:
    return Picture(2000, 1000, body) if body == b"large" else Picture(6, 4, body)


def decode(picture: Picture) -> np.ndarray:
    body = picture.content
    if body == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    while body == b"hang":
        pass
    if body in (b"slow", b"large"):
        time.sleep(0.2)
    if body == b"leak":
        kept.append(np.ones(48 << 20, np.uint8))
    if body == b"fault":
        raise ZeroDivisionError
    if body == b"memory":
        kept.append(np.ones(1 << 30, np.uint8))
    return np.zeros((4, 6, 3), np.uint8)


if __name__ == "__main__":
    image_process.CPU_S = 0.2
    image_process.look_within = look  # type: ignore[attr-defined]
    image_process.pixels_of = decode  # type: ignore[attr-defined]
    image_process.main()
    sys.exit()
