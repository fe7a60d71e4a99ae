"""Crops to the service and what became of each, in order, whatever the service goes through meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from abinet_client import (
    AbinetError,
    BadImage,
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    EngineFailed,
    NotReady,
    Overloaded,
    Reading,
    Retry,
    ServiceFault,
)
from abinet_client.batch.sources import Item

PATIENCE_S = 300.0
"""How long a request waits for a service that is too busy, starts again or is not there any more."""
RETRY = Retry(attempts=1000, refused=PATIENCE_S)
_READY_POLL_S = 1.0
_HEALTH_S = 5.0
_BATCH_SIZE, _REQUESTS = 64, 3
"""As many crops as a service takes in a request by default, and room in its queue for others."""
READINGS = 4 * _BATCH_SIZE * _REQUESTS
"""How many of these crops' readings there may be, every way up."""

_OF_THE_CROP = (BadImage, DeadlineExceeded, EngineFailed, ServiceFault)
"""What is said of one crop; anything else is said of the service or of what it was asked."""
_ALONE = (Overloaded, NotReady, DeadlineExceeded)
"""What may go better with one crop than with a batch."""


def wait_until_ready(client: Client, report: Callable[[str], object]) -> None:
    """Raises AbinetError if nobody is there, or where the service does not become ready."""
    deadline = time.monotonic() + PATIENCE_S
    state = _state(client)
    if state != "ready":
        report(f"the service is {state}; waiting for it")
    while state != "ready":
        if time.monotonic() > deadline:
            raise NotReady(f"The service is {state} for {PATIENCE_S:g} s.")
        time.sleep(_READY_POLL_S)
        with contextlib.suppress(ConnectionFailed):
            state = _state(client)


def _state(client: Client) -> str:
    """Raises ConnectionFailed if nobody is there."""
    try:
        return client.health(timeout=_HEALTH_S).status
    except DeadlineExceeded:
        return "busy"


class Result(NamedTuple):
    """What became of a crop: a reading, or the error why there is none."""

    item: Item
    reading: Reading | None
    error: str | None


def read_items(client: Client, items: Iterable[Item], options: dict[str, Any]) -> Iterator[Result]:
    """Each crop's result, in order.

    Bounded: some hundreds of crops are under way. `options` are those of `Client.read`.

    Raises:
        AbinetError: the service refuses the options or the key, or is not to be had for `PATIENCE_S`.
    """
    ours, theirs = itertools.tee(items)
    outcomes = client.read_many(
        (item.image for item in theirs if item.error is None),
        batch_size=_BATCH_SIZE,
        concurrency=_REQUESTS,
        **options,
    )
    for item in ours:
        if item.error is not None:
            yield Result(item, None, item.error)
            continue
        _, reading, error = next(outcomes)
        if isinstance(error, _ALONE):
            reading, error = _alone(client, item, options)
        if error is not None and not isinstance(error, _OF_THE_CROP):
            raise error
        yield Result(item, reading, None if error is None else _reason(item, error))


def _alone(client: Client, item: Item, options: dict[str, Any]) -> tuple[Reading | None, AbinetError | None]:
    try:
        return client.read(item.image, **options), None
    except AbinetError as error:
        return None, error


def _reason(item: Item, error: AbinetError) -> str:
    """What is wrong, without the path, which has its own column."""
    told, prefix = str(error), f"{item.name}: "
    return told[len(prefix) :] if told.startswith(prefix) else told
