"""What a client of single crops waits, alone and beside three that send batches of 64 without a pause."""

import argparse
import contextlib
import threading
from collections.abc import Iterator

import httpx

from ..bodies import BATCH_ITEMS, crop_jpeg, form
from ..figures import Figure, at_most
from ..flags import add_seconds
from ..load import load_generator
from ..served import SLOW, opened_bundle, serving, slow_batch_ms


def configure(parser: argparse.ArgumentParser) -> None:
    add_seconds(parser)


def measure(arguments: argparse.Namespace) -> list[Figure]:
    bundle = opened_bundle(arguments)
    batch_ms = slow_batch_ms(bundle)
    with serving(bundle.folder, SLOW) as url, contextlib.ExitStack() as stack:
        alone = load_generator("idle", url, "--seconds", str(arguments.seconds))
        body, content_type = form("images", [crop_jpeg()] * BATCH_ITEMS)
        for _ in range(3):
            stack.enter_context(_again_and_again(f"{url}/v1/read/batch", body, content_type))
        beside = load_generator("idle", url, "--seconds", str(arguments.seconds))
    return [
        Figure("single crop alone, p50", alone["total_ms"], "ms"),
        Figure("a batch of the engine", batch_ms, "ms"),
        at_most("single crop beside batches, p50", beside["total_ms"], "ms", 2.5 * batch_ms),
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
