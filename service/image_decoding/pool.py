"""From image files to network inputs, in processes that may crash without harm to anything else."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence

from service.crop import Crop, Submission
from service.engines.protocol import ConnectionClosedError
from service.errors import ProblemType, ServiceError
from service.image_decoding.arena import BATCH, MOST_INPUTS, SLOTS
from service.image_decoding.decoders import ForkServerClient, ImageDecoder, ImageFile, Prepared
from service.image_decoding.fair_queue import FairQueue
from service.image_decoding.preprocess import Preprocessor
from service.image_decoding.regions import Outline

log = logging.getLogger("abinet")

_MOST_DECODERS = 4
"""A front cannot keep more decoders busy. There are at least two, so that a slow image does not hold up all.
"""
_FEW = 4
"""The least images in a message, because a smaller share is not worth one."""
_LARGE_IMAGES = 8
"""As many pixels as this many images of max_pixels have may wait for a decoder, which takes seconds for them.
"""
_PAUSE_S = 0.5
_SILENCE_S = 30.0
"""A decoder that takes longer for a batch is stuck, because an image may take 2 s of a processor, and a batch
that takes long is cut short.
"""
_STUCK = 3
"""After this many times as long, the fork server that should have ended it is stuck as well."""


class _Arrival:
    """An image file, and the crops that it becomes: one for each way up, or for each of a photo's `regions`.

    `is_suspect`: a decoder has ended on it. `is_alone`: one has ended on it or on an image beside it.
    `pixels` is set if a decoder has seen that it is large.
    """

    __slots__ = ("crops", "file", "is_alone", "is_suspect", "pixels", "regions")

    def __init__(
        self, crops: Sequence[Crop], file: ImageFile, regions: Sequence[Outline] | None = None
    ) -> None:
        self.crops = crops
        self.file = file
        self.regions = regions
        self.is_suspect = self.is_alone = False
        self.pixels = 0

    @property
    def submission(self) -> Submission:
        return self.crops[0].submission


class DecoderPool:
    """Gives every crop its image or an error, and then calls `ready`.

    Images that arrive together are decoded together, by the decoder that has least to do; requests take
    turns. Large images wait separately, and one decoder is always left to the others. An image on which a
    decoder ends is tried once more, and then refused; images of the same batch are decoded one by one.
    """

    def __init__(
        self,
        preprocess: Preprocessor,
        max_pixels: int,
        max_file_bytes: int,
        ready: Callable[[Sequence[Crop]], None],
    ) -> None:
        self._fork_server = ForkServerClient(preprocess.prescription, max_pixels, max_file_bytes)
        self._max_file_bytes = max_file_bytes
        self._most_large_pixels = _LARGE_IMAGES * max_pixels
        self._count = max(2, min(len(os.sched_getaffinity(0)), _MOST_DECODERS))
        self._ready = ready
        self._decoders: list[ImageDecoder] = []
        self._patrol: asyncio.TimerHandle | None = None
        self._waiting: FairQueue[Submission, _Arrival] = FairQueue()
        self._large: FairQueue[Submission, _Arrival] = FairQueue()
        self._is_handing_out = False

    def start(self) -> None:
        """Starts the decoders, so that the first crop does not wait for them."""
        while len(self._decoders) < self._count:
            try:
                decoder = self._fork_server.decoder()
            except (ConnectionClosedError, OSError) as error:  # such as for lack of memory
                log.error("an image decoder cannot start: %s", error)
                self._hand_out_later()
                break
            self._decoders.append(decoder)
            asyncio.get_running_loop().add_reader(decoder.fileno(), self._take, decoder)
        if self._patrol is None:
            self._look_after_them()

    def add(self, crops: Sequence[Sequence[Crop]], files: Sequence[ImageFile]) -> None:
        """Takes files and, for each file, its crops, which know how they are turned."""
        for readings, file in zip(crops, files, strict=True):
            self._waiting.add(readings[0].submission, [_Arrival(readings, file)])
        self._wake()

    def add_photo(self, crops: Sequence[Sequence[Crop]], file: ImageFile, regions: Sequence[Outline]) -> None:
        """Takes a photo, its regions and, for each region, its crops (see `add`).

        The photo is decoded once for as many crops as the arena has room for.
        """
        flat = [
            (crop, outline) for readings, outline in zip(crops, regions, strict=True) for crop in readings
        ]
        for start in range(0, len(flat), MOST_INPUTS):
            readings, outlines = zip(*flat[start : start + MOST_INPUTS], strict=True)
            self._waiting.add(readings[0].submission, [_Arrival(readings, file, outlines)])
        self._wake()

    def close(self) -> None:
        self._count = 0
        if self._patrol is not None:
            self._patrol.cancel()
        for decoder in list(self._decoders):
            self._drop(decoder)
        self._fork_server.close()

    def _wake(self) -> None:
        """Hands out images in the next iteration of the event loop, when all present events are known."""
        if not self._is_handing_out:
            self._is_handing_out = True
            asyncio.get_running_loop().call_soon(self._hand_out)

    def _hand_out_later(self) -> None:
        self._is_handing_out = True
        asyncio.get_running_loop().call_later(_PAUSE_S, self._hand_out)

    def _hand_out(self) -> None:
        self._is_handing_out = False
        self.start()
        while self._large and sum(one.has_large for one in self._decoders) < self._count - 1:
            decoder = self._least_busy()
            if decoder is None or decoder.load == SLOTS:
                break
            arrival = self._large.pop()
            if not arrival.submission.given_up:
                self._send(decoder, [arrival])
        while self._waiting:
            decoder = self._least_busy()
            # While all decoders are busy, more images gather for the next message.
            if decoder is None or decoder.load == SLOTS or (decoder.load and len(self._waiting) < _FEW):
                return
            batch = self._batch()
            if batch:
                self._send(decoder, batch)

    def _least_busy(self) -> ImageDecoder | None:
        """The decoder that has least to do, except those with a large image, which would hold up others."""
        return min(
            (one for one in self._decoders if not one.has_large), key=lambda one: one.load, default=None
        )

    def _batch(self) -> list[_Arrival]:
        """The next images to decode: a share of those waiting, or one that must be alone."""
        share = min(BATCH, max(_FEW, -(-len(self._waiting) // self._count)))
        batch: list[_Arrival] = []
        size = inputs = 0
        while self._waiting and len(batch) < share:
            arrival = self._waiting.peek()
            size += len(arrival.file)
            inputs += len(arrival.crops)
            if batch and (arrival.is_alone or size > self._max_file_bytes or inputs > BATCH):
                break
            self._waiting.pop()
            if arrival.submission.given_up:
                size -= len(arrival.file)
                inputs -= len(arrival.crops)
            elif size > self._max_file_bytes:
                detail = f"{size} bytes; the limit is {self._max_file_bytes}."
                self._fail(arrival, ServiceError(ProblemType.BODY_TOO_LARGE, detail))
                size = 0
            else:
                batch.append(arrival)
                if arrival.is_alone:
                    break
        # Images behind a slow one go back to the queue, so a batch should be of one large request.
        return sorted(batch, key=lambda arrival: arrival.submission.unfinished)

    def _send(self, decoder: ImageDecoder, batch: list[_Arrival]) -> None:
        try:
            decoder.send(
                batch,
                [arrival.file for arrival in batch],
                [[crop.turned for crop in arrival.crops] for arrival in batch],
                [arrival.regions for arrival in batch],
                is_large=batch[0].pixels > 0,
            )
        except ConnectionClosedError:
            self._replace(decoder)

    def _take(self, decoder: ImageDecoder) -> None:
        """Receives a decoder's results, or notices its end."""
        try:
            batch, prepared = decoder.receive()
        except BlockingIOError:
            return
        except ConnectionClosedError:
            self._replace(decoder)
            return
        self._finish(batch, prepared)
        if (self._waiting or self._large) and not self._is_handing_out:
            self._hand_out()

    def _finish(self, batch: list[_Arrival], prepared: list[Prepared]) -> None:
        """Takes a batch's results. Images that the decoder has not begun go back to the queue."""
        done, left = batch[: len(prepared)], batch[len(prepared) :]
        ready: list[Crop] = []
        for arrival, (inputs, error, pixels, bad) in zip(done, prepared, strict=True):
            if pixels:
                error = self._postpone(arrival, pixels)
                if error is None:
                    continue
            for index, crop in enumerate(arrival.crops):
                crop.image = None if inputs is None else inputs[index]
                crop.error = bad.get(index, error)
            ready += arrival.crops
        self._put_back(left)
        self._ready(ready)

    def _postpone(self, arrival: _Arrival, pixels: int) -> ServiceError | None:
        """Puts a large image into the queue of large images; if that is full, it fails."""
        waiting = sum(one.pixels for one in self._large if not one.submission.given_up)
        if waiting + pixels > self._most_large_pixels:
            detail = f"Images of {waiting} pixels wait to be decoded; shrink the image, or try again."
            return ServiceError(ProblemType.QUEUE_FULL, detail, retry_after=1)
        arrival.pixels = pixels
        self._large.add(arrival.submission, [arrival])
        return None

    def _put_back(self, batch: list[_Arrival]) -> None:
        for arrival in reversed(batch):
            queue = self._large if arrival.pixels else self._waiting
            queue.put_back(arrival.submission, arrival)

    def _replace(self, decoder: ImageDecoder) -> None:
        """Replaces a decoder that has ended. Its present batch is tried again one by one, other batches go
        back.
        """
        for batch, prepared in decoder.last_words():
            self._finish(batch, prepared)
        batches, culprit = decoder.remains()
        self._drop(decoder)
        if culprit is not None:
            self._suspect(culprit, batches[0])
        for batch in reversed(batches):
            self._put_back(batch)
        if culprit is None and not decoder.has_answered:
            log.error("an image decoder cannot start, or has been killed; another is started")
            self._hand_out_later()
        else:
            self._wake()

    def _suspect(self, culprit: _Arrival, batch: list[_Arrival]) -> None:
        """Has these images decoded one by one, because the marked image may suffer from an earlier one."""
        size = len(culprit.file)
        log.warning("an image decoder has ended on an image of %d bytes, another is started", size)
        if culprit.is_suspect:
            batch.remove(culprit)
            detail = "The image's decoder crashed, or did not end within 2 s."
            self._fail(culprit, ServiceError(ProblemType.BROKEN_IMAGE, detail))
        culprit.is_suspect = True
        for arrival in batch:
            arrival.is_alone = True

    def _drop(self, decoder: ImageDecoder) -> None:
        self._decoders.remove(decoder)
        asyncio.get_running_loop().remove_reader(decoder.fileno())
        decoder.close()

    def _look_after_them(self) -> None:
        """Ends decoders that are stuck, or all if that has not helped. Their connections close then."""
        if any(decoder.busy_s > _STUCK * _SILENCE_S for decoder in self._decoders):
            self._fork_server.close()
        for decoder in self._decoders:
            if decoder.busy_s > _SILENCE_S:
                decoder.kill()
        self._patrol = asyncio.get_running_loop().call_later(_SILENCE_S / 4, self._look_after_them)

    def _fail(self, arrival: _Arrival, error: ServiceError) -> None:
        for crop in arrival.crops:
            crop.error = error
        self._ready(arrival.crops)
