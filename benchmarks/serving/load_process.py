"""Load from a process of its own, in JSON: `load_process.py idle|overload URL --image FILE --seconds S`."""

import argparse
import asyncio
import contextlib
import http.client
import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 60.0
"""What has no answer after this time is lost."""
_IDLE_S = 2.0
"""Servers close connections that have been idle (uvicorn after 5 s): these are not used again."""


def idle(host: str, port: int, image: bytes, seconds: float) -> dict[str, float]:
    """One request after the other on one connection; milliseconds."""
    connection = http.client.HTTPConnection(host, port)
    total, engine = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        connection.request("POST", "/v1/read", image)
        body = connection.getresponse().read()
        total.append(1e3 * (time.perf_counter() - started))
        timings = json.loads(body)["timings_ms"]
        engine.append(timings["vision"] + timings["refine"])
    beyond = [whole - own for whole, own in zip(total, engine, strict=True)]
    return {
        "requests": len(total),
        "total_ms": statistics.median(total),
        "engine_ms": statistics.median(engine),
        "beyond_ms": statistics.median(beyond),
        "beyond_p99_ms": percentile(beyond, 99),
    }


class Connection:
    """One HTTP/1.1 connection that is kept, and one request on it at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.used = time.monotonic()

    async def post(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._writer.write(
            f"POST {path} HTTP/1.1\r\nHost: load\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body
        )
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines if line)
        answer = await self._reader.readexactly(int(fields["content-length"]))
        self.used = time.monotonic()
        return int(status.split(" ")[1]), fields, answer

    async def left_over(self) -> bytes:
        """What comes when nothing was asked."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()
            return await asyncio.wait_for(self._reader.read(), PATIENCE_S)
        return b""

    def close(self) -> None:
        self._writer.close()


class Overload:
    """Requests at a steady rate, whether those before were answered or not (an open loop)."""

    def __init__(self, host: str, port: int, image: bytes, deadline_ms: int, every: int) -> None:
        self._address = (host, port)
        self._image = image
        self._deadline_ms = deadline_ms
        self._every = every
        self._in_time = 0
        self._free: list[Connection] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._codes: Counter[int] = Counter()
        self._milliseconds: list[float] = []
        self._lost = self._astray = self._no_retry_after = 0

    async def run(self, rate: float, seconds: float) -> dict[str, Any]:
        count = int(rate * seconds)
        pending = set()
        started = time.perf_counter()
        for number in range(count):
            late = started + number / rate - time.perf_counter()
            if late > 0:
                await asyncio.sleep(late)
            task = asyncio.create_task(self._request(number))
            pending.add(task)
            task.add_done_callback(pending.discard)
        offered_s = time.perf_counter() - started
        await asyncio.gather(*pending)
        seconds = time.perf_counter() - started
        self._retire()
        await asyncio.gather(*list(self._leaving))
        return {
            "sent": count,
            "seconds": seconds,
            "offered_per_second": count / offered_s,
            "codes": {str(code): number for code, number in self._codes.items()},
            "in_time": self._in_time,
            "lost": self._lost,
            "astray": self._astray,
            "no_retry_after": self._no_retry_after,
            "p50_ms": percentile(self._milliseconds, 50),
            "p99_ms": percentile(self._milliseconds, 99),
        }

    async def _request(self, number: int) -> None:
        identifier = f"load-{number}"
        headers = {"X-Request-ID": identifier}
        if number % self._every == 0:
            headers["X-Timeout-Ms"] = str(self._deadline_ms)
        started = time.perf_counter()
        try:
            connection = await self._connection()
            answer = connection.post("/v1/read", headers, self._image)
            status, fields, body = await asyncio.wait_for(answer, PATIENCE_S)
            document = json.loads(body)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError):
            self._lost += 1
            return
        self._codes[status] += 1
        self._astray += fields.get("x-request-id") != identifier or ("text" in document) != (status == 200)
        self._no_retry_after += status == 429 and "retry-after" not in fields
        if status == 200:
            self._milliseconds.append(1e3 * (time.perf_counter() - started))
            self._in_time += self._milliseconds[-1] <= self._deadline_ms
        if fields.get("connection") != "close":
            self._free.append(connection)

    async def _connection(self) -> Connection:
        """The one used last, or a new one."""
        if self._free and time.monotonic() - self._free[-1].used < _IDLE_S:
            return self._free.pop()
        self._retire()
        return Connection(*await asyncio.open_connection(*self._address))

    def _retire(self) -> None:
        """Closes the connections that are not used again, each when it has been listened to."""
        for connection in self._free:
            self._leaving.add(task := asyncio.create_task(self._see_off(connection)))
            task.add_done_callback(self._leaving.discard)
        self._free.clear()

    async def _see_off(self, connection: Connection) -> None:
        self._astray += bool(await connection.left_over())
        connection.close()


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)] if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("idle", "overload"))
    parser.add_argument("url")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--deadline-ms", type=int, default=300, help="of those that have one")
    parser.add_argument("--every", type=int, default=4, help="which requests have a deadline (every fourth)")
    arguments = parser.parse_args()
    url, image = urlsplit(arguments.url), arguments.image.read_bytes()
    host, port = url.hostname or "127.0.0.1", url.port or 80
    if arguments.mode == "idle":
        told: dict[str, Any] = idle(host, port, image, arguments.seconds)
    else:
        overload = Overload(host, port, image, arguments.deadline_ms, arguments.every)
        told = asyncio.run(overload.run(arguments.rate, arguments.seconds))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
