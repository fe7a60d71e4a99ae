"""Which engine `--engine auto` runs: the fastest that is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from service.bundle_format.manifest import BundleError, read_manifest
from service.bundled import cache
from service.settings.model import Settings

LITE_RELEASE = "2.0.0"
"""The only MindSpore Lite on PyPI; it reads what the MindSpore of the same number wrote."""


class EngineChoice(NamedTuple):
    """Settings that name an engine and its interpreter, and the reason for the choice."""

    settings: Settings
    reason: str


def lite_directory() -> Path:
    """The folder in which `abinet lite` makes MindSpore Lite's environment."""
    return cache() / f"lite-{LITE_RELEASE}"


def chosen(settings: Settings) -> EngineChoice:
    """The settings' engine. `auto` is MindSpore Lite if its environment and a bundle for it are there."""
    if settings.engine != "auto":
        return EngineChoice(settings, "as set")
    reason = _against_lite(settings)
    if reason:
        return EngineChoice(settings.model_copy(update={"engine": "mindspore"}), reason)
    python = str(lite_directory() / "bin" / "python")
    lite = settings.model_copy(update={"engine": "lite", "worker_python": python})
    return EngineChoice(lite, f"it is faster than MindSpore, and its environment is in {lite_directory()}")


def _against_lite(settings: Settings) -> str:
    """Why MindSpore runs the graphs, or "" if Lite may."""
    if settings.worker_python != sys.executable:
        return "--worker-python is set"
    if any(device != "cpu" for device in settings.engine_devices):
        return "there are devices other than the CPU"
    if settings.bundle is not None:
        release = _written_by(settings.bundle)
        if release != LITE_RELEASE:
            return f"the bundle was written by MindSpore {release}, and Lite is {LITE_RELEASE}"
    if not (lite_directory() / "bin" / "python").is_file():
        return "MindSpore Lite is not there; `abinet lite` makes it"
    return ""


def _written_by(bundle: Path) -> str:
    """The release that wrote the bundle, if it can be read; its fault is reported when it is opened."""
    try:
        return read_manifest(bundle)["exporter"]["mindspore"]
    except BundleError:
        return "of an unknown release"
