"""Messages and tensors between front and worker."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator

import numpy as np
import pytest

from service.engines.protocol import Arena, Connection, ConnectionClosedError

Ends = tuple[Connection, Connection]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours), Connection(theirs)


def test_a_message_arrives_as_it_was_sent(ends: Ends) -> None:
    message = {"call": "load", "bundle": "/tmp/ä b", "list": [1, 2.5, None, True]}
    ends[0].send(message)
    assert ends[1].receive() == message


def test_a_closed_end_is_noticed_by_the_receiver(ends: Ends) -> None:
    ends[0].close()
    with pytest.raises(ConnectionClosedError):
        ends[1].receive()


def test_a_closed_end_is_noticed_by_the_sender(ends: Ends) -> None:
    ends[0].close()
    with pytest.raises(ConnectionClosedError):
        ends[1].send({"call": "x" * 1_000_000})


def test_silence_ends_in_a_timeout(ends: Ends) -> None:
    with pytest.raises(socket.timeout):
        ends[0].receive(timeout=0.01)


def test_a_length_beyond_reason_is_not_believed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK")
        with pytest.raises(ConnectionClosedError, match="not an engine worker"):
            Connection(ours).receive()


def test_tensors_cross_the_arena_unchanged() -> None:
    tensors = [
        np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in [(2, 3), (1, 4, 5)]
    ]
    with tempfile.TemporaryFile() as file:
        file.truncate(4096)
        places = Arena(file.fileno(), 4096).write(tensors)
        read = Arena(file.fileno(), 4096).read(places)
    assert all(np.array_equal(one, other) for one, other in zip(read, tensors, strict=True))


def test_what_was_read_survives_the_next_message() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(4096)
        arena = Arena(file.fileno(), 4096)
        (first,) = arena.read(arena.write([np.ones((2, 2), np.float32)]))
        arena.write([np.zeros((2, 2), np.float32)])
    assert first.tolist() == [[1, 1], [1, 1]]


def test_tensors_larger_than_the_arena_are_refused() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(64)
        with pytest.raises(ValueError, match="buffer"):
            Arena(file.fileno(), 64).write([np.zeros((3, 32), np.float32)])


def test_a_view_is_what_the_arena_holds_now() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(4096)
        arena = Arena(file.fileno(), 4096)
        (first,) = arena.views(arena.write([np.ones((2, 2), np.float32)]))
        assert first.tolist() == [[1, 1], [1, 1]]
        arena.write([np.zeros((2, 2), np.float32)])
    assert first.tolist() == [[0, 0], [0, 0]]
