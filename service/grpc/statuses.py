"""Every way in which a request can fail, as a status of gRPC."""

from __future__ import annotations

from grpc import StatusCode

from service.errors import ProblemType

STATUS_OF = {
    ProblemType.NO_SUCH_MODEL: StatusCode.NOT_FOUND,
    ProblemType.INVALID_REQUEST: StatusCode.INVALID_ARGUMENT,
    ProblemType.UNAUTHORISED: StatusCode.UNAUTHENTICATED,
    ProblemType.ADMIN_OFF: StatusCode.PERMISSION_DENIED,
    ProblemType.MODEL_CONFLICT: StatusCode.FAILED_PRECONDITION,
    ProblemType.BAD_BUNDLE: StatusCode.FAILED_PRECONDITION,
    ProblemType.UNSUPPORTED_BODY: StatusCode.INVALID_ARGUMENT,
    ProblemType.UNSUPPORTED_ENCODING: StatusCode.UNIMPLEMENTED,
    ProblemType.BROKEN_BODY: StatusCode.INVALID_ARGUMENT,
    ProblemType.NOT_AN_IMAGE: StatusCode.INVALID_ARGUMENT,
    ProblemType.BAD_REGION: StatusCode.INVALID_ARGUMENT,
    ProblemType.BROKEN_IMAGE: StatusCode.INVALID_ARGUMENT,
    ProblemType.BODY_TOO_SLOW: StatusCode.DEADLINE_EXCEEDED,
    # As gRPC itself says it of a message.
    ProblemType.BODY_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    # Not RESOURCE_EXHAUSTED, which clients try again.
    ProblemType.TOO_MANY_CROPS: StatusCode.INVALID_ARGUMENT,
    ProblemType.TOO_MANY_PIXELS: StatusCode.INVALID_ARGUMENT,
    ProblemType.QUEUE_FULL: StatusCode.RESOURCE_EXHAUSTED,
    ProblemType.BODIES_FULL: StatusCode.RESOURCE_EXHAUSTED,
    ProblemType.CLIENT_GONE: StatusCode.CANCELLED,
    ProblemType.ENGINE_FAILED: StatusCode.INTERNAL,
    ProblemType.FAULT: StatusCode.INTERNAL,
    ProblemType.NOT_READY: StatusCode.UNAVAILABLE,
    ProblemType.DEADLINE: StatusCode.DEADLINE_EXCEEDED,
}
