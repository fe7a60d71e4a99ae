"""The process that image decoders are forked from, and what a decoder does.

    python -m service.image_decoding.process DESCRIPTOR

It has imported everything for decoding, so that a decoder that dies is replaced within milliseconds. The
descriptor is a socket on which the front asks for decoders; it sends a socket for each. All processes end
with the front, however it ends, and leave signals to it.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType

import cv2
import numpy as np

from service.engines.protocol import Connection, ConnectionClosedError
from service.errors import ProblemType, ServiceError
from service.image_decoding.arena import ImageArena
from service.image_decoding.formats import import_decoders, pixels_of
from service.image_decoding.preprocess import Preprocessor, Prescription, faults_of_images
from service.image_decoding.regions import Outline, Photo, pixels_of_cuts
from service.image_files import look_within
from service.image_files.turns import turned

CPU_S = 2.0
"""Processor time that one image may take; then the kernel ends the decoder."""
_TURN_S = 0.1
"""Time that a batch may take; then the rest goes back, so that other images do not wait behind it."""
AT_ONCE_PIXELS = 1 << 20
"""An image with more pixels is large: 16 million take half a second or more."""
_BASE_BYTES, _BYTES_PER_PIXEL, _COPIES = 64 << 20, 12, 4
"""Memory that a decoder may use beyond what it starts with; a progressive CMYK JPEG takes 11 bytes a pixel.
"""
_LEAK_BYTES = 32 << 20
"""A decoder that keeps this much more memory after an image is replaced."""
_PATIENCE_S = 30.0
_PR_SET_PDEATHSIG = 1
"""An option of Linux's prctl."""

Outcome = list[str] | dict[str, str] | int | None
"""None for an image that has become network inputs; for a photo, the errors of regions, by their place; the
pixels of a large image that was not announced as large; or the name of a problem and its detail.
"""
Prepare = Callable[[bytes, Sequence[int], Sequence[Outline] | None, bool, np.ndarray], Outcome]
"""An image file, the degrees by which it is turned clockwise for each input, the inputs' regions of a photo,
whether the image may be large, and the places (N, C, H, W) of the inputs.
"""


