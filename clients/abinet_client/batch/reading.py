"""Sends crops to the service and gives each its result, in order, even if the service is away for a while."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
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
from abinet_client._threads import Workers
from abinet_client.batch.region_files import TextRegion
from abinet_client.batch.rows import Row
from abinet_client.batch.sources import Item

PATIENCE_S = 300.0
"""How long a request waits for a service that is too busy, starts again or is gone."""
RETRY = Retry(attempts=1000, refused=PATIENCE_S)
_READY_POLL_S = 1.0
_HEALTH_S = 5.0
_BATCH_SIZE, _REQUESTS = 64, 3
"""As many crops as a service takes in a request by default, and room in its queue for others."""
READINGS = 4 * _BATCH_SIZE * _REQUESTS
"""The most readings of these crops, with every way up."""

_OF_THE_CROP = (BadImage, DeadlineExceeded, EngineFailed, ServiceFault)
"""Errors that concern one crop; others concern the service or the request."""
_ALONE = (Overloaded, NotReady, DeadlineExceeded)
"""Errors that may not occur with one crop instead of a batch."""


def wait_until_ready(client: Client, report: Callable[[str], object]) -> None:
    """Raises AbinetError if no service answers, or if it does not become ready."""
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
    """Raises ConnectionFailed if no service answers."""
    try:
        return client.health(timeout=_HEALTH_S).status
    except DeadlineExceeded:
        return "busy"


class Result(NamedTuple):
    """The result for a crop, or for a region of a photo: a reading or an error."""

    item: Item
    reading: Reading | None
    error: str | None
    region: TextRegion | None = None


def read_items(client: Client, items: Iterable[Item], options: dict[str, Any]) -> Iterator[Result]:
    """Each crop's result, in order.

    Bounded: some hundreds of crops are under way. `options` are those of `Client.read`.

    Raises:
        AbinetError: the service refuses the options or the key, or is away for `PATIENCE_S`.
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


def read_photos(
    client: Client, photos: Iterable[tuple[Item, list[TextRegion]]], options: dict[str, Any]
) -> Iterator[Result]:
    """Each region's result, in order; a photo that cannot be read has one with the error.

    A few photos are in memory. Raises like `read_items`.
    """
    workers = Workers(_REQUESTS)
    pending: deque[Future[list[Result]]] = deque()
    try:
        for photo in photos:
            pending.append(workers.submit(_photo, client, *photo, options))
            while len(pending) > _REQUESTS or (pending and pending[0].done()):
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        workers.close()


def _photo(client: Client, item: Item, regions: list[TextRegion], options: dict[str, Any]) -> list[Result]:
    if item.error is not None:
        return [Result(item, None, item.error)]
    try:
        outcomes = client.read_regions(item.image, [region.points for region in regions], **options)
    except _OF_THE_CROP as error:
        return [Result(item, None, _reason(item, error))]
    results = []
    for region, (_, reading, failed) in zip(regions, outcomes):
        if failed is not None and not isinstance(failed, _OF_THE_CROP):
            raise failed
        reason = None if failed is None else _reason(item, failed)
        results.append(Result(item._replace(label=region.text), reading, reason, region))
    return results


def _reason(item: Item, error: AbinetError) -> str:
    """The error without the path, which has its own column."""
    told, prefix = str(error), f"{item.name}: "
    return told[len(prefix) :] if told.startswith(prefix) else told


def row_of(result: Result, detail: bool) -> Row:
    """Its row, with the iterations if `detail`."""
    item, reading, error, region = result
    place: dict[str, Any] = {"region": region.number, "points": region.points} if region else {}
    if reading is None:
        return Row(item.name, error=error, **place)
    row = Row(item.name, reading.text, reading.confidence, note=reading.note, **place)
    if reading.lexicon is not None:
        word, probability, none = reading.lexicon.word, reading.lexicon.probability, reading.lexicon.none
        row = row._replace(word=word, word_probability=probability, none_probability=none)
    if reading.alternatives:
        row = row._replace(alternatives=[one.model_dump() for one in reading.alternatives])
    if not detail:
        return row
    iterations = [stage.model_dump() for stage in reading.iterations]
    return row._replace(turned=reading.turned, iterations=iterations)
