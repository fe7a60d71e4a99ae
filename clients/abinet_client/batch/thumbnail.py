"""Small pictures of crops as data URIs, made in a process of its own, which may crash without harm."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, NamedTuple

from abinet_client._interpreter import module_command

WIDTH, HEIGHT = 320, 80
_QUALITY, _TINY_QUALITY = 80, 95
"""JPEG quality of pictures that are smaller than their crops, and of the others, which are shown enlarged."""
_MOST_FILE_BYTES = 64 << 20
_MOST_BYTES = 384 << 20
"""Memory that the process may use beyond what it starts with."""
_CPU_S = 2.0
_SILENCE_S = 60.0
_LENGTH = struct.Struct(">I")
"""The length before each file and each picture; 0 means that there is no picture."""
_SIZE = struct.Struct(">HH")
"""Width and height, before a picture's bytes."""


class Thumbnail(NamedTuple):
    """A JPEG within WIDTH x HEIGHT pixels as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


class Thumbnails:
    """Makes small pictures of image files or their bytes."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, image: str | bytes) -> Thumbnail | None:
        """None if the image cannot be read or decoded."""
        try:
            content = image if isinstance(image, bytes) else _read(image)
            picture = self._ask(content) if 0 < len(content) <= _MOST_FILE_BYTES else b""
        except OSError:
            return None
        if not picture:
            return None
        width, height = _SIZE.unpack_from(picture)
        uri = "data:image/jpeg;base64," + base64.b64encode(picture[_SIZE.size :]).decode()
        return Thumbnail(uri, width, height)

    def close(self) -> None:
        """Ends the process; the next picture starts another one."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(OSError):
                self._process.communicate()
            self._process = None

    def _ask(self, content: bytes) -> bytes:
        """The picture, empty if the process has ended on this image or had to be ended."""
        process = self._process = self._process or _start()
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(_SILENCE_S, process.kill)
        watch.daemon = True
        watch.start()
        try:
            process.stdin.write(_LENGTH.pack(len(content)) + content)
            process.stdin.flush()
            return _receive(process.stdout)
        except (OSError, EOFError):
            self.close()
            return b""
        finally:
            watch.cancel()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        module_command(__name__),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_MOST_FILE_BYTES + 1)


def _receive(pipe: IO[bytes]) -> bytes:
    """Raises EOFError if the other end is closed."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _limits() -> Callable[[], object]:
    """Limits this process's memory; returns a function that gives it new processor time. Only on Unix."""
    try:
        import resource
    except ImportError:
        return lambda: None
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm") as statm:
        limit = int(statm.read().split()[5]) * resource.getpagesize() + _MOST_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return lambda: signal.setitimer(signal.ITIMER_PROF, _CPU_S)


def _picture(content: bytes) -> bytes:
    import cv2
    import numpy

    try:
        decoded = cv2.imdecode(numpy.frombuffer(content, numpy.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return b""
    if decoded is None:
        return b""
    height, width = decoded.shape[:2]
    scale = min(1.0, WIDTH / width, HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(decoded, size, interpolation=cv2.INTER_AREA)
    quality = _TINY_QUALITY if scale == 1 else _QUALITY
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    picture: bytes = _SIZE.pack(*size) + encoded.tobytes()
    return picture


def main() -> None:
    """Makes pictures until no more files come."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    grant = _limits()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            content = _receive(sys.stdin.buffer)
            grant()
            picture = _picture(content)
            sys.stdout.buffer.write(_LENGTH.pack(len(picture)) + picture)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
