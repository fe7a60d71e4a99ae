"""The models being served, in the manager: workers that every front calls."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from service.engines.bundle import Bundle
from service.engines.protocol import listening_at
from service.errors import ProblemType, ServiceError
from service.fronts.handle import Front
from service.observability.observer import Observer
from service.reading.deployment import Deployment, ManagedEngine, supervisors
from service.reading.model_change import PATIENCE_S, ModelChange
from service.reading.reader import Reader
from service.settings.model import Settings

_LOOK_S = 0.02


class SharedDeployment(Deployment):
    """A bundle whose workers take calls from every front, each at its socket in `engines`."""

    engines: Sequence[str]
    fronts: Sequence[Front]
    reads_images = False

    @property
    def key(self) -> str:
        """The name that fronts use for it."""
        return self.engines[0]

    @property
    def failing_engines(self) -> list[str]:
        """Engines that have no worker and will probably not get one soon."""
        return [path for path, engine in zip(self.engines, self._engines, strict=False) if engine.failing]

    async def retire(self) -> None:
        """Closes when no front has a request for it any more."""
        while any(self.key in front.uses for front in self.fronts):
            await asyncio.sleep(_LOOK_S)
        await super().retire()


class SharedReader(Reader):
    """Keeps the workers of the models being served; the fronts read with them."""

    main: SharedDeployment
    canary: SharedDeployment | None

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        observer: Observer,
        folder: str,
        fronts: Sequence[Front],
    ) -> None:
        """The workers' sockets lie in the folder."""
        self._folder = folder
        self._fronts = fronts
        self._numbers = itertools.count(1)
        self.changes = 1
        """The number of the present state; it grows with every change of what is served."""
        super().__init__(bundle, settings, observer)

    def new_deployment(
        self, bundle: Bundle, engines: Sequence[ManagedEngine] | None = None
    ) -> SharedDeployment:
        number = next(self._numbers)
        paths = [
            f"{self._folder}/engine-{number}-{index}" for index in range(len(self.settings.engine_devices))
        ]
        workers = supervisors(bundle, self.settings, self.observer, [listening_at(path) for path in paths])
        deployment = SharedDeployment(bundle, self.settings, self.observer, self._room, workers)
        deployment.engines, deployment.fronts = paths, self._fronts
        return deployment

    def serve(self, main: Deployment, canary: Deployment | None = None, percent: float = 0.0) -> None:
        """Serves these models, and tells the fronts."""
        self.changes += 1
        super().serve(main, canary, percent)
        for front in self._fronts:
            front.tell(self.served())

    def served(self) -> dict[str, Any]:
        """What a front has to know about the models being served."""
        return {
            "serve": self.changes,
            "main": _reference(self.main),
            "canary": None if self.canary is None else _reference(self.canary),
            "percent": self.canary_percent,
        }

    def news(self) -> dict[str, Any]:
        """What fronts cannot see themselves: workers (by their sockets) that die again and again."""
        return {"failing": [path for one in self._shared for path in one.failing_engines]}

    @property
    def _shared(self) -> list[SharedDeployment]:
        return [self.main] if self.canary is None else [self.main, self.canary]

    @property
    def lagging(self) -> list[int]:
        """The numbers of the fronts that do not yet serve what they were told last."""
        return [
            number
            for number, front in enumerate(self._fronts)
            if front.is_there and front.serves < self.changes
        ]

    async def _retire(self, deployment: Deployment) -> None:
        """Retires a model once every front serves the next one; until then the change may be undone."""
        while self.lagging:
            await asyncio.sleep(_LOOK_S)
        await super()._retire(deployment)


class SharedChange(ModelChange):
    """Changes for all fronts: a change is done when every front has made it."""

    def __init__(self, models: SharedReader) -> None:
        super().__init__(models)
        self._models = models

    async def _settle(self, patience_s: float = PATIENCE_S) -> None:
        end = asyncio.get_running_loop().time() + patience_s
        while lagging := self._models.lagging:
            if asyncio.get_running_loop().time() > end:
                raise ServiceError(
                    ProblemType.NOT_READY,
                    f"Nothing has changed: {len(lagging)} of {self._models.settings.fronts} fronts "
                    f"could not serve it within {patience_s:g} s.",
                    crops=0,
                )
            await asyncio.sleep(_LOOK_S)


def _reference(deployment: SharedDeployment) -> dict[str, Any]:
    return {"bundle": deployment.bundle.folder, "engines": list(deployment.engines)}
