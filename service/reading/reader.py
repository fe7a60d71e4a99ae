"""The service without HTTP: image bytes in, readings out, from the model being served or its canary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from service.crop import Crop, Room
from service.engines.bundle import Bundle
from service.errors import ProblemType, ServiceError
from service.observability.observer import Observer
from service.reading.batch_sizes import in_milliseconds
from service.reading.deployment import Deployment, ManagedEngine
from service.reading.request import ReadRequest
from service.settings.model import Settings
from service.types import CanaryInfo, ModelInfo, ModelName, RequestLimits

log = logging.getLogger("abinet")

State = Literal["starting", "ready", "draining"]


class Reader:
    """The model being served, perhaps a canary beside it, and which of them reads a request."""

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        observer: Observer,
        engines: Sequence[ManagedEngine] | None = None,
    ) -> None:
        """Without `engines`, which others keep alive, it starts a worker for each device.

        Raises ValueError if this service cannot do what the bundle asks for.
        """
        self.settings = settings
        self.observer = observer
        self._room = Room(settings.max_queue)
        observer.limit(settings.max_queue)
        observer.devices(settings.engine_devices)
        self.main = self.new_deployment(bundle, engines)
        self.canary: Deployment | None = None
        self.canary_percent = 0.0
        self._retiring: dict[Deployment, asyncio.Task[None]] = {}
        self._draining = asyncio.Event()
        self._tell_observer()

    @property
    def state(self) -> State:
        """Ready means that a worker of the main model is alive and has run every graph of the bundle."""
        if self._draining.is_set():
            return "draining"
        return "ready" if self.main.ready else "starting"

    @property
    def model(self) -> ModelName:
        """The main model."""
        return self.main.model

    @property
    def deployments(self) -> list[Deployment]:
        """The main model and the canary, if any."""
        return [self.main] if self.canary is None else [self.main, self.canary]

    @property
    def info(self) -> ModelInfo:
        canary = self.canary
        return ModelInfo(
            **vars(self.model),
            engine=self.main.engine,
            graph=self.settings.graph,
            devices=list(self.settings.engine_devices),
            batch_ms=[in_milliseconds(costs) for costs in self.main.batch_costs],
            limits=RequestLimits(
                max_batch_items=self.settings.max_batch_items, max_body_bytes=self.settings.max_body_bytes
            ),
            manifest=dict(self.main.bundle.manifest),
            canary=None
            if canary is None
            else CanaryInfo(
                **vars(canary.model),
                percent=self.canary_percent,
                engine=canary.engine,
                manifest=dict(canary.bundle.manifest),
            ),
        )

    async def start(self) -> None:
        """Starts the engine workers. Raises BundleError or EngineError if one cannot start."""
        await self.main.start()

    def drain(self) -> None:
        """Makes the service not ready, while requests in flight are finished."""
        self._draining.set()

    async def until_draining(self) -> None:
        await self._draining.wait()

    async def stop(self) -> None:
        self.drain()
        for retiring in self._retiring.values():
            retiring.cancel()
        await asyncio.gather(*(one.close() for one in [*self.deployments, *self._retiring]))

    async def read(self, request: ReadRequest) -> list[Crop]:
        """Reads the request's crops; each has words or an error in the end.

        Raises ServiceError if they cannot be taken, or none of several could be read in time.
        """
        deployment = self.choose(request.version, request.request_id)
        if self._draining.is_set() or deployment.failing:
            raise ServiceError(
                ProblemType.NOT_READY, f"The service is {self.state}.", retry_after=1, crops=request.crops
            )
        return await deployment.read(request)

    def choose(self, version: str = "", request_id: str = "") -> Deployment:
        """Which model reads a request. Raises ServiceError if no model has the version.

        The same identifier always finds the same model, and a higher percentage only adds requests to those
        that the canary reads.
        """
        if version:
            for deployment in self.deployments:
                if deployment.model.version == version:
                    return deployment
            served = " and ".join(repr(deployment.model.version) for deployment in self.deployments)
            raise ServiceError(
                ProblemType.NO_SUCH_MODEL, f"There is no version {version!r} here; served is {served}."
            )
        if self.canary is not None and _place(request_id) < self.canary_percent:
            return self.canary
        return self.main

    def new_deployment(self, bundle: Bundle, engines: Sequence[ManagedEngine] | None = None) -> Deployment:
        """Makes a deployment of a bundle, not started yet, that shares the room of the queue. Raises
        ValueError.
        """
        return Deployment(bundle, self.settings, self.observer, self._room, engines)

    def serve(self, main: Deployment, canary: Deployment | None = None, percent: float = 0.0) -> None:
        """Serves these, both started, from the next request on. A model that is left out ends after its last
        answer.
        """
        before = self.deployments
        self.main, self.canary, self.canary_percent = main, canary, percent
        self._tell_observer()
        for deployment in self.deployments:
            if deployment in self._retiring:  # a change that is undone
                self._retiring.pop(deployment).cancel()
        for deployment in before:
            if deployment not in self.deployments:
                self._retiring[deployment] = asyncio.create_task(self._retire(deployment))

    async def _retire(self, deployment: Deployment) -> None:
        await deployment.retire()
        log.info("%s %s has answered its last request", deployment.model.name, deployment.model.version)
        del self._retiring[deployment]

    def _tell_observer(self) -> None:
        roles = zip(self.deployments, ("main", "canary"), strict=False)
        self.observer.models(
            [(one.model.name, one.model.version, role) for one, role in roles], self.canary_percent
        )


def _place(request_id: str) -> float:
    """Where an identifier lies between 0 and 100 (exclusive), evenly spread."""
    return 100 * int.from_bytes(blake2b(request_id.encode(), digest_size=6).digest(), "big") / 2**48
