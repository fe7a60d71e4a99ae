"""The model that ships with the project: a checkpoint, exported once for each MindSpore release into a cache.

Only the release that wrote a MindIR can read it, so the project ships a checkpoint and not a bundle.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
from pathlib import Path

from service.bundle_format.hashes import sha256_of
from service.bundle_format.manifest import BundleError
from service.engines.bundle import Bundle
from service.engines.process import module_command

log = logging.getLogger("abinet")

NAME = "abinet_small_en"
BATCH_SIZES = "1,4,16"
_ZOO = Path(__file__).resolve().parent.parent / "models" / "zoo"


def bundled_model(python: str) -> Path:
    """The bundled model's bundle for the MindSpore of this interpreter, exported now if it was not yet.

    Raises ValueError with a one-line reason if that fails.
    """
    checkpoint = _ZOO / f"{NAME}.ckpt"
    if not checkpoint.is_file():
        raise ValueError(f"{checkpoint}: the bundled checkpoint is missing; pass --bundle")
    # Also its config: the same weights with another calibration are another bundle.
    weights, config = (sha256_of(file)[:12] for file in (checkpoint, checkpoint.with_suffix(".json")))
    bundle = cache() / "bundles" / f"{NAME}-{weights}-{config}-mindspore-{_mindspore_release(python)}"
    if _is_sound(bundle):  # first, because an image's cache cannot be written
        return bundle
    try:
        bundle.parent.mkdir(parents=True, exist_ok=True)
        lock = open(bundle.parent / ".lock", "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise ValueError(
            f"{bundle.parent}: cannot be written ({error.strerror}); name another folder in ABINET_CACHE"
        ) from error
    # Two services that start at once must not both export: the second waits here and finds the bundle.
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_sound(bundle):
            _export(python, checkpoint, bundle)
    return bundle


def _is_sound(folder: Path) -> bool:
    """Whether the bundle is there, complete and unchanged since its export."""
    if not folder.is_dir():
        return False
    try:
        bundle = Bundle(str(folder))
        bundle.check_hashes(bundle.graphs)
    except (BundleError, OSError) as error:
        log.warning("%s; it is exported again", error)
        return False
    return True


def cache() -> Path:
    """The folder for what is made once for all services."""
    folder = os.environ.get("ABINET_CACHE")
    return Path(folder) if folder else Path.home() / ".cache" / "abinet"


def _mindspore_release(python: str) -> str:
    try:
        found = subprocess.run(
            module_command(python, "service.engines.release"), capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{python}: not a Python that can run the engine worker ({error})") from error
    release = found.stdout.strip()
    if not release:
        raise ValueError(
            f"{python}: no MindSpore to export the bundled model with; install it, or pass --bundle"
        )
    return release


def _export(python: str, checkpoint: Path, bundle: Path) -> None:
    log.info("exporting the bundled model to %s (once; a minute or so)", bundle)
    command = [*module_command(python, "export"), str(checkpoint), "--output", str(bundle)]
    command += ["--batch-sizes", BATCH_SIZES, "--force"]
    environment = {"GLOG_v": "3", **os.environ}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment)
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ValueError(f"{checkpoint}: the export failed: {reason}")
