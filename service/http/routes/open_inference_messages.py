"""The Open Inference Protocol, version 2: its messages, with Triton's extension for binary tensors.

There is one model, whose input is a BYTES tensor of image files. In JSON an image is base64. As binary data
an image comes after its length, as tritonclient sends it.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import numpy as np
import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.errors import ProblemType, ServiceError
from service.http.json_body import base64_of, json_object, validated
from service.image_decoding.decoders import ImageFile
from service.types import Turns

NAME = "abinet"
_LENGTH = struct.Struct("<I")


Dimension = Annotated[int, Field(ge=1)]
Parameters = TypeVar("Parameters", bound=BaseModel)
OrNone = Annotated[Parameters, BeforeValidator(lambda given: {} if given is None else given)]
"""Some clients write null if there are none."""


class Tensor(BaseModel):
    """A tensor's description; -1 is any number of crops."""

    name: str
    datatype: str
    shape: list[int]


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class ConfigTensor(BaseModel):
    name: str
    data_type: str
    dims: list[int]


class ModelConfig(BaseModel):
    """The configuration that Triton's clients ask for; 0 means that the first axis is not a batch axis."""

    name: str
    platform: str
    max_batch_size: int
    input: list[ConfigTensor]
    output: list[ConfigTensor]


class RepositoryModel(BaseModel):
    """A version of the model, as Triton lists its repository."""

    name: str
    version: str
    state: str
    reason: str = ""


class Duration(BaseModel):
    count: int
    ns: int


class InferenceStats(BaseModel):
    """Requests that were read and that failed; waits and computations of their crops."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class BatchStats(BaseModel):
    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class VersionStats(BaseModel):
    """Statistics of one version since the service was started; `last_inference` is in milliseconds since
    1970.
    """

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStats
    batch_stats: list[BatchStats]


class ModelStats(BaseModel):
    model_stats: list[VersionStats]


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class ModelReady(Ready):
    name: str


class InferError(BaseModel):
    error: str


class TensorParameters(BaseModel):
    binary_data_size: int | None = Field(default=None, ge=0, description="Bytes that follow the JSON.")
    binary_data: bool | None = Field(default=None, description="Answer with bytes that follow the JSON.")


class RequestInput(BaseModel):
    name: str = Field(json_schema_extra={"const": "image"})
    datatype: str = Field(json_schema_extra={"const": "BYTES"})
    shape: list[Dimension] = Field(min_length=1, max_length=8)
    parameters: OrNone[TensorParameters] = TensorParameters()
    data: list[Any] | None = Field(default=None, description="Image files, base64.")


class RequestOutput(BaseModel):
    name: str
    parameters: OrNone[TensorParameters] = TensorParameters()


class RequestParameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    iterations: int | None = Field(default=None, ge=0)
    early_stop: bool = False
    turns: Turns | None = None
    binary_data_output: bool = False
    timeout: int | None = Field(default=None, ge=1, description="Deadline in microseconds, as Triton has it.")


class InferRequest(BaseModel):
    """One tensor of crops."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["iVBORw0KGgo="]}]}
            ]
        }
    )

    id: str | None = None
    parameters: OrNone[RequestParameters] = RequestParameters()
    inputs: list[RequestInput] = Field(min_length=1, max_length=1)
    outputs: Annotated[list[RequestOutput], Field(max_length=8)] | None = None


class ResponseOutput(Tensor):
    parameters: TensorParameters | None = None
    data: list[Any] | None = None


class InferResponse(BaseModel):
    """What was read in each crop, in the shape of the input."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model_name": NAME,
                    "model_version": "1.0.0",
                    "outputs": [
                        {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["ab"]},
                        {"name": "confidence", "datatype": "FP32", "shape": [1], "data": [0.98]},
                        {"name": "stopped_at", "datatype": "INT32", "shape": [1], "data": [3]},
                        {"name": "turned", "datatype": "INT32", "shape": [1], "data": [0]},
                    ],
                }
            ]
        }
    )

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


class OutputTensor(NamedTuple):
    """One of the model's outputs: its datatype in the protocol and, if it has one, in NumPy."""

    datatype: str
    dtype: str | None = None

    def binary(self, values: Sequence[Any]) -> bytes:
        if self.dtype is not None:
            return np.array(values, self.dtype).tobytes()
        texts = [text.encode() for text in values]
        return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))


OUTPUTS = {
    "text": OutputTensor("BYTES"),
    "confidence": OutputTensor("FP32", "<f4"),
    "stopped_at": OutputTensor("INT32", "<i4"),
    "turned": OutputTensor("INT32", "<i4"),
    "iterations": OutputTensor("BYTES"),
}
USUAL_OUTPUTS = ("text", "confidence", "stopped_at", "turned")
"""The outputs if a request names none. `iterations`, the JSON of /v1/read, takes a thousand bytes a crop."""


