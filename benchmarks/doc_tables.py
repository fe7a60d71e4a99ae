"""Writes the tables of the documentation from the JSON of the commands that measured them, in docs/figures.

A table stands between `<!-- table: KIND FILE -->` and `<!-- end of table -->`. With `--check` nothing is
written, and a page whose table is not that of its JSON is an error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
FIGURES = PROJECT / "docs" / "figures"
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("models/zoo/*.md")])
_TABLE = re.compile(r"(<!-- table: (\w+) ([\w.-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def accuracy(document: dict[str, Any]) -> str:
    """Of `abinet eval --json`: word accuracy in per cent, a row for each set."""
    rows = [(one["name"], one["crops"], one["accuracy"]) for one in document["sets"]]
    if len(rows) > 1:
        rows.append(("all crops", sum(crops for _, crops, _ in rows), document["average"]["crops"]))
    heads = ["set", "crops", "vision alone"]
    heads += [f"iteration {number}" for number in range(1, len(rows[0][2]["fused"]) + 1)]
    cells = [
        [name, f"{crops:,}", *(f"{100 * share:.1f}" for share in (stages["vision"], *stages["fused"]))]
        for name, crops, stages in rows
    ]
    return _markdown(heads, cells)


def reliability(document: dict[str, Any]) -> str:
    """Of `abinet eval --json`: ten bins of confidence, and how many of their words are right, in per cent."""
    cells = [
        [
            f"{100 * one['least']:.1f} - {100 * one['greatest']:.1f}",
            str(one["crops"]),
            f"{100 * one['confidence']:.1f}",
            f"{100 * one['accuracy']:.1f}",
        ]
        for one in document["confidence"]["bins"]
    ]
    return _markdown(["confidence", "crops", "mean", "right"], cells)


def readers(document: dict[str, Any]) -> str:
    """Of `benchmarks/readers.py --json`: accuracy in per cent and milliseconds of a core a crop."""
    results = document["results"]
    names = list(dict.fromkeys(one["reader"] for one in results))
    cells = []
    for set_name in dict.fromkeys(one["set"] for one in results):
        row = [one for one in results if one["set"] == set_name]
        shares = [f"{100 * one['accuracy']:.1f}" for one in row]
        cells.append([set_name, f"{row[0]['crops']:,}", *shares, *(f"{one['ms']:.1f}" for one in row)])
    return _markdown(["set", "crops", *(f"{name}, {what}" for what in ("%", "ms") for name in names)], cells)


def serving(document: dict[str, Any]) -> str:
    """Of `python -m benchmarks.serving SCENARIO --json`: every figure beside its aim."""
    verdicts = {True: ", met", False: ", missed", None: ""}
    cells = [
        [
            one["name"].strip(),
            f"{one['value']:,.0f}" if abs(one["value"]) >= 1000 else f"{one['value']:.3g}",
            one["unit"],
            one["aim"] + verdicts[one["met"]],
        ]
        for one in document["figures"]
    ]
    return _markdown([f"{document['benchmark']}, {document['measured']}", "measured", "unit", "aim"], cells)


def engines(timings: list[dict[str, Any]]) -> str:
    """Of `benchmarks/engines.py NETWORK --json`: ms per image of each engine, and what Lite is between."""
    releases = {one["engine"]: one["release"] for one in timings}
    ms: dict[tuple[int, int], dict[str, float]] = {}
    for one in timings:
        ms.setdefault((one["threads"], one["batch"]), {})[one["engine"]] = one["ms_per_image"]
    cells = [
        [
            str(threads),
            str(batch),
            *(f"{of[engine]:.1f}" for engine in releases),
            f"{of['mindspore'] / of['lite']:.2f}",
            f"{of['lite'] / of['onnx']:.2f}",
        ]
        for (threads, batch), of in sorted(ms.items())
    ]
    return _markdown(
        ["threads", "batch", *releases.values(), "MindSpore / Lite", "Lite / ONNX Runtime"], cells
    )


KINDS: dict[str, Callable[[Any], str]] = {
    "accuracy": accuracy,
    "reliability": reliability,
    "readers": readers,
    "serving": serving,
    "engines": engines,
}


def with_tables(page: str) -> str:
    """A page with all its tables as their JSON has them now."""

    def table(found: re.Match[str]) -> str:
        begin, kind, file, end = found.groups()
        return begin + KINDS[kind](json.loads((FIGURES / file).read_text(encoding="utf-8"))) + end

    return _TABLE.sub(table, page)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is stale")
    stale = False
    check = parser.parse_args().check
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = with_tables(before)
        if before != after:
            stale = True
            print(f"{page.relative_to(PROJECT)}: {'stale' if check else 'written'}")
            if not check:
                page.write_text(after, encoding="utf-8")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
