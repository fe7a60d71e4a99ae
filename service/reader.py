"""The service without HTTP: image bytes in, readings out, from engines that it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal, Protocol

from service.decode import Decoder
from service.engines.bundle import Bundle
from service.engines.line import Loaded
from service.engines.process import EngineProcess
from service.errors import Problem, ServiceError
from service.intake import ImageFile, Intake
from service.observer import Observer
from service.patience import ClientGoneError, DeadlineError, Patience
from service.preprocess import Preprocessor
from service.scheduler import BatchFailedError, Crop, Engine, QueueFullError, Scheduler, Submission, Wish
from service.schemas import ModelInfo, ModelName, ReadOptions
from service.settings import Settings
from service.supervisor import Supervisor

log = logging.getLogger("abinet")

State = Literal["starting", "ready", "draining"]


class ManagedEngine(Engine, Protocol):
    """An engine whose worker somebody keeps alive: see Supervisor."""

    @property
    def ready(self) -> bool: ...

    @property
    def failing(self) -> bool: ...

    async def start(self) -> Loaded: ...

    async def close(self) -> None: ...


class Reader:
    """One bundle, an engine worker on each device, and the way of a crop through them."""

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        observer: Observer,
        engines: Sequence[ManagedEngine] | None = None,
    ) -> None:
        """Starts a worker for each device, unless it is given `engines` that others keep alive.

        Raises BundleError where the bundle asks for what this service does not know.
        """
        self.settings = settings
        self.bundle = bundle
        self.observer = observer
        self.model = ModelName(name=bundle.name, version=bundle.version)
        self._iterations = bundle.iterations if settings.iterations is None else settings.iterations
        if self._iterations > bundle.iterations:
            raise ValueError(
                f"{self._iterations} iterations asked, but {bundle.folder} has {bundle.iterations}"
            )
        self._scheduler = Scheduler(
            Decoder(bundle.charset),
            observer,
            max_queue=settings.max_queue,
            settled_threshold=settings.settled_threshold,
        )
        self._intake = Intake(Preprocessor(bundle), settings.max_pixels, self._scheduler.put)
        self._devices: list[tuple[str, ManagedEngine]] = [
            (device, engine)
            for device, engine in zip(settings.devices, engines or self._supervisors(), strict=True)
        ]
        self._loaded: Loaded | None = None
        self._serving: list[asyncio.Task[None]] = []
        self._draining = False

    @property
    def state(self) -> State:
        """Ready means that a worker is alive and has run every graph of the bundle."""
        if self._draining:
            return "draining"
        return "ready" if any(engine.ready for _, engine in self._devices) else "starting"

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            **vars(self.model),
            engine=self._loaded.release if self._loaded else self.settings.engine,
            graph=self.settings.graph,
            devices=list(self.settings.devices),
            manifest=self.bundle.manifest,
        )

    async def start(self) -> None:
        """Starts the engine workers. Raises BundleError or EngineError where one cannot start."""
        await asyncio.gather(*(self._start(engine) for _, engine in self._devices))

    def drain(self) -> None:
        """From now on not ready, while what is in flight is finished."""
        self._draining = True

    async def stop(self) -> None:
        self.drain()
        for serving in self._serving:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
        await asyncio.gather(*(engine.close() for _, engine in self._devices))
        self._intake.close()

    async def read(
        self,
        bodies: Sequence[ImageFile],
        options: ReadOptions,
        *,
        detail: bool = True,
        timeout_s: float | None = None,
        client_gone: Callable[[], Awaitable[None]] | None = None,
    ) -> list[Crop]:
        """Image files -> their crops, each with predictions or an error.

        `detail` is for requests that do not say. `client_gone` returns when nobody waits any more. Raises
        ServiceError where the crops cannot be taken, or none of them could be read in time.
        """
        wish = self._wish(options, detail)
        submission = self._admit(len(bodies), wish)
        timeout = min(timeout_s or self.settings.timeout_s, self.settings.timeout_s)
        crops = submission.crops
        late: ServiceError | None = None
        try:
            with Patience(timeout, client_gone):
                self._intake.add(crops, bodies)
                await submission.done
        except ClientGoneError as error:
            raise ServiceError(Problem.CLIENT_GONE, str(error), crops=len(bodies)) from None
        except DeadlineError as error:
            late = ServiceError(Problem.DEADLINE, str(error), crops=len(bodies))
            if not any(crop.predictions for crop in crops):
                raise late from None
        finally:
            self._scheduler.give_up(submission)
            # Crops know their submission: if it knew them on, they would wait for the garbage collector.
            submission.crops = []
        for crop in crops:
            if crop.error is not None:
                crop.error = _service_error(crop.error)
            elif not crop.predictions:
                crop.error = late
        return crops

    async def read_one(
        self,
        body: bytes,
        options: ReadOptions,
        *,
        timeout_s: float | None = None,
        client_gone: Callable[[], Awaitable[None]] | None = None,
    ) -> Crop:
        """One image file -> its crop. Raises ServiceError."""
        (crop,) = await self.read([body], options, timeout_s=timeout_s, client_gone=client_gone)
        if crop.error is not None:
            raise crop.error
        return crop

    def _wish(self, options: ReadOptions, detail: bool) -> Wish:
        iterations = self._iterations if options.iterations is None else options.iterations
        if iterations > self.bundle.iterations:
            raise ServiceError(
                Problem.INVALID_REQUEST,
                f"{iterations} iterations asked; this model refines {self.bundle.iterations} times at most.",
            )
        return Wish(iterations, options.early_stop, detail if options.detail is None else options.detail)

    def _admit(self, crops: int, wish: Wish) -> Submission:
        if self._draining or all(engine.failing for _, engine in self._devices):
            raise ServiceError(Problem.NOT_READY, f"The service is {self.state}.", retry_after=1, crops=crops)
        try:
            return self._scheduler.admit(crops, wish)
        except QueueFullError as error:
            raise ServiceError(
                Problem.QUEUE_FULL, f"{error}; try again.", retry_after=1, crops=crops
            ) from error

    def _supervisors(self) -> list[Supervisor]:
        return [
            Supervisor(
                partial(EngineProcess, self.bundle, options, self.settings.worker_python),
                partial(self.observer.worker_restarted, device),
            )
            for device, options in zip(self.settings.devices, self.settings.engine_options(), strict=True)
        ]

    async def _start(self, engine: ManagedEngine) -> None:
        self._loaded = await engine.start()
        self._serving.append(asyncio.create_task(self._scheduler.serve(engine, self._loaded.costs)))


def _service_error(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, BatchFailedError):
        return ServiceError(Problem.ENGINE_FAILED, f"{error}.")
    log.error("a batch failed", exc_info=error)
    return ServiceError(Problem.FAULT, "The request was not at fault; the log of the service says more.")
