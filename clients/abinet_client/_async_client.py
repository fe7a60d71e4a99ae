"""The client for asyncio; `_client` has the one for threads, which differs only in how it waits."""

from __future__ import annotations

import asyncio
import copy
import os
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx

from abinet_client import _calls as calls
from abinet_client._calls import Call, HttpAnswer, Options, Points, Region, Turns, points_of
from abinet_client._connections import LIMITS, AsyncConnections, naming_variables
from abinet_client._exceptions import AbinetError, error_of_transport
from abinet_client._images import Image, file_bytes
from abinet_client._models import Health, LatencyReport, ModelInfo, Reading
from abinet_client._packs import (
    EncodedImage,
    Outcome,
    Pack,
    Packer,
    RegionOutcome,
    bodies,
    load,
    outcomes,
    region_outcomes,
)
from abinet_client._retry import Attempts, Retry
from abinet_client._settings import (
    DEFAULT,
    GRACE_S,
    ClientSettings,
    Timeout,
    check_several,
    http_timeout,
    positive,
)

T = TypeVar("T")


class AsyncClient:
    """An abinet service, for asyncio; otherwise as `Client`.

        async with AsyncClient() as client:
            reading = await client.read("crop.png")
            async for outcome in client.read_many(paths):
                ...

    Takes the arguments of `Client`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        uds: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        timeout: float | None = 30.0,
        retry: Retry = Retry(),  # noqa: B008, it is frozen
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        self._settings = ClientSettings(
            base_url, uds=uds, api_key=api_key, timeout=timeout, retry=retry, headers=headers
        )
        self._owns_http = http_client is None
        uds, trusting = self._settings.uds, self._settings.trusts_environment

        def connect() -> httpx.AsyncClient:
            way = httpx.AsyncHTTPTransport(uds=uds, limits=LIMITS, trust_env=False) if uds else transport
            return http_client or httpx.AsyncClient(
                limits=LIMITS, verify=verify, transport=way, trust_env=trusting
            )

        self._connections = AsyncConnections(lambda: naming_variables(connect))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        if self._owns_http:
            await self._connections.close()

    def with_options(
        self,
        *,
        timeout: Timeout = DEFAULT,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncClient:
        """A client with other options on the same connections; closing it leaves these open."""
        changed = copy.copy(self)
        changed._settings = self._settings.changed(timeout, retry, headers)
        changed._owns_http = False
        return changed

    async def read(
        self,
        image: Image,
        *,
        iterations: int | None = None,
        early_stop: bool = False,
        turns: Turns | None = None,
        detail: bool = True,
        lexicon: str | Sequence[str] | None = None,
        alternatives: int | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Reading:
        """Reads one crop, as `Client.read`."""
        body = await _bytes_of(image)
        return await self._send(
            calls.read_one(body, Options(iterations, early_stop, turns, detail, lexicon, alternatives)),
            timeout,
        )

    def read_many(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        iterations: int | None = None,
        early_stop: bool = False,
        turns: Turns | None = None,
        detail: bool = False,
        lexicon: str | Sequence[str] | None = None,
        alternatives: int | None = None,
        timeout: Timeout = DEFAULT,
        concurrency: int = 4,
        batch_size: int = 32,
    ) -> AsyncIterator[Outcome]:
        """Reads crops, as `Client.read_many`; from an asynchronous iterable, outcomes do not wait for it."""
        check_several(images)
        packer = Packer(positive("batch_size", batch_size))
        concurrency = positive("concurrency", concurrency)
        options = Options(iterations, early_stop, turns, detail, lexicon, alternatives)
        return self._read_many(images, packer, options, timeout, concurrency)

    async def read_regions(
        self,
        photo: Image,
        regions: Sequence[Region],
        *,
        iterations: int | None = None,
        early_stop: bool = False,
        turns: Turns | None = None,
        detail: bool = False,
        lexicon: str | Sequence[str] | None = None,
        alternatives: int | None = None,
        timeout: Timeout = DEFAULT,
        batch_size: int = 64,
    ) -> list[RegionOutcome]:
        """Reads texts in a photo, as `Client.read_regions`."""
        points = [points_of(region) for region in regions]
        options = Options(iterations, early_stop, turns, detail, lexicon, alternatives)
        step = positive("batch_size", batch_size)
        body = await _bytes_of(photo)
        results: list[Reading | AbinetError] = []
        for start in range(0, len(points), step):
            results += await self._read_regions(body, points[start : start + step], options, timeout)
        return region_outcomes(regions, results)

    async def health(self, *, timeout: Timeout = DEFAULT) -> Health:
        """Whether the service takes crops. Asks once; raises ConnectionFailed if nobody is there."""
        return await self._send(calls.health(), timeout)

    async def latency(self, *, timeout: Timeout = DEFAULT) -> LatencyReport:
        """Where the time of crops went over the last 1 and 5 minutes."""
        return await self._send(calls.latency(), timeout)

    async def model(self, *, timeout: Timeout = DEFAULT) -> ModelInfo:
        """The bundle being served and what runs it."""
        return await self._send(calls.model(), timeout)

    async def load_model(
        self, bundle: str, *, canary_percent: float | None = None, timeout: Timeout = DEFAULT
    ) -> ModelInfo:
        """As `Client.load_model`."""
        return await self._send(calls.load_model(bundle, canary_percent), timeout)

    async def promote_model(self, *, timeout: Timeout = DEFAULT) -> ModelInfo:
        """As `Client.promote_model`."""
        return await self._send(calls.promote_model(), timeout)

    async def roll_back_model(self, *, timeout: Timeout = DEFAULT) -> ModelInfo:
        """As `Client.roll_back_model`."""
        return await self._send(calls.roll_back_model(), timeout)

    async def _read_many(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        packer: Packer,
        options: Options,
        timeout: Timeout,
        concurrency: int,
    ) -> AsyncIterator[Outcome]:
        free = asyncio.Semaphore(concurrency)
        crops = _crops(images)
        upcoming: asyncio.Task[EncodedImage | None] | None = asyncio.create_task(_next(crops))
        pending: deque[asyncio.Task[list[Outcome]]] = deque()
        try:
            while upcoming or pending:
                room = len(pending) < 2 * concurrency
                waited = [upcoming] if upcoming and room else []
                await asyncio.wait([*waited, *list(pending)[:1]], return_when=asyncio.FIRST_COMPLETED)
                while pending and pending[0].done():
                    for outcome in pending.popleft().result():
                        yield outcome
                if upcoming and upcoming.done() and room:
                    crop = upcoming.result()
                    upcoming = asyncio.create_task(_next(crops)) if crop else None
                    if crop:
                        packer.add(crop)
                idle = all(task.done() for task in pending)
                for pack in packer.leaving(at_once=idle or upcoming is None):
                    pending.append(asyncio.create_task(self._read_pack(pack, options, timeout, free)))
        finally:
            tasks = [*pending, *([upcoming] if upcoming else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await crops.aclose()

    async def _read_pack(
        self, pack: Pack, options: Options, timeout: Timeout, free: asyncio.Semaphore
    ) -> list[Outcome]:
        async with free:
            return outcomes(pack, await self._read_bodies(bodies(pack), options, timeout))

    async def _read_bodies(
        self, bodies: list[bytes], options: Options, timeout: Timeout
    ) -> list[Reading | AbinetError]:
        try:
            if len(bodies) > 1:
                return await self._send(calls.read_batch(bodies, options), timeout)
            return [await self._send(calls.read_one(body, options), timeout) for body in bodies]
        except AbinetError as error:
            if not calls.is_too_much(error, bodies):
                return [error] * len(bodies)
        half = len(bodies) // 2
        return [
            *await self._read_bodies(bodies[:half], options, timeout),
            *await self._read_bodies(bodies[half:], options, timeout),
        ]

    async def _read_regions(
        self, body: bytes, regions: list[Points], options: Options, timeout: Timeout
    ) -> list[Reading | AbinetError]:
        try:
            return await self._send(calls.read_regions(body, regions, options), timeout)
        except AbinetError as error:
            if not calls.are_too_many(error, regions):
                raise
        half = len(regions) // 2
        return [
            *await self._read_regions(body, regions[:half], options, timeout),
            *await self._read_regions(body, regions[half:], options, timeout),
        ]

    async def _send(self, call: Call[T], timeout: Timeout) -> T:
        attempts = self._settings.attempts(call, timeout)
        while True:
            try:
                return call.understand(await self._exchange(call, attempts))
            except AbinetError as error:
                await asyncio.sleep(attempts.pause_after(error))

    async def _exchange(self, call: Call[Any], attempts: Attempts) -> HttpAnswer:
        left = attempts.seconds_left()
        request = self._connections.here().build_request(
            call.method,
            self._settings.base_url.rstrip("/") + call.path,
            headers=self._settings.headers_of(call, left),
            timeout=http_timeout(left),
            **call.request,
        )
        self._settings.name(request)
        try:
            response = await self._connections.here().send(request, stream=True)
            try:
                self._settings.check(response, request)
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    attempts.seconds_left(GRACE_S)
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            raise error_of_transport(error) from error
        return HttpAnswer(response.status_code, response.headers, bytes(body), str(request.url))


async def _crops(images: Iterable[Image] | AsyncIterable[Image]) -> Any:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield await _load(image)
    else:
        for image in images:
            yield await _load(image)


async def _load(image: Image) -> EncodedImage:
    return load(image) if isinstance(image, bytes) else await asyncio.to_thread(load, image)


async def _next(crops: AsyncIterator[EncodedImage]) -> EncodedImage | None:
    """None if there are no more."""
    async for crop in crops:
        return crop
    return None


async def _bytes_of(image: Image) -> bytes:
    """Reads a file in a thread, because a disk may be slow."""
    return image if isinstance(image, bytes) else await asyncio.to_thread(file_bytes, image)
