"""One bundle being served: its engine workers, and the way of a crop through them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, islice
from typing import Protocol

import numpy as np

from service.bundle_format.manifest import BundleError
from service.crop import Crop, Room, Submission, Wish
from service.engines.bundle import Bundle
from service.engines.connection import EngineError, Loaded
from service.engines.cores import computing_file
from service.engines.engine import described
from service.engines.process import EngineProcess
from service.errors import ProblemType, ServiceError
from service.image_decoding.pool import DecoderPool
from service.image_decoding.preprocess import Preprocessor
from service.image_decoding.regions import Outline
from service.observability.observer import READ, Observer
from service.reading.batch_sizes import BatchCosts
from service.reading.deadline import ClientGoneError, Deadline, DeadlineError
from service.reading.decode import Decoder
from service.reading.lexicon import Lexicon, alternatives, read_lexicons
from service.reading.request import ReadRequest
from service.reading.scheduler import QueueFullError, Scheduler, TooLateError
from service.reading.smoke_test import TrialError, try_out
from service.reading.stated import calibration_of, early_stop_of
from service.reading.turns import surest, ways_up, ways_up_of_region
from service.settings.model import Settings
from service.types import ModelName, Turns
from service.workers.in_flight import BatchFailedError, EngineClient
from service.workers.supervisor import Supervisor

log = logging.getLogger("abinet")

_LOOKED_AT_BYTES = 1 << 18
"""The headers of at most so many bytes of image files are read on the event loop: some milliseconds at worst.
"""

_AFTER_FAULT_S = 0.1
_START_AGAIN_S = 30.0
_FURTHER_S = 1.0
"""So long after the first worker on the CPU the next one starts: a run of a few crops ends before."""


class ManagedEngine(EngineClient, Protocol):
    """An engine whose worker is kept alive (see Supervisor)."""

    @property
    def ready(self) -> bool: ...

    @property
    def failing(self) -> bool: ...

    async def start(self) -> Loaded: ...

    async def close(self) -> None: ...


class Deployment:
    """One bundle with an engine worker on each device.

    It finishes every request that it has begun; `retire` ends the workers after the last answer.
    """

    reads_images = True

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        observer: Observer,
        room: Room,
        engines: Sequence[ManagedEngine] | None = None,
    ) -> None:
        """Without `engines`, which others keep alive, it has workers of its own.

        Raises ValueError if this service cannot do what the bundle asks for.
        """
        self.bundle = bundle
        self.model = ModelName(
            name=settings.model_name or bundle.name,
            version=bundle.version,
            calibrated=bundle.calibration is not None,
        )
        self.engine: str = settings.engine
        """What runs the graphs, with its release once that is known."""
        self.has_started = False
        self._settings = settings
        self._observer = observer
        self._iterations = bundle.iterations if settings.iterations is None else settings.iterations
        if self._iterations > bundle.iterations:
            raise ValueError(
                f"{self._iterations} iterations asked for, but {bundle.folder} has {bundle.iterations}"
            )
        self._scheduler = Scheduler(
            self.model,
            Decoder(bundle.charset, calibration_of(bundle)),
            observer,
            room,
            early_stop_of(bundle, settings),
        )
        self._lexicons = read_lexicons(settings.lexicons, bundle.charset, bundle.steps)
        self._preprocess = Preprocessor(bundle)
        self._intake = DecoderPool(
            self._preprocess,
            settings.max_pixels,
            settings.max_body_bytes,
            self._scheduler.put,
        )
        self._engines = list(engines or supervisors(bundle, settings, observer))
        self._starting: list[asyncio.Task[None]] = []
        self._serving: list[asyncio.Task[None]] = []
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a worker is alive and has run every graph of the bundle."""
        return any(engine.ready for engine in self._engines)

    @property
    def failing(self) -> bool:
        """Whether there is no worker, and none is about to start."""
        return all(engine.failing for engine in self._engines)

    @property
    def batch_costs(self) -> list[BatchCosts]:
        """What batches cost on each engine worker that serves, by its latest calls."""
        return self._scheduler.batch_costs

    async def start(self, *, with_trial: bool = False) -> None:
        """Starts the engine workers; with a trial each reads a test crop before any request.

        Raises BundleError, EngineError or TrialError if one cannot start or reads nonsense.
        """
        if self.reads_images:
            self._intake.start()
        at_once, later = self._in_order_of_start()
        self._starting = [asyncio.create_task(self._start(one, with_trial)) for one in at_once]
        await asyncio.gather(*self._starting)
        self.has_started = True
        if later:
            self._starting = [asyncio.create_task(self._start_later(later, with_trial))]

    async def retire(self) -> None:
        """Closes after the last answer. There must be no further request."""
        await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Ends the workers now; may be called more than once."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def read(self, request: ReadRequest) -> list[Crop]:
        """See Reader.read."""
        settings = self._settings
        timeout = min(request.timeout_s or settings.timeout_s, settings.timeout_s)
        wish = self._wish(request)
        asked = request.options.lexicon
        lexicon = None if asked is None else await self._lexicon(asked)
        ways = await self._ways_up(request, request.options.turns or settings.turns)
        submission = self._admit(sum(map(len, ways)), wish, timeout, request.crops)
        crops = _share_out(submission.crops, ways)
        self._in_flight += 1
        self._idle.clear()
        result = ProblemType.FAULT.slug
        adds_insights = bool(lexicon or request.options.alternatives)
        if request.each is not None and not adds_insights:
            submission.on_finish = _teller(crops, request.each)
        try:
            await self._finish(submission, crops, request, Deadline(timeout, request.client_gone))
            answers = [surest(readings) for readings in crops]
            if adds_insights:
                await asyncio.to_thread(self._add_insights, answers, lexicon, request.options.alternatives)
            result = _result(answers)
        except ServiceError as error:
            result = error.problem.slug
            raise
        except asyncio.CancelledError:  # by whoever would have answered
            result = ProblemType.CLIENT_GONE.slug
            raise
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
            seconds = time.perf_counter() - submission.started
            self._observer.model_request(self.model.version, result, seconds)
        return answers

    async def _lexicon(self, asked: str | Sequence[str]) -> Lexicon:
        """Raises ServiceError if there is no such lexicon, or none of its words can be read."""
        if isinstance(asked, str):
            if asked not in self._lexicons:
                known = ", ".join(sorted(self._lexicons)) or "none"
                raise ServiceError(
                    ProblemType.INVALID_REQUEST,
                    f"lexicon: there is no {asked[:64]!r}; the service has {known}.",
                )
            return self._lexicons[asked]
        return await asyncio.to_thread(Lexicon, asked, self.bundle.charset, self.bundle.steps)

    def _add_insights(self, crops: Sequence[Crop], lexicon: Lexicon | None, count: int | None) -> None:
        """Adds lexicon words and alternatives. Takes some milliseconds, so it runs in a thread."""
        read = [crop for crop in crops if crop.error is None]
        choices = lexicon.choose(np.stack([crop.logits[-1] for crop in read])) if lexicon and read else []
        for crop in read:
            crop.insights = {}
            if count:
                found = alternatives(crop.logits[-1], self.bundle.charset, count)
                crop.insights["alternatives"] = [one._asdict() for one in found]
        for crop, choice in zip(read, choices, strict=False):
            assert crop.insights is not None
            crop.insights["lexicon"] = choice._asdict()

    async def _ways_up(self, request: ReadRequest, turns: Turns) -> list[tuple[int, ...]]:
        """Reads large files in a thread, because a hostile file of some MiB would hold up the event loop."""
        if request.regions is not None:
            return [ways_up_of_region(region, turns) for region in request.regions]
        bodies = request.images
        if turns == "auto" and sum(map(len, bodies)) > _LOOKED_AT_BYTES:
            return await asyncio.to_thread(lambda: [ways_up(body, turns) for body in bodies])
        return [ways_up(body, turns) for body in bodies]

    async def _finish(
        self,
        submission: Submission,
        crops: Sequence[Sequence[Crop]],
        request: ReadRequest,
        deadline: Deadline,
    ) -> None:
        """Returns when each reading has predictions or an error. Raises ServiceError for all of them."""
        readings = submission.crops
        late: ServiceError | None = None
        try:
            async with deadline:
                self._take_in(crops, request)
                await submission.done
        except ClientGoneError as error:
            raise ServiceError(ProblemType.CLIENT_GONE, str(error), crops=len(crops)) from None
        except DeadlineError as error:
            late = ServiceError(ProblemType.DEADLINE, str(error), crops=len(crops))
            if not any(all(reading.words for reading in crop) for crop in crops):
                raise late from None
        finally:
            self._scheduler.give_up(submission)
            # Crops refer to their submission. Without this, the circle would wait for the garbage collector.
            submission.crops, submission.on_finish = [], None
        for reading in readings:
            if reading.error is not None:
                reading.error = _service_error(reading.error)
            elif not reading.words:
                reading.error = late
        self._observer.readings(sum(reading.error is None for reading in readings))

    def _take_in(self, crops: Sequence[Sequence[Crop]], request: ReadRequest) -> None:
        if request.regions is None:
            self._intake.add(crops, request.images)
            return
        sound: list[Sequence[Crop]] = []
        outlines: list[Outline] = []
        for readings, region in zip(crops, request.regions, strict=True):
            if isinstance(region, ServiceError):
                for reading in readings:
                    reading.error = region
                self._scheduler.put(readings)
            else:
                sound.append(readings)
                outlines.append(region)
        self._intake.add_photo(sound, request.images[0], outlines)

    def _wish(self, request: ReadRequest) -> Wish:
        options = request.options
        iterations = self._iterations if options.iterations is None else options.iterations
        if iterations > self.bundle.iterations:
            raise ServiceError(
                ProblemType.INVALID_REQUEST,
                f"{iterations} iterations asked for; this model has {self.bundle.iterations} at most.",
            )
        detail = request.detail if options.detail is None else options.detail
        return Wish(iterations, options.early_stop, detail)

    def _admit(self, readings: int, wish: Wish, timeout: float, crops: int) -> Submission:
        try:
            return self._scheduler.admit(readings, wish, timeout)
        except QueueFullError as error:
            again = math.ceil(error.again_s)
            raise ServiceError(
                ProblemType.QUEUE_FULL, f"{error}; try again.", retry_after=again, crops=crops
            ) from error

    async def _start(self, engine: ManagedEngine, with_trial: bool) -> None:
        loaded = await engine.start()
        if with_trial:
            await try_out(engine, self.bundle, loaded, self._settings.timeout_s)
        self.engine = loaded.release
        log.info("%s: a batch takes %s", loaded.release, described(loaded.costs))
        self._serving.append(asyncio.create_task(self._keep_serving(engine, loaded)))

    def _in_order_of_start(self) -> tuple[list[ManagedEngine], list[ManagedEngine]]:
        """The engines that a start waits for, and the others: further ones on the CPU would only share its
        cores with the first while all load.
        """
        at_once: list[ManagedEngine] = []
        later: list[ManagedEngine] = []
        for engine, options in zip(self._engines, self._settings.engine_options(), strict=False):
            (later if options.device == "cpu" and options.place else at_once).append(engine)
        return at_once, later

    async def _start_later(self, engines: Sequence[ManagedEngine], with_trial: bool) -> None:
        """Starts further engines one by one. Until then the service reads with those that it has."""
        await asyncio.sleep(_FURTHER_S)
        for engine in engines:
            while not await self._starts_now(engine, with_trial):
                await asyncio.sleep(_START_AGAIN_S)

    async def _starts_now(self, engine: ManagedEngine, with_trial: bool) -> bool:
        """Whether there is no need to start this engine again, for instance once there is memory for it."""
        try:
            await self._start(engine, with_trial)
        except (BundleError, EngineError, TrialError, OSError) as error:
            if self._closing is None:
                log.error("one engine worker of %d cannot start: %s", len(self._engines), error)
            return isinstance(error, TrialError)
        return True

    async def _keep_serving(self, engine: ManagedEngine, loaded: Loaded) -> None:
        """Serves again after a fault, which costs only the crops of the call that was being made."""
        while True:
            try:
                await self._scheduler.serve(engine, loaded.costs)
            except Exception:
                log.exception("the scheduler failed; it goes on")
                await asyncio.sleep(_AFTER_FAULT_S)

    async def _close(self) -> None:
        for serving in self._serving:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        await asyncio.gather(*(engine.close() for engine in self._engines))
        for task in [*self._starting, *self._serving]:
            task.cancel()
        self._intake.close()
        # They refer to this deployment. Without this, the circle would wait for the garbage collector.
        self._engines, self._starting = [], []


