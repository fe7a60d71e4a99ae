"""What goes over the wire: requests' options, results and problem details, with examples for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from service.types import ModelName, NamedOrListed, Percent, ReadOptions, Timings

Confidence = Annotated[float, Field(ge=0, le=1)]


class Character(BaseModel):
    """One character of what a stage read."""

    character: str
    confidence: Confidence = Field(description="The probability that the stage gave it.")


class Prediction(BaseModel):
    """What one model read."""

    text: str
    confidence: Confidence = Field(
        description="The probability that the stage gave this text: the product of the probabilities of its "
        "characters and of the stop after them. Not calibrated."
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


def _word(text: str, confidence: float, *characters: float) -> dict[str, Any]:
    pairs = zip(text, characters, strict=True)
    return {
        "text": text,
        "confidence": confidence,
        "characters": [{"character": character, "confidence": sure} for character, sure in pairs],
    }


_DETAIL: dict[str, Any] = {
    "iterations": [
        {"stage": "vision", **_word("ah", 0.4, 0.97, 0.42)},
        {
            "stage": "refinement",
            "iteration": 1,
            "language": _word("ab", 0.86, 0.95, 0.91),
            "fused": _word("ab", 0.95, 0.99, 0.96),
        },
    ]
}
_READING: dict[str, Any] = {
    "text": "ab",
    "confidence": 0.98,
    "turned": 0,
    "stopped_at": 1,
    "timings_ms": {
        "decode": 0.3,
        "queue": 0.1,
        "batch": 0.4,
        "vision": 45.2,
        "refine": 4.1,
        "encode": 0.2,
        "total": 50.3,
    },
}
_MODEL: dict[str, Any] = {"name": "abinet_small_en", "version": "1.0.0", "calibrated": True}
_BROKEN: dict[str, Any] = {
    "type": "urn:abinet:problem:broken-image",
    "title": "The image cannot be decoded",
    "status": 400,
    "detail": "The image is cut off or broken.",
    "request_id": "5f0c",
}


_BATCH: dict[str, Any] = {
    "items": [{"id": "a.png", "result": _READING}, {"id": "b.png", "error": _BROKEN}],
    "model": _MODEL,
}


class LexiconChoice(BaseModel):
    """The word of the request's lexicon that is likeliest by the last stage."""

    word: str = Field(description="The word, spelled as in the lexicon.")
    probability: Confidence = Field(
        description="Probability that the last stage gives the word. Not calibrated."
    )
    none: Confidence = Field(description="Probability of all texts that are not in the lexicon.")


class Alternative(BaseModel):
    """A reading, and the probability that the last stage gives it. Not calibrated."""

    text: str
    probability: Confidence


class Reading(BaseModel):
    """A crop's reading: the final text, and with `detail` what was believed after every stage."""

    text: str
    confidence: Confidence = Field(
        description="The calibrated probability that `text` is right. If the model is not calibrated: the "
        "probability that its last stage gave the text."
    )
    turned: Literal[0, 90, 180, 270] = Field(
        description="By how many degrees clockwise the crop was turned to be read like this."
    )
    note: str | None = Field(
        default=None,
        description="A sentence if the crop seems to show several words, or one of more than 25 characters.",
    )
    lexicon: LexiconChoice | None = Field(default=None, description="Only if the request had a `lexicon`.")
    alternatives: list[Alternative] | None = Field(
        default=None, description="The likeliest readings, if the request asked for them."
    )
    iterations: list[Annotated[VisionStage | RefinementStage, Field(discriminator="stage")]] | None = None
    stopped_at: int = Field(ge=0, description="Number of refinements that ran.")
    timings_ms: Timings


