"""The curves of a training: a table that grows and a picture of it."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FIGURES = ("vision", "fused", "corrected")
COLUMNS = ("stage", "name", "step", "seconds", "samples", "rate", "loss", *FIGURES)
SET_COLUMNS = ("stage", "name", "step", "samples", "set", "count", *FIGURES)
Row = dict[str, str]


class Table:
    """A .csv that grows; rows that a killed training wrote after its last save can be dropped."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, columns

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            if new:
                writer.writeheader()
            writer.writerows(rows)

    def rows(self) -> list[Row]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def forget_after(self, stage: int, step: int) -> None:
        kept = [row for row in self.rows() if (int(row["stage"]), int(row["step"])) <= (stage, step)]
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)
        os.replace(partial, self.path)


class Curves:
    """In a folder: ``curves.csv``, a row what one log line says, ``validation.csv``, a row what a
    validation found in one of its sets, both empty if unknown, and ``curves.png``."""

    def __init__(self, folder: Path) -> None:
        self.table = Table(folder / "curves.csv", COLUMNS)
        self.sets = Table(folder / "validation.csv", SET_COLUMNS)
        self.picture = folder / "curves.png"

    def append(self, row: Mapping[str, Any]) -> None:
        self.table.append([row])

    def append_sets(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.sets.append(rows)

    def forget_after(self, stage: int, step: int) -> None:
        """Drops what a killed training logged beyond the state that it goes on from."""
        self.table.forget_after(stage, step)
        self.sets.forget_after(stage, step)

    def draw(self) -> None:
        """Draws, over the samples seen: the loss, with a colour for each stage; the accuracy; and that of
        each validation set.
        """
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, (losses, accuracies, sets) = pyplot.subplots(
            3, 1, sharex=True, figsize=(9, 10), layout="constrained"
        )
        rows = self.table.rows()
        for stage in sorted({int(row["stage"]) for row in rows}):
            part = [row for row in rows if int(row["stage"]) == stage]
            samples = [int(row["samples"]) for row in part]
            losses.plot(samples, [float(row["loss"]) for row in part], label=f"{stage} {part[0]['name']}")
        for figure_name, style in zip(FIGURES, ("o-", "s-", "^-"), strict=True):
            _plot(accuracies, rows, figure_name, style, figure_name)
        found = self.sets.rows()
        for name in dict.fromkeys(row["set"] for row in found):
            part = [_with_last_figure(row) for row in found if row["set"] == name]
            _plot(sets, part, "last", ".-", name)
        losses.set(ylabel="loss", yscale="log")
        losses.legend(title="stage")
        accuracies.set(ylabel="right, %", ylim=(0, 100))
        sets.set(xlabel="samples seen", ylabel="right in each set, %", ylim=(0, 100))
        for axes in (losses, accuracies, sets):
            axes.grid(alpha=0.3)
        figure.savefig(self.picture, dpi=110)
        pyplot.close(figure)


def _plot(axes: Any, rows: list[Row], column: str, style: str, label: str) -> None:
    known = [(int(row["samples"]), 100 * float(row[column])) for row in rows if row[column]]
    if known:
        axes.plot(*zip(*known, strict=True), style, markersize=3, label=label)
        axes.legend()


def _with_last_figure(row: Row) -> Row:
    """The figure that counts in the row's stage."""
    return {**row, "last": row["corrected"] or (row["vision"] if row["name"] == "vision" else row["fused"])}
