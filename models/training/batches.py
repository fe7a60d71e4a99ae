"""Batches, made by processes of their own while the step computes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from models.abinet.config import IMAGE_SIZE, NetworkConfig
from models.charset import encode
from models.training.sources import CropSource
from service.bundle_format.preprocessing import Preprocessing

#: Batches that each process makes ahead of the step.
AHEAD = 8
POLL_SECONDS = 5.0


class Batch(NamedTuple):
    """The input of a step: inputs float32, images (N, 3, 32, 128) or probabilities (N, T, classes); labels
    (N, T) int32 with nulls after the end; lengths (N,) int32 with the stop. ``skipped``: unusable samples.
    """

    inputs: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    skipped: int = 0


#: Sent by a process that makes batches: a batch, or the reason why there are no more; a text is a traceback.
Made = Batch | ValueError | str


class BatchMaker(Protocol):
    """Makes batch ``number``, 0 or more: the same whenever and wherever it is made."""

    def __call__(self, number: int) -> Batch: ...


class BatchSource(Protocol):
    """Is sent to a process and becomes a maker there."""

    def open(self) -> BatchMaker: ...


@dataclass(frozen=True)
class CropBatches:
    """Batches of crops as the network takes them."""

    source: CropSource
    config: NetworkConfig
    preprocessing: Preprocessing
    batch_size: int

    def open(self) -> BatchMaker:
        draw = self.source.open()

        def make(number: int) -> Batch:
            images = np.empty((self.batch_size, 3, *IMAGE_SIZE), np.float32)
            texts, skipped = [], 0
            for row in range(self.batch_size):
                crop = draw(number * self.batch_size + row)
                images[row] = self.preprocessing(crop.image, IMAGE_SIZE)
                texts.append(crop.label)
                skipped += crop.skipped
            return Batch(images, *encode(texts, self.config.charset, self.config.steps), skipped)

        return make


def batches_ahead(
    source: BatchSource, first: int, step: int = 1, workers: int = 1
) -> Generator[Batch, None, None]:
    """Batches number ``first``, ``first + step``, ... endlessly in this order, made by ``workers``
    processes.

    Raises:
        ValueError: the data cannot be used, in one line.
        RuntimeError: a process failed otherwise; the message holds its traceback.
    """
    context, folder = multiprocessing.get_context("spawn"), os.getcwd()
    with _among_standard_modules(), _without_interrupts():
        queues = [context.Queue(AHEAD) for _ in range(workers)]
        processes = [
            context.Process(
                target=_fill, args=(made, source, first + step * worker, step * workers, folder), daemon=True
            )
            for worker, made in enumerate(queues)
        ]
        for process in processes:
            process.start()
    try:
        while True:
            for made, process in zip(queues, processes, strict=True):
                yield _next(made, process)
    finally:
        for process in processes:
            process.terminate()
            process.join()


@contextlib.contextmanager
def _among_standard_modules() -> Iterator[None]:
    """Keeps a spawned process from importing from the current folder (Python 3.10), where the user may have a
    socket.py or random.py.
    """
    before = os.getcwd()
    os.chdir(os.path.dirname(os.__file__))
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Blocks Ctrl-C in processes that are started here, which inherit the block; the training ends them."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _next(made: multiprocessing.Queue[Made], process: multiprocessing.process.BaseProcess) -> Batch:
    while True:
        try:
            batch = made.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if not process.is_alive():
                raise RuntimeError(
                    f"the process that prepares batches ended with code {process.exitcode}"
                ) from None
            continue
        if isinstance(batch, Exception):
            raise ValueError(str(batch))
        if isinstance(batch, str):
            raise RuntimeError(f"the process that prepares batches failed:\n{batch}")
        return batch


def _fill(made: multiprocessing.Queue[Made], source: BatchSource, first: int, step: int, folder: str) -> None:
    os.chdir(folder)
    cv2.setNumThreads(1)
    try:
        make, number = source.open(), first
        while _put(made, make(number)):
            number += step
        made.cancel_join_thread()  # nobody reads any more: do not wait at the end
    except (ValueError, OSError) as error:  # a mistake in the data, which the user can correct
        _put(made, ValueError(str(error)))
    except Exception:
        _put(made, traceback.format_exc())


def _put(made: multiprocessing.Queue[Made], item: Made) -> bool:
    """Puts a batch into the queue; returns whether the training, which may be killed, is still there."""
    training = multiprocessing.parent_process()
    while training is not None and training.is_alive():
        try:
            made.put(item, timeout=POLL_SECONDS)
            return True
        except queue.Full:
            continue
    return False
