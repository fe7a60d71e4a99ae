"""The service without HTTP: image bytes in, a reading out, from an engine that it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from service.decode import Decoder, Prediction
from service.engines.bundle import Bundle
from service.engines.process import EngineProcess, Loaded
from service.errors import Problem, ServiceError
from service.preprocess import Preprocessor, decode_image
from service.scheduler import Crop, QueueFullError, Scheduler
from service.schemas import (
    Character,
    ModelInfo,
    ModelName,
    ReadOptions,
    ReadResult,
    RefinementStage,
    Timings,
    VisionStage,
)
from service.schemas import Prediction as WirePrediction
from service.settings import Settings
from service.supervisor import BatchFailedError, Supervisor

State = Literal["starting", "ready", "draining"]


class Reader:
    """One bundle, one engine worker, and the way of a crop through them."""

    def __init__(self, bundle: Bundle, settings: Settings) -> None:
        """Raises BundleError where the bundle asks for what this service does not know."""
        self.settings = settings
        self.bundle = bundle
        self._model = ModelName(name=bundle.name, version=bundle.version)
        self._iterations = bundle.iterations if settings.iterations is None else settings.iterations
        if self._iterations > bundle.iterations:
            raise ValueError(
                f"{self._iterations} iterations asked, but {bundle.folder} has {bundle.iterations}"
            )
        self._preprocess = Preprocessor(bundle)
        self._decode = Decoder(bundle.charset)
        (self._engine,) = settings.engine_options()
        self._supervisor = Supervisor(
            lambda: EngineProcess(bundle, self._engine, python=settings.worker_python)
        )
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
        self._loaded: Loaded | None = None
        self._scheduler: Scheduler | None = None
        self._running: asyncio.Task[None] | None = None
        self._draining = False

    @property
    def state(self) -> State:
        """Ready means that a worker is alive and has run every graph of the bundle."""
        if self._draining:
            return "draining"
        return "ready" if self._scheduler is not None and self._supervisor.ready else "starting"

    @property
    def info(self) -> ModelInfo:
        engine = self._engine
        return ModelInfo(
            **self._model.model_dump(),
            engine=self._loaded.release if self._loaded else engine.engine,
            graph=engine.graph,
            device=engine.device if engine.device == "cpu" else f"{engine.device}:{engine.device_id}",
            manifest=self.bundle.manifest,
        )

    async def start(self) -> None:
        """Starts the engine worker. Raises BundleError, EngineError."""
        self._loaded = await self._supervisor.start()
        self._scheduler = Scheduler(
            self._supervisor,
            self._loaded.costs,
            max_queue=self.settings.max_queue,
            settled_threshold=self.settings.settled_threshold,
        )
        self._running = asyncio.create_task(self._scheduler.run())

    def drain(self) -> None:
        """From now on not ready, while what is in flight is finished."""
        self._draining = True

    async def stop(self) -> None:
        self.drain()
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        await self._supervisor.close()
        self._threads.shutdown(wait=False)

    async def read(self, body: bytes, options: ReadOptions, timeout_s: float | None = None) -> ReadResult:
        """Image file bytes -> what the network reads. Raises ServiceError."""
        started = time.perf_counter()
        iterations = self._iterations if options.iterations is None else options.iterations
        if iterations > self.bundle.iterations:
            raise ServiceError(
                Problem.INVALID_REQUEST,
                f"{iterations} iterations asked; this model refines {self.bundle.iterations} times at most.",
            )
        if self._scheduler is None or self._draining:
            raise ServiceError(Problem.NOT_READY, f"The service is {self.state}.", retry_after=1)
        timeout = min(timeout_s or self.settings.timeout_s, self.settings.timeout_s)
        try:
            crop, decode_s = await asyncio.wait_for(
                self._run(self._scheduler, body, iterations, options.early_stop), timeout
            )
        except asyncio.TimeoutError:
            raise ServiceError(Problem.DEADLINE, f"Not read within {timeout:g} s.") from None
        except QueueFullError as error:
            raise ServiceError(Problem.QUEUE_FULL, f"{error}; try again.", retry_after=1) from error
        except BatchFailedError as error:
            raise ServiceError(Problem.ENGINE_FAILED, f"{error}.") from error
        return self._result(crop, decode_s, started)

    async def _run(
        self, scheduler: Scheduler, body: bytes, iterations: int, early_stop: bool
    ) -> tuple[Crop, float]:
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        image = await loop.run_in_executor(self._threads, self._image, body)
        decode_s = time.perf_counter() - started
        return await scheduler.read(image, iterations, early_stop), decode_s

    def _image(self, body: bytes) -> np.ndarray:
        return self._preprocess(decode_image(body, self.settings.max_pixels))

    def _result(self, crop: Crop, decode_s: float, started: float) -> ReadResult:
        logits = [crop.vision, *(part for refinement in crop.refinements for part in refinement)]
        vision, *refined = map(_wire, self._decode(np.stack(logits)))
        stages: list[VisionStage | RefinementStage] = [VisionStage(**dict(vision))]
        for iteration, pair in enumerate(zip(refined[0::2], refined[1::2], strict=True), start=1):
            stages.append(RefinementStage(iteration=iteration, language=pair[0], fused=pair[1]))
        final = refined[-1] if refined else vision
        seconds = {
            "decode": decode_s,
            "queue": crop.queue_s,
            "vision": crop.vision_s,
            "refine": crop.refine_s,
        }
        seconds["total"] = time.perf_counter() - started
        return ReadResult(
            text=final.text,
            confidence=final.confidence,
            iterations=stages,
            stopped_at=len(crop.refinements),
            timings_ms=Timings(**{name: round(1e3 * value, 3) for name, value in seconds.items()}),
            model=self._model,
        )


def _wire(prediction: Prediction) -> WirePrediction:
    characters = [
        Character(character=character, confidence=confidence)
        for character, confidence in zip(prediction.text, prediction.characters, strict=True)
    ]
    return WirePrediction(text=prediction.text, confidence=prediction.confidence, characters=characters)
