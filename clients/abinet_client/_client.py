"""The client for threads and the client for asyncio, which differ only in how they wait."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import secrets
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar, Union

import httpx

from abinet_client import _calls as calls
from abinet_client._calls import Answer, Call, Options, Points, Region, Turns, points_of
from abinet_client._connections import (
    LIMITS,
    AsyncConnections,
    Connections,
    naming_variables,
    trusts_environment,
)
from abinet_client._exceptions import AbinetError, UnexpectedAnswer, error_of_transport
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
from abinet_client._threads import Workers

T = TypeVar("T")

_CONNECT_S = 5.0
_GRACE_S = 0.25
"""Seconds that the client waits beyond the deadline, because the service's own error says more than a
timeout.
"""
_LONGEST_TIMEOUT_MS = 999_999_999


DEFAULT_URL = "http://127.0.0.1:8000"
Timeout = Union[float, None, "Default"]
"""Seconds, None for no limit, or the client's own timeout."""


class Default:
    """The default of an option of a call: the client's own."""


DEFAULT = Default()


class _Settings:
    """The checked arguments of both clients; environment variables replace those that are not given."""

    def __init__(
        self,
        base_url: str | None,
        *,
        uds: Any | None,
        api_key: str | None,
        timeout: float | None,
        retry: Retry,
        headers: Mapping[str, str] | None,
    ) -> None:
        name = "base_url" if base_url is not None else "ABINET_URL"
        given = base_url if base_url is not None else os.environ.get("ABINET_URL") or DEFAULT_URL
        self.base_url = _checked_url(name, given)
        self.uds = None if uds is None else os.fspath(uds)
        self.trusts_environment = trusts_environment(given, self.uds)
        self.own_name = secrets.token_hex(8)
        api_key = os.environ.get("ABINET_API_KEY") or None if api_key is None else api_key
        self.headers = {
            **{name.encode(): value.encode() for name, value in (headers or {}).items()},
            **({} if api_key is None else {b"Authorization": b"Bearer " + _checked_key(api_key)}),
        }
        self.timeout = _checked_timeout(timeout)
        self.retry = retry

    def changed(self, timeout: Timeout, retry: Retry | None, headers: Mapping[str, str] | None) -> _Settings:
        changed = copy.copy(self)
        if not isinstance(timeout, Default):
            changed.timeout = _checked_timeout(timeout)
        changed.retry = retry or self.retry
        own = {name.encode(): value.encode() for name, value in (headers or {}).items()}
        changed.headers = {**self.headers, **own}
        return changed

    def headers_of(self, call: Call[Any], seconds: float) -> dict[bytes, bytes]:
        own = {name.encode(): value.encode() for name, value in call.headers.items()}
        return {**_of_the_trace(), **self.headers, **_deadline(seconds), **own}

    def name(self, request: httpx.Request) -> None:
        """Gives a request without a name one that no other attempt has, not even in a forked process, so that
        its answer is recognised.
        """
        if "x-request-id" not in request.headers:
            request.headers["X-Request-ID"] = f"{self.own_name}-{secrets.token_hex(8)}"

    def check(self, response: httpx.Response, request: httpx.Request) -> None:
        """Raises UnexpectedAnswer for the answer to another of our requests. A proxy may give answers other
        names.
        """
        name = response.headers.get("x-request-id", "")
        if name.startswith(self.own_name) and name not in request.headers.get_list("x-request-id"):
            raise UnexpectedAnswer(f"The answer belongs to another request ({name}).")

    def attempts(self, call: Call[Any], timeout: Timeout) -> Attempts:
        retry = self.retry if call.may_retry else Retry(attempts=1)
        return Attempts(retry, self.timeout if isinstance(timeout, Default) else _checked_timeout(timeout))


