"""The curves of a training: a table that grows and a picture of it."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

COLUMNS = ("stage", "name", "step", "seconds", "samples", "rate", "loss", "vision", "fused")


class Curves:
    """``curves.csv`` and ``curves.png`` in a folder; a row is what one log line says, empty where unknown."""

    def __init__(self, folder: Path) -> None:
        self.table = folder / "curves.csv"
        self.picture = folder / "curves.png"

    def append(self, row: dict[str, Any]) -> None:
        new = not self.table.exists()
        with self.table.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)

    def rows(self) -> list[dict[str, str]]:
        if not self.table.exists():
            return []
        with self.table.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def forget_after(self, stage: int, step: int) -> None:
        """Drops what a killed training logged beyond the state that it goes on from."""
        kept = [row for row in self.rows() if (int(row["stage"]), int(row["step"])) <= (stage, step)]
        partial = self.table.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(partial, self.table)

    def draw(self) -> None:
        """Loss and accuracy over the samples seen, a colour a stage."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, (losses, accuracies) = pyplot.subplots(
            2, 1, sharex=True, figsize=(9, 7), layout="constrained"
        )
        rows = self.rows()
        for stage in sorted({int(row["stage"]) for row in rows}):
            part = [row for row in rows if int(row["stage"]) == stage]
            samples = [int(row["samples"]) for row in part]
            name = f"{stage} {part[0]['name']}"
            losses.plot(samples, [float(row["loss"]) for row in part], label=name)
        for column, style in (("vision", "o-"), ("fused", "s-")):
            known = [(int(row["samples"]), 100 * float(row[column])) for row in rows if row[column]]
            if known:
                accuracies.plot(*zip(*known, strict=True), style, markersize=3, label=column)
                accuracies.legend()
        losses.set(ylabel="loss", yscale="log")
        losses.legend(title="stage")
        accuracies.set(xlabel="samples seen", ylabel="words read rightly, %", ylim=(0, 100))
        for axes in (losses, accuracies):
            axes.grid(alpha=0.3)
        figure.savefig(self.picture, dpi=110)
        pyplot.close(figure)
