"""The client, twice: for threads and for asyncio. What differs is only how they wait."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import httpx

from abinet_client import _calls as calls
from abinet_client._calls import Answer, Call, Options, Turns
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
from abinet_client._packs import Crop, Outcome, Pack, Packer, bodies, load, outcomes
from abinet_client._retry import Attempts, Retry

T = TypeVar("T")

_CONNECT_S = 5.0
_GRACE_S = 0.25
"""How much longer than its deadline an answer is waited for: the service's own words say more than ours."""
_LONGEST_TIMEOUT_MS = 999_999_999


class _Settings:
    """What both clients are told, checked."""

    def __init__(
        self, base_url: str, *, uds: Any | None, api_key: str | None, timeout: float, retry: Retry
    ) -> None:
        self.base_url = _checked_url(base_url)
        self.uds = None if uds is None else os.fspath(uds)
        self.trusts_environment = trusts_environment(base_url, self.uds)
        self.name = secrets.token_hex(8)
        self.headers = {} if api_key is None else {b"Authorization": b"Bearer " + _checked_key(api_key)}
        self.timeout = _checked_timeout(timeout)
        self.retry = retry

    def request_id(self) -> str:
        """Of one attempt, by which its answer is known; never that of another, in a forked process either."""
        return f"{self.name}-{secrets.token_hex(8)}"

    def check(self, response: httpx.Response, request: httpx.Request) -> None:
        """Raises UnexpectedAnswer for the answer to another of our requests. A proxy may name them anew."""
        name = response.headers.get("x-request-id", "")
        if name.startswith(self.name) and name != request.headers["x-request-id"]:
            raise UnexpectedAnswer(f"The answer is that to another request ({name}).")

    def attempts(self, call: Call[Any], timeout: float | None) -> Attempts:
        retry = self.retry if call.may_retry else Retry(attempts=1)
        return Attempts(retry, self.timeout if timeout is None else _checked_timeout(timeout))


