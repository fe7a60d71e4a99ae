"""The same model behind mosec and LitServe, and PP-OCRv6 behind FastAPI, in turns with ours.

mosec and LitServe run the bundle's fused graph and our decoding, and answer with text and confidence; ours
answers with every iteration, with the text alone, and with early stop. Processor time is that of all
processes of a server, without the load generator's.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from ..bodies import crop_jpeg
from ..figures import Figure, at_least, at_most
from ..flags import add_engine, add_rounds, add_seconds
from ..processes import all_processor_seconds, processor_seconds
from ..rivals import rivals
from ..served import ROOM, engine_flags, opened_bundle, serving
from ..wrk import Load, run_wrk

_PAUSE_S = 2.0
"""For the server before to finish what its clients no longer wait for: mosec reads it all the same."""

RIVALS = ("mosec", "litserve", "rapidocr-tiny", "rapidocr-small")
OURS = {"ours": "", "ours, text alone": "?detail=false&iterations=0", "ours, early stop": "?early_stop=true"}


class Server(NamedTuple):
    """Where and what to post to it, and the processor seconds that it has used so far."""

    url: str
    body: bytes
    content_type: str
    used_s: Callable[[], float]


class Turn(NamedTuple):
    load: Load
    cpu_ms: float
    """Processor time of a crop."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_seconds(parser, 6)
    add_rounds(parser)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32, 128], help="connections")
    parser.add_argument("--rivals", nargs="*", default=["mosec"], choices=RIVALS)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    crop, folder = crop_jpeg(), opened_bundle(arguments).folder
    with (
        rivals(folder, arguments.rivals, 1, arguments.engine) as others,
        serving(folder, [*engine_flags(arguments), *ROOM]) as url,
    ):
        # The rivals are descendants of this process too.
        pids = [rival.pid for rival in others.values()]
        servers = {
            name: Server(
                f"{url}/v1/read{query}",
                crop,
                "image/jpeg",
                lambda: sum(processor_seconds().values()) - sum(map(all_processor_seconds, pids)),
            )
            for name, query in OURS.items()
        }
        for name, (pid, rival_url, body, content_type) in others.items():
            servers[name] = Server(
                rival_url,
                body,
                content_type,
                lambda pid=pid: all_processor_seconds(pid),  # type: ignore[misc]
            )
        figures = []
        for clients in arguments.clients:
            turns: dict[str, list[Turn]] = {name: [] for name in servers}
            for _ in range(arguments.rounds):
                for name, server in servers.items():
                    turns[name].append(_turn(server, clients, arguments.seconds))
            figures += _figures(clients, turns)
    return figures


def _turn(server: Server, clients: int, seconds: float) -> Turn:
    time.sleep(_PAUSE_S)
    before = server.used_s()
    load = run_wrk(
        server.url, server.body, connections=clients, seconds=seconds, content_type=server.content_type
    )
    return Turn(load, 1e3 * (server.used_s() - before) / load.requests)


def _figures(clients: int, turns: dict[str, list[Turn]]) -> list[Figure]:
    figures = []
    for name, of in turns.items():
        said = f"{clients} clients: {name}"
        figures += [
            Figure(said, statistics.median(turn.load.per_second for turn in of), "crops/s"),
            Figure(f"{said}, p50", statistics.median(turn.load.p50_ms for turn in of), "ms"),
            Figure(f"{said}, p99", statistics.median(turn.load.p99_ms for turn in of), "ms"),
            Figure(f"{said}, processor time", statistics.median(turn.cpu_ms for turn in of), "ms/crop"),
        ]
    if "mosec" in turns:
        for name, aim in (("ours", 1.0 if clients == 1 else 1.05), ("ours, early stop", 1.2)):
            ratios = [
                ours.load.per_second / mosec.load.per_second
                for ours, mosec in zip(turns[name], turns["mosec"], strict=True)
            ]
            figures.append(
                at_least(f"{clients} clients: {name} over mosec", statistics.median(ratios), "", aim)
            )
        p99s = [
            ours.load.p99_ms / mosec.load.p99_ms
            for ours, mosec in zip(turns["ours"], turns["mosec"], strict=True)
        ]
        figures.append(at_most(f"{clients} clients: p99 over mosec's", statistics.median(p99s), "", 1))
    return figures
