"""The service's answers as pydantic models. Members that later releases add are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Optional, Union

from pydantic import BaseModel, ConfigDict, Field


class _WireModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class Character(_WireModel):
    """One character; `confidence`, 0 to 1, is the probability that the stage gave it."""

    character: str
    confidence: float


class Prediction(_WireModel):
    """What one model read.

    `confidence`, 0 to 1, is the probability that the stage gave the text: the product of the probabilities of
    its characters and of the stop after them. It is not calibrated.
    """

    text: str
    confidence: float
    characters: tuple[Character, ...]


class VisionStage(Prediction):
    """What the vision model read, before any refinement."""

    stage: Literal["vision"]


class RefinementStage(_WireModel):
    """What one iteration, counted from 1, read: the language model, and its fusion with vision."""

    stage: Literal["refinement"]
    iteration: int
    language: Prediction
    fused: Prediction


Stage = Annotated[Union[VisionStage, RefinementStage], Field(discriminator="stage")]


class Timings(_WireModel):
    """Where the time of a crop went in the service, in milliseconds. `total` is the sum of the others."""

    decode: float
    queue: float
    batch: float
    vision: float
    refine: float
    encode: float
    total: float


class ModelName(_WireModel):
    """The bundle that answered, and whether the confidences of its words are calibrated."""

    name: str
    version: str
    calibrated: bool = False


class LexiconChoice(_WireModel):
    """The likeliest word of a lexicon.

    `probability`, 0 to 1, is the network's probability of the word; `none` is that of all texts that are not
    in the lexicon, together. Neither is calibrated.
    """

    word: str
    probability: float
    none: float


class Alternative(_WireModel):
    """A reading and the probability, 0 to 1, that the network gives it; not calibrated."""

    text: str
    probability: float


class Reading(_WireModel):
    """The reading of a crop.

    `confidence`, 0 to 1, is the calibrated probability that the text is right; if the model is not calibrated
    (`model.calibrated`), the probability that its last stage gave the text. `note` is a sentence if the crop
    seems to show several words, or one of more than 25 characters. `lexicon` and `alternatives`, the
    likeliest readings, are there if they were asked for. `turned` is by how many degrees clockwise the crop
    was turned to be read like this: 0, 90, 180 or 270. `iterations` holds what was believed after every
    stage, vision first; it is empty if no detail was asked for. `stopped_at` is the number of refinements
    that ran. `request_id` finds the request in the service's log.
    """

    text: str
    confidence: float
    turned: int = 0
    note: Optional[str] = None
    lexicon: Optional[LexiconChoice] = None
    alternatives: tuple[Alternative, ...] = ()
    iterations: tuple[Stage, ...] = ()
    stopped_at: int
    timings_ms: Timings
    model: ModelName
    request_id: str = ""

    @property
    def characters(self) -> tuple[Character, ...]:
        """The text's characters as the last stage read them; none if no detail was asked for."""
        if not self.iterations:
            return ()
        last = self.iterations[-1]
        return last.characters if isinstance(last, VisionStage) else last.fused.characters


class Problem(_WireModel):
    """A failure as the service describes it (problem details, RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str = ""


class BatchItem(_WireModel):
    """The outcome for one crop of a batch: members of a `Reading`, or a problem."""

    result: Optional[dict[str, Any]] = None
    error: Optional[Problem] = None


class BatchAnswer(_WireModel):
    """The crops of one batch request, in its order."""

    items: tuple[BatchItem, ...]
    model: ModelName


class Health(_WireModel):
    """Whether the service takes crops: only when it is ready."""

    status: Literal["live", "starting", "ready", "draining"]

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"


class CanaryInfo(ModelName):
    """A bundle that reads `percent` of the requests beside the one being served."""

    percent: float


class ModelInfo(ModelName):
    """The bundle being served, its manifest.json and what runs it, and the canary beside it, if any.

    `limits` are those of a request: `max_batch_items` crops and `max_body_bytes`. Services of 0.1
    state none.
    """

    engine: str
    graph: str
    devices: tuple[str, ...]
    batch_ms: tuple[dict[str, dict[int, float]], ...] = ()
    limits: dict[str, int] = {}
    manifest: dict[str, Any]
    canary: Optional[CanaryInfo] = None


class StageLatency(_WireModel):
    """One stage over one window: how many crops, and milliseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


class GraphBatches(_WireModel):
    """Engine calls of one graph over one window.

    `fill` is crops over the rows that the engine ran; `sizes` counts the calls by their number of crops.
    """

    calls: int
    fill: float
    sizes: dict[int, int]


class LatencyWindow(_WireModel):
    """One window, by stage and by graph."""

    stages: dict[str, StageLatency]
    batches: dict[str, GraphBatches]


class LatencyReport(_WireModel):
    """Where the time of recent crops went: `windows` are "1m" and "5m".

    A percentile may be off by `relative_error`.
    """

    relative_error: float
    windows: dict[str, LatencyWindow]
    batch_ms: tuple[dict[str, dict[int, float]], ...] = ()
