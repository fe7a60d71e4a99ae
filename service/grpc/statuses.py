"""Every way in which a request can fail, as a status of gRPC."""

from __future__ import annotations

from grpc import StatusCode

from service.errors import Problem

STATUS_OF = {
    Problem.NO_SUCH_MODEL: StatusCode.NOT_FOUND,
    Problem.INVALID_REQUEST: StatusCode.INVALID_ARGUMENT,
    Problem.UNAUTHORISED: StatusCode.UNAUTHENTICATED,
    Problem.ADMIN_OFF: StatusCode.PERMISSION_DENIED,
    Problem.MODEL_CONFLICT: StatusCode.FAILED_PRECONDITION,
    Problem.BAD_BUNDLE: StatusCode.FAILED_PRECONDITION,
    Problem.UNSUPPORTED_BODY: StatusCode.INVALID_ARGUMENT,
    Problem.UNSUPPORTED_ENCODING: StatusCode.UNIMPLEMENTED,
    Problem.BROKEN_BODY: StatusCode.INVALID_ARGUMENT,
    Problem.NOT_AN_IMAGE: StatusCode.INVALID_ARGUMENT,
    Problem.BAD_REGION: StatusCode.INVALID_ARGUMENT,
    Problem.BROKEN_IMAGE: StatusCode.INVALID_ARGUMENT,
    Problem.BODY_TOO_SLOW: StatusCode.DEADLINE_EXCEEDED,
    # As gRPC itself says it of a message.
    Problem.BODY_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    # Not RESOURCE_EXHAUSTED, which clients try again.
    Problem.TOO_MANY_CROPS: StatusCode.INVALID_ARGUMENT,
    Problem.TOO_MANY_PIXELS: StatusCode.INVALID_ARGUMENT,
    Problem.QUEUE_FULL: StatusCode.RESOURCE_EXHAUSTED,
    Problem.BODIES_FULL: StatusCode.RESOURCE_EXHAUSTED,
    Problem.CLIENT_GONE: StatusCode.CANCELLED,
    Problem.ENGINE_FAILED: StatusCode.INTERNAL,
    Problem.FAULT: StatusCode.INTERNAL,
    Problem.NOT_READY: StatusCode.UNAVAILABLE,
    Problem.DEADLINE: StatusCode.DEADLINE_EXCEEDED,
}
