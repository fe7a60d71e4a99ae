"""How the front and an engine worker talk: JSON messages on a socket, tensors in memory that both map.

A message is a four-byte big-endian length and that many bytes of JSON. Its tensors, if it has any, lie in the
arena; the message says only where. One call is in flight at a time, so one arena holds a call or its answer.
"""

from __future__ import annotations

import json
import mmap
import socket
import struct
from typing import Any, Sequence

import numpy as np

_LENGTH = struct.Struct(">I")
_LONGEST_MESSAGE = 1 << 20


class ConnectionClosedError(Exception):
    """The other process has closed its end of the socket or is gone."""


class Connection:
    """One end of the socket pair between front and worker."""

    def __init__(self, control: socket.socket) -> None:
        self._socket = control

    def send(self, message: dict[str, Any]) -> None:
        """Raises ConnectionClosedError where the other process is gone."""
        body = json.dumps(message).encode()
        try:
            self._socket.sendall(_LENGTH.pack(len(body)) + body)
        except OSError as error:
            raise ConnectionClosedError(str(error)) from error

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message. Raises ConnectionClosedError at the end, socket.timeout after `timeout` s."""
        self._socket.settimeout(timeout)
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > _LONGEST_MESSAGE:
            raise ConnectionClosedError(f"a message of {length} bytes: not an engine worker")
        message: dict[str, Any] = json.loads(self._read(length).decode())
        return message

    def close(self) -> None:
        self._socket.close()

    def _read(self, count: int) -> bytes:
        parts = []
        while count:
            try:
                part = self._socket.recv(count)
            except socket.timeout:
                raise
            except OSError as error:
                raise ConnectionClosedError(str(error)) from error
            if not part:
                raise ConnectionClosedError("end of stream")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Arena:
    """A file that both processes have mapped, and float32 tensors in it, one after the other."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._memory = mmap.mmap(descriptor, size)

    def write(self, tensors: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Copies the tensors into the arena and returns where each lies, for the message."""
        places, offset = [], 0
        for tensor in tensors:
            place = {"offset": offset, "shape": list(tensor.shape)}
            self._view(place)[...] = tensor
            places.append(place)
            offset += tensor.size * 4
        return places

    def read(self, places: Sequence[dict[str, Any]]) -> list[np.ndarray]:
        """Copies of the tensors at these places: the arena is free again for the next message."""
        return [self._view(place).copy() for place in places]

    def views(self, places: Sequence[dict[str, Any]]) -> list[np.ndarray]:
        """The tensors at these places, until the next message overwrites them."""
        return [self._view(place) for place in places]

    def _view(self, place: dict[str, Any]) -> np.ndarray:
        shape, offset = place["shape"], place["offset"]
        count = int(np.prod(shape))
        return np.frombuffer(self._memory, np.float32, count, offset).reshape(shape)