class Client:
    """An abinet service. Connections are kept; threads may share one client.

        with Client(api_key="...") as client:
            reading = client.read("crop.png")
            for outcome in client.read_many(paths):
                ...

    Args:
        base_url: where the service listens; by default the environment variable ABINET_URL, or
            http://127.0.0.1:8000.
        uds: the Unix socket on which it listens instead.
        api_key: one of the service's keys, if it asks for one; by default ABINET_API_KEY.
        timeout: seconds for one call, including the service's queue, retries and pauses. The
            service gets this deadline, too, and drops late crops. None is no limit.
        retry: how often a call is tried again, and after which pauses.
        headers: sent with every request.
        verify: as in httpx: whose certificates are trusted, or False for anybody's.
        transport: carries the requests instead of the network.
        http_client: an httpx client of your own, with its own transport and certificates; it is not closed.

    Raises:
        ValueError: an option is impossible.
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
        transport: httpx.BaseTransport | None = None,
        http_client: httpx.Client | None = None,
    ) -> None:
        self._settings = _Settings(
            base_url, uds=uds, api_key=api_key, timeout=timeout, retry=retry, headers=headers
        )
        self._owns_http = http_client is None
        uds, trusting = self._settings.uds, self._settings.trusts_environment

        def connect() -> httpx.Client:
            way = httpx.HTTPTransport(uds=uds, limits=LIMITS, trust_env=False) if uds else transport
            return http_client or httpx.Client(
                limits=LIMITS, verify=verify, transport=way, trust_env=trusting
            )

        self._connections = Connections(lambda: naming_variables(connect))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        if self._owns_http:
            self._connections.close()

    def with_options(
        self,
        *,
        timeout: Timeout = DEFAULT,
        retry: Retry | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Client:
        """A client with other options on the same connections; closing it leaves these open."""
        changed = copy.copy(self)
        changed._settings = self._settings.changed(timeout, retry, headers)
        changed._owns_http = False
        return changed

    def read(
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
        """Reads one crop.

        Args:
            image: a path, an image file's bytes, a NumPy array (BGR, as OpenCV has it) or a Pillow image.
            iterations: refinements, from 0 (vision alone) to the model's own number, the default.
            early_stop: stop if vision is very sure of every character, or if an iteration has kept the
                text and is sure.
            turns: "auto" reads a crop that is more than 1.5 times as high as wide as it is and turned to
                either side, "all" every crop all four ways up, "none" only as it is; the surest reading is
                the answer. The default is the service's own.
            detail: with `Reading.iterations`.
            lexicon: words, one of which the crop is expected to show, or the name of a list that the service
                has: `Reading.lexicon` is the likeliest one.
            alternatives: how many of the likeliest readings, up to 10, `Reading.alternatives` has.
            timeout: seconds, or None for no limit, instead of the client's own.

        Raises:
            AbinetError: one of its kinds (see `abinet_client._exceptions`).
        """
        body = file_bytes(image)
        return self._send(
            calls.read_one(body, Options(iterations, early_stop, turns, detail, lexicon, alternatives)),
            timeout,
        )

    def read_many(
        self,
        images: Iterable[Image],
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
    ) -> Iterator[Outcome]:
        """Reads crops, in batch requests if they are small; yields an outcome for each, in their order.

        A crop that cannot be read has its error in its outcome; the others go on. `images` may be endless: it
        is read as outcomes are taken, and a bounded number of crops is in memory. The first crop is sent at
        once; meanwhile others gather for the next request.

        Args:
            timeout: seconds for each request.
            concurrency: requests at a time.
            batch_size: crops in one request at most.
            others: as for `read`.

        Raises:
            TypeError: something in `images` is no image.
        """
        _several(images)
        packer, concurrency = (
            Packer(_positive("batch_size", batch_size)),
            _positive("concurrency", concurrency),
        )
        options = Options(iterations, early_stop, turns, detail, lexicon, alternatives)
        return self._read_many(images, packer, options, timeout, concurrency)

    def read_regions(
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
        """Reads texts in a photo, each cut out by the service; yields an outcome for each, in their order.

        A region that cannot be cut or read has its error in its outcome. A photo with more than `batch_size`
        regions is sent several times.

        Args:
            photo: like the image of `read`.
            regions: for each text its corners, an array (N, 2) or the like: four, clockwise from the upper
                left of the text, or the points of a polygon, around which the smallest rectangle is cut; or
                a box (x, y, width, height). In pixels of the upright photo.
            timeout: seconds for each request.
            others: as for `read`.

        Raises:
            AbinetError: the photo cannot be read, or none of its regions.
            TypeError, ValueError: something in `regions` is no region.
        """
        points = [points_of(region) for region in regions]
        options = Options(iterations, early_stop, turns, detail, lexicon, alternatives)
        step = _positive("batch_size", batch_size)
        body = file_bytes(photo)
        results: list[Reading | AbinetError] = []
        for start in range(0, len(points), step):
            results += self._read_regions(body, points[start : start + step], options, timeout)
        return region_outcomes(regions, results)

    def health(self, *, timeout: Timeout = DEFAULT) -> Health:
        """Whether the service takes crops. Asks once; raises ConnectionFailed if nobody is there."""
        return self._send(calls.health(), timeout)

    def latency(self, *, timeout: Timeout = DEFAULT) -> LatencyReport:
        """Where the time of crops went over the last 1 and 5 minutes."""
        return self._send(calls.latency(), timeout)

    def model(self, *, timeout: Timeout = DEFAULT) -> ModelInfo:
        """The bundle being served and what runs it."""
        return self._send(calls.model(), timeout)

    def load_model(
        self, bundle: str, *, canary_percent: float | None = None, timeout: Timeout = DEFAULT
    ) -> ModelInfo:
        """Serves another bundle, of the service's folder of bundles, or gives it a share of the requests.

        It takes as long as the service needs to load, and needs one of its admin keys as `api_key`. Asks
        once.

        Raises:
            Unauthorized: no admin key, or the service lets nobody change its model.
            InvalidRequest: no such bundle, one that cannot be served, or a change that is under way.
        """
        return self._send(calls.load_model(bundle, canary_percent), timeout)

    def promote_model(self, *, timeout: Timeout = DEFAULT) -> ModelInfo:
        """Replaces the main model by the canary. Raises like `load_model`."""
        return self._send(calls.promote_model(), timeout)

    def roll_back_model(self, *, timeout: Timeout = DEFAULT) -> ModelInfo:
        """Ends the canary. Raises like `load_model`."""
        return self._send(calls.roll_back_model(), timeout)

    def _read_many(
        self,
        images: Iterable[Image],
        packer: Packer,
        options: Options,
        timeout: Timeout,
        concurrency: int,
    ) -> Iterator[Outcome]:
        abandoned = threading.Event()
        workers = Workers(concurrency)
        pending: deque[Future[list[Outcome]]] = deque()

        def send(*, at_once: bool) -> None:
            for pack in packer.leaving(at_once=at_once):
                pending.append(workers.submit(self._read_pack, pack, options, timeout, abandoned.wait))

        try:
            for image in images:
                packer.add(load(image))
                send(at_once=all(future.done() for future in pending))
                while pending and (pending[0].done() or len(pending) >= 2 * concurrency):
                    yield from pending.popleft().result()
            send(at_once=True)
            while pending:
                yield from pending.popleft().result()
        finally:
            abandoned.set()
            workers.close()

    def _read_pack(
        self, pack: Pack, options: Options, timeout: Timeout, pause: Callable[[float], Any]
    ) -> list[Outcome]:
        return outcomes(pack, self._read_bodies(bodies(pack), options, timeout, pause))

    def _read_bodies(
        self, bodies: list[bytes], options: Options, timeout: Timeout, pause: Callable[[float], Any]
    ) -> list[Reading | AbinetError]:
        try:
            if len(bodies) > 1:
                return self._send(calls.read_batch(bodies, options), timeout, pause)
            return [self._send(calls.read_one(body, options), timeout, pause) for body in bodies]
        except AbinetError as error:
            if not calls.is_too_much(error, bodies):
                return [error] * len(bodies)
        half = len(bodies) // 2
        return [
            *self._read_bodies(bodies[:half], options, timeout, pause),
            *self._read_bodies(bodies[half:], options, timeout, pause),
        ]

    def _read_regions(
        self, body: bytes, regions: list[Points], options: Options, timeout: Timeout
    ) -> list[Reading | AbinetError]:
        try:
            return self._send(calls.read_regions(body, regions, options), timeout)
        except AbinetError as error:
            if not calls.are_too_many(error, regions):
                raise
        half = len(regions) // 2
        return [
            *self._read_regions(body, regions[:half], options, timeout),
            *self._read_regions(body, regions[half:], options, timeout),
        ]

    def _send(self, call: Call[T], timeout: Timeout, pause: Callable[[float], Any] = time.sleep) -> T:
        """`pause` returns a true value if nobody waits for the answer any more."""
        attempts = self._settings.attempts(call, timeout)
        while True:
            try:
                return call.understand(self._exchange(call, attempts))
            except AbinetError as error:
                if pause(attempts.pause_after(error)):
                    raise

    def _exchange(self, call: Call[Any], attempts: Attempts) -> Answer:
        left = attempts.seconds_left()
        request = self._connections.here().build_request(
            call.method,
            self._settings.base_url.rstrip("/") + call.path,
            headers=self._settings.headers_of(call, left),
            timeout=_timeout(left),
            **call.request,
        )
        self._settings.name(request)
        try:
            response = self._connections.here().send(request, stream=True)
            try:
                self._settings.check(response, request)
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    attempts.seconds_left(_GRACE_S)
            finally:
                response.close()
        except httpx.RequestError as error:
            raise error_of_transport(error) from error
        return Answer(response.status_code, response.headers, bytes(body), str(request.url))


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
        self._settings = _Settings(
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
        body = image if isinstance(image, bytes) else await asyncio.to_thread(file_bytes, image)
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
        _several(images)
        packer, concurrency = (
            Packer(_positive("batch_size", batch_size)),
            _positive("concurrency", concurrency),
        )
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
        step = _positive("batch_size", batch_size)
        body = photo if isinstance(photo, bytes) else await asyncio.to_thread(file_bytes, photo)
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

    async def _exchange(self, call: Call[Any], attempts: Attempts) -> Answer:
        left = attempts.seconds_left()
        request = self._connections.here().build_request(
            call.method,
            self._settings.base_url.rstrip("/") + call.path,
            headers=self._settings.headers_of(call, left),
            timeout=_timeout(left),
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
                    attempts.seconds_left(_GRACE_S)
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            raise error_of_transport(error) from error
        return Answer(response.status_code, response.headers, bytes(body), str(request.url))


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


def _of_the_trace() -> dict[bytes, bytes]:
    """`traceparent` if a program that uses OpenTelemetry has a span open."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return {name.encode(): value.encode() for name, value in carrier.items()}


def _deadline(seconds: float) -> dict[bytes, bytes]:
    if seconds == math.inf:
        return {}
    milliseconds = min(max(1, round(1e3 * seconds)), _LONGEST_TIMEOUT_MS)
    return {b"X-Timeout-Ms": str(milliseconds).encode()}


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(
        None if seconds == math.inf else seconds + _GRACE_S, connect=min(seconds, _CONNECT_S)
    )


def _checked_url(name: str, url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{name} {url!r}: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{name} {url!r} is not like {DEFAULT_URL}")
    return url


def _checked_key(key: str) -> bytes:
    if not key or key != key.strip() or not key.isprintable():
        raise ValueError("the API key is empty, or has a blank at an end or a line break")
    return key.encode()


def _checked_timeout(timeout: float | None) -> float:
    if timeout is None:
        return math.inf
    if not (timeout > 0 and math.isfinite(timeout)):
        raise ValueError(f"timeout {timeout!r} is neither a number of seconds above 0 nor None")
    return timeout


def _several(images: object) -> None:
    if isinstance(images, (str, bytes, bytearray, os.PathLike)):
        raise TypeError(f"read_many takes several images: [{images!r:.40}] is a list of one")


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} {value} is not above 0")
    return value