def parse(body: bytes, json_bytes: int, most: int) -> tuple[InferRequest, list[ImageFile]]:
    """A request and the images of its tensor, `most` of them. Raises ServiceError.

    The first `json_bytes` of the body are JSON; binary data follows.
    """
    asked = validated(InferRequest, json_object(body[:json_bytes], most))
    check_outputs([output.name for output in asked.outputs or []])
    return asked, _images(asked.inputs[0], body[json_bytes:], most)


def write(
    asked: InferRequest, values: dict[str, list[Any]], model: str, version: str
) -> tuple[bytes, list[bytes]]:
    """The answer's JSON, and the binary data that was asked for. `values` holds all outputs."""
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for wanted in asked.outputs or [RequestOutput(name=name) for name in USUAL_OUTPUTS]:
        kind = OUTPUTS[wanted.name]
        output: dict[str, Any] = {
            "name": wanted.name,
            "datatype": kind.datatype,
            "shape": asked.inputs[0].shape,
        }
        as_binary = wanted.parameters.binary_data
        if asked.parameters.binary_data_output if as_binary is None else as_binary:
            blobs.append(kind.binary(values[wanted.name]))
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"] = values[wanted.name]
        outputs.append(output)
    document: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if asked.id is not None:
        document["id"] = asked.id
    return orjson.dumps(document), blobs


def _images(tensor: RequestInput, binary: bytes, most: int) -> list[ImageFile]:
    check_input(tensor.name, tensor.datatype)
    size = tensor.parameters.binary_data_size
    if size is not None:
        if size != len(binary):
            raise ServiceError(
                ProblemType.INVALID_REQUEST,
                f"image: binary_data_size is {size}, and {len(binary)} bytes follow the JSON.",
            )
        return checked(unpacked(binary), tensor.shape, most)
    images = checked(_flat(tensor), tensor.shape, most)
    if not all(isinstance(image, str) for image in images):
        raise ServiceError(ProblemType.INVALID_REQUEST, "image: an element of data is no string.")
    return [base64_of(image) for image in images]


def check_input(name: str, datatype: str) -> None:
    """Raises ServiceError unless that is the model's input."""
    if (name, datatype) != ("image", "BYTES"):
        raise ServiceError(ProblemType.INVALID_REQUEST, "The one input is 'image', of datatype BYTES.")


def check_outputs(names: Sequence[str]) -> None:
    """Raises ServiceError unless these are outputs of the model, each asked for once."""
    for name in names:
        if name not in OUTPUTS:
            raise ServiceError(
                ProblemType.INVALID_REQUEST, f"No output {name!r}; there are {', '.join(OUTPUTS)}."
            )
        if names.count(name) > 1:
            raise ServiceError(ProblemType.INVALID_REQUEST, f"The output {name!r} is asked for twice.")


def checked(elements: Iterable[Any], shape: Sequence[int], most: int) -> list[Any]:
    """A tensor's elements, no more of them than `most`. Raises ServiceError if they are no such tensor."""
    images = list(itertools.islice(elements, most + 1))
    if len(images) > most:
        raise ServiceError(ProblemType.TOO_MANY_CROPS, f"More than {most} crops.")
    if len(images) != math.prod(shape) or not images:
        raise ServiceError(
            ProblemType.INVALID_REQUEST,
            f"image: {len(images)} elements do not make the shape {list(shape)}.",
        )
    return images


def unpacked(binary: bytes) -> Iterable[bytes]:
    """The elements of a BYTES tensor. Raises ServiceError if one says that it is longer than what is left."""
    place = 0
    while place < len(binary):
        start = place + _LENGTH.size
        length = int.from_bytes(binary[place:start], "little")
        place = start + length
        if place > len(binary):
            left = max(0, len(binary) - start)
            raise ServiceError(
                ProblemType.INVALID_REQUEST,
                f"image: an element says that it has {length} bytes, but only {left} are left.",
            )
        yield binary[start:place]


def _flat(tensor: RequestInput) -> list[Any]:
    """The elements of data that was given in the tensor's shape or in one row. Raises ServiceError."""
    data = tensor.data or []
    if not any(isinstance(row, list) for row in data):
        return data
    for length in tensor.shape[1:]:
        if not all(isinstance(row, list) and len(row) == length for row in data):
            raise ServiceError(
                ProblemType.INVALID_REQUEST, f"image: the rows of data do not make the shape {tensor.shape}."
            )
        data = [element for row in data for element in row]
    return data
