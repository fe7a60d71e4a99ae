"""Types for all folders of the service: options of a request, names of models, timings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

Milliseconds = Annotated[float, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Turns = Literal["auto", "none", "all"]
MOST_LEXICON_WORDS = 10_000
LexiconWords = Annotated[
    tuple[Annotated[str, Field(max_length=64)], ...], Field(min_length=1, max_length=MOST_LEXICON_WORDS)
]
# The discriminator makes errors speak of what was meant, and not of everything that it might have been.
NamedOrListed = Annotated[
    Annotated[str, Tag("name")] | Annotated[LexiconWords, Tag("words")],
    Discriminator(lambda sent: "name" if isinstance(sent, str) else "words"),
]


class ReadOptions(BaseModel):
    """Options of one request, for all its crops."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: Annotated[
        int | None,
        Field(ge=0, description="Refinements: 0 (vision alone) up to the model's own number, the default."),
    ] = None
    early_stop: Annotated[
        bool,
        Field(
            description="Stop if vision is very sure of every character, or if an iteration has kept "
            "the text and is sure."
        ),
    ] = False
    turns: Annotated[
        Turns | None,
        Field(
            description="Ways up: `auto` reads a crop that is more than 1.5 times as high as wide as it is "
            "and turned by 90 degrees to either side, `all` every crop all four ways up, `none` as it is. "
            "The surest reading is the answer. The default is the service's own, `auto` unless it is set."
        ),
    ] = None
    detail: Annotated[
        bool | None,
        Field(
            description="Answer with `iterations`: what was believed after every stage. "
            "The default is true for one crop and false for a batch."
        ),
    ] = None
    lexicon: Annotated[
        NamedOrListed | None,
        Field(
            description="Words, one of which the crop is expected to show, or the name of a list that the "
            "service was started with: the answer says which of them is the likeliest, and how likely it "
            "is none of them. A query takes a name only."
        ),
    ] = None
    alternatives: Annotated[
        int | None,
        Field(
            ge=0, le=10, description="How many of the likeliest readings to answer with, the likeliest first."
        ),
    ] = None


@dataclass
class Timings:
    """Where the time of a crop went, in milliseconds.

    `decode` is from its arrival to the network's input; `queue` all the waiting for an engine; `vision` and
    `refine` the engine's own time for the batches that the crop was in (with the fused graph `vision` holds
    the refinements too), `batch` the time to make these batches and to carry them to the engine and back,
    with the wait there for the batch before; `encode` from logits to this answer. `total` is the sum of them,
    except for rounding.
    """

    # No model: it would be validated for every crop, by what takes longer than all that it holds.

    decode: Milliseconds
    queue: Milliseconds
    batch: Milliseconds
    vision: Milliseconds
    refine: Milliseconds
    encode: Milliseconds
    total: Milliseconds

    def server_timing(self) -> str:
        """The value of the Server-Timing header."""
        return ", ".join(f"{name};dur={value:.3f}" for name, value in vars(self).items())


class ModelName(BaseModel):
    """The bundle that answered."""

    name: str
    version: str
    calibrated: bool = Field(
        default=False,
        description="Whether the confidences of its words are calibrated: of the words of confidence 0.9, "
        "nine in ten are right, on crops such as it was calibrated on.",
    )


class CanaryInfo(ModelName):
    """The bundle that reads a share of the requests, to be judged by it."""

    percent: Percent
    engine: str = Field(examples=["MindSpore 2.8.0"])
    manifest: dict[str, Any] = Field(description="The bundle's manifest.json.")


class RequestLimits(BaseModel):
    """What one request may hold."""

    max_batch_items: int = Field(examples=[64], description="Crops of a batch.")
    max_body_bytes: int = Field(examples=[8388608], description="Bytes of a body, its form or JSON included.")


class ModelInfo(ModelName):
    """The bundle being served, what runs it and what one request may hold."""

    engine: str = Field(examples=["MindSpore 2.8.0"])
    graph: str = Field(examples=["stepwise"])
    devices: list[str] = Field(examples=[["cpu"]], description="Each has an engine worker of its own.")
    batch_ms: list[dict[str, dict[int, float]]] = Field(
        default=[],
        examples=[[{"vision": {1: 9.1, 4: 30.2}, "refine": {1: 2.0, 4: 5.1}}]],
        description="For each engine worker and graph what a call at each batch size takes, in milliseconds, "
        "as its latest calls have it. It decides which sizes run.",
    )
    limits: RequestLimits
    manifest: dict[str, Any] = Field(description="The bundle's manifest.json.")
    canary: CanaryInfo | None = None
