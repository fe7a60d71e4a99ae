"""Bodies that came packed with gzip or deflate, never unpacked beyond the limit."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable

from service.errors import ProblemType, ServiceError

_WINDOW_BITS = {b"gzip": 16 + zlib.MAX_WBITS, b"x-gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
ACCEPTED = "gzip, deflate"
_STEP = 1 << 18
"""Bytes that are unpacked at once: half a millisecond, then others have their turns."""


def check_encoding(encoding: bytes) -> None:
    """Raises ServiceError unless it is one that is read here; `encoding` is in lower case."""
    if encoding not in _WINDOW_BITS:
        raise ServiceError(
            ProblemType.UNSUPPORTED_ENCODING,
            f"Content-Encoding {encoding.decode('latin-1')[:32]!r} is not read here: {ACCEPTED} are, and a "
            "body as it is.",
        )


async def unpacked(body: bytes, encoding: bytes, limit: int, hold: Callable[[int], None]) -> bytes:
    """What a body says, of `limit` bytes at most.

    `hold` is told how many bytes packed and unpacked body have by now, and may raise. Raises ServiceError if
    there would be more than the limit, or the body is no such stream: broken, cut off, or longer than one.
    """
    stream = zlib.decompressobj(_WINDOW_BITS[encoding])
    packed, parts, size = memoryview(body), [b""], 0
    for start in range(0, len(body), _STEP):
        rest: bytes | memoryview = packed[start : start + _STEP]
        # A full step may have left more behind, though nothing of the packed bytes.
        while not stream.eof and (rest or len(parts[-1]) == _STEP):
            try:
                parts.append(stream.decompress(rest, _STEP))
            except zlib.error as error:
                raise _broken(encoding, str(error)) from None
            size += len(parts[-1])
            if size > limit:
                raise ServiceError(ProblemType.BODY_TOO_LARGE, f"The limit is {limit} bytes, unpacked.")
            hold(len(body) + size)
            rest = stream.unconsumed_tail
            if size > _STEP:
                await asyncio.sleep(0)
        if stream.eof:
            if stream.unused_data or start + _STEP < len(body):
                raise _broken(encoding, "bytes follow its end")
            return b"".join(parts)
    raise _broken(encoding, "it is cut off")


def _broken(encoding: bytes, reason: str) -> ServiceError:
    return ServiceError(ProblemType.BROKEN_BODY, f"The body is no stream of {encoding.decode()}: {reason}.")
