"""Flags that several scenarios have."""

import argparse

from service.engines.engine import ENGINES


def add_engine(parser: argparse.ArgumentParser, default: str = "mindspore") -> None:
    parser.add_argument("--engine", default=default, choices=ENGINES)
    parser.add_argument("--simulated-ms", type=float, default=10.0)


def add_seconds(parser: argparse.ArgumentParser, default: float = 10) -> None:
    parser.add_argument(
        "--seconds", type=float, default=default, help="of each measurement (default %(default)s)"
    )


def add_rounds(parser: argparse.ArgumentParser, default: int = 3) -> None:
    parser.add_argument("--rounds", type=int, default=default, help="turns (default %(default)s)")


def add_fronts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fronts", type=int, default=1, help="front processes")
