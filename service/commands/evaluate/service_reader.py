"""A service that the evaluation uses through the SDK, as others do."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import abinet_client as sdk
from abinet_client.connect import connect
from models.charset import DecodedText
from models.evaluation.reading import LabelledCrop, Refusal, StagedReading, Turns

#: Crops in a request, and requests at a time.
BATCH_SIZE, CONCURRENT = 64, 3
#: Seconds for which a crop is offered to a service that is too busy or not ready.
PATIENCE_S = 300.0

_COME_AGAIN = (sdk.Overloaded, sdk.NotReady, sdk.DeadlineExceeded)
_PAUSE_S = 1.0


class ServiceReader:
    """The service at ``address``, "http://HOST:PORT" or "unix:PATH"; a context manager that closes its
    connections.

    A service that asks for an API key gets the one of the environment variable ABINET_API_KEY.

    Raises:
        ValueError: no abinet service answers there.
    """

    def __init__(self, address: str, turns: Turns = "auto") -> None:
        self._address = address
        self.turns = turns
        try:
            self._client = connect(address, timeout=PATIENCE_S)
            served = self._client.model()
            self.iterations: int = served.manifest["iterations"]
        except (sdk.AbinetError, ValueError, KeyError) as error:
            raise ValueError(f"{address}: no abinet service answers there ({error})") from None
        self.model = served.name
        self.engine = f"{served.engine} on {', '.join(served.devices)}, served"
        self.calibrated = served.calibrated

    def __enter__(self) -> ServiceReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self, crops: Iterable[LabelledCrop]) -> Iterator[StagedReading | Refusal]:
        """One result a crop, in order.

        Raises:
            ValueError: the service fails, or has no time for a crop for `PATIENCE_S`.
        """
        options: dict[str, Any] = {"iterations": self.iterations, "turns": self.turns, "detail": True}
        images = (crop.encoded for crop in crops)
        outcomes = self._client.read_many(images, batch_size=BATCH_SIZE, concurrency=CONCURRENT, **options)
        for image, reading, error in outcomes:
            if isinstance(error, _COME_AGAIN):
                reading, error = self._read_alone(image, options, error)
            if reading is not None:
                yield _reading(reading)
            elif isinstance(error, sdk.BadImage):
                yield Refusal(error.problem.title if error.problem else str(error))
            else:
                raise ValueError(f"{self._address}: {error}")

    def choose(self, image: bytes, words: Sequence[str]) -> str | None:
        """The likeliest word, or None if the service cannot read the crop.

        Raises:
            ValueError: the service fails.
        """
        try:
            reading = self._client.read(
                image, iterations=self.iterations, turns=self.turns, detail=False, lexicon=words
            )
        except sdk.BadImage:
            return None
        except sdk.AbinetError as error:
            raise ValueError(f"{self._address}: {error}") from None
        return reading.lexicon.word if reading.lexicon else None

    def _read_alone(
        self, image: sdk.Image, options: dict[str, Any], error: sdk.AbinetError
    ) -> tuple[sdk.Reading | None, sdk.AbinetError | None]:
        deadline = time.monotonic() + PATIENCE_S
        while isinstance(error, _COME_AGAIN) and time.monotonic() < deadline:
            time.sleep(error.retry_after or _PAUSE_S)
            try:
                return self._client.read(image, **options), None
            except sdk.AbinetError as again:
                error = again
        return None, error


def _reading(read: sdk.Reading) -> StagedReading:
    predictions: list[sdk.Prediction] = []
    for stage in read.iterations:
        predictions += [stage] if isinstance(stage, sdk.VisionStage) else [stage.language, stage.fused]
    stages = [DecodedText(prediction.text, prediction.confidence) for prediction in predictions]
    return StagedReading.of(stages, read.confidence)._replace(turned=read.turned)
