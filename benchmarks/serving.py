"""Measures the service over loopback, under the load of other processes.

Each subcommand starts its own services, prints a table with the aim beside each figure (`--json`: as JSON),
and can be run alone. Named so because a `service.py` here would hide the package.
"""

import argparse
import base64
import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import httpx
import numpy as np
from wrk import Load, run_wrk

from abinet_client.local_service import local_service
from models.data.sets.folders import UnusableSample, open_set
from models.evaluation.scoring import reads
from service.bundled import bundled_model
from service.engines.bundle import Bundle
from service.engines.engine import ENGINES, EngineOptions
from service.engines.process import EngineProcess
from service.settings.model import Settings

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "models" / "zoo" / "samples" / "telescope.png"
CLIENTS = 32
BATCH_ITEMS = 64
SETTLE_S = 2.0
"""For wrk to have all its requests under way, and for those to be read that it leaves when it ends."""
LOAD = 0.7
"""How busy devices and fronts should be at most: queues grow fast beyond."""
# Room for a batch of each of many clients, also where one front has them all.
ROOM = ["--max-queue", str(8 * CLIENTS * BATCH_ITEMS)]
_SLOW_MS, _SLOW_MS_PER_CROP = 5.0, 2.0
SLOW = [
    *("--engine", "simulated", "--simulated-ms", str(_SLOW_MS)),
    *("--simulated-ms-per-crop", str(_SLOW_MS_PER_CROP)),
]
NO_OP = ["--engine", "simulated", "--simulated-ms", "0", *ROOM]


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


# What is sent.


def crop_jpeg() -> bytes:
    """A crop of 256 x 64 pixels as a JPEG of about 5 kB."""
    image = cv2.resize(cv2.imread(str(SAMPLE)), (256, 64))
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def form(name: str, images: list[bytes]) -> tuple[bytes, str]:
    """The files as a multipart form: body and content type."""
    parts = [
        b'--crop\r\nContent-Disposition: form-data; name="%s"; filename="%d.jpg"\r\n\r\n%s\r\n'
        % (name.encode(), number, image)
        for number, image in enumerate(images)
    ]
    return b"".join(parts) + b"--crop--\r\n", "multipart/form-data; boundary=crop"


def json_batch(images: list[bytes]) -> tuple[bytes, str]:
    encoded = [base64.b64encode(image).decode() for image in images]
    return json.dumps({"images": encoded}).encode(), "application/json"


# What is measured.


def throughput(arguments: argparse.Namespace) -> list[Figure]:
    """Crops a second through HTTP over those of the bare engine at its largest batch, in turns.

    The figures are medians, that of the ratio over the turns: the machine's speed changes between these.
    """
    bundle, options = opened_bundle(arguments), engine_options(arguments)
    batch = max(graph.batch for graph in bundle.graphs)
    bare_rates, http_rates = [], []
    worker = EngineProcess(bundle, options, arguments.worker_python)
    try:
        worker.load()
        with serving(bundle.folder, engine_flags(arguments)) as url:
            for _ in range(arguments.rounds):
                bare_rates.append(bare_engine(worker, bundle, batch, arguments.seconds))
                http_rates.append(steady_rate(url, arguments.seconds))
            fill = latency_report(url)["batches"]["vision"]["fill"]
    finally:
        worker.kill()
    ratio = statistics.median(http / bare for http, bare in zip(http_rates, bare_rates, strict=True))
    return [
        Figure(f"bare {arguments.engine} engine, batch {batch}", statistics.median(bare_rates), "crops/s"),
        Figure(f"through HTTP, {CLIENTS} clients", statistics.median(http_rates), "crops/s"),
        Figure("rows of the batches that held a crop", fill, ""),
        at_least("HTTP over bare", ratio, "", 0.95),
    ]


def steady_rate(url: str, seconds: float) -> float:
    """Crops a second by the service's own count, while every client has a request under way."""
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(
            run_wrk, f"{url}/v1/read", crop_jpeg(), connections=CLIENTS, seconds=seconds + 2 * SETTLE_S
        )
        time.sleep(SETTLE_S)
        started, before = time.perf_counter(), metrics(url)["abinet_crops_total"]
        time.sleep(seconds)
        after, ended = metrics(url)["abinet_crops_total"], time.perf_counter()
        load.result()
    return (after - before) / (ended - started)


