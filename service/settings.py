"""What `abinet serve` can be told, with its defaults."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.engines.engine import EngineOptions


class Settings(BaseModel):
    """Limits count crops, bytes, pixels and seconds."""

    model_config = ConfigDict(frozen=True)

    bundle: Path | None = None
    """The bundle to serve; none means the bundled model."""
    worker_python: str = sys.executable
    engine: EngineOptions = EngineOptions(threads=os.cpu_count() or 1)
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    iterations: Annotated[int, Field(ge=0)] | None = None
    """Refinements of a request that asks for none in particular; none means the bundle's own number."""
    max_queue: Annotated[int, Field(ge=1)] = 256
    """Crops that may wait for the engine."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 8 << 20
    max_pixels: Annotated[int, Field(ge=1)] = 16_000_000
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Longest that a request may take, the queue included."""
    settled_threshold: Annotated[float, Field(gt=0, le=1)] = 0.9
    """How sure early stop must be of every character."""
    drain_s: Annotated[float, Field(gt=0)] = 30.0
    """How long SIGTERM waits for the requests in flight."""
