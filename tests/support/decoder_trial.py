"""Tries out a decoder of images in a process of its own, which an image may kill.

    python tests/support/decoder_trial.py DECODER

reads images from standard input, each after its length, and answers a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MOST_S, MOST_BYTES = 3.0, 256 << 20
"""What an image may take of a processor and of memory."""
_SILENCE_S = 60.0


class TrialFailed(AssertionError):  # noqa: N818 (says what happened)
    """A decoder died, or took too much time or memory."""


class Trial:
    """A decoder's process, until something is too much for it."""

    def __init__(self, decoder: str, python: str = sys.executable) -> None:
        self._process = subprocess.Popen(
            [python, __file__, decoder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'clients'}", "OPENBLAS_NUM_THREADS": "1"},
        )

    def __call__(self, image: bytes) -> bool:
        """Whether it was decoded. Raises TrialFailed."""
        process = self._process
        assert process.stdin
        assert process.stdout
        watch = threading.Timer(_SILENCE_S, process.kill)
        watch.start()
        try:
            process.stdin.write(struct.pack(">I", len(image)) + image)
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            watch.cancel()
        if not line:
            raise TrialFailed(f"ended with code {process.wait()}")
        told: dict[str, Any] = json.loads(line)
        if told["seconds"] > MOST_S or told["bytes"] > MOST_BYTES:
            raise TrialFailed(f"took {told['seconds']:.2f} s and {told['bytes'] >> 20} MiB")
        return bool(told["decoded"])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _service() -> Callable[[bytes], object]:
    from service.errors import ServiceError
    from service.image_decoding.preprocess import Preprocessor, Prescription, decode_image

    prepare = Preprocessor(Prescription("tiny", 128, 32, {"interpolation": "area", "normalise": False}))

    def decode(body: bytes) -> object:
        try:
            return prepare(decode_image(body, 16_000_000))
        except ServiceError:
            return None

    return decode


def _models() -> Callable[[bytes], object]:
    from models.data.sets.samples import decode_crop

    return decode_crop


def _export() -> Callable[[bytes], object]:
    from service.image_files import decode

    return decode


def _client() -> Callable[[bytes], object]:
    from abinet_client.batch.thumbnail import Thumbnails

    return Thumbnails()


DECODERS = {"service": _service, "models": _models, "export": _export, "client": _client}
"""Every one of the product. The client's has a process of its own, and the service's one when it serves."""


def main() -> None:
    import cv2

    cv2.setNumThreads(1)
    decode = DECODERS[sys.argv[1]]()
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while True:
        head = sys.stdin.buffer.read(4)
        if not head:
            return
        image = sys.stdin.buffer.read(*struct.unpack(">I", head))
        begun = time.process_time()
        try:
            decoded = decode(image) is not None
        except ValueError:
            decoded = False
        used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * 1024
        told = {"decoded": decoded, "seconds": time.process_time() - begun, "bytes": used}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