def bare_engine(worker: EngineProcess, bundle: Bundle, batch: int, seconds: float) -> float:
    """Crops a second of vision and all refinements by the engine's own clock, without any transport."""
    images = np.zeros((batch, bundle.channels, bundle.height, bundle.width), np.float32)
    end, own, crops = time.perf_counter() + seconds, 0.0, 0
    while time.perf_counter() < end:
        answer = worker.run("vision", [images])
        logits, features = answer.tensors
        own += answer.seconds
        for _ in range(bundle.iterations):
            answer = worker.run("refine", [logits, features])
            _, logits = answer.tensors
            own += answer.seconds
        crops += batch
    return crops / own


def no_op(arguments: argparse.Namespace) -> list[Figure]:
    """An engine that takes no time: what the service itself can do, beside mosec and LitServe."""
    crop, folder = crop_jpeg(), opened_bundle(arguments).folder
    loads: dict[str, list[Load]] = {}
    flags = [*NO_OP, "--fronts", str(arguments.fronts)]

    def measure(name: str, url: str, body: bytes, content_type: str = "image/jpeg") -> None:
        load = run_wrk(
            url, body, connections=arguments.clients, seconds=arguments.seconds, content_type=content_type
        )
        loads.setdefault(name, []).append(load)

    with serving(folder, flags) as ours, rivals(folder, arguments.rivals, arguments.fronts) as others:
        for _ in range(arguments.rounds):
            measure("single", f"{ours}/v1/read", crop)
            measure("text", f"{ours}/v1/read?detail=false", crop)
            measure("lean", f"{ours}/v1/read?iterations=0&detail=false", crop)
            measure("form", f"{ours}/v1/read/batch", *form("images", [crop] * BATCH_ITEMS))
            measure("json", f"{ours}/v1/read/batch", *json_batch([crop] * BATCH_ITEMS))
            for name, (url, body, content_type) in others.items():
                measure(name, url, body, content_type)
    rates = {name: statistics.median(load.per_second for load in of) for name, of in loads.items()}
    figures = [
        at_least("single crops, all iterations and details", rates["single"], "crops/s", 3000),
        Figure("single crops, all iterations, the text alone", rates["text"], "crops/s"),
        Figure("single crops, vision's text alone", rates["lean"], "crops/s"),
        at_least(f"batches of {BATCH_ITEMS}, form", rates["form"] * BATCH_ITEMS, "crops/s", 8000),
        Figure(f"batches of {BATCH_ITEMS}, JSON", rates["json"] * BATCH_ITEMS, "crops/s"),
    ]
    for name in others:
        figures.append(Figure(f"{name}, single crops", rates[name], "crops/s"))
        figures.append(at_least(f"ours over {name}", rates["single"] / rates[name], "", 1))
        figures.append(Figure(f"ours over {name}, the text alone as there", rates["text"] / rates[name], ""))
    return figures


def devices(arguments: argparse.Namespace) -> list[Figure]:
    """Throughput of 1 and of 4 simulated NPUs, in batch requests, and what no NPU would hold up."""
    folder, (body, content_type) = (
        Path(opened_bundle(arguments).folder),
        form("images", [crop_jpeg()] * BATCH_ITEMS),
    )
    flags = ["--engine", "simulated", *ROOM, "--fronts", str(arguments.fronts)]

    def rate(milliseconds: float, count: int) -> float:
        options = ["--simulated-ms", str(milliseconds), "--devices", ",".join(["cpu"] * count)]
        with serving(str(folder), [*flags, *options]) as url:
            load = run_wrk(
                f"{url}/v1/read/batch",
                body,
                connections=CLIENTS,
                seconds=arguments.seconds,
                content_type=content_type,
            )
        return load.per_second * BATCH_ITEMS

    figures = [Figure("ceiling: a call takes no time", rate(0, 1), "crops/s")]
    for milliseconds in (2, 8):
        one, four = rate(milliseconds, 1), rate(milliseconds, 4)
        figures += [
            Figure(f"1 NPU, {milliseconds} ms a call", one, "crops/s"),
            Figure(f"4 NPUs, {milliseconds} ms a call", four, "crops/s"),
            at_least(f"4 NPUs over 1, {milliseconds} ms a call", four / one, "", 3.5),
        ]
    return figures