class Client:
    """An abinet service. Connections are kept; threads may share one client, and forked processes.

        with Client(api_key="...") as client:
            reading = client.read("crop.png")
            for outcome in client.read_many(paths):
                ...

    Args:
        base_url: where the service listens.
        uds: the Unix socket on which it listens instead.
        api_key: one of the service's keys, where it asks for one.
        timeout: seconds for one call, the service's queue, retries and pauses included. The service is told,
            and drops what is late.
        retry: how often and how patiently a call is tried again.
        transport: carries the requests in place of the network.

    Raises:
        ValueError: an option that cannot be right.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        uds: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        timeout: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008, it is frozen
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(base_url, uds=uds, api_key=api_key, timeout=timeout, retry=retry)
        settings, given = self._settings, transport

        def connect() -> httpx.Client:
            uds, trusting = settings.uds, settings.trusts_environment
            transport = httpx.HTTPTransport(uds=uds, limits=LIMITS, trust_env=False) if uds else given
            return httpx.Client(
                base_url=settings.base_url,
                headers=settings.headers,
                limits=LIMITS,
                transport=transport,
                trust_env=trusting,
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
        self._connections.close()

    def read(
        self,
        image: Image,
        *,
        iterations: int | None = None,
        early_stop: bool = False,
        turns: Turns | None = None,
        detail: bool = True,
        timeout: float | None = None,
    ) -> Reading:
        """Reads one crop.

        Args:
            image: a path, an image file's bytes, a NumPy array (BGR, as OpenCV has it) or a Pillow image.
            iterations: refinements, from 0 (vision alone) to the model's own number, the default.
            early_stop: stop where vision is very sure of every character, or where an iteration has kept the
                text and is sure.
            turns: "auto" reads a crop that is more than 1.5 times as high as wide as it is and turned to
                either side, "all" every crop all four ways up, "none" only as it is; the surest reading is
                the answer. The default is the service's own.
            detail: with `Reading.iterations`.
            timeout: seconds, in place of the client's own.

        Raises:
            AbinetError: one of its kinds (see `abinet_client._exceptions`).
        """
        body = file_bytes(image)
        return self._send(calls.read_one(body, Options(iterations, early_stop, turns, detail)), timeout)

    def read_many(
        self,
        images: Iterable[Image],
        *,
        iterations: int | None = None,
        early_stop: bool = False,
        turns: Turns | None = None,
        detail: bool = False,
        timeout: float | None = None,
        concurrency: int = 4,
        batch_size: int = 32,
    ) -> Iterator[Outcome]:
        """Reads crops, in batch requests where they are small; yields what became of each, in their order.

        A crop that cannot be read has its error in its outcome; the others go on. `images` may be endless: it
        is taken from as outcomes are taken, and a bounded number of crops is in memory. The first crop leaves
        at once; while it is under way, others gather for the next request.

        Args:
            timeout: seconds for each request.
            concurrency: requests at a time.
            batch_size: crops in one request at most.
            others: as for `read`.

        Raises:
            TypeError: something in `images` is no image.
        """
        packer, concurrency = (
            Packer(_positive("batch_size", batch_size)),
            _positive("concurrency", concurrency),
        )
        options = Options(iterations, early_stop, turns, detail)
        return self._read_many(images, packer, options, timeout, concurrency)

    def health(self, *, timeout: float | None = None) -> Health:
        """Whether the service takes crops. Asks once; raises ConnectionFailed where nobody is there."""
        return self._send(calls.health(), timeout)

    def latency(self, *, timeout: float | None = None) -> LatencyReport:
        """Where the time of crops went over the last 1 and 5 minutes."""
        return self._send(calls.latency(), timeout)

    def model(self, *, timeout: float | None = None) -> ModelInfo:
        """The bundle being served and what runs it."""
        return self._send(calls.model(), timeout)

    def _read_many(
        self,
        images: Iterable[Image],
        packer: Packer,
        options: Options,
        timeout: float | None,
        concurrency: int,
    ) -> Iterator[Outcome]:
        abandoned = threading.Event()
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="abinet-client")
        pending: deque[Future[list[Outcome]]] = deque()

        def send(*, at_once: bool) -> None:
            for pack in packer.leaving(at_once=at_once):
                pending.append(pool.submit(self._read_pack, pack, options, timeout, abandoned.wait))

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
            pool.shutdown(wait=False, cancel_futures=True)

    def _read_pack(
        self, pack: Pack, options: Options, timeout: float | None, pause: Callable[[float], Any]
    ) -> list[Outcome]:
        return outcomes(pack, self._read_bodies(bodies(pack), options, timeout, pause))

    def _read_bodies(
        self, bodies: list[bytes], options: Options, timeout: float | None, pause: Callable[[float], Any]
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

    def _send(self, call: Call[T], timeout: float | None, pause: Callable[[float], Any] = time.sleep) -> T:
        """`pause` returns something true where nobody waits for the answer any more."""
        attempts = self._settings.attempts(call, timeout)
        while True:
            try:
                return call.understand(self._exchange(call, attempts))
            except AbinetError as error:
                if pause(attempts.pause_after(error)):
                    raise

    def _exchange(self, call: Call[Any], attempts: Attempts) -> Answer:
        left = attempts.seconds_left()
        http = self._connections.here()
        request = http.build_request(
            call.method,
            call.path,
            headers={**_deadline(left), "X-Request-ID": self._settings.request_id(), **call.headers},
            timeout=_timeout(left),
            **call.request,
        )
        try:
            response = http.send(request, stream=True)
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
        return Answer(response.status_code, response.headers, bytes(body))


class AsyncClient:
    """An abinet service, for asyncio and as many event loops as one likes; otherwise as `Client`.

        async with AsyncClient() as client:
            reading = await client.read("crop.png")
            async for outcome in client.read_many(paths):
                ...

    Takes the arguments of `Client`.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        uds: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        timeout: float = 30.0,
        retry: Retry = Retry(),  # noqa: B008, it is frozen
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(base_url, uds=uds, api_key=api_key, timeout=timeout, retry=retry)
        settings, given = self._settings, transport

        def connect() -> httpx.AsyncClient:
            uds, trusting = settings.uds, settings.trusts_environment
            transport = httpx.AsyncHTTPTransport(uds=uds, limits=LIMITS, trust_env=False) if uds else given
            return httpx.AsyncClient(
                base_url=settings.base_url,
                headers=settings.headers,
                limits=LIMITS,
                transport=transport,
                trust_env=trusting,
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
        await self._connections.close()

    async def read(
        self,
        image: Image,
        *,
        iterations: int | None = None,
        early_stop: bool = False,
        turns: Turns | None = None,
        detail: bool = True,
        timeout: float | None = None,
    ) -> Reading:
        """Reads one crop, as `Client.read`."""
        body = image if isinstance(image, bytes) else await asyncio.to_thread(file_bytes, image)
        return await self._send(calls.read_one(body, Options(iterations, early_stop, turns, detail)), timeout)

    def read_many(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        iterations: int | None = None,
        early_stop: bool = False,
        turns: Turns | None = None,
        detail: bool = False,
        timeout: float | None = None,
        concurrency: int = 4,
        batch_size: int = 32,
    ) -> AsyncIterator[Outcome]:
        """Reads crops, as `Client.read_many`; from an asynchronous iterable, outcomes do not wait for it."""
        packer, concurrency = (
            Packer(_positive("batch_size", batch_size)),
            _positive("concurrency", concurrency),
        )
        options = Options(iterations, early_stop, turns, detail)
        return self._read_many(images, packer, options, timeout, concurrency)

    async def health(self, *, timeout: float | None = None) -> Health:
        """Whether the service takes crops. Asks once; raises ConnectionFailed where nobody is there."""
        return await self._send(calls.health(), timeout)

    async def latency(self, *, timeout: float | None = None) -> LatencyReport:
        """Where the time of crops went over the last 1 and 5 minutes."""
        return await self._send(calls.latency(), timeout)

    async def model(self, *, timeout: float | None = None) -> ModelInfo:
        """The bundle being served and what runs it."""
        return await self._send(calls.model(), timeout)

    async def _read_many(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        packer: Packer,
        options: Options,
        timeout: float | None,
        concurrency: int,
    ) -> AsyncIterator[Outcome]:
        free = asyncio.Semaphore(concurrency)
        crops = _crops(images)
        upcoming: asyncio.Task[Crop | None] | None = asyncio.create_task(_next(crops))
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
        self, pack: Pack, options: Options, timeout: float | None, free: asyncio.Semaphore
    ) -> list[Outcome]:
        async with free:
            return outcomes(pack, await self._read_bodies(bodies(pack), options, timeout))

    async def _read_bodies(
        self, bodies: list[bytes], options: Options, timeout: float | None
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

    async def _send(self, call: Call[T], timeout: float | None) -> T:
        attempts = self._settings.attempts(call, timeout)
        while True:
            try:
                return call.understand(await self._exchange(call, attempts))
            except AbinetError as error:
                await asyncio.sleep(attempts.pause_after(error))

    async def _exchange(self, call: Call[Any], attempts: Attempts) -> Answer:
        left = attempts.seconds_left()
        http = self._connections.here()
        request = http.build_request(
            call.method,
            call.path,
            headers={**_deadline(left), "X-Request-ID": self._settings.request_id(), **call.headers},
            timeout=_timeout(left),
            **call.request,
        )
        try:
            response = await http.send(request, stream=True)
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
        return Answer(response.status_code, response.headers, bytes(body))


async def _crops(images: Iterable[Image] | AsyncIterable[Image]) -> Any:
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield await _load(image)
    else:
        for image in images:
            yield await _load(image)


async def _load(image: Image) -> Crop:
    return load(image) if isinstance(image, bytes) else await asyncio.to_thread(load, image)


async def _next(crops: AsyncIterator[Crop]) -> Crop | None:
    """None where there are no more."""
    async for crop in crops:
        return crop
    return None


def _deadline(seconds: float) -> dict[str, str]:
    milliseconds = min(max(1, round(1e3 * seconds)), _LONGEST_TIMEOUT_MS)
    return {"X-Timeout-Ms": str(milliseconds)}


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds + _GRACE_S, connect=min(seconds, _CONNECT_S))


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url {url!r}: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"base_url {url!r} is not like http://127.0.0.1:8000")
    return url


def _checked_key(key: str) -> bytes:
    if not key or key != key.strip() or not key.isprintable():
        raise ValueError("the API key is empty, or has a blank at an end or a line break")
    return key.encode()


def _checked_timeout(timeout: float) -> float:
    if not (timeout > 0 and math.isfinite(timeout)):
        raise ValueError(f"timeout {timeout!r} is not a number of seconds above 0")
    return timeout


def _positive(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} {value} is not above 0")
    return value
