"""The front's side of image decoders: processes that may crash, each with one or two batches."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from service.engines.process import module_command
from service.engines.protocol import Connection, ConnectionClosedError, socket_pair
from service.errors import ProblemType, ServiceError
from service.image_decoding.arena import BATCH, SLOTS, ImageArena
from service.image_decoding.preprocess import Prescription
from service.image_decoding.regions import Outline

COMMAND = module_command(sys.executable, "service.image_decoding.process")
_DEATH_S = 0.1
"""How long the event loop waits until a killed process has ended."""
ImageFile = bytes | str
"""A file's bytes, or its bytes in base64."""


class Prepared(NamedTuple):
    """The result for an image file: network inputs (N, C, H, W), float32, one for each way up.

    Or the error; or only its number of `pixels`, if a large image was not announced as large. `bad` are the
    errors of regions that cannot be cut out of a photo, by their input.
    """

    inputs: np.ndarray | None = None
    error: ServiceError | None = None
    pixels: int = 0
    bad: Mapping[int, ServiceError] = MappingProxyType({})


class _SentBatch(NamedTuple):
    """A batch that was sent: its slot in the arena, and the number of inputs of each image."""

    slot: int
    images: list[Any]
    counts: list[int]
    is_large: bool


class ImageDecoder:
    """One process, and its batches: up to SLOTS."""

    def __init__(
        self, fork_server: ForkServerClient, number: int, connection: Connection, arena: ImageArena
    ) -> None:
        self._fork_server = fork_server
        self._number = number
        self._connection = connection
        self._arena = arena
        self._slots = itertools.cycle(range(SLOTS))
        self._batches: deque[_SentBatch] = deque()
        self._since = 0.0
        self.has_answered = False

    @property
    def load(self) -> int:
        """The number of batches under way."""
        return len(self._batches)

    @property
    def has_large(self) -> bool:
        """Whether further batches would wait for a large image."""
        return any(batch.is_large for batch in self._batches)

    @property
    def busy_s(self) -> float:
        """For how many seconds it has had the present batch."""
        return time.monotonic() - self._since if self._batches else 0.0

    def fileno(self) -> int:
        """Readable when a batch is done, or at the end."""
        return self._connection.fileno()

    def send(
        self,
        batch: list[Any],
        files: Sequence[ImageFile],
        ways: Sequence[Sequence[int]],
        regions: Sequence[Sequence[Outline] | None] | None = None,
        *,
        is_large: bool = False,
    ) -> None:
        """Sends a batch of files to decode. Each is turned clockwise by the given degrees, perhaps in several
        ways.

        If the file is a photo, its `regions`, one for each way, are cut out and turned. A batch makes at most
        BATCH inputs, a photo alone MOST_INPUTS. Large images are decoded only if they are announced. Raises
        ConnectionClosedError.
        """
        if not self._batches:
            self._since = time.monotonic()
        slot = next(self._slots)
        self._batches.append(_SentBatch(slot, batch, list(map(len, ways)), is_large))
        bodies = [file if isinstance(file, bytes) else file.encode("ascii", "replace") for file in files]
        self._arena.write(slot, bodies)
        texts = [isinstance(file, str) for file in files]
        lengths = list(map(len, bodies))
        outlines = json.dumps(regions).encode() if regions else b""
        self._arena.write_regions(slot, outlines)
        self._connection.send(
            {
                "slot": slot,
                "lengths": lengths,
                "texts": texts,
                "ways": ways,
                "regions": len(outlines),
                "large": is_large,
            }
        )

    def receive(self) -> tuple[list[Any], list[Prepared]]:
        """The batch that is done, and the results of its images, or of the first ones if these took long.

        Raises ConnectionClosedError and BlockingIOError.
        """
        outcomes = self._connection.receive(0.0)["outcomes"]
        self._since, self.has_answered = time.monotonic(), True
        batch = self._batches.popleft()
        slot, ends = self._arena.inputs[batch.slot], itertools.accumulate(batch.counts)
        inputs = [slot[end - count : end] for count, end in zip(batch.counts, ends, strict=True)]
        prepared = [_prepared(*image) for image in zip(outcomes, inputs, strict=False)]
        if sum(batch.counts) > BATCH:
            self._arena.free_inputs(batch.slot)
        return batch.images, prepared

    def last_words(self) -> list[tuple[list[Any], list[Prepared]]]:
        """For a decoder that has ended: results that it had sent and that nobody has received yet."""
        done = []
        # One more than there may be, because the first call may report the reset of the connection.
        for _ in range(SLOTS + 1):
            with contextlib.suppress(ConnectionClosedError, BlockingIOError):
                done.append(self.receive())
        return done

    def remains(self) -> tuple[list[list[Any]], Any]:
        """For a decoder that has ended: its batches, the present one first, and the image that it was
        decoding.
        """
        batches, index = [batch.images for batch in self._batches], self._arena.marked()
        # A decoder that an image has ended may have written anything here.
        if not batches or index is None or index >= len(batches[0]):
            return batches, None
        return batches, batches[0][index]

    def kill(self) -> None:
        """Kills the decoder. Its connection is closed soon after, unless the fork server is stuck as well."""
        self._fork_server.end(self._number)

    def close(self) -> None:
        self._connection.close()


