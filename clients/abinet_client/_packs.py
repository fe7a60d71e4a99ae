"""Packs many crops into requests, and gives each its outcome."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from abinet_client._calls import Region
from abinet_client._exceptions import AbinetError
from abinet_client._images import Image, file_bytes
from abinet_client._models import Reading

PACK_BYTES = 4 << 20
"""Half of what the service takes in one body by default."""


def _read(reading: Reading | None, error: AbinetError | None) -> Reading:
    if reading is None:
        assert error is not None
        raise error
    return reading


class Outcome(NamedTuple):
    """The outcome for one crop of `read_many`: a reading or an error.

    `image` is what the caller gave.
    """

    image: Image
    reading: Reading | None
    error: AbinetError | None

    def result(self) -> Reading:
        """The reading; raises the error if there is none."""
        return _read(self.reading, self.error)


class RegionOutcome(NamedTuple):
    """The outcome for one region of `read_regions`: a reading or an error.

    `region` is what the caller gave.
    """

    region: Region
    reading: Reading | None
    error: AbinetError | None

    def result(self) -> Reading:
        """The reading; raises the error if there is none."""
        return _read(self.reading, self.error)


def region_outcomes(
    regions: Sequence[Region], results: Sequence[Reading | AbinetError]
) -> list[RegionOutcome]:
    """One for each region."""
    return [
        RegionOutcome(region, None, result)
        if isinstance(result, AbinetError)
        else RegionOutcome(region, result, None)
        for region, result in zip(regions, results)
    ]


class EncodedImage(NamedTuple):
    """An image and its file's bytes, or the error that it has none."""

    image: Image
    body: bytes
    error: AbinetError | None


Pack = list[EncodedImage]


def load(image: Image) -> EncodedImage:
    """Raises TypeError if it is not an image at all."""
    try:
        return EncodedImage(image, file_bytes(image), None)
    except AbinetError as error:
        return EncodedImage(image, b"", error)


def bodies(pack: Pack) -> list[bytes]:
    """The images of the pack that can be sent."""
    return [crop.body for crop in pack if crop.error is None]


def outcomes(pack: Pack, results: Iterable[Reading | AbinetError]) -> list[Outcome]:
    """One for each crop; `results` are those of `bodies(pack)`."""
    answered = iter(results)
    joined = [(crop, crop.error or next(answered)) for crop in pack]
    return [
        Outcome(crop.image, None, result)
        if isinstance(result, AbinetError)
        else Outcome(crop.image, result, None)
        for crop, result in joined
    ]


class Packer:
    """Gathers crops into packs of at most `size` crops and `PACK_BYTES`; a larger crop is alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._full: list[Pack] = []
        self._open: Pack = []
        self._open_bytes = 0

    def add(self, crop: EncodedImage) -> None:
        if self._open_bytes + len(crop.body) > PACK_BYTES:
            self._close()
        self._open.append(crop)
        self._open_bytes += len(crop.body)
        if len(self._open) == self._size:
            self._close()

    def leaving(self, *, at_once: bool) -> Sequence[Pack]:
        """The packs to send now: those that are full, and with `at_once` also the one that is not."""
        if at_once:
            self._close()
        leaving, self._full = self._full, []
        return leaving

    def _close(self) -> None:
        if self._open:
            self._full.append(self._open)
        self._open, self._open_bytes = [], 0
