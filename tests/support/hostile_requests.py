"""Requests of 8 MiB made to keep a front busy, and what others wait beside them.

    python -m tests.support.hostile_requests [--times N] [--only NAME]

prints the longest wait of a probe beside each (`just hostile`).
"""

import argparse
import contextlib
import json
import random
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.support.empty_bundle import empty_bundle
from tests.support.hostile_images import SIGNATURE, chunk
from tests.support.tiny_service import service

BATCH_ITEMS = 64
PROBE_S = 0.005
_MIB_8 = 8 << 20
_FORM = "multipart/form-data; boundary=crop"
_JSON = "application/json"


class Hostile(NamedTuple):
    """A request: path, the headers that it needs, body."""

    path: str
    headers: dict[str, str]
    body: bytes

    def message(self, host: str) -> bytes:
        length = {} if "Transfer-Encoding" in self.headers else {"Content-Length": str(len(self.body))}
        headers = {"Host": host, "Connection": "close", **length, **self.headers}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@cache
def hostile_requests() -> dict[str, Hostile]:
    """Of each kind of work that a body can make, as much as fits."""
    noise = random.Random(1).randbytes(6 << 20)
    return {
        "JPEG of FF": Hostile("/v1/read", {}, filled(b"\xff\xd8", b"\xff")),
        "JPEG of empty segments": Hostile("/v1/read", {}, filled(b"\xff\xd8", b"\xff\xfe\0\2")),
        "PNG of empty chunks": Hostile("/v1/read", {}, filled(png_head(), chunk(b"tEXt"))),
        "WebP of empty chunks": Hostile("/v1/read", {}, webp()),
        "TIFF of directories": Hostile("/v1/read", {}, tiff_of_directories(_MIB_8)),
        "TIFF of entries": Hostile("/v1/read", {}, tiff_of_entries()),
        "noise": Hostile("/v1/read", {}, noise),
        "batch, JPEGs of FF": images([filled(b"\xff\xd8", b"\xff", 120_000)] * BATCH_ITEMS),
        "batch, ten TIFFs": images([tiff_of_directories(800_000)] * 10),
        "batch, TIFFs of entries": images([tiff_of_entries()[:120_000]] * BATCH_ITEMS),
        "batch, noise": images([noise[:120_000]] * BATCH_ITEMS),
        "JSON, base64": in_json(b"A" * (_MIB_8 - 50)),
        "JSON, base64 in lines": in_json((b"A" * 76 + b"\\n") * 107_000),
        "JSON, base64 in lines of one": in_json(b"A\\n" * 2_700_000),
        "JSON, URL-safe base64": in_json(b"-_" * 4_190_000),
        "JSON, escapes": in_json(rb"\u0041" * 1_390_000),
        "JSON, no ASCII": in_json("ä".encode() * 4_190_000),
        "JSON, a name": Hostile(
            "/v1/read/batch", {"Content-Type": _JSON}, b'{"images":[{"id":"%s"}]}' % (b"a" * 8_000_000)
        ),
        "JSON, deep": Hostile("/v1/read", {"Content-Type": _JSON}, b'{"image":' + b"[" * 8_000_000),
        "JSON, numbers": Hostile(
            "/v1/read/batch", {"Content-Type": _JSON}, b'{"images":[' + b"0," * 4_000_000 + b"0]}"
        ),
        "JSON, quotes": in_json(rb"\"" * 4_000_000),
        "form of 100,000 parts": Hostile("/v1/read/batch", {"Content-Type": _FORM}, parts(100_000)),
        "form of 64 large heads": Hostile(
            "/v1/read/batch", {"Content-Type": _FORM}, parts(BATCH_ITEMS, b"x: " + b";a=" * 2500 + b"\r\n")
        ),
        "form of almost boundaries": Hostile(
            "/v1/read",
            {"Content-Type": f"multipart/form-data; boundary={'a' * 250}"},
            (b"\r\n--" + b"a" * 249) * 33_000,
        ),
        "tensor of empty elements": tensor(bytes(8_000_000), 2_000_000),
        "tensor of 64 JPEGs of FF": tensor(
            (struct.pack("<I", 120_000) + filled(b"\xff\xd8", b"\xff", 120_000)) * BATCH_ITEMS, BATCH_ITEMS
        ),
        "tensor in JSON": Hostile(
            "/v2/models/abinet/infer",
            {"Content-Type": _JSON},
            json.dumps(
                {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["A" * 8_000_000]}]}
            ).encode(),
        ),
        "chunks of one byte": Hostile(
            "/v1/read", {"Transfer-Encoding": "chunked"}, b"1\r\nA\r\n" * 1_390_000 + b"0\r\n\r\n"
        ),
    }  # fmt: skip


