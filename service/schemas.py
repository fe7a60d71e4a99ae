"""What goes over the wire: requests' options, results and problem details, with examples for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Confidence = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(ge=0)]


class ReadOptions(BaseModel):
    """Options of one request, as query parameters."""

    iterations: Annotated[
        int | None,
        Field(ge=0, description="Refinements: 0 (vision alone) up to the model's own number, the default."),
    ] = None
    early_stop: Annotated[
        bool,
        Field(description="Stop when an iteration has not changed the text and every character is sure."),
    ] = False


class Character(BaseModel):
    """One character and the probability that the stage gave it."""

    character: str
    confidence: Confidence


class Prediction(BaseModel):
    """What one model read."""

    text: str
    confidence: Confidence = Field(
        description="Exponentiated mean log-probability of the characters and the stop token."
    )
    characters: list[Character]


class VisionStage(Prediction):
    """What the vision model read, before any refinement."""

    stage: Literal["vision"] = "vision"


class RefinementStage(BaseModel):
    """What one iteration read: the language model, and its fusion with vision."""

    stage: Literal["refinement"] = "refinement"
    iteration: int = Field(ge=1)
    language: Prediction
    fused: Prediction


class Timings(BaseModel):
    """Where the time of a request went, in milliseconds.

    `vision` and `refine` are the engine's own time for the batches that the crop was in; `queue` is the wait
    for the first of them. With the fused graph `vision` holds the refinements too.
    """

    decode: Milliseconds
    queue: Milliseconds
    vision: Milliseconds
    refine: Milliseconds
    total: Milliseconds

    def server_timing(self) -> str:
        """The value of the Server-Timing header."""
        return ", ".join(f"{name};dur={value:.3f}" for name, value in self.model_dump().items())


class ModelName(BaseModel):
    """The bundle that answered."""

    name: str
    version: str


def _word(text: str, confidence: float, *characters: float) -> dict[str, Any]:
    pairs = zip(text, characters, strict=True)
    return {
        "text": text,
        "confidence": confidence,
        "characters": [{"character": character, "confidence": sure} for character, sure in pairs],
    }


_EXAMPLE: dict[str, Any] = {
    "text": "ab",
    "confidence": 0.98,
    "iterations": [
        {"stage": "vision", **_word("ah", 0.71, 0.97, 0.42)},
        {
            "stage": "refinement",
            "iteration": 1,
            "language": _word("ab", 0.93, 0.95, 0.91),
            "fused": _word("ab", 0.98, 0.99, 0.96),
        },
    ],
    "stopped_at": 1,
    "timings_ms": {"decode": 0.3, "queue": 0.1, "vision": 45.2, "refine": 4.1, "total": 50.4},
    "model": {"name": "abinet_tiny_en", "version": "1.0.0"},
}


class ReadResult(BaseModel):
    """One crop, read: the final text, and what was believed after every stage."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    text: str
    confidence: Confidence
    iterations: list[Annotated[VisionStage | RefinementStage, Field(discriminator="stage")]]
    stopped_at: int = Field(ge=0, description="Refinements that ran.")
    timings_ms: Timings
    model: ModelName


class ModelInfo(ModelName):
    """The bundle being served and what runs it."""

    engine: str = Field(examples=["MindSpore 2.8.0"])
    graph: str = Field(examples=["stepwise"])
    device: str = Field(examples=["cpu"])
    manifest: dict[str, Any] = Field(description="The bundle's manifest.json.")


class Health(BaseModel):
    """Whether the service lives, and whether it takes requests."""

    status: Literal["live", "starting", "ready", "draining"]


class ProblemDetails(BaseModel):
    """A failure, as RFC 9457 has it (application/problem+json)."""

    type: str = Field(examples=["urn:abinet:problem:not-an-image"])
    title: str
    status: int
    detail: str
    request_id: str
