"""What was measured, beside what it should be."""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import date
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured number. `aim` says what it should be, `met` whether it is."""

    name: str
    value: float
    unit: str
    aim: str = ""
    met: bool | None = None


def at_least(name: str, value: float, unit: str, aim: float) -> Figure:
    return Figure(name, value, unit, f">= {aim:g}", value >= aim)


def at_most(name: str, value: float, unit: str, aim: float) -> Figure:
    return Figure(name, value, unit, f"<= {aim:g}", value <= aim)


def print_table(figures: list[Figure]) -> None:
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
        value = f"{figure.value:,.0f}" if abs(figure.value) >= 1000 else f"{figure.value:.3g}"
        print(f"{figure.name:<{width}}  {value:>9} {figure.unit:<10} {figure.aim:<9} {verdict}".rstrip())


def report(
    program: str, measure: Callable[[argparse.Namespace], list[Figure]], arguments: argparse.Namespace
) -> int:
    """Prints what was measured, as JSON if that was asked for; the exit code."""
    try:
        figures = measure(arguments)
    except (ValueError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        document = {
            "benchmark": program,
            "measured": date.today().isoformat(),
            "figures": [figure._asdict() for figure in figures],
        }
        print(json.dumps(document, indent=2))
    else:
        print_table(figures)
    return 0
