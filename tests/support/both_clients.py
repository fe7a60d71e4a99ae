"""Both clients behind one blocking interface: what a test says, it says of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar, cast

import pytest

from abinet_client import (
    AsyncClient,
    Client,
    Health,
    LatencyReport,
    ModelInfo,
    Outcome,
    Reading,
    RegionOutcome,
)

T = TypeVar("T")
Connect = Callable[..., Client]


class BlockingAsyncClient:
    """An AsyncClient on an event loop of its own, called as a Client is."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*arguments, **options)

    def __enter__(self) -> BlockingAsyncClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._client.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def with_options(self, **options: Any) -> BlockingAsyncClient:
        changed = object.__new__(BlockingAsyncClient)
        changed._loop, changed._client = self._loop, self._client.with_options(**options)
        return changed

    def read(self, *arguments: Any, **options: Any) -> Reading:
        return self._run(self._client.read(*arguments, **options))

    def read_many(self, *arguments: Any, **options: Any) -> Iterator[Outcome]:
        outcomes = self._client.read_many(*arguments, **options)

        async def following() -> Outcome | None:
            return await anext(outcomes, None)

        while outcome := self._run(following()):
            yield outcome

    def read_regions(self, *arguments: Any, **options: Any) -> list[RegionOutcome]:
        return self._run(self._client.read_regions(*arguments, **options))

    def health(self, **options: Any) -> Health:
        return self._run(self._client.health(**options))

    def latency(self) -> LatencyReport:
        return self._run(self._client.latency())

    def model(self) -> ModelInfo:
        return self._run(self._client.model())

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(coroutine)


both_clients = pytest.mark.parametrize(
    "connect",
    [pytest.param(Client, id="Client"), pytest.param(cast(Connect, BlockingAsyncClient), id="AsyncClient")],
)