def _prepared(outcome: list[str] | dict[str, str] | int | None, inputs: np.ndarray) -> Prepared:
    if outcome is None:
        return Prepared(inputs.copy())
    if isinstance(outcome, dict):
        bad = {int(place): ServiceError(ProblemType.BAD_REGION, detail) for place, detail in outcome.items()}
        return Prepared(inputs.copy(), bad=bad)
    if isinstance(outcome, int):
        return Prepared(pixels=outcome)
    return Prepared(error=ServiceError(ProblemType[outcome[0]], outcome[1]))


class ForkServerClient:
    """A process that has imported what decoders need and forks them. It starts with the first decoder."""

    def __init__(self, prescription: Prescription, max_pixels: int, file_bytes: int) -> None:
        self._prescription = prescription
        self._max_pixels = max_pixels
        self._file_bytes = file_bytes
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def decoder(self) -> ImageDecoder:
        """A new decoder, which can get work at once."""
        number, (ours, theirs) = next(self._numbers), socket_pair()
        with theirs:
            try:
                self._ask({"number": number}, [theirs.fileno()])
            except ConnectionClosedError:
                self.close()
                self._ask({"number": number}, [theirs.fileno()])
        connection = Connection(ours)
        shape = (3, self._prescription.height, self._prescription.width)
        file = os.memfd_create("abinet-images")
        try:
            arena = ImageArena(file, self._file_bytes, shape)
            hello = {"prescription": self._prescription, "max_pixels": self._max_pixels}
            connection.send({**hello, "file_bytes": self._file_bytes, "shape": shape}, [file])
        finally:
            os.close(file)
        return ImageDecoder(self, number, connection, arena)

    def end(self, number: int) -> None:
        """Kills a decoder."""
        if self._connection is not None:
            try:
                self._connection.send({"end": number})
            except ConnectionClosedError:
                self.close()

    def close(self) -> None:
        """Ends the process and its decoders. The next decoder starts another process."""
        if self._process is not None and self._connection is not None:
            self._connection.close()
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # then it is left to itself
                self._process.wait(_DEATH_S)
            self._process = self._connection = None

    def _ask(self, message: dict[str, Any], files: Sequence[int]) -> None:
        """Raises ConnectionClosedError if the process has died."""
        if self._connection is None:
            self._start()
        assert self._connection is not None
        self._connection.send(message, files)

    def _start(self) -> None:
        ours, theirs = socket_pair()
        with theirs:
            self._process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OPENCV_LOG_LEVEL": "SILENT"},
                pass_fds=[theirs.fileno()],
            )
        ours.setblocking(False)  # a stopped process must not hold up the front: it counts as dead
        self._connection = Connection(ours)
