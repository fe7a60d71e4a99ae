"""The bar on the terminal: crops, crops a second, how long it will take."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from abinet_client.batch.sources import Inputs
from abinet_client.batch.terminal import visible

_UPDATE = 1000


class ProgressBar:
    """A bar on the standard error output, if `shown`. A thread counts the crops of `inputs` meanwhile."""

    def __init__(self, inputs: Inputs | None, *, shown: bool) -> None:
        from tqdm import tqdm

        self._bar: tqdm[Any] = tqdm(
            unit=" crops", disable=not shown, file=sys.stderr, dynamic_ncols=True, smoothing=0.1
        )
        self._skipped = 0
        self._closed = threading.Event()
        if shown and inputs is not None and inputs.countable:
            threading.Thread(target=self._count, args=(inputs,), daemon=True).start()

    def advance(self) -> None:
        """A crop has its row."""
        self._bar.update()

    def skip(self) -> None:
        """A crop has one since an earlier run."""
        self._skipped += 1

    def say(self, line: str) -> None:
        """Writes a line above the bar."""
        self._bar.write(f"abinet: {visible(line)}", file=sys.stderr)

    def close(self) -> None:
        self._closed.set()
        self._bar.close()

    def _count(self, inputs: Inputs) -> None:
        crops = 0
        for number, more in enumerate(inputs.count(), 1):
            crops += more
            if number % _UPDATE == 0:
                time.sleep(0)  # reading comes first
                if self._closed.is_set():
                    return
        while not self._closed.wait(0.5):
            self._bar.total = max(crops - self._skipped, self._bar.n)
            self._bar.refresh()
