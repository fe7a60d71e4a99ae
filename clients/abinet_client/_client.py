"""The client for threads; `_async_client` has the one for asyncio, which differs only in how it waits."""

from __future__ import annotations

import copy
import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

import httpx

from abinet_client import _calls as calls
from abinet_client._calls import Call, HttpAnswer, Options, Points, Region, Turns, points_of
from abinet_client._connections import LIMITS, Connections, naming_variables
from abinet_client._exceptions import AbinetError, error_of_transport
from abinet_client._images import Image, file_bytes
from abinet_client._models import Health, LatencyReport, ModelInfo, Reading
from abinet_client._packs import Outcome, Pack, Packer, RegionOutcome, bodies, load, outcomes, region_outcomes
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
from abinet_client._threads import Workers

T = TypeVar("T")


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
        self._settings = ClientSettings(
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
        check_several(images)
        packer = Packer(positive("batch_size", batch_size))
        concurrency = positive("concurrency", concurrency)
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
                left of the text; or 2n points, the upper edge from left to right and then the lower edge
                back, for curved text; or other points, around which the smallest rectangle is cut; or a box
                (x, y, width, height). In pixels of the upright photo.
            timeout: seconds for each request.
            others: as for `read`.

        Raises:
            AbinetError: the photo cannot be read, or none of its regions.
            TypeError, ValueError: something in `regions` is no region.
        """
        points = [points_of(region) for region in regions]
        options = Options(iterations, early_stop, turns, detail, lexicon, alternatives)
        step = positive("batch_size", batch_size)
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

    def _exchange(self, call: Call[Any], attempts: Attempts) -> HttpAnswer:
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
            response = self._connections.here().send(request, stream=True)
            try:
                self._settings.check(response, request)
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    attempts.seconds_left(GRACE_S)
            finally:
                response.close()
        except httpx.RequestError as error:
            raise error_of_transport(error) from error
        return HttpAnswer(response.status_code, response.headers, bytes(body), str(request.url))
