"""The arguments of the service on Ray: the settings of `abinet serve`, and the number of replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.settings.model import Count, Settings
from service.settings.sources import GivenValue, first_fault, refuse_unknown, settings_of

_OF_RAY = {
    **dict.fromkeys(
        ("host", "port", "grpc_port", "uds"), "Ray's proxies listen, and their address is Ray's own setting"
    ),
    "fronts": "each replica is one; ask for more replicas",
    **dict.fromkeys(
        ("admin_keys", "admin_keys_file", "bundles"),
        "one replica alone would change its model; deploy the application again with another bundle",
    ),
}
"""Settings that do not apply here, and why."""


class ArgumentError(click.ClickException, ValueError):
    """A mistake in the arguments, in one line; Ray's own commands print it without a traceback."""


class Replicas(BaseModel):
    """How many copies of the service there are, and what each takes from its machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    replicas: Count = 1
    """Copies of the service; if max_replicas is set, the fewest."""
    max_replicas: Count | None = None
    """Most copies: Ray chooses between replicas and this by the requests under way."""
    target_ongoing: Annotated[float, Field(gt=0)] = 32
    """Requests under way in each replica that autoscaling aims at."""
    cpus: Annotated[float, Field(ge=0)] = 1
    """Cores that Ray sets aside for each replica, its engine workers included."""

    @model_validator(mode="after")
    def _consistent(self) -> Replicas:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is less than replicas {self.replicas}")
        return self


class Arguments(NamedTuple):
    """Checked arguments. `given` are the settings that are not defaults; a replica adds its machine's
    defaults.
    """

    replicas: Replicas
    settings: Settings
    given: dict[str, Any]


def read_arguments(arguments: Mapping[str, Any]) -> Arguments:
    """Checks the arguments. Raises ArgumentError.

    Settings may also come from the environment and from a file (`config`), as those of `abinet serve` do.
    """
    try:
        refuse_unknown(arguments, [*Settings.model_fields, *Replicas.model_fields, "config"])
        mine = {name: value for name, value in arguments.items() if name in Replicas.model_fields}
        settings = settings_of({name: arguments[name] for name in arguments if name not in mine})
        for name, reason in _OF_RAY.items():
            if name in settings.origins:
                raise ValueError(f"{settings.origins[name]}: {reason}")
        return Arguments(_replicas(mine), settings.settings, _given(settings.settings))
    except OSError as error:
        raise ArgumentError(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise ArgumentError(str(error)) from None


def _replicas(mine: Mapping[str, Any]) -> Replicas:
    try:
        return Replicas(**mine)
    except ValidationError as error:
        raise ValueError(
            first_fault(error, {name: GivenValue(value, name) for name, value in mine.items()})
        ) from None


def _given(settings: Settings) -> dict[str, Any]:
    given = settings.model_dump(exclude_unset=True)
    if settings.bundle is not None:
        given["bundle"] = settings.bundle.absolute()
    return given
