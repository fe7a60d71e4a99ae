"""A service, read over HTTP: many crops at a time, as its other clients do."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx

from abinet_client.batch.connect import UNIX
from models.charset import Word
from models.evaluation.reading import Crop, Reading, Refusal, Turns

CONCURRENT = 32
TIMEOUT_S = 60.0
# How long one crop is offered to a service that is too busy or not ready.
PATIENCE_S = 300.0

_IMAGE_REFUSED = (400, 413, 415)
_COME_AGAIN = (429, 503)


class HttpReader:
    """The service at ``address``, "http://HOST:PORT" or "unix:PATH"; a context manager that closes its
    connections.

    A service that asks for an API key gets the one of the environment variable ABINET_API_KEY.

    Raises:
        ValueError: nothing there that answers as the service does.
    """

    def __init__(self, address: str, turns: Turns = "auto") -> None:
        self._address = address
        self.turns = turns
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(CONCURRENT, thread_name_prefix="read")
        key = os.environ.get("ABINET_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else None
        limits = httpx.Limits(max_connections=CONCURRENT, max_keepalive_connections=CONCURRENT)
        socket = address[len(UNIX) :] if address.startswith(UNIX) else None
        try:
            self._client = httpx.Client(
                base_url="http://localhost" if socket else address,
                headers=headers,
                timeout=TIMEOUT_S,
                limits=limits,
                transport=httpx.HTTPTransport(uds=socket, limits=limits) if socket else None,
            )
            answer = self._client.get("/v1/model").raise_for_status().json()
            self.model: str = answer["name"]
            self.engine: str = f"{answer['engine']} on {', '.join(answer['devices'])}, served"
            self.iterations: int = answer["manifest"]["iterations"]
            self.calibrated: bool = answer.get("calibrated", False)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{address}: no abinet service answers there ({_reason(error)})") from None

    def __enter__(self) -> HttpReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    def read(self, crops: Iterable[Crop]) -> Iterator[Reading | Refusal]:
        """One result a crop, in order.

        Raises:
            ValueError: the service fails, or has no time for a crop for `PATIENCE_S`.
        """
        pending: deque[Future[Reading | Refusal]] = deque()
        for crop in crops:
            pending.append(self._threads.submit(self._read, crop.encoded))
            if len(pending) == 2 * CONCURRENT:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _read(self, body: bytes) -> Reading | Refusal:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                options = {"iterations": self.iterations, "turns": self.turns}
                answer = self._client.post("/v1/read", content=body, params=options)
            except httpx.HTTPError as error:
                raise ValueError(f"{self._address}: {_reason(error)}") from None
            if answer.status_code == 200:
                return _reading(answer.json())
            problem = _problem(answer)
            if answer.status_code in _IMAGE_REFUSED:
                return Refusal(problem["title"])
            pause = float(answer.headers.get("Retry-After", 1))
            again = answer.status_code in _COME_AGAIN and time.monotonic() + pause < deadline
            if not again or self._stopping.wait(pause):
                raise ValueError(
                    f"{self._address}: {answer.status_code} {problem['title']}: {problem['detail']}"
                )


def _reading(result: dict[str, Any]) -> Reading:
    """From a ReadResult of the service."""
    vision, *refinements = result["iterations"]
    stages = [vision, *(stage[part] for stage in refinements for part in ("language", "fused"))]
    read = (Word(stage["text"], stage["confidence"]) for stage in stages)
    return Reading.of(read, result["confidence"])._replace(turned=result["turned"])


def _problem(answer: httpx.Response) -> dict[str, str]:
    """Title and detail of a failure, also of one that a proxy answered."""
    try:
        problem = answer.json()
        return {name: problem[name] for name in ("title", "detail")}
    except (ValueError, KeyError, TypeError):
        return {"title": answer.reason_phrase, "detail": "not an answer of the service itself"}


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