class ReadResult(Reading):
    """The answer to one crop."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_READING, **_DETAIL, "model": _MODEL}]})

    model: ModelName


_BASE64 = "An image file in base64, or a data URI of it."


class ProblemDetails(BaseModel):
    """A failure, as RFC 9457 has it (application/problem+json)."""

    type: str = Field(examples=["urn:abinet:problem:not-an-image"])
    title: str
    status: int
    detail: str
    request_id: str


class CropRequest(ReadOptions):
    """One crop as JSON. Options that it names go before those of the query."""

    image: str = Field(description=_BASE64, examples=["iVBORw0KGgo="])


class BatchImage(BaseModel):
    """One crop of a JSON batch."""

    id: str | None = Field(default=None, description="Repeated with the crop's answer.", examples=["a.png"])
    image: str = Field(description=_BASE64, examples=["iVBORw0KGgo="])


_Image = Annotated[
    Annotated[str, Tag("base64")] | Annotated[BatchImage, Tag("object")],
    Discriminator(lambda sent: "base64" if isinstance(sent, str) else "object"),
]


class BatchRequest(ReadOptions):
    """A batch as JSON. Options that it names go before those of the query."""

    images: Annotated[list[_Image], Field(min_length=1, examples=[["iVBORw0KGgo=", "R0lGODlh"]])]


Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Points = Annotated[
    list[Point],
    Field(
        description="Corners [x, y] in pixels of the upright photo, in the order of the text: upper left, "
        "upper right, lower right, lower left. An even number of more points is the upper edge from left to "
        "right and the lower one back: curved text is straightened. Of other points the smallest rectangle "
        "around them is cut.",
        examples=[[[31, 40], [210, 52], [208, 98], [29, 86]]],
    ),
]
Box = Annotated[
    list[float],
    Field(
        min_length=4,
        max_length=4,
        description="[x, y, width, height] in pixels of the upright photo; x, y is the upper left corner.",
        examples=[[31, 40, 180, 48]],
    ),
]


class OutlinedRegion(BaseModel):
    """A text in a photo, by its corners."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, description="Repeated with the region's answer.", examples=["sign"])
    points: Points


class BoxRegion(BaseModel):
    """A text in a photo, by a box that is not rotated."""

    model_config = ConfigDict(extra="forbid")

    id: str | None = Field(default=None, description="Repeated with the region's answer.", examples=["sign"])
    box: Box


def _form_of_region(sent: Any) -> str:
    if isinstance(sent, dict):
        return "outline" if "points" in sent or "box" not in sent else "box"
    return (
        "box" if isinstance(sent, BoxRegion) else "outline" if isinstance(sent, OutlinedRegion) else "points"
    )


_Region = Annotated[
    Annotated[OutlinedRegion, Tag("outline")]
    | Annotated[BoxRegion, Tag("box")]
    | Annotated[Points, Tag("points")],
    Discriminator(_form_of_region),
]


class LexiconField(BaseModel):
    """The lexicon of a form."""

    model_config = ConfigDict(extra="forbid")

    lexicon: NamedOrListed


class RegionList(BaseModel):
    """The regions of a photo."""

    regions: Annotated[
        list[_Region],
        Field(
            min_length=1,
            description="A list of points alone is a region too.",
            examples=[
                [
                    {"id": "sign", "points": [[31, 40], [210, 52], [208, 98], [29, 86]]},
                    {"box": [8, 120, 90, 30]},
                ]
            ],
        ),
    ]


class RegionsRequest(RegionList, ReadOptions):
    """A photo and its regions as JSON. Options that it names go before those of the query."""

    image: str = Field(description=_BASE64, examples=["iVBORw0KGgo="])


class BatchItem(BaseModel):
    """What became of one crop of a batch: a result or an error."""

    id: str | None = Field(default=None, description="The client's own, or its file's name.")
    result: Reading | None = None
    error: ProblemDetails | None = None


class BatchResult(BaseModel):
    """The crops of a batch, in the order in which they came."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BATCH]})

    items: list[BatchItem]
    model: ModelName


class LoadRequest(BaseModel):
    """A bundle to serve: instead of the present one, or beside it."""

    model_config = ConfigDict(extra="forbid")

    bundle: str = Field(description="Name of a folder in `bundles`.", examples=["small-2"])
    canary_percent: Percent | None = Field(
        default=None,
        description="Share of the requests that it reads as a canary; 0: only those that name its version. "
        "Without it the bundle replaces the present one.",
    )


class Health(BaseModel):
    """Whether the service lives, and whether it takes requests."""

    status: Literal["live", "starting", "ready", "draining"]
