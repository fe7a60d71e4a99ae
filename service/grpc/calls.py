"""Around every call: its identifier, its key, its line in the log, its place in the metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from service.errors import ProblemType, ServiceError
from service.grpc.messages import parsed
from service.grpc.statuses import STATUS_OF
from service.http.auth import KeyRing
from service.http.body import BodyRoom
from service.http.middleware import request_id_of
from service.http.problems import FAULT
from service.observability.request_log import RequestLog
from service.reading.deadline import Deadline, DeadlineError
from service.reading.reader import Reader
from service.types import Timings

log = logging.getLogger("abinet")

Request = TypeVar("Request", bound=Message)
Work = Callable[[Any, "GrpcCall"], Awaitable[Message]]

_LONGEST_DETAILS = 1000
"""They travel in a header."""


class GrpcCall:
    """A call that is being answered: what its metadata says, and what is to be noted of it."""

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        pairs = context.invocation_metadata() or ()
        self.scope: dict[str, Any] = {
            "headers": [(name.encode(), value.encode()) for name, value in pairs if isinstance(value, str)]
        }
        self.request_id = request_id_of(self.scope).decode()
        self.held: dict[str, Any] = {}
        self.body_bytes = self.crops = 0
        self.timings: Timings | None = None
        self._context = context

    @property
    def remaining_s(self) -> float | None:
        """Until the client's own deadline, if it has set one."""
        remaining: float | None = self._context.time_remaining()
        return remaining

    @property
    def version(self) -> str:
        """Of the model, as a header of HTTP names it."""
        found: bytes = dict(self.scope["headers"]).get(b"x-model-version", b"")
        return found.decode()

    async def fail(self, error: ServiceError) -> None:
        """Ends the call. The trailing metadata say what HTTP says in headers and in a problem's type."""
        _forget_calls(error)
        trailing = [("x-request-id", self.request_id), ("abinet-problem", error.problem.slug)]
        if error.retry_after is not None:
            trailing.append(("grpc-retry-pushback-ms", str(1000 * error.retry_after)))
        details = error.detail[:_LONGEST_DETAILS]
        await self._context.abort(STATUS_OF[error.problem], details, tuple(trailing))

    def succeed(self) -> None:
        self._context.set_trailing_metadata((("x-request-id", self.request_id),))


