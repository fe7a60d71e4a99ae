"""Changes the model without a pause: the new one is prepared beside the present one, then replaces it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol

from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.errors import ProblemType, ServiceError
from service.reading.deployment import Deployment
from service.reading.reader import Reader

log = logging.getLogger("abinet")

_BUNDLE_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)


PATIENCE_S = 25.0
"""How long all fronts may take to serve another model; our clients wait for 30 s."""
_UNDOING_S = 3.0
"""How long they may take to go back to the previous model if one of them failed."""


class Change(Protocol):
    """What changes the model: see ModelChange."""

    async def load(self, folder: Path, canary_percent: float | None = None) -> None: ...

    async def promote(self) -> None: ...

    async def roll_back(self) -> None: ...


class ModelChange:
    """Changes what a reader serves, one change at a time. A change that fails changes nothing."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._is_busy = False

    async def load(self, folder: Path, canary_percent: float | None = None) -> None:
        """Serves this folder's bundle in place of the main model, or as its canary for a share of requests.

        A bundle that is the canary already gets the new share or, without one, takes the main model's place;
        for the main model itself there is nothing to do. Raises ServiceError.
        """
        with self._alone():
            bundle = await _open(folder)
            reader, canary = self._reader, self._reader.canary
            if canary is not None and canary.bundle.manifest == bundle.manifest:
                if canary_percent is None:
                    await self._serve(canary)
                else:
                    await self._serve(reader.main, canary, canary_percent)
            elif canary is not None:
                raise _conflict(
                    f"Version {canary.model.version!r} is still the canary; promote it or roll it back first."
                )
            elif canary_percent is not None:
                if bundle.version == reader.model.version:
                    raise _conflict(f"Version {bundle.version!r} is the main model: it cannot be told apart.")
                await self._serve(reader.main, await self._prepared(bundle), canary_percent)
            elif reader.main.bundle.manifest != bundle.manifest:
                await self._serve(await self._prepared(bundle))
            else:
                log.info("%s %s is served already", bundle.name, bundle.version)

    async def promote(self) -> None:
        """The canary takes the main model's place. Raises ServiceError if there is none."""
        with self._alone():
            await self._serve(self._canary())

    async def roll_back(self) -> None:
        """Stops serving the canary. Raises ServiceError if there is none."""
        with self._alone():
            self._canary()
            await self._serve(self._reader.main)

    async def _prepared(self, bundle: Bundle) -> Deployment:
        """A deployment whose workers have loaded the bundle, run every graph and read a crop."""
        log.info("preparing %s %s from %s", bundle.name, bundle.version, bundle.folder)
        deployment: Deployment | None = None
        try:
            deployment = self._reader.new_deployment(bundle)
            await self._while_serving(deployment.start(with_trial=True))
        except BaseException as error:
            if deployment is not None:
                await deployment.close()
            if isinstance(error, ServiceError) or not isinstance(error, Exception):
                raise
            raise _refused(bundle.folder, error) from error
        return deployment

    async def _while_serving(self, preparation: Coroutine[Any, Any, None]) -> None:
        """Raises ServiceError at once if the service is asked to stop meanwhile."""
        preparing = asyncio.create_task(preparation)
        draining = asyncio.create_task(self._reader.until_draining())
        try:
            await asyncio.wait({preparing, draining}, return_when=asyncio.FIRST_COMPLETED)
            self._refuse_while_draining()
            await preparing
        finally:
            for task in (preparing, draining):
                task.cancel()
            await asyncio.gather(preparing, draining, return_exceptions=True)

    async def _serve(self, main: Deployment, canary: Deployment | None = None, percent: float = 0.0) -> None:
        reader = self._reader
        before = reader.main, reader.canary, reader.canary_percent
        reader.serve(main, canary, percent)
        try:
            await self._settle()
        except ServiceError as error:
            log.error("%s", error.detail)
            reader.serve(*before)
            # If the answer is that nothing has changed, the previous model must serve again.
            with contextlib.suppress(ServiceError):
                await self._settle(_UNDOING_S)
            raise
        beside = "" if canary is None else f", and {percent:g} % from {canary.model.version}"
        log.info("requests are read by %s %s%s", main.model.name, main.model.version, beside)

    async def _settle(self, patience_s: float = PATIENCE_S) -> None:
        """Returns when the new model reads the requests: at once, if this process reads them.

        Raises ServiceError if that takes longer than this many seconds.
        """

    def _canary(self) -> Deployment:
        if self._reader.canary is None:
            raise _conflict("There is no canary; load a bundle with a canary_percent first.")
        return self._reader.canary

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self._is_busy:
            raise _conflict("Another change is under way; try again when it is done.")
        self._refuse_while_draining()
        if not self._reader.main.has_started:
            raise ServiceError(
                ProblemType.NOT_READY, "The first model is still starting.", retry_after=1, crops=0
            )
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False

    def _refuse_while_draining(self) -> None:
        if self._reader.state == "draining":
            raise ServiceError(ProblemType.NOT_READY, "The service is draining.", crops=0)


def bundle_in(folder: Path, name: str) -> Path:
    """The bundle of this name, looked up only in a listing of the folder. Raises ServiceError."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if os.path.isdir(entry))
    except OSError as error:
        raise ServiceError(
            ProblemType.FAULT, f"The folder of the bundles: {error.strerror}.", crops=0
        ) from error
    if not _BUNDLE_NAME.fullmatch(name) or name not in names:
        there = ", ".join(names) or "none"
        raise ServiceError(
            ProblemType.NO_SUCH_MODEL, f"There is no bundle {name!r}; there are: {there}.", crops=0
        )
    return folder / name


async def _open(folder: Path) -> Bundle:
    """Follow the link now: a worker that is restarted later must find the same bundle."""
    try:
        return await asyncio.to_thread(lambda: Bundle(os.path.realpath(folder)))
    except BundleError as error:
        raise _refused(str(folder), error) from error


def _refused(folder: str, error: Exception) -> ServiceError:
    reason = " ".join(str(error).split()) or repr(error)
    log.error("%s is not served: %s", folder, reason)
    return ServiceError(ProblemType.BAD_BUNDLE, f"Nothing has changed: {reason}", crops=0)


def _conflict(detail: str) -> ServiceError:
    return ServiceError(ProblemType.MODEL_CONFLICT, detail, crops=0)
