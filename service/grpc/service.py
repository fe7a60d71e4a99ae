"""The methods: those of the Open Inference Protocol with Triton's, and health as Kubernetes asks for it."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from service.errors import ProblemType, ServiceError
from service.grpc.calls import Calls, GrpcCall
from service.grpc.messages import asked_of, written
from service.grpc.protocol import grpc_service_pb2 as pb
from service.http.body import BodyRoom
from service.http.open_inference import Described, options_of, read_tensor
from service.reading.reader import Reader
from service.reading.request import ReadRequest

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class InferenceMethods:
    """Each takes a request and its call, and returns an answer or raises ServiceError."""

    def __init__(self, reader: Reader, version: str) -> None:
        """`version` is that of the service."""
        self._reader = reader
        self._described = Described(reader, version)

    async def live(self, request: Message, call: GrpcCall) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def ready(self, request: Message, call: GrpcCall) -> Message:
        return pb.ServerReadyResponse(ready=self._described.is_ready)

    async def model_ready(self, request: pb.ModelReadyRequest, call: GrpcCall) -> Message:
        self._described.check(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._described.is_ready)

    async def server_metadata(self, request: Message, call: GrpcCall) -> Message:
        return _message(self._described.server(), pb.ServerMetadataResponse())

    async def model_metadata(self, request: pb.ModelMetadataRequest, call: GrpcCall) -> Message:
        self._described.check(request.name, request.version)
        return _message(self._described.model(), pb.ModelMetadataResponse())

    async def model_config(self, request: pb.ModelConfigRequest, call: GrpcCall) -> Message:
        self._described.check(request.name, request.version)
        return _message({"config": self._described.config()}, pb.ModelConfigResponse())

    async def statistics(self, request: pb.ModelStatisticsRequest, call: GrpcCall) -> Message:
        if request.name:
            self._described.check(request.name, request.version)
        return _message(self._described.stats(request.version), pb.ModelStatisticsResponse())

    async def index(self, request: pb.RepositoryIndexRequest, call: GrpcCall) -> Message:
        models = self._described.index() if self._described.is_ready or not request.ready else []
        return _message({"models": models}, pb.RepositoryIndexResponse())

    async def infer(self, request: pb.ModelInferRequest, call: GrpcCall) -> pb.ModelInferResponse:
        version = request.model_version or call.version
        self._described.check(request.model_name, version)
        images, parameters, names = asked_of(request, self._reader.settings.max_batch_items)
        call.crops = len(images)
        wanted = ReadRequest(
            images,
            options_of(parameters),
            timeout_s=_patience(parameters.timeout, call.remaining_s),
            version=version,
            request_id=call.request_id,
        )
        inference = await read_tensor(self._reader, wanted, names)
        if len(images) == 1:
            call.timings = inference.slowest
        return written(request, inference, self._described.name)

    async def infer_of_stream(self, request: pb.ModelInferRequest, call: GrpcCall) -> Message:
        return pb.ModelStreamInferResponse(infer_response=await self.infer(request, call))

    async def health(self, request: health_pb2.HealthCheckRequest, call: GrpcCall) -> Message:
        if request.service not in ("", SERVICE):
            raise ServiceError(
                ProblemType.NO_SUCH_MODEL, f"There is no service {request.service[:64]!r}.", crops=0
            )
        status = "SERVING" if self._described.is_ready else "NOT_SERVING"
        return health_pb2.HealthCheckResponse(status=status)


def handlers(reader: Reader, version: str, room: BodyRoom) -> list[grpc.GenericRpcHandler]:
    """For a server; `version` is that of the service."""
    calls, methods = Calls(reader, room), InferenceMethods(reader, version)
    probes: dict[str, tuple[type[Message], Any]] = {
        "ServerLive": (pb.ServerLiveRequest, methods.live),
        "ServerReady": (pb.ServerReadyRequest, methods.ready),
        "ModelReady": (pb.ModelReadyRequest, methods.model_ready),
    }
    others: dict[str, tuple[type[Message], Any]] = {
        "ServerMetadata": (pb.ServerMetadataRequest, methods.server_metadata),
        "ModelMetadata": (pb.ModelMetadataRequest, methods.model_metadata),
        "ModelConfig": (pb.ModelConfigRequest, methods.model_config),
        "ModelStatistics": (pb.ModelStatisticsRequest, methods.statistics),
        "RepositoryIndex": (pb.RepositoryIndexRequest, methods.index),
        "ModelInfer": (pb.ModelInferRequest, methods.infer),
    }
    inference = {
        name: calls.one(f"/{SERVICE}/{name}", kind, work, needs_key=name not in probes)
        for name, (kind, work) in {**probes, **others}.items()
    }
    stream = "ModelStreamInfer"
    inference[stream] = calls.many(
        f"/{SERVICE}/{stream}", pb.ModelInferRequest, methods.infer_of_stream, _failed
    )
    health = calls.one(f"/{HEALTH}/Check", health_pb2.HealthCheckRequest, methods.health, needs_key=False)
    return [
        grpc.method_handlers_generic_handler(SERVICE, inference),
        grpc.method_handlers_generic_handler(HEALTH, {"Check": health}),
    ]


def _failed(request: pb.ModelInferRequest, error: ServiceError) -> Message:
    """As Triton says it, with the request's identifier."""
    infer_response = pb.ModelInferResponse(id=request.id)
    return pb.ModelStreamInferResponse(error_message=error.detail, infer_response=infer_response)


def _message(described: dict[str, Any], message: Message) -> Message:
    """JSON of the protocol has the same names as its messages."""
    filled: Message = ParseDict(described, message)
    return filled


def _patience(timeout: int | None, remaining_s: float | None) -> float | None:
    """Seconds: the parameter, which is in microseconds, or the call's deadline, whichever ends first."""
    given = [seconds for seconds in (timeout and timeout / 1e6, remaining_s) if seconds is not None]
    return max(min(given), 1e-6) if given else None