def filled(start: bytes, again: bytes, size: int = _MIB_8) -> bytes:
    return start + again * ((size - len(start)) // len(again))


def png_head() -> bytes:
    return SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))


def webp() -> bytes:
    chunks = b"JUNK\0\0\0\0" * ((_MIB_8 - 12) // 8)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def tiff_of_directories(size: int) -> bytes:
    """Each empty, and with the place of the next."""
    places = range(8, size - 12, 6)
    return b"II*\0\x08\0\0\0" + b"".join(struct.pack("<HI", 0, place + 6) for place in places)


def tiff_of_entries() -> bytes:
    """One directory with as many as it can have, each of many values."""
    entry = struct.pack("<HHII", 0x0111, 4, 1 << 20, 8)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 65535) + entry * 65535 + bytes(4)


def images(files: list[bytes]) -> Hostile:
    head = b'--crop\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    body = b"".join(head + file + b"\r\n" for file in files) + b"--crop--\r\n"
    return Hostile("/v1/read/batch", {"Content-Type": _FORM}, body)


def in_json(text: bytes) -> Hostile:
    return Hostile("/v1/read", {"Content-Type": _JSON}, b'{"image":"%s"}' % text)


def parts(count: int, head: bytes = b"") -> bytes:
    part = b'--crop\r\n%sContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nA\r\n' % head
    return part * count + b"--crop--\r\n"


def tensor(binary: bytes, count: int) -> Hostile:
    parameters = {"binary_data_size": len(binary)}
    inputs = [{"name": "image", "datatype": "BYTES", "shape": [count], "parameters": parameters}]
    head = json.dumps({"inputs": inputs}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    return Hostile("/v2/models/abinet/infer", length, head + binary)


def wait_beside(url: str, request: Hostile) -> float:
    """Milliseconds that a probe has waited at worst while this was answered, and not with a fault."""
    message = request.message(httpx.URL(url).netloc.decode())
    with longest_wait(url) as waited:
        status = answer_to(url, message)
        time.sleep(0.05)
    assert status in (200, 400, 413, 415, 422), status
    return waited[0]


def answer_to(url: str, message: bytes) -> int:
    """The status."""
    with connected(url) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(message)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                received += part
    return int(received.split(b" ", 2)[1]) if received else 0


@contextlib.contextmanager
def longest_wait(url: str) -> Iterator[list[float]]:
    """Milliseconds that a probe has waited at worst while the block ran, once it is over."""
    waited, over = [0.0], threading.Event()

    def probe() -> None:
        with connected(url) as connection:
            while not over.wait(PROBE_S):
                started = time.perf_counter()
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
                connection.recv(1 << 16)
                waited[0] = max(waited[0], 1e3 * (time.perf_counter() - started))

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield waited
    finally:
        over.set()
        thread.join()


def connected(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port or 80), timeout=60)


def main() -> int:
    parser = argparse.ArgumentParser(description="What a probe waits, at worst, beside hostile requests.")
    parser.add_argument("--times", type=int, default=3, help="of each request (default %(default)s)")
    parser.add_argument("--only", default="", help="requests whose name has this in it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = empty_bundle(Path(folder)).folder
        with service("--bundle", bundle, "--engine", "simulated", "--simulated-ms", "1") as running:
            url = str(running.client.base_url)
            time.sleep(3)  # until the spare front is there
            with longest_wait(url) as waited:
                time.sleep(2)
            print(f"{'alone':<32} {waited[0]:6.1f} ms")
            for name, one in hostile_requests().items():
                if arguments.only in name:
                    waits = [wait_beside(url, one) for _ in range(arguments.times)]
                    print(f"{name:<32} {max(waits):6.1f} ms, the shortest {min(waits):.1f} ms", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
