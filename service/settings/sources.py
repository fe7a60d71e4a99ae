"""Reads the settings from flags, environment, one TOML file and defaults, in this order."""

from __future__ import annotations

import argparse
import difflib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from service.settings.model import Settings

_SECRETS = ("api_keys", "admin_keys")
"""No flags, because every user of the machine can read a command line; never printed. Each has a `_file`."""


class GivenValue(NamedTuple):
    """A value as it was given, and its origin: a flag, a variable or a file's key."""

    value: Any
    origin: str


class EffectiveSettings(NamedTuple):
    """The settings, and the origin of each that is not a default."""

    settings: Settings
    origins: dict[str, str]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting. Parsed arguments hold only the flags that were given."""
    parser.add_argument("--config", type=Path, help="TOML file with settings (default: $ABINET_CONFIG)")
    for name, field in Settings.model_fields.items():
        if name in _SECRETS:
            continue
        text = (field.description or "").rstrip(".").replace("%", "%%")
        if field.default not in (None, ()):
            text += f" (default: {_plain(field.default)})"
        options: dict[str, Any] = {"help": text, "default": argparse.SUPPRESS}
        if field.annotation is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif get_origin(field.annotation) is Literal:
            options["choices"] = get_args(field.annotation)
        else:
            options["metavar"] = name.upper()
        parser.add_argument(_flag(name), **options)


def read_settings(arguments: argparse.Namespace) -> EffectiveSettings:
    """Raises ValueError, one line with the origin of the wrong value, and OSError for the file."""
    return settings_of(vars(arguments), _flag)


def settings_of(given: Mapping[str, Any], named: Callable[[str], str] = str) -> EffectiveSettings:
    """The settings in `given`, which override environment and file (`config`); `named` is their origin.

    Raises like `read_settings`.
    """
    config = given.get("config") or os.environ.get("ABINET_CONFIG")
    found = {
        **(_of_file(Path(config)) if config else {}),
        **_of_environment(),
        **{name: GivenValue(given[name], named(name)) for name in given if name in Settings.model_fields},
    }
    values = {name: value for name, (value, _) in found.items()}
    try:
        for secret in _SECRETS:
            file = f"{secret}_file"
            if found.get(file):
                keys = [*_keys(values.get(secret, [])), *_lines(values[file])]
                origins = [found[name].origin for name in (secret, file) if name in found]
                values[secret], found[secret] = keys, GivenValue(keys, " and ".join(origins))
        settings = Settings(**values)
    except ValidationError as error:
        raise ValueError(first_fault(error, found)) from None
    return EffectiveSettings(settings, {name: origin for name, (_, origin) in found.items()})


def refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError for the first unknown name."""
    known = list(known)
    for name in given:
        if name not in known:
            like = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {like[0]}?" if like else ""
            raise ValueError(f"there is no setting {name}{hint}")


def first_fault(error: ValidationError, found: Mapping[str, GivenValue]) -> str:
    """The first fault, with the value as it was given and its origin."""
    fault = error.errors(include_url=False, include_input=False)[0]
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    name = str(fault["loc"][0])
    value, origin = found[name]
    return f"{origin}: {message}" if name in _SECRETS else f"{origin} {_plain(value)}: {message}"


def as_toml(effective: EffectiveSettings) -> str:
    """The settings as a file that `--config` reads, each with its origin; keys stay secret."""
    lines = []
    for name, value in effective.settings:
        origin = effective.origins.get(name, "default")
        if name in _SECRETS:
            lines.append(f"# {name}: {len(value)}, not shown  # {origin}")
        elif value is None:
            lines.append(f"# {name} is not set")
        else:
            # Strings, numbers, booleans and lists of strings are written alike in JSON and TOML.
            lines.append(f"{name} = {json.dumps(value, ensure_ascii=False, default=str)}  # {origin}")
    return "\n".join(lines)


def _of_environment() -> dict[str, GivenValue]:
    prefix = Settings.model_config["env_prefix"]
    return {
        name: GivenValue(value, prefix + name.upper())
        for name, value in EnvSettingsSource(Settings)().items()
    }


def _of_file(path: Path) -> dict[str, GivenValue]:
    with open(path, "rb"):  # pydantic-settings ignores a file that does not exist
        pass
    try:
        table = TomlConfigSettingsSource(Settings, path).toml_data
    except ValueError as error:
        raise ValueError(f"{path}: not TOML: {error}") from error
    try:
        refuse_unknown(table, Settings.model_fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return {name: GivenValue(value, f"{path}: {name}") for name, value in table.items()}


def _keys(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [key.strip() for key in value.split(",")]
    return value if isinstance(value, list) else [value]


def _lines(path: str | Path) -> list[str]:
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise ValueError(f"{path}: no key in it")
    return keys


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _plain(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, bool) else str(value)
