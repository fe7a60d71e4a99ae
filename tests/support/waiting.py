"""Waiting for what will happen, in place of sleeping until it has."""

from __future__ import annotations

from collections.abc import Callable

import anyio


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Raises TimeoutError if it has not become true by then."""
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.001)
