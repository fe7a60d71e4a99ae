"""A service, read over HTTP by its client: many crops at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from abinet_client import AbinetError, BadImage, Retry, VisionStage
from abinet_client import Prediction as Stage
from abinet_client import Reading as Answer
from abinet_client.batch.connect import connect
from models.evaluation.reading import Crop, Prediction, Reading, Refusal, Turns

CONCURRENT, BATCH = 8, 4
PATIENCE_S = 300.0
"""How long crops are offered to a service that is too busy or not ready."""
_RETRY = Retry(attempts=20, longest_pause=2.0)


class HttpReader:
    """The service at ``address``, "http://HOST:PORT" or "unix:PATH"; a context manager that closes its
    connections.

    A service that asks for an API key gets the one of the environment variable ABINET_API_KEY.

    Raises:
        ValueError: nothing there that answers as the service does.
    """

    def __init__(self, address: str, turns: Turns = "auto") -> None:
        self._address = address
        self.turns = turns
        try:
            self._client = connect(address, timeout=PATIENCE_S, retry=_RETRY)
            with connect(address, retry=Retry(attempts=1)) as asking:
                model = asking.model()
            self.model: str = model.name
            self.engine: str = f"{model.engine} on {', '.join(model.devices)}, served"
            self.iterations: int = model.manifest["iterations"]
            self.calibrated: bool = model.calibrated
        except (AbinetError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{address}: no abinet service answers there ({error})") from None

    def __enter__(self) -> HttpReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self, crops: Iterable[Crop]) -> Iterator[Reading | Refusal]:
        """One result a crop, in order.

        Raises:
            ValueError: the service fails, or has no time for a crop for `PATIENCE_S`.
        """
        outcomes = self._client.read_many(
            (crop.encoded for crop in crops),
            iterations=self.iterations,
            turns=self.turns,
            detail=True,
            concurrency=CONCURRENT,
            batch_size=BATCH,
        )
        for outcome in outcomes:
            if outcome.reading is not None:
                yield _reading(outcome.reading)
            elif isinstance(outcome.error, BadImage):
                yield Refusal(outcome.error.problem.title if outcome.error.problem else str(outcome.error))
            else:
                raise ValueError(f"{self._address}: {outcome.error}")


def _reading(answer: Answer) -> Reading:
    """From the stages of an answer: vision, then the language model and its fusion of each refinement."""
    stages: list[Stage] = []
    for stage in answer.iterations:
        stages += [stage] if isinstance(stage, VisionStage) else [stage.language, stage.fused]
    read = (Prediction(stage.text, stage.confidence) for stage in stages)
    return Reading.of(read, answer.confidence)._replace(turned=answer.turned)
