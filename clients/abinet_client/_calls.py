"""Requests to the service, and the reading of its answers, for both clients."""

from __future__ import annotations

import json
import math
import numbers
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar, Union

from pydantic import BaseModel, ValidationError

from abinet_client._exceptions import AbinetError, UnexpectedAnswer, error_of_answer, error_of_problem
from abinet_client._models import BatchAnswer, BatchItem, Health, LatencyReport, ModelInfo, ModelName, Reading

T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=BaseModel)


if TYPE_CHECKING:
    import numpy

Turns = Literal["auto", "none", "all"]
Points = list[list[float]]
Region = Union[Sequence[Sequence[float]], Sequence[float], "numpy.ndarray[Any, Any]"]
"""The outline of a text, in pixels of the upright photo: four corners (x, y), clockwise from the text's upper
left; or 2n points, the upper edge from left to right and then the lower edge back; or other points, around
which the smallest rectangle is cut; or a box x, y, width, height.
"""


class HttpAnswer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""


class Options(NamedTuple):
    """Options of a request; None leaves the choice to the service."""

    iterations: int | None
    early_stop: bool
    turns: Turns | None
    detail: bool
    lexicon: str | Sequence[str] | None = None
    alternatives: int | None = None

    def params(self) -> dict[str, str]:
        """The options for the query, without those that a query cannot hold."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        given.pop("lexicon", None)
        named = {"lexicon": self.lexicon} if isinstance(self.lexicon, str) else {}
        return {**{name: str(value).lower() for name, value in given.items()}, **named}

    def fields(self) -> dict[str, str]:
        """The other options, as fields of a form."""
        if self.lexicon is None or isinstance(self.lexicon, str):
            return {}
        return {"lexicon": json.dumps(list(self.lexicon))}


@dataclass(frozen=True)
class Call(Generic[T_co]):
    """One request, and the function that turns its answer into a value or raises AbinetError.

    `request` are further arguments of httpx's `build_request`.
    """

    method: str
    path: str
    understand: Callable[[HttpAnswer], T_co]
    request: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    may_retry: bool = True


def read_one(body: bytes, options: Options) -> Call[Reading]:
    def understand(answer: HttpAnswer) -> Reading:
        return _named(_model(Reading)(answer), answer)

    fields = options.fields()
    if not fields:
        return Call("POST", "/v1/read", understand, {"content": body, "params": options.params()})
    content, content_type = _form([body], fields)
    request = {"content": content, "params": options.params()}
    return Call("POST", "/v1/read", understand, request, {"Content-Type": content_type})


def read_batch(bodies: Sequence[bytes], options: Options) -> Call[list[Reading | AbinetError]]:
    """Each crop has its own result or its own error, in their order."""
    return _several("/v1/read/batch", bodies, len(bodies), options, {})


def _several(
    path: str, bodies: Sequence[bytes], count: int, options: Options, fields: Mapping[str, str]
) -> Call[list[Reading | AbinetError]]:
    def understand(answer: HttpAnswer) -> list[Reading | AbinetError]:
        batch = _model(BatchAnswer)(answer)
        if len(batch.items) != count:
            raise UnexpectedAnswer(f"{count} crops sent, {len(batch.items)} answered.")
        results = [_item(item, batch.model) for item in batch.items]
        return [_named(one, answer) if isinstance(one, Reading) else one for one in results]

    content, content_type = _form(bodies, {**fields, **options.fields()})
    request = {"content": content, "params": options.params()}
    return Call("POST", path, understand, request, {"Content-Type": content_type})


def read_regions(
    body: bytes, regions: Sequence[Points], options: Options
) -> Call[list[Reading | AbinetError]]:
    """Each region has its own result or its own error, in their order."""
    return _several("/v1/read/regions", [body], len(regions), options, {"regions": json.dumps(regions)})


def points_of(region: Region) -> Points:
    """The corners of a region, as plain numbers. Raises TypeError and ValueError if it is no region."""
    values = list(region)
    if len(values) == 4 and all(isinstance(value, numbers.Real) for value in values):
        left, top, width, height = map(float, values)
        right, bottom = left + width, top + height
        points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    else:
        points = [[float(x), float(y)] for x, y in values]
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError(f"region {points}: a coordinate is not a number")
    return points


def _form(bodies: Sequence[bytes], fields: Mapping[str, str]) -> tuple[bytes, str]:
    """The files and fields as multipart/form-data and its content type.

    In one piece, because httpx's own forms take three writes to the socket for each part, and the service as
    many reads.
    """
    boundary = secrets.token_hex(16)
    part = (
        '--{}\r\nContent-Disposition: form-data; name="images"; filename="{}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    pieces = [
        piece
        for place, body in enumerate(bodies)
        for piece in (part.format(boundary, place).encode(), body, b"\r\n")
    ]
    pieces += [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in fields.items()
    ]
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def is_too_much(error: AbinetError, bodies: Sequence[bytes]) -> bool:
    """Whether a batch was refused for its size, so that its halves may succeed."""
    return len(bodies) > 1 and error.status == 413


def are_too_many(error: AbinetError, regions: Sequence[Points]) -> bool:
    """The same for the regions of a photo, unless the photo itself is too large."""
    too_many = error.problem is not None and error.problem.type.endswith(":too-many-crops")
    return len(regions) > 1 and too_many


def health() -> Call[Health]:
    """Sent only once, because the answer is about now."""
    return Call("GET", "/health/ready", _health, may_retry=False)


def latency() -> Call[LatencyReport]:
    return Call("GET", "/v1/latency", _model(LatencyReport))


def model() -> Call[ModelInfo]:
    return Call("GET", "/v1/model", _model(ModelInfo))


def load_model(bundle: str, canary_percent: float | None) -> Call[ModelInfo]:
    asked = {"bundle": bundle, "canary_percent": canary_percent}
    return _change("load", {"json": {name: value for name, value in asked.items() if value is not None}})


def promote_model() -> Call[ModelInfo]:
    return _change("promote", {})


def roll_back_model() -> Call[ModelInfo]:
    return _change("rollback", {})


def _change(what: str, request: Mapping[str, Any]) -> Call[ModelInfo]:
    """Sent only once, because a change may have been made although its answer was lost."""
    return Call("POST", f"/v1/model/{what}", _model(ModelInfo), request, may_retry=False)


def _named(reading: Reading, answer: HttpAnswer) -> Reading:
    return reading.model_copy(update={"request_id": answer.headers.get("x-request-id", "")})


def _model(kind: type[M]) -> Callable[[HttpAnswer], M]:
    def understand(answer: HttpAnswer) -> M:
        if answer.status != 200:
            raise error_of_answer(*answer)
        return _validated(kind, answer.body, answer.url)

    return understand


def _health(answer: HttpAnswer) -> Health:
    if answer.status == 503:
        try:
            return Health.model_validate_json(answer.body)
        except ValidationError:
            raise error_of_answer(*answer) from None
    return _model(Health)(answer)


def _item(item: BatchItem, model: ModelName) -> Reading | AbinetError:
    if item.error is not None:
        return error_of_problem(item.error)
    return _validated(Reading, {**(item.result or {}), "model": model})


def _validated(kind: type[M], value: bytes | dict[str, Any], url: str = "") -> M:
    try:
        return kind.model_validate_json(value) if isinstance(value, bytes) else kind.model_validate(value)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the body"
        raise UnexpectedAnswer(
            f"The answer from {url or 'the service'} is not one that this client knows: "
            f"{place}: {fault['msg']}."
        ) from None
