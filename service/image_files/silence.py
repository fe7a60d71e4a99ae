"""Keeps OpenCV, libpng, libjpeg and libtiff from printing the faults of an image, which the error states."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from typing import Any, Iterator

import cv2


def _streams() -> tuple[Any, Any, Any]:
    """The C library's variable `stderr`, its value, and a stream that goes nowhere."""
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    variable = ctypes.c_void_p.in_dll(library, "stderr")
    return variable, variable.value, library.fopen(os.devnull.encode(), b"w")


_IS_GLIBC = platform.libc_ver()[0] == "glibc"  # on other systems `stderr` may not be a variable
_VARIABLE, _SHOWN, _UNSEEN = _streams() if _IS_GLIBC else (ctypes.c_void_p(), None, None)
cv2.setLogLevel(0)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Silences them. Python, and code that writes to the descriptor itself, still prints.

    If several threads are in here, the first that leaves ends the silence; that does no harm.
    """
    _VARIABLE.value = _UNSEEN
    try:
        yield
    finally:
        _VARIABLE.value = _SHOWN
