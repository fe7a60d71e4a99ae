"""Lines about a training: its stages, and how long one takes once that is measured."""

from __future__ import annotations

import time
from collections.abc import Sequence

from models.training.recipe import Stage

#: The pace is reported after this many steps or seconds, without the first step, which compiles.
MEASURED_STEPS, MEASURED_SECONDS = 100, 30.0


def stages_line(stages: Sequence[Stage], steps: Sequence[int]) -> str:
    """All stages with their numbers of steps."""
    each = ", ".join(
        f"{number} {stage.stage} {count} steps"
        for number, (stage, count) in enumerate(zip(stages, steps, strict=True))
    )
    return f"plan: {each}; together {sum(steps)} steps"


def fonts_line(found: int, made_with: int | None) -> str:
    """The number of fonts for rendering, and the number with which the recipe was made."""
    line = f"fonts: {found} found"
    if made_with is None:
        return line
    line += f", the recipe was made with {made_with}"
    if found < made_with / 2:
        line += "; with so few the network sees fewer looks; docs/data.md names packages with more"
    return line


def spelt_out(seconds: float) -> str:
    """A duration as people say it: 40 s, 12 min, 7.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


class StagePace:
    """How long a stage will take, reported once, when its first steps have been measured."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None
        self._told = False

    def after(self, step: int, steps: int) -> str | None:
        """The line to print after ``step`` of the stage's ``steps``, if it is time for it."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, step
            return None
        seconds, measured = now - self._began[0], step - self._began[1]
        if self._told or not (seconds >= MEASURED_SECONDS or measured >= MEASURED_STEPS):
            return None
        self._told = True
        left = (steps - step) * seconds / measured
        rate = measured / max(seconds, 1e-9)
        return f"{rate:.3g} steps a second: the {steps - step} that are left take about {spelt_out(left)}"