def supervisors(
    bundle: Bundle,
    settings: Settings,
    observer: Observer,
    listeners: Sequence[socket.socket] | None = None,
) -> list[Supervisor]:
    """Makes an engine worker for each device; fronts may call it at its listener, if there are listeners."""
    devices, options = settings.engine_devices, settings.engine_options()
    at: Sequence[socket.socket | None] = listeners or [None] * len(devices)
    share_cores = devices.count("cpu") > 1 and not settings.bind_threads
    computing = computing_file() if share_cores else None
    return [
        Supervisor(
            partial(EngineProcess, bundle, one, settings.worker_python, listener, computing),
            partial(observer.worker_restarted, device),
        )
        for device, one, listener in zip(devices, options, at, strict=True)
    ]


def _share_out(readings: Sequence[Crop], ways: Sequence[tuple[int, ...]]) -> list[list[Crop]]:
    """Divides the readings among the crops, and tells each how it is turned."""
    for reading, degrees in zip(readings, chain.from_iterable(ways), strict=True):
        reading.turned = degrees
    left = iter(readings)
    return [list(islice(left, len(of_crop))) for of_crop in ways]


def _teller(crops: Sequence[Sequence[Crop]], each: Callable[[int, Crop], None]) -> Callable[[], None]:
    """A function that passes each crop, with its place, to `each` once all of its readings are done."""
    untold = dict(enumerate(crops))

    def tell() -> None:
        for index, readings in list(untold.items()):
            if all(reading.words or reading.error is not None for reading in readings):
                del untold[index]
                for reading in readings:
                    if reading.error is not None:
                        reading.error = _service_error(reading.error)
                each(index, surest(readings))

    return tell


def _result(crops: Sequence[Crop]) -> str:
    """The result of an answered request: its crops' first failure, or READ."""
    for crop in crops:
        if isinstance(crop.error, ServiceError):
            return crop.error.problem.slug
    return READ


def _service_error(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, TooLateError):
        return ServiceError(ProblemType.DEADLINE, str(error))
    if isinstance(error, BatchFailedError):
        return ServiceError(ProblemType.ENGINE_FAILED, f"{error}.")
    log.error("a batch failed", exc_info=error)
    return ServiceError(ProblemType.FAULT, "The request was not at fault; the log of the service says more.")