class Calls:
    """Makes handlers of methods.

    They get messages as bytes, one by one, although most methods have only one: so a key is looked at before
    a message is taken in, and one that does not arrive is waited for no longer than a body.
    """

    def __init__(self, reader: Reader, room: BodyRoom) -> None:
        """`room` is the front's, for messages and bodies of HTTP together."""
        settings = reader.settings
        self._reader = reader
        self._keys = KeyRing(settings.api_keys) if settings.api_keys else None
        self._log = RequestLog(settings)
        self._room = room

    def one(
        self, route: str, kind: type[Request], work: Work, *, needs_key: bool = True
    ) -> grpc.RpcMethodHandler:
        """Of a method with one request, of this `kind`, and one answer, that of `work`."""

        async def handle(messages: object, context: grpc.aio.ServicerContext) -> bytes:
            call = GrpcCall(context)
            answer = b""
            try:
                with self._noted(route, call):
                    if needs_key:
                        self._check_key(call)
                    answer = await answered(context, call)
            except ServiceError as error:
                await call.fail(error)
            call.succeed()
            return answer

        # Apart: the end of a call that has failed is kept for a while, with the names of `handle`.
        async def answered(context: grpc.aio.ServicerContext, call: GrpcCall) -> bytes:
            request = self._taken(kind, await self._first(context), call)
            found: bytes = (await work(request, call)).SerializeToString()
            return found

        return grpc.stream_unary_rpc_method_handler(handle)

    def many(
        self, route: str, kind: type[Request], work: Work, failed: Callable[[Any, ServiceError], Message]
    ) -> grpc.RpcMethodHandler:
        """Of a method with a stream of requests, each answered in its turn, if need be by `failed`.

        Each counts as a request. When the service stops, the stream ends after the answer under way.
        """

        async def handle(messages: object, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            call = GrpcCall(context)
            try:
                with self._noted(route, call, only_failures=True):
                    self._check_key(call)
                while (answer := await self._answer(route, kind, work, failed, context)) is not None:
                    yield answer
            except ServiceError as error:
                await call.fail(error)
            call.succeed()

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _answer(
        self,
        route: str,
        kind: type[Request],
        work: Work,
        failed: Callable[[Any, ServiceError], Message],
        context: grpc.aio.ServicerContext,
    ) -> bytes | None:
        """To the next message, or None if there is none."""
        message = await self._next(context)
        if message is None:
            return None
        call = GrpcCall(context)
        request = kind()
        try:
            with self._noted(route, call):
                request = self._taken(kind, message, call)
                answer = await work(request, call)
        except ServiceError as error:
            _forget_calls(error)
            answer = failed(request, error)
        found: bytes = answer.SerializeToString()
        return found

    def _taken(self, kind: type[Request], message: bytes, call: GrpcCall) -> Request:
        call.body_bytes = len(message)
        self._room.hold(call.held, len(message))
        return parsed(kind, message)

    def _check_key(self, call: GrpcCall) -> None:
        if self._keys is not None:
            self._keys.check(call.scope)

    async def _first(self, context: grpc.aio.ServicerContext) -> bytes:
        try:
            async with Deadline(self._room.seconds):
                message = await _read(context)
        except DeadlineError:
            raise ServiceError(
                ProblemType.BODY_TOO_SLOW, f"The message did not arrive within {self._room.seconds:g} s."
            ) from None
        if message is None:
            raise ServiceError(ProblemType.INVALID_REQUEST, "There is no message.")
        return message

    async def _next(self, context: grpc.aio.ServicerContext) -> bytes | None:
        """None when the client sends no more. Raises ServiceError when the service is stopping."""
        receiving = asyncio.ensure_future(_read(context))
        draining = asyncio.ensure_future(self._reader.until_draining())
        try:
            await asyncio.wait([receiving, draining], return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                raise ServiceError(ProblemType.NOT_READY, "The service is stopping.", retry_after=1, crops=0)
            return receiving.result()
        finally:
            receiving.cancel()
            draining.cancel()

    @contextmanager
    def _noted(self, route: str, call: GrpcCall, only_failures: bool = False) -> Iterator[None]:
        """Counts and logs what is done in it. Lets nothing out but ServiceError and a cancellation."""
        started = time.perf_counter()
        problem: ServiceError | None = None
        try:
            yield
        except ServiceError as error:
            problem = error
            raise
        except asyncio.CancelledError:
            problem = self._cancelled(call)
            raise
        except Exception:
            log.exception("request %s failed", call.request_id)
            problem = FAULT
            raise FAULT from None
        finally:
            self._room.release(call.held)
            if problem is not None or not only_failures:
                self._note(route, call, problem, time.perf_counter() - started)

    def _cancelled(self, call: GrpcCall) -> ServiceError:
        """Why gRPC has cancelled a call: its client's deadline, its client, or the end of the service."""
        remaining = call.remaining_s
        if remaining is not None and remaining <= 0:
            return ServiceError(ProblemType.DEADLINE, "The client's deadline has passed.", crops=call.crops)
        if self._reader.state == "draining":
            return ServiceError(ProblemType.NOT_READY, "The service is stopping.", crops=call.crops)
        return ServiceError(ProblemType.CLIENT_GONE, "The client has cancelled.", crops=call.crops)

    def _note(self, route: str, call: GrpcCall, problem: ServiceError | None, seconds: float) -> None:
        """With the status that HTTP has for it, so that an alert on one counts both."""
        observer = self._reader.observer
        status = 200 if problem is None else problem.problem.status
        observer.request(route, status, seconds)
        if problem is not None:
            for _ in range(problem.crops):
                observer.rejected(problem.problem.slug)
        self._log.write(
            request_id=call.request_id,
            method="POST",
            route=route,
            status=status,
            seconds=seconds,
            body_bytes=call.body_bytes,
            crops=call.crops,
            timings=call.timings,
            problem=None if problem is None else problem.problem.slug,
        )


async def _read(context: grpc.aio.ServicerContext) -> bytes | None:
    """The next message, or None after the last one.

    gRPC's iterator of messages keeps the last one for ever, unless it is iterated to its end.
    """
    message: Any = await context.read()
    return None if message is grpc.aio.EOF else message


def _forget_calls(error: ServiceError) -> None:
    """See http.problems.problem_response."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
