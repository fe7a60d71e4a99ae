"""A worker reads a test crop before it gets requests."""

from __future__ import annotations

import asyncio

import numpy as np

from service.bundle_format.early_stop import EarlyStop
from service.crop import Room, Wish
from service.engines.bundle import Bundle
from service.engines.connection import Loaded
from service.image_decoding.preprocess import Preprocessor
from service.observability.observer import Observer
from service.reading.decode import Decoder
from service.reading.scheduler import Scheduler
from service.types import ModelName
from service.workers.in_flight import EngineClient


class TrialError(Exception):
    """A worker that has started but cannot read a crop."""


async def try_out(engine: EngineClient, bundle: Bundle, loaded: Loaded, timeout_s: float) -> None:
    """Reads a grey ramp with every refinement. Raises TrialError.

    It uses a scheduler of its own, so that it finds room in a full service and counts in no metric.
    """
    model = ModelName(name=bundle.name, version=bundle.version)
    scheduler = Scheduler(model, Decoder(bundle.charset), Observer(), Room(1), EarlyStop())
    submission = scheduler.admit(1, Wish(bundle.iterations))
    (crop,) = submission.crops
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint8)[:, None], (32, 128, 3))
    crop.image = Preprocessor(bundle)(np.ascontiguousarray(ramp))
    scheduler.put([crop])
    serving = asyncio.create_task(scheduler.serve(engine, loaded.costs))
    await asyncio.wait({serving, submission.done}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    failure = serving.exception() if serving.done() else crop.error
    serving.cancel()
    await asyncio.wait({serving})
    if failure is not None:
        raise TrialError(f"it failed on a first crop: {failure!r}")
    if not submission.done.done():
        raise TrialError(f"it did not read a first crop within {timeout_s:g} s")
    if not all(np.isfinite(logits).all() for logits in crop.logits):
        raise TrialError("the logits of a first crop are not finite numbers")
