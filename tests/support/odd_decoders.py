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

kept: list[np.ndarray] = []


def decode(body: bytes, max_pixels: int) -> np.ndarray:
    if body == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    while body == b"hang":
        pass
    if body == b"slow":
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
    image_process.decode_image = decode
    image_process.main()
    sys.exit()
