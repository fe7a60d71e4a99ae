"""The process that image decoders are forked from, and what a decoder does.

    python -m service.image_decoding.process DESCRIPTOR

It has imported all that decoding needs, so that a decoder that dies is replaced within milliseconds. The
descriptor is a socket on which the front asks for decoders, each of which it gives a socket of its own. All
of them end when the front is gone, however it ends, and leave signals to it.
"""

from __future__ import annotations

import base64
import ctypes
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
from service.errors import Problem, ServiceError
from service.image_decoding.arena import ImageArena
from service.image_decoding.formats import import_decoders, pixels_of
from service.image_decoding.preprocess import Preprocessor, Prescription, faults_of_images
from service.image_decoding.regions import Outline, Photo, pixels_of_cuts
from service.image_files import look_within
from service.image_files.turns import turned

CPU_S = 2.0
"""What one image may take of a processor; the kernel ends the decoder then."""
_TURN_S = 0.1
"""What it may take for a batch; then the rest goes back, for images of others not to wait behind it."""
AT_ONCE_PIXELS = 1 << 20
"""What has more is large: 16 million take half a second and more."""
_BASE_BYTES, _BYTES_PER_PIXEL, _COPIES = 64 << 20, 12, 4
"""Memory that a decoder may have beyond what it starts with; a progressive CMYK takes 11 for a pixel."""
_LEAK_BYTES = 32 << 20
"""A decoder that has kept so much more after an image gives way to a fresh one."""
_PATIENCE_S = 30.0
_PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""

Outcome = list[str] | dict[str, str] | int | None
"""None for an image that has become network inputs; of a photo, what is wrong with regions, by their place;
the pixels of one that was not sent as large, but is; the name of a problem and what to tell the client."""
Prepare = Callable[[bytes, Sequence[int], Sequence[Outline] | None, bool, np.ndarray], Outcome]
"""An image file, the degrees by which it is turned clockwise for each input, the regions of a photo that they
are of, whether it may be large, and the places (N, C, H, W) of these inputs."""


class ForkServer:
    """Forks a decoder for each socket that comes, and ends those that the front is tired of."""

    def __init__(self, front: Connection) -> None:
        self._front = front
        self._decoders: dict[int, int] = {}
        """Process ids by the front's numbers."""

    def run(self) -> None:
        """Until the front is gone."""
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
        if pid is not None:  # and not buried yet, so that no other process can have its id
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
    """The inputs of a photo's regions; those of one that is read several ways up follow each other."""
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
    """Until an image has left much behind. Raises ConnectionClosedError when the front is gone."""
    limit = memory.own_bytes() + _LEAK_BYTES
    while memory.own_bytes() < limit:
        call = front.receive()
        slot, place, outcomes = call["slot"], 0, []
        over = time.monotonic() + _TURN_S
        inputs, files = arena.inputs[slot], arena.read(slot, call["lengths"])
        wishes = zip(files, call["texts"], call["ways"], call["regions"], strict=True)
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
        return [Problem.BROKEN_IMAGE.name, "The image takes too much memory to decode."]
    except Exception:
        traceback.print_exc()
        return [Problem.FAULT.name, "The request was not at fault; the log of the service says more."]


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ServiceError(Problem.NOT_AN_IMAGE, "The image is not base64.") from None


class _Memory:
    """What this process has, asked of an open file: opening it takes longer than reading it."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)

    def own_bytes(self) -> int:
        """What is resident and not shared with others."""
        _, resident, shared, *_ = map(int, os.pread(self._statm, 256, 0).split())
        return (resident - shared) * resource.getpagesize()

    def limit(self, extra: int) -> None:
        """To so many bytes more than there are now."""
        data = int(os.pread(self._statm, 256, 0).split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (data + extra, data + extra))


def _end_with_parent() -> None:
    """Has the kernel end this process when the one that started it is gone, even if it is stopped."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _silence_libraries() -> None:
    """What libpng, libjpeg and libtiff think of an image is nobody's business: anybody could fill the log."""
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
