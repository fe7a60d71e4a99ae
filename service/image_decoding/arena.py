"""Memory that a front and an image decoder share: image files in, network inputs out."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence

import numpy as np

SLOTS = 2
"""Batches under way: one that is decoded, and the next one."""
BATCH = 16
"""Most images of a batch: about 2 ms of work."""
MOST_INPUTS = 256
"""Most inputs of one photo's regions. Memory is taken only for pages that are written."""
_NOBODY = 0


class ImageArena:
    """Each slot has the files of a batch, one after the other, and a network input for each.

    A mark says which image is being decoded. It outlives the decoder, so it says which image ended it.
    """

    def __init__(self, descriptor: int, file_bytes: int, shape: Sequence[int]) -> None:
        """A slot has room for `file_bytes` of files, and for inputs of this shape (C, H, W), float32."""
        self.file_bytes = file_bytes
        inputs_bytes = 4 * MOST_INPUTS * int(np.prod(shape))
        self._inputs_bytes = _pages(inputs_bytes)
        self._stride = _pages(file_bytes) + self._inputs_bytes
        length = mmap.PAGESIZE + SLOTS * self._stride
        if os.fstat(descriptor).st_size < length:
            os.ftruncate(descriptor, length)
        self._memory = mmap.mmap(descriptor, length)
        self.inputs = [
            np.frombuffer(
                self._memory, np.float32, inputs_bytes // 4, self._start(slot) + _pages(file_bytes)
            ).reshape(MOST_INPUTS, *shape)
            for slot in range(SLOTS)
        ]
        """The inputs of each slot, (MOST_INPUTS, C, H, W)."""

    def write(self, slot: int, files: Sequence[bytes]) -> None:
        """Writes files into a slot. Raises ValueError if they do not fit."""
        if sum(map(len, files)) > self.file_bytes:
            raise ValueError(f"the files are larger than a slot of the arena, {self.file_bytes} bytes")
        start = self._start(slot)
        for file in files:
            self._memory[start : start + len(file)] = file
            start += len(file)

    def read(self, slot: int, lengths: Sequence[int]) -> list[bytes]:
        """The files in a slot, given their lengths."""
        start, files = self._start(slot), []
        for length in lengths:
            files.append(self._memory[start : start + length])
            start += length
        return files

    def write_regions(self, slot: int, regions: bytes) -> None:
        """Writes what a message has no room for where the inputs will be: 256 outlines take at most 1 MB."""
        start = self._start(slot) + _pages(self.file_bytes)
        self._memory[start : start + len(regions)] = regions

    def read_regions(self, slot: int, length: int) -> bytes:
        """To be read before the inputs are written."""
        start = self._start(slot) + _pages(self.file_bytes)
        return self._memory[start : start + length]

    def free_inputs(self, slot: int) -> None:
        """Gives the inputs' memory back until they are written again. Their values are lost."""
        start = self._start(slot) + _pages(self.file_bytes)
        self._memory.madvise(mmap.MADV_REMOVE, start, self._inputs_bytes)

    def mark(self, index: int | None = None) -> None:
        """Says which image of its batch is decoded from now on, if any."""
        self._memory[0] = _NOBODY if index is None else index + 1

    def marked(self) -> int | None:
        """Which image is, or was when the decoder ended."""
        return None if self._memory[0] == _NOBODY else self._memory[0] - 1

    def _start(self, slot: int) -> int:
        return mmap.PAGESIZE + slot * self._stride


def _pages(length: int) -> int:
    return -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
