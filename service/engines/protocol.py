"""How the front and an engine worker talk: JSON messages on a socket, tensors in memory that both map.

The socket keeps messages apart (SOCK_SEQPACKET). Tensors lie in the arena, and a message says only where. The
arena has slots. A call and its answer use the same slot, so that the next call can be written while the
worker runs this one.
"""

from __future__ import annotations

import array
import json
import mmap
import socket
from typing import Any, Sequence, Union

import numpy as np

Rows = Union[np.ndarray, Sequence[np.ndarray]]
"""The rows of a batch, float32 and of one shape, together or one by one."""

SLOTS = 2
"""Calls that may be under way: one that runs, and the next one."""
_LONGEST_MESSAGE = 1 << 16
_BACKLOG = 128


class ConnectionClosedError(Exception):
    """The other process has closed its end of the socket or is gone."""


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """The front's end of a socket, and the worker's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def listening_at(path: str) -> socket.socket:
    """A socket at which workers take connections of fronts."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(_BACKLOG)
    return listener


def connected(path: str) -> socket.socket:
    """A connection to the process that listens at this path. Raises OSError if none does."""
    front = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        front.connect(path)
    except OSError:
        front.close()
        raise
    return front


class Connection:
    """One end of a socket between front and worker."""

    def __init__(self, control: socket.socket) -> None:
        self._socket = control

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: dict[str, Any], files: Sequence[int] = ()) -> None:
        """Sends a message, with descriptors of open files.

        Raises ConnectionClosedError if the other process is gone.
        """
        body = json.dumps(message).encode()
        try:
            if files:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))
                self._socket.sendmsg([body], [rights])
            else:
                self._socket.send(body)
        except OSError as error:
            raise ConnectionClosedError(str(error)) from error

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message.

        Raises ConnectionClosedError if the other end is closed, and socket.timeout after `timeout` seconds
        (BlockingIOError if that is 0).
        """
        return self._receive(timeout, 0)[0]

    def receive_with_files(self, timeout: float | None) -> tuple[dict[str, Any], list[int]]:
        """The next message and the descriptor that came with it, if any. Raises like `receive`."""
        return self._receive(timeout, socket.CMSG_SPACE(array.array("i", [0]).itemsize))

    def _receive(self, timeout: float | None, space: int) -> tuple[dict[str, Any], list[int]]:
        """Receives a message, with room for this many bytes of descriptors."""
        self._socket.settimeout(timeout)
        try:
            body, ancillary, _, _ = self._socket.recvmsg(_LONGEST_MESSAGE, space)
        except (socket.timeout, BlockingIOError):
            raise
        except OSError as error:
            raise ConnectionClosedError(str(error)) from error
        if not body:
            raise ConnectionClosedError("end of stream")
        files = array.array("i")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                files.frombytes(data)
        return json.loads(body.decode()), files.tolist()

    def close(self) -> None:
        self._socket.close()


class Arena:
    """A file that both processes have mapped. Each of its slots has float32 tensors, one after the other."""

    def __init__(self, descriptor: int, slot_bytes: int) -> None:
        self._memory = mmap.mmap(descriptor, SLOTS * slot_bytes)
        self._slot_bytes = slot_bytes

    def write(self, slot: int, columns: Sequence[Rows], size: int) -> list[dict[str, Any]]:
        """Stacks each column's rows in the slot, padded with zeros to `size`.

        Returns where each tensor (size, *row shape) lies, for the message.
        Raises ValueError if they do not fit.
        """
        places: list[dict[str, Any]] = []
        offset, end = slot * self._slot_bytes, (slot + 1) * self._slot_bytes
        for rows in columns:
            row = rows[0]
            place = {"offset": offset, "shape": [size, *row.shape]}
            offset += 4 * size * row.size
            if offset > end:
                raise ValueError(f"the tensors are larger than a slot of the arena, {self._slot_bytes} bytes")
            tensor = self._view(place)
            # Along an existing axis, because np.stack takes three times as long.
            flat = tensor.reshape(-1, *row.shape[1:])
            filled = len(rows) * len(row)
            np.concatenate(rows, out=flat[:filled])
            flat[filled:] = 0
            places.append(place)
        return places

    def read(self, places: Sequence[dict[str, Any]]) -> list[np.ndarray]:
        """Copies of the tensors at these places; the slot is then free for another call."""
        return [self._view(place).copy() for place in places]

    def views(self, places: Sequence[dict[str, Any]]) -> list[np.ndarray]:
        """The tensors at these places, until something else is written into their slot."""
        return [self._view(place) for place in places]

    def _view(self, place: dict[str, Any]) -> np.ndarray:
        shape, offset = place["shape"], place["offset"]
        count = 1
        for length in shape:
            count *= length
        return np.frombuffer(self._memory, np.float32, count, offset).reshape(shape)
