"""How long others wait beside batches of 64 crops with a lexicon of 10,000 words, and without one."""

import argparse
import json
import random
import statistics
import string
import threading
import time

import httpx

from service.types import MOST_LEXICON_WORDS

from ..bodies import BATCH_ITEMS, crop_jpeg, json_batch
from ..figures import Figure
from ..flags import add_seconds
from ..served import NO_OP, opened_bundle, serving

_PROBE_S = 0.005


def configure(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    body, _ = json_batch([crop_jpeg()] * BATCH_ITEMS)
    chance = random.Random(1)
    words = [
        "".join(chance.choices(string.ascii_lowercase, k=chance.randint(3, 12)))
        for _ in range(MOST_LEXICON_WORDS)
    ]
    plain = json.loads(body)
    figures = []
    with serving(opened_bundle(arguments).folder, NO_OP) as url:
        for name, sent in (("without", plain), ("with a lexicon", {**plain, "lexicon": words})):
            requests, probes = beside(url, json.dumps(sent).encode(), arguments.seconds)
            probes.sort()
            figures += [
                Figure(f"{name}: request, p50", 1000 * statistics.median(requests), "ms"),
                Figure(f"{name}: a probe's answer, p50", 1000 * statistics.median(probes), "ms"),
                Figure(f"{name}: a probe's answer, p99", 1000 * probes[int(0.99 * len(probes))], "ms"),
                Figure(f"{name}: a probe's answer, worst", 1000 * probes[-1], "ms"),
            ]
    return figures


def beside(url: str, body: bytes, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of requests, one after the other, and of probes of /health/live meanwhile."""
    requests: list[float] = []
    probes: list[float] = []
    over = time.monotonic() + seconds

    def read() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            while time.monotonic() < over:
                before = time.perf_counter()
                headers = {"Content-Type": "application/json"}
                client.post("/v1/read/batch", content=body, headers=headers).raise_for_status()
                requests.append(time.perf_counter() - before)

    reader = threading.Thread(target=read)
    reader.start()
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        while reader.is_alive():
            before = time.perf_counter()
            client.get("/health/live").raise_for_status()
            probes.append(time.perf_counter() - before)
            time.sleep(_PROBE_S)
    reader.join()
    return requests, probes
