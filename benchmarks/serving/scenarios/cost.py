"""Processor time of a crop, no-op engine: of the front, of its image decoders, of the engine worker.

Beside others on the same cores these figures change far less than crops a second do.
"""

import argparse

from ..bodies import BATCH_ITEMS, crop_jpeg, form
from ..figures import Figure
from ..flags import add_seconds
from ..processes import processor_seconds
from ..served import CLIENTS, NO_OP, metrics, opened_bundle, serving
from ..wrk import run_wrk


def configure(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser, 5)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    crop = crop_jpeg()
    figures = []
    with serving(opened_bundle(arguments).folder, NO_OP) as url:
        # Few clients with forms: what is under way when they leave is decoded and not counted.
        for name, clients, path, body, content_type in (
            ("single", CLIENTS, "/v1/read", crop, "image/jpeg"),
            ("form", 2, "/v1/read/batch", *form("images", [crop] * BATCH_ITEMS)),
        ):
            run_wrk(url + path, body, connections=clients, seconds=2, content_type=content_type)
            before, crops = processor_seconds(), metrics(url)["abinet_crops_total"]
            run_wrk(
                url + path, body, connections=clients, seconds=arguments.seconds, content_type=content_type
            )
            after, crops = processor_seconds(), metrics(url)["abinet_crops_total"] - crops
            for role, seconds in after.items():
                figures.append(Figure(f"{name}, {role}", 1e6 * (seconds - before[role]) / crops, "us/crop"))
    return figures
