"""The service as an application of Ray Serve: `serve run service.ray_app:app bundle=FOLDER replicas=2`."""

from __future__ import annotations

import logging
from typing import Any

from ray import serve
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.app import create_app
from service.observability.request_log import configure_logging
from service.on_ray.arguments import Arguments, read_arguments
from service.on_ray.reader import resources, started_reader
from service.reading.reader import Reader

log = logging.getLogger("abinet")

_ATTEMPTS = 3
"""How often Ray tries to start a replica before the deployment fails with the reason."""
_REQUEST_ID = b"x-request-id"


def app(arguments: dict[str, Any]) -> serve.Application:
    """`arguments` are `Replicas` and `Settings` by name, as `serve run` and Serve's config files pass them.

    Raises ArgumentError, one line.
    """
    return deployment(read_arguments(arguments))


def deployment(arguments: Arguments) -> serve.Application:
    """The application for checked arguments."""
    replicas, settings, given = arguments
    options: dict[str, Any] = {"num_replicas": replicas.replicas}
    if replicas.max_replicas is not None:
        options = {
            "autoscaling_config": {
                "min_replicas": replicas.replicas,
                "max_replicas": replicas.max_replicas,
                "target_ongoing_requests": replicas.target_ongoing,
            }
        }
    return _deployment.options(
        **options,
        ray_actor_options={"num_cpus": replicas.cpus, "resources": resources(settings.engine_devices)},
        # More than a replica's queue can hold, so that the queue refuses with problem details and not Ray.
        max_ongoing_requests=2 * settings.max_queue,
        graceful_shutdown_timeout_s=settings.drain_s,
        max_constructor_retry_count=_ATTEMPTS,
    ).bind(given)


class AbinetReplica:
    """A whole service that does not listen itself: one reader, its scheduler and its engine workers."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._reader: Reader | None = None

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        # Ray sends the replica no requests before this has returned.
        self._reader = reader = await started_reader(self._given)
        configure_logging(reader.settings)
        model, devices = reader.model, ", ".join(reader.settings.engine_devices)
        log.info("%s %s is ready on %s", model.name, model.version, devices)
        return _without_request_id(create_app(reader))

    def check_health(self) -> None:
        """Raises if no engine worker is ready; Ray replaces a replica that stays so."""
        if self._reader is None or self._reader.state == "starting":
            raise RuntimeError("no engine worker is ready")

    async def __del__(self) -> None:
        # Ray calls this once, after the requests under way have ended.
        if self._reader is not None:
            await self._reader.stop()


_deployment: Any = serve.deployment(name="abinet")(serve.ingress()(AbinetReplica))


def _without_request_id(app: ASGIApp) -> ASGIApp:
    """Ray's proxy gives every request its identifier before we see it, and answers with it itself."""

    async def quiet(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != _REQUEST_ID]
            await send(message)

        await app(scope, receive, send_without)

    return quiet
