"""Messages and tensors between front and worker."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator

import numpy as np
import pytest

from service.engines.protocol import Arena, Connection, ConnectionClosedError, socket_pair

Ends = tuple[Connection, Connection]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket_pair()
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


def test_nothing_there_is_said_at_once_where_nobody_wants_to_wait(ends: Ends) -> None:
    with pytest.raises(BlockingIOError):
        ends[0].receive(timeout=0)


def test_messages_stay_apart(ends: Ends) -> None:
    for number in range(3):
        ends[0].send({"number": number})
    assert [ends[1].receive()["number"] for _ in range(3)] == [0, 1, 2]


@pytest.fixture
def arena() -> Iterator[Arena]:
    with tempfile.TemporaryFile() as file:
        file.truncate(8192)
        yield Arena(file.fileno(), 4096)


def test_tensors_cross_the_arena_unchanged() -> None:
    tensors = [
        np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in [(2, 3), (2, 4, 5)]
    ]
    with tempfile.TemporaryFile() as file:
        file.truncate(8192)
        places = Arena(file.fileno(), 4096).write(1, tensors, 2)
        read = Arena(file.fileno(), 4096).read(places)
    assert all(np.array_equal(one, other) for one, other in zip(read, tensors, strict=True))


def test_rows_become_a_batch_that_is_padded_with_zeros(arena: Arena) -> None:
    arena.write(0, [np.ones((3, 2), np.float32)], 3)
    (batch,) = arena.read(arena.write(0, [[np.full(2, 5, np.float32), np.full(2, 6, np.float32)]], 3))
    assert batch.tolist() == [[5, 5], [6, 6], [0, 0]]


def test_a_call_can_be_written_while_another_is_in_the_other_slot(arena: Arena) -> None:
    first = arena.write(0, [np.ones((2, 2), np.float32)], 2)
    arena.write(1, [np.zeros((2, 2), np.float32)], 2)
    assert arena.read(first)[0].tolist() == [[1, 1], [1, 1]]


def test_what_was_read_survives_the_next_call(arena: Arena) -> None:
    (first,) = arena.read(arena.write(0, [np.ones((2, 2), np.float32)], 2))
    arena.write(0, [np.zeros((2, 2), np.float32)], 2)
    assert first.tolist() == [[1, 1], [1, 1]]


def test_tensors_larger_than_a_slot_are_refused(arena: Arena) -> None:
    with pytest.raises(ValueError, match="larger than a slot"):
        arena.write(0, [np.zeros((33, 32), np.float32)], 33)


def test_a_view_is_what_the_arena_holds_now(arena: Arena) -> None:
    (first,) = arena.views(arena.write(0, [np.ones((2, 2), np.float32)], 2))
    assert first.tolist() == [[1, 1], [1, 1]]
    arena.write(0, [np.zeros((2, 2), np.float32)], 2)
    assert first.tolist() == [[0, 0], [0, 0]]
