"""A reader in one of Ray's processes: a replica of the service, or an actor that reads files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from service.bundled import bundled_model
from service.engine_choice import chosen
from service.engines.bundle import Bundle
from service.engines.connection import EngineError
from service.observability.observer import Observer
from service.reading.reader import Reader
from service.settings.model import Settings

_CPU = "cpu"
_NPU = "NPU"
_VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"


def resources(devices: Sequence[str]) -> dict[str, float]:
    """What Ray must set aside for a reader besides cores: an NPU for each device that is not a CPU."""
    npus = sum(device != _CPU for device in devices)
    return {_NPU: npus} if npus else {}


async def started_reader(given: Mapping[str, Any]) -> Reader:
    """A ready reader with these settings and this machine's defaults, on the NPUs that Ray has assigned.

    Raises ValueError if the bundle or an engine cannot be used.
    """
    settings = Settings(**given)
    # One worker, if nothing is said: Ray scales by replicas.
    devices = assigned_devices(settings.devices or (_CPU,), _npus_of_ray(), os.environ.get(_VISIBLE))
    settings = chosen(Settings(**{**given, "devices": devices})).settings
    folder = settings.bundle or bundled_model(settings.worker_python)
    reader = Reader(Bundle(os.path.realpath(folder)), settings, Observer())
    try:
        await reader.start()
    except EngineError as error:
        await reader.stop()
        raise ValueError(f"{folder}: {error}") from error
    return reader


def assigned_devices(devices: Sequence[str], assigned: Sequence[str], visible: str | None) -> tuple[str, ...]:
    """The devices with the numbers of the NPUs that Ray has assigned, as an engine worker counts them.

    A worker counts from 0 the cards in `visible` (ASCEND_RT_VISIBLE_DEVICES). If this is not set, it sees
    every card of the machine under the card's own number.
    """
    numbers = iter(assigned if visible is None else map(str, range(len(assigned))))
    return tuple(device if device == _CPU else f"ascend:{next(numbers)}" for device in devices)


def _npus_of_ray() -> list[str]:
    numbers: list[str] = ray.get_runtime_context().get_accelerator_ids()[_NPU]
    return numbers