class ForkServer:
    """Forks a decoder for each socket that it gets, and ends those that the front names."""

    def __init__(self, front: Connection) -> None:
        self._front = front
        self._decoders: dict[int, int] = {}
        """Process ids by the front's numbers."""

    def run(self) -> None:
        """Serves until the front is gone."""
        signal.signal(signal.SIGCHLD, self._bury)
        while True:
            try:
                message, files = self._front.receive_with_files(None)
            except ConnectionClosedError:
                return
            if "end" in message:
                self._end(message["end"])
            else:
                self._fork(message["number"], files[0])

    def _fork(self, number: int, descriptor: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        try:
            pid = os.fork()
        except OSError as error:  # the front sees the socket closed, and tries again
            print(f"abinet: an image decoder cannot be forked: {error}", file=sys.stderr)
            pid = None
        if pid == 0:
            _end_with_parent()
            self._front.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            _be_decoder(Connection(socket.socket(fileno=descriptor)))
        if pid is not None:
            self._decoders[number] = pid
        os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    def _end(self, number: int) -> None:
        pid = self._decoders.get(number)
        if pid is not None:  # and not waited for yet, so that no other process can have its id
            os.kill(pid, signal.SIGKILL)

    def _bury(self, _: int, frame: FrameType | None) -> None:
        while self._decoders:
            pid, _status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._decoders = {number: other for number, other in self._decoders.items() if other != pid}


def _be_decoder(front: Connection) -> None:
    """Serves the front and never returns."""
    try:
        hello, (descriptor,) = front.receive_with_files(_PATIENCE_S)
        arena = ImageArena(descriptor, hello["file_bytes"], hello["shape"])
        preprocess = Preprocessor(Prescription(*hello["prescription"]))
        memory = _Memory()
        memory.limit(_BASE_BYTES + _BYTES_PER_PIXEL * hello["max_pixels"] + _COPIES * hello["file_bytes"])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def prepare(
            file: bytes,
            ways: Sequence[int],
            regions: Sequence[Outline] | None,
            may_be_large: bool,
            places: np.ndarray,
        ) -> Outcome:
            with faults_of_images():
                picture = look_within(file, hello["max_pixels"])
                pixels = picture.width * picture.height + pixels_of_cuts(regions or [])
                if pixels > AT_ONCE_PIXELS and not may_be_large:
                    return pixels
                image = pixels_of(picture)
            if regions is not None:
                return _cut(Photo(image), regions, ways, preprocess, places)
            for degrees, place in zip(ways, places, strict=True):
                place[:] = preprocess(turned(image, degrees))
            return None

        _serve(front, arena, memory, prepare)
    except ConnectionClosedError:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _cut(
    photo: Photo,
    regions: Sequence[Outline],
    ways: Sequence[int],
    preprocess: Preprocessor,
    places: np.ndarray,
) -> Outcome:
    """Makes the inputs of a photo's regions; those of a region that is read several ways up follow each
    other.
    """
    bad: dict[str, str] = {}
    before: Outline | None = None
    crop: np.ndarray | None = None
    for index, (outline, degrees, place) in enumerate(zip(regions, ways, places, strict=True)):
        if outline != before:
            before = outline
            try:
                crop = photo.cut(outline)
            except ServiceError as error:
                crop, reason = None, error.detail
        if crop is None:
            bad[str(index)] = reason
        else:
            place[:] = preprocess(turned(crop, degrees))
    return bad or None


def _serve(front: Connection, arena: ImageArena, memory: _Memory, prepare: Prepare) -> None:
    """Decodes until an image has left much memory behind. Raises ConnectionClosedError when the front is
    gone.
    """
    limit = memory.own_bytes() + _LEAK_BYTES
    while memory.own_bytes() < limit:
        call = front.receive()
        slot, place, outcomes = call["slot"], 0, []
        over = time.monotonic() + _TURN_S
        inputs, files = arena.inputs[slot], arena.read(slot, call["lengths"])
        outlines = arena.read_regions(slot, call["regions"])
        regions_of = json.loads(outlines) if outlines else [None] * len(files)
        wishes = zip(files, call["texts"], call["ways"], regions_of, strict=True)
        for index, (file, is_text, ways, regions) in enumerate(wishes):
            arena.mark(index)
            signal.setitimer(signal.ITIMER_PROF, CPU_S)  # the signal's default is the end
            places = inputs[place : place + len(ways)]
            outcomes.append(_attempt(prepare, file, is_text, ways, regions, call["large"], places))
            place += len(ways)
            if time.monotonic() > over:
                break
        signal.setitimer(signal.ITIMER_PROF, 0)
        arena.mark(None)
        front.send({"outcomes": outcomes})


def _attempt(
    prepare: Prepare,
    file: bytes,
    is_text: bool,
    ways: Sequence[int],
    regions: Sequence[Outline] | None,
    may_be_large: bool,
    places: np.ndarray,
) -> Outcome:
    try:
        return prepare(_from_base64(file) if is_text else file, ways, regions, may_be_large, places)
    except ServiceError as error:
        return [error.problem.name, error.detail]
    except MemoryError:
        return [ProblemType.BROKEN_IMAGE.name, "The image takes too much memory to decode."]
    except Exception:
        traceback.print_exc()
        return [ProblemType.FAULT.name, "The request was not at fault; the log of the service says more."]


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ServiceError(ProblemType.NOT_AN_IMAGE, "The image is not base64.") from None


class _Memory:
    """The memory of this process, from a file that stays open: opening takes longer than reading."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)

    def own_bytes(self) -> int:
        """Resident bytes that are not shared with other processes."""
        _, resident, shared, *_ = map(int, os.pread(self._statm, 256, 0).split())
        return (resident - shared) * resource.getpagesize()

    def limit(self, extra: int) -> None:
        """Limits the memory to this many bytes more than now."""
        data = int(os.pread(self._statm, 256, 0).split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (data + extra, data + extra))


def _end_with_parent() -> None:
    """Makes the kernel end this process when its parent is gone, even if this process is stopped."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _silence_libraries() -> None:
    """Silences libpng, libjpeg and libtiff, because with their messages anybody could fill the log."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def main() -> int:
    _end_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    import_decoders()
    _silence_libraries()
    ForkServer(Connection(socket.socket(fileno=int(sys.argv[1])))).run()
    return 0


if __name__ == "__main__":
    main()
    os._exit(0)
