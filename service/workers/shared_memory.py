"""Room in /dev/shm for the memory that fronts and engine workers share."""

from __future__ import annotations

import os
import shutil

from service.engines.bundle import Bundle
from service.engines.process import SHARED_MEMORY
from service.engines.protocol import SLOTS
from service.settings.model import Settings


def needed_bytes(bundle: Bundle, settings: Settings) -> int:
    """Bytes that a bundle's workers take: each shares memory with the manager and with every front."""
    return len(settings.engine_devices) * (1 + settings.fronts) * SLOTS * bundle.call_bytes()


def free_bytes() -> int | None:
    """Free bytes, or None if there is no /dev/shm and files are used."""
    return shutil.disk_usage(SHARED_MEMORY).free if os.path.isdir(SHARED_MEMORY) else None


def check_room(bundle: Bundle, settings: Settings) -> None:
    """Raises ValueError if there is not enough."""
    need, free = needed_bytes(bundle, settings), free_bytes()
    if free is not None and free < need:
        raise ValueError(
            f"{SHARED_MEMORY}: {free / 2**20:.1f} MiB are free and {need / 2**20:.1f} needed; "
            "free some, or give the container more with --shm-size"
        )