def capacity(arguments: argparse.Namespace) -> list[Figure]:
    """Engine time by batch, crops a second of a front's core, and how many of both some traffic needs."""
    bundle = opened_bundle(arguments)
    worker = EngineProcess(bundle, engine_options(arguments), arguments.worker_python)
    try:
        worker.load()
        costs = {batch: engine_times(worker, bundle, batch) for batch in sorted(batches(bundle))}
    finally:
        worker.kill()
    figures = []
    for batch, (vision, refine) in costs.items():
        figures.append(Figure(f"vision, batch {batch}", 1e3 * vision, "ms"))
        figures.append(Figure(f"a refinement, batch {batch}", 1e3 * refine, "ms"))
    device = max(batch / (vision + bundle.iterations * refine) for batch, (vision, refine) in costs.items())
    figures.append(Figure(f"one device, {bundle.iterations} iterations", device, "crops/s"))
    for name, path, body in (
        ("single crops with detail", "/v1/read", (crop_jpeg(), "image/jpeg")),
        (f"batches of {BATCH_ITEMS}", "/v1/read/batch", form("images", [crop_jpeg()] * BATCH_ITEMS)),
    ):
        front = crops_of_a_core(bundle, path, body, arguments.seconds)
        figures.append(Figure(f"one core of a front, {name}", front, "crops/s"))
        for traffic in arguments.traffic:
            cards = -(-traffic // (LOAD * device))
            cores = -(-traffic // (LOAD * front))
            figures.append(Figure(f"  {traffic:,.0f} crops/s: devices", cards, ""))
            figures.append(Figure(f"  {traffic:,.0f} crops/s: cores for fronts", cores, ""))
    return figures


def batches(bundle: Bundle) -> set[int]:
    return {graph.batch for graph in bundle.graphs_of("vision")}


def engine_times(worker: EngineProcess, bundle: Bundle, batch: int) -> tuple[float, float]:
    """Seconds of vision and of one refinement, medians."""
    images = np.zeros((batch, bundle.channels, bundle.height, bundle.width), np.float32)
    vision, refine = [], []
    for _ in range(20):
        answer = worker.run("vision", [images])
        vision.append(answer.seconds)
        refine.append(worker.run("refine", answer.tensors).seconds)
    return statistics.median(vision), statistics.median(refine)


def crops_of_a_core(bundle: Bundle, path: str, body: tuple[bytes, str], seconds: float) -> float:
    """By the processor time that a front itself took for a crop."""
    with serving(bundle.folder, NO_OP) as url:
        before = metrics(url)
        run_wrk(f"{url}{path}", body[0], connections=CLIENTS, seconds=seconds, content_type=body[1])
        after = metrics(url)
    took = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    return (after["abinet_crops_total"] - before["abinet_crops_total"]) / took


@contextlib.contextmanager
def rivals(folder: str, names: list[str], workers: int) -> Iterator[dict[str, tuple[str, bytes, str]]]:
    """Rivals by name, running: where and what to post to them. mosec has a worker for each of our fronts."""
    crop = crop_jpeg()
    starts: dict[str, Callable[[str], list[str]]] = {
        "mosec": lambda port: [str(HERE / "rival_mosec.py"), folder, str(workers), "--port", port],
        "litserve": lambda port: [str(HERE / "rival_litserve.py"), folder, port],
    }
    posts = {"mosec": ("/inference", crop, "image/jpeg"), "litserve": ("/predict", *form("image", [crop]))}
    running = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            path, body, content_type = posts[name]
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            stack.enter_context(background([sys.executable, *starts[name](str(port))]))
            url = f"http://127.0.0.1:{port}{path}"
            wait_for_answer(url, body, content_type)
            running[name] = (url, body, content_type)
        yield running


@contextlib.contextmanager
def background(command: list[str]) -> Iterator[None]:
    """A process that is ended with all that it has started."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_answer(url: str, body: bytes, content_type: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(url, content=body, headers={"Content-Type": content_type}, trust_env=False)
            if answer.status_code == 200:
                return
        if time.monotonic() > deadline:
            raise ValueError(f"{url}: no answer within a minute")
        time.sleep(0.2)


def idle(arguments: argparse.Namespace) -> list[Figure]:
    """One client, one request at a time: what the service adds to the engine's own time."""
    with serving(opened_bundle(arguments).folder, engine_flags(arguments)) as url:
        told = load_generator("idle", url, "--seconds", str(arguments.seconds))
    return [
        Figure("requests", told["requests"], ""),
        Figure("request, p50", told["total_ms"], "ms"),
        Figure("engine's own time in it, p50", told["engine_ms"], "ms"),
        at_most("beyond the engine, p50", told["beyond_ms"], "ms", 3),
        Figure("beyond the engine, p99", told["beyond_p99_ms"], "ms"),
    ]


def early_stop(arguments: argparse.Namespace) -> list[Figure]:
    """Engine time and accuracy on labelled crops, with and without early stop, in turns."""
    samples = labelled(arguments.labels)
    took: dict[bool, list[float]] = {False: [], True: []}
    right = {}
    with serving(opened_bundle(arguments).folder, engine_flags(arguments)) as url:
        for _ in range(arguments.rounds):
            for stop in took:
                before = engine_seconds(url)
                texts = read_all(url, [image for image, _ in samples], early_stop=stop)
                took[stop].append(engine_seconds(url) - before)
                right[stop] = sum(reads(text, label) for text, (_, label) in zip(texts, samples, strict=True))
    seconds = {stop: statistics.median(times) for stop, times in took.items()}
    saved = 1 - seconds[True] / seconds[False]
    return [
        Figure("crops", len(samples), ""),
        Figure("engine, all iterations", seconds[False], "s"),
        Figure("engine, early stop", seconds[True], "s"),
        at_least("engine time saved", 100 * saved, "%", 10),
        Figure("accuracy, all iterations", 100 * right[False] / len(samples), "%"),
        at_least(
            "accuracy, early stop", 100 * right[True] / len(samples), "%", 100 * right[False] / len(samples)
        ),
    ]


def labelled(folder: Path) -> list[tuple[bytes, str]]:
    """Image files and labels of a set, without what cannot be used."""
    crops, samples = open_set(folder), []
    for index in range(len(crops)):
        with contextlib.suppress(UnusableSample):
            samples.append(crops.encoded(index))
    if not samples:
        raise ValueError(f"{folder}: no labelled crop")
    return samples


def read_all(url: str, images: list[bytes], early_stop: bool) -> list[str]:
    """The texts, read in batch requests one after the other; a crop that was refused reads as nothing."""
    texts = []
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
        for start in range(0, len(images), BATCH_ITEMS):
            body, content_type = form("images", images[start : start + BATCH_ITEMS])
            answer = client.post(
                "/v1/read/batch",
                content=body,
                headers={"Content-Type": content_type},
                params={"early_stop": early_stop},
            ).raise_for_status()
            texts += [(item.get("result") or {"text": ""})["text"] for item in answer.json()["items"]]
    return texts


def start(arguments: argparse.Namespace) -> list[Figure]:
    """Seconds from the command to readiness, the bundle being there; known to 0.2 s."""
    folder = opened_bundle(arguments).folder
    seconds = []
    for _ in range(arguments.rounds):
        started = time.perf_counter()
        with serving(folder, engine_flags(arguments)):
            seconds.append(time.perf_counter() - started)
    return [at_most(f"start to ready, median of {len(seconds)}", statistics.median(seconds), "s", 15)]


def cost(arguments: argparse.Namespace) -> list[Figure]:
    """Processor time of a crop, no-op engine: of the front, of its image decoders, of the engine worker.

    Beside others on the same cores these figures change far less than crops a second do.
    """
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


def processor_seconds() -> dict[str, float]:
    """What the processes of the service that this one has started have used so far, by what they do."""
    roles = {"service.image_decoding.process": "decoders", "service.engines.worker": "engine worker"}
    used: dict[str, float] = {}
    pids = [os.getpid()]
    while pids:
        for task in Path(f"/proc/{pids.pop()}/task").glob("*/children"):
            for pid in task.read_text().split():
                pids.append(int(pid))
                command = Path(f"/proc/{pid}/cmdline").read_text()
                role = next((role for module, role in roles.items() if module in command), "front")
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks = int(fields[11]) + int(fields[12])
                used[role] = used.get(role, 0) + ticks / os.sysconf("SC_CLK_TCK")
    return used


def restart(arguments: argparse.Namespace) -> list[Figure]:
    """Seconds from the end of a front to the next result, known to 0.2 s: the model stays loaded."""
    taken = []
    with serving(opened_bundle(arguments).folder, engine_flags(arguments)) as url:
        for _ in range(arguments.rounds):
            os.kill(_front(), signal.SIGKILL)
            started = time.perf_counter()
            time.sleep(0.05)  # until it is gone
            wait_for_answer(f"{url}/v1/read", crop_jpeg(), "image/jpeg")
            taken.append(time.perf_counter() - started)
    return [at_most(f"front killed to result, median of {len(taken)}", statistics.median(taken), "s", 2)]


def _front() -> int:
    """The front among the processes that this one has started, or that those have."""
    processes = [os.getpid()]
    for process in processes:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            processes += map(int, children.read_text().split())
    return next(one for one in processes if "front_process" in Path(f"/proc/{one}/cmdline").read_text())


def memory(arguments: argparse.Namespace) -> list[Figure]:
    """The front's resident memory over many requests, the first tenth as a warm-up."""
    sizes: list[float] = []
    with serving(opened_bundle(arguments).folder, NO_OP) as url:
        done = 0.0
        while done < arguments.requests:
            run_wrk(f"{url}/v1/read", crop_jpeg(), connections=CLIENTS, seconds=2)
            seen = metrics(url)
            done = seen["abinet_crops_total"]
            if done >= arguments.requests / 10:
                sizes.append(seen["process_resident_memory_bytes"] / 2**20)
    return [
        Figure("requests", done, ""),
        Figure("resident after the warm-up", sizes[0], "MiB"),
        Figure("resident at the end", sizes[-1], "MiB"),
        at_most("growth", sizes[-1] - sizes[0], "MiB", 5),
    ]


def soak(arguments: argparse.Namespace) -> list[Figure]:
    """Twice as many requests as can be served: each must get a result or a clear 429 or 504."""
    flags = engine_flags(arguments)
    with serving(opened_bundle(arguments).folder, flags) as url:
        load = run_wrk(f"{url}/v1/read", crop_jpeg(), connections=2 * CLIENTS, seconds=5)
        time.sleep(SETTLE_S)
        before = metrics(url)
        rate = 2 * load.per_second
        told = load_generator(
            "overload", url, "--seconds", str(arguments.seconds), "--rate", str(rate), "--deadline-ms", "300"
        )
        after = metrics(url)
        alive = httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
    codes = {code: told["codes"].get(code, 0) for code in ("200", "429", "504")}
    counted = sum(answers(after).values()) - sum(answers(before).values())
    return [
        Figure("capacity", load.per_second, "crops/s"),
        Figure("offered", told["offered_per_second"], "requests/s"),
        Figure("sent", told["sent"], ""),
        *(Figure(f"answered {code}", count, "") for code, count in codes.items()),
        at_most("answered otherwise", told["sent"] - told["lost"] - sum(codes.values()), "", 0),
        at_most("lost", told["lost"], "", 0),
        at_most("answered twice or to another", told["astray"], "", 0),
        at_most("429 without Retry-After", told["no_retry_after"], "", 0),
        at_most("difference from the service's own count", abs(counted - told["sent"] + told["lost"]), "", 0),
        Figure("results a second over capacity", codes["200"] / told["seconds"] / load.per_second, ""),
        Figure("result, p50", told["p50_ms"], "ms"),
        Figure("result, p99", told["p99_ms"], "ms"),
        at_least("ready afterwards", float(alive), "", 1),
    ]


def goodput(arguments: argparse.Namespace) -> list[Figure]:
    """Answers within their deadline at twice the capacity, over the capacity, for several deadlines.

    The engine is simulated and as slow as a real one on two cores: a batch of 16 takes 148 ms. A service time
    is that.
    """
    bundle = opened_bundle(arguments)
    largest = max(graph.batch for graph in bundle.graphs)
    batch_ms = (1 + bundle.iterations) * (_SLOW_MS + _SLOW_MS_PER_CROP * largest)
    with serving(bundle.folder, SLOW) as url:
        rate = run_wrk(f"{url}/v1/read", crop_jpeg(), connections=4 * largest, seconds=5).per_second
        figures = [Figure("capacity", rate, "crops/s"), Figure("service time", batch_ms, "ms")]
        for times in (2, 3, 4, 8, 16):
            time.sleep(SETTLE_S)
            deadline = ["--deadline-ms", str(int(times * batch_ms)), "--every", "1"]
            load = ["--seconds", str(arguments.seconds), "--rate", str(2 * rate)]
            told = load_generator("overload", url, *load, *deadline)
            share = told["in_time"] / told["seconds"] / rate
            name = f"in time over capacity, deadline of {times} service times"
            figures.append(at_least(name, share, "", 0.9) if times >= 4 else Figure(name, share, ""))
            refused = told["codes"].get("429", 0) / told["sent"]
            figures.append(Figure("  refused at once, of all", refused, ""))
    return figures


def fairness(arguments: argparse.Namespace) -> list[Figure]:
    """What a client of single crops waits, alone and beside three that send batches of 64 without a pause."""
    bundle = opened_bundle(arguments)
    largest = max(graph.batch for graph in bundle.graphs)
    batch_s = (1 + bundle.iterations) * (_SLOW_MS + _SLOW_MS_PER_CROP * largest) / 1e3
    with serving(bundle.folder, SLOW) as url, contextlib.ExitStack() as stack:
        alone = load_generator("idle", url, "--seconds", str(arguments.seconds))
        body, content_type = form("images", [crop_jpeg()] * BATCH_ITEMS)
        for _ in range(3):
            stack.enter_context(_again_and_again(f"{url}/v1/read/batch", body, content_type))
        beside = load_generator("idle", url, "--seconds", str(arguments.seconds))
    return [
        Figure("single crop alone, p50", alone["total_ms"], "ms"),
        Figure("a batch of the engine", 1e3 * batch_s, "ms"),
        at_most("single crop beside batches, p50", beside["total_ms"], "ms", 2.5e3 * batch_s),
    ]


@contextlib.contextmanager
def _again_and_again(url: str, body: bytes, content_type: str) -> Iterator[None]:
    """Sends this from another thread, one request after the other, while the block runs."""
    over = threading.Event()

    def send() -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not over.is_set():
                client.post(url, content=body, headers={"Content-Type": content_type}).raise_for_status()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# What is asked of a service.


def metrics(url: str) -> dict[str, float]:
    """Prometheus' samples by name and labels, as they are written."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def engine_seconds(url: str) -> float:
    seen = metrics(url)
    return sum(value for name, value in seen.items() if name.startswith("abinet_batch_seconds_sum"))


def answers(seen: dict[str, float]) -> dict[str, float]:
    """Answers of /v1/read by status."""
    pattern = re.compile(r'abinet_requests_total\{.*?code="(\d+)".*\}')
    return {
        found.group(1): value
        for name, value in seen.items()
        if 'route="/v1/read"' in name and (found := pattern.fullmatch(name))
    }


def latency_report(url: str) -> dict[str, Any]:
    window: dict[str, Any] = httpx.get(f"{url}/v1/latency", trust_env=False).json()["windows"]["5m"]
    return window


def load_generator(*arguments: str) -> dict[str, Any]:
    """What a process of its own measured."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as image:
        image.write(crop_jpeg())
        image.flush()
        command = [sys.executable, str(HERE / "serving_load.py"), *arguments, "--image", image.name]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    result: dict[str, Any] = json.loads(told)
    return result


# What is served.


def opened_bundle(arguments: argparse.Namespace) -> Bundle:
    return Bundle(str(arguments.bundle or bundled_model(arguments.worker_python)))


def engine_options(arguments: argparse.Namespace) -> EngineOptions:
    settings = Settings(engine=arguments.engine, simulated_ms=arguments.simulated_ms)
    return settings.engine_options()[0]


def serving(folder: str, flags: list[str]) -> contextlib.AbstractContextManager[str]:
    """The URL of a service of our own, over TCP as its clients elsewhere have it."""
    return local_service(["--bundle", folder, "--port", "0", *flags])


def engine_flags(arguments: argparse.Namespace) -> list[str]:
    flags = ["--engine", arguments.engine, "--worker-python", arguments.worker_python]
    return [*flags, "--simulated-ms", str(arguments.simulated_ms)]


# The command line.

SCENARIOS: dict[str, Callable[[argparse.Namespace], list[Figure]]] = {
    "throughput": throughput,
    "no-op": no_op,
    "devices": devices,
    "capacity": capacity,
    "idle": idle,
    "early-stop": early_stop,
    "start": start,
    "cost": cost,
    "restart": restart,
    "memory": memory,
    "soak": soak,
    "goodput": goodput,
    "fairness": fairness,
}


def print_table(figures: list[Figure]) -> None:
    width = max(len(figure.name) for figure in figures)
    for figure in figures:
        verdict = {True: "met", False: "MISSED", None: ""}[figure.met]
        value = f"{figure.value:,.0f}" if abs(figure.value) >= 1000 else f"{figure.value:.3g}"
        print(f"{figure.name:<{width}}  {value:>9} {figure.unit:<10} {figure.aim:<9} {verdict}".rstrip())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--bundle", type=Path, help="default: the bundled model")
    common.add_argument("--worker-python", default=sys.executable)
    common.add_argument("--json", action="store_true", help="print the figures as JSON")
    subparsers = parser.add_subparsers(dest="scenario", required=True)
    for name, scenario in SCENARIOS.items():
        described = scenario.__doc__ or ""
        subparser = subparsers.add_parser(name, parents=[common], help=described, description=described)
        if name not in ("no-op", "cost", "memory", "devices", "goodput", "fairness"):
            default = "simulated" if name == "soak" else "mindspore"
            subparser.add_argument("--engine", default=default, choices=ENGINES)
            subparser.add_argument("--simulated-ms", type=float, default=10.0)
        seconds = {"no-op": 5, "cost": 5, "devices": 5, "capacity": 5, "soak": 600}.get(name, 10)
        if name not in ("early-stop", "start", "restart", "memory"):
            subparser.add_argument(
                "--seconds", type=float, default=seconds, help="of each measurement (default %(default)s)"
            )
        if name in ("throughput", "no-op", "early-stop", "start", "restart"):
            turns = 5 if name == "throughput" else 3
            subparser.add_argument("--rounds", type=int, default=turns, help="turns (default %(default)s)")
        if name in ("no-op", "devices"):
            subparser.add_argument("--fronts", type=int, default=1, help="front processes")
        if name == "capacity":
            subparser.add_argument(
                "--traffic", type=float, nargs="*", default=[100.0, 1000.0, 10_000.0], help="crops a second"
            )
        if name == "no-op":
            subparser.add_argument("--clients", type=int, default=CLIENTS, help="connections")
            subparser.add_argument("--rivals", nargs="*", default=["mosec", "litserve"])
        if name == "early-stop":
            subparser.add_argument("--labels", type=Path, required=True, help="a labelled set of crops")
        if name == "memory":
            subparser.add_argument("--requests", type=int, default=100_000)
    return parser.parse_args()


def report(
    program: str, measure: Callable[[argparse.Namespace], list[Figure]], arguments: argparse.Namespace
) -> int:
    """Prints what was measured, as JSON where that was asked for; the exit code."""
    try:
        figures = measure(arguments)
    except (ValueError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([figure._asdict() for figure in figures], indent=2))
    else:
        print_table(figures)
    return 0


def main() -> int:
    arguments = parse_arguments()
    return report("serving", SCENARIOS[arguments.scenario], arguments)


if __name__ == "__main__":
    sys.exit(main())
