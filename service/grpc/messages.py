"""Messages of the protocol: an inference's request read, its answer written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from service.errors import ProblemType, ServiceError
from service.grpc.protocol import grpc_service_pb2 as pb
from service.http.json_body import validated
from service.http.open_inference import Inference
from service.http.routes.open_inference_messages import (
    OUTPUTS,
    USUAL_OUTPUTS,
    RequestParameters,
    check_input,
    check_outputs,
    checked,
    unpacked,
)

Request = TypeVar("Request", bound=Message)

_CONTENTS = {"BYTES": "bytes_contents", "FP32": "fp32_contents", "INT32": "int_contents"}
_MOST_DIMENSIONS = 8


class Asked(NamedTuple):
    """A request's image files, its options, and the outputs that it wants."""

    images: list[bytes]
    parameters: RequestParameters
    names: list[str]


def parsed(kind: type[Request], message: bytes) -> Request:
    """Raises ServiceError if these bytes are no such message."""
    request: Request = kind()
    try:
        request.ParseFromString(message)
    except DecodeError as error:
        raise ServiceError(ProblemType.INVALID_REQUEST, f"The message cannot be read: {error}.") from None
    return request


def asked_of(request: pb.ModelInferRequest, most: int) -> Asked:
    """Raises ServiceError, also if there are more than `most` crops."""
    if len(request.inputs) != 1:
        raise ServiceError(ProblemType.INVALID_REQUEST, "The one input is 'image', of datatype BYTES.")
    parameters = validated(RequestParameters, _plain(request.parameters), "parameters")
    names = [output.name for output in request.outputs] or list(USUAL_OUTPUTS)
    check_outputs(names)
    for tensor in (*request.inputs, *request.outputs):
        for name in tensor.parameters:  # shared memory, or a classification
            raise ServiceError(
                ProblemType.INVALID_REQUEST, f"{tensor.name[:32]}: no parameter {name[:64]!r} is taken."
            )
    return Asked(_images(request, most), parameters, names)


def written(request: pb.ModelInferRequest, inference: Inference, model: str) -> pb.ModelInferResponse:
    """Raw if the request's tensor was."""
    answer = pb.ModelInferResponse(model_name=model, model_version=inference.version, id=request.id)
    for name, values in inference.values.items():
        kind = OUTPUTS[name]
        output = answer.outputs.add(name=name, datatype=kind.datatype, shape=request.inputs[0].shape)
        if request.raw_input_contents:
            answer.raw_output_contents.append(kind.binary(values))
            continue
        contents = [value.encode() for value in values] if kind.datatype == "BYTES" else values
        getattr(output.contents, _CONTENTS[kind.datatype]).extend(contents)
    return answer


def _images(request: pb.ModelInferRequest, most: int) -> list[bytes]:
    (tensor,) = request.inputs
    check_input(tensor.name, tensor.datatype)
    shape = list(tensor.shape)
    if not 0 < len(shape) <= _MOST_DIMENSIONS or min(shape) < 1:
        raise ServiceError(
            ProblemType.INVALID_REQUEST,
            f"image: the shape has 1 to {_MOST_DIMENSIONS} dimensions of at least 1.",
        )
    elements: Iterable[bytes] = tensor.contents.bytes_contents
    if request.raw_input_contents:
        if len(request.raw_input_contents) != 1 or tensor.HasField("contents"):
            raise ServiceError(
                ProblemType.INVALID_REQUEST, "image: in raw_input_contents once, or in contents, not in both."
            )
        elements = unpacked(request.raw_input_contents[0])
    return checked(elements, shape, most)


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """By name, of whichever type each was sent."""
    found = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        found[name] = None if kind is None else getattr(parameter, kind)
    return found
