"""HTTP as proxies, probes and old clients speak it, over sockets to a real service."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator

import httpx
import pytest

from service.engines.simulated import TEXT
from tests.support.tiny_service import ServiceProcess, crop, encoded, simulated_service

pytestmark = pytest.mark.slow

PNG = encoded(crop())
BASE64 = base64.b64encode(PNG).decode()
LINES = "\r\n".join(re.findall(".{1,76}", BASE64))
GETS = [
    *("/", "/docs", "/openapi.json", "/web/page.js", "/web/samples/telescope.png", "/docs/swagger-ui.css"),
    *("/health/live", "/health/ready", "/metrics", "/v1/model", "/v1/latency"),
    *("/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/models/abinet", "/v2/models/abinet/ready"),
]
HABITS = {
    "a data URI": f"data:image/png;base64,{BASE64}",
    "a data URI in capitals": f"DATA:Image/PNG;BASE64,{BASE64}",
    "MIME's lines": LINES,
    "URL-safe": base64.urlsafe_b64encode(PNG).decode(),
    "URL-safe without padding": base64.urlsafe_b64encode(PNG).decode().rstrip("="),
    "without padding": BASE64.rstrip("="),
}


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceProcess]:
    arguments = ("--host", "localhost", "--root-path", "/ocr", "--trusted-proxies", "127.0.0.1")
    with simulated_service(*arguments) as running:
        yield running


def answers(running: ServiceProcess, *requests: bytes) -> list[bytes]:
    """What comes back over one connection, each request sent when the one before has been answered."""
    url, received = running.client.base_url, []
    with socket.create_connection(("127.0.0.1", url.port), timeout=30) as connection:
        for request in requests:
            connection.sendall(request)
            received.append(_one_answer(connection, has_body=not request.startswith(b"HEAD")))
    return received


def _one_answer(connection: socket.socket, *, has_body: bool) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer and (part := connection.recv(1 << 16)):
        answer += part
    length = re.search(rb"content-length: (\d+)", answer)
    missing = int(length[1]) - len(answer.partition(b"\r\n\r\n")[2]) if has_body and length else 0
    while missing > 0:
        part = connection.recv(1 << 16)
        answer, missing = answer + part, missing - len(part)
    return answer


@pytest.mark.parametrize("path", GETS)
def test_head_is_answered_as_get_is_without_the_body(running: ServiceProcess, path: str) -> None:
    get, head = running.client.get(path), running.client.head(path)
    assert (head.status_code, head.content) == (200, b"") == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path not in ("/metrics", "/v1/latency", "/v1/model"):  # which change
        assert head.headers["content-length"] == get.headers["content-length"]


def test_after_a_head_the_connection_goes_on(running: ServiceProcess) -> None:
    request = b"%s /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    head, get = answers(running, request % b"HEAD", request % b"GET")
    assert head.endswith(b"\r\n\r\n")
    assert get.startswith(b"HTTP/1.1 200")


def test_head_of_a_route_that_reads_is_not_allowed(running: ServiceProcess) -> None:
    assert running.client.head("/v1/read").status_code == 405


def test_a_client_of_http_1_0_that_asks_for_it_keeps_its_connection(running: ServiceProcess) -> None:
    request = b"GET /health/live HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
    first, second = answers(running, request, request)
    assert b"\r\nconnection: keep-alive\r\n" in first
    assert second.startswith(b"HTTP/1.1 200")


def test_another_client_of_http_1_0_does_not(running: ServiceProcess) -> None:
    (answer,) = answers(running, b"GET /health/live HTTP/1.0\r\n\r\n")
    assert b"\r\nconnection: close\r\n" in answer


def test_localhost_is_both_families_of_addresses(running: ServiceProcess) -> None:
    for host in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{host}:{running.client.base_url.port}/health/live").status_code == 200


@pytest.mark.parametrize("prefix", ["", "/ocr"])
@pytest.mark.parametrize("path", ["/docs", "/v1/model", "/web/page.js", "/v2/models/abinet"])
def test_a_proxy_may_cut_the_prefix_off_or_pass_it_on(
    running: ServiceProcess, prefix: str, path: str
) -> None:
    assert running.client.get(prefix + path).status_code == 200


def test_crops_are_read_below_the_prefix(running: ServiceProcess) -> None:
    assert running.client.post("/ocr/v1/read", content=PNG).json()["text"] == TEXT


def test_below_the_prefix_an_error_has_the_words_of_its_protocol(running: ServiceProcess) -> None:
    assert "error" in running.client.get("/ocr/v2/models/other").json()
    assert running.client.get("/ocr/v1/other").json()["status"] == 404


def test_the_description_names_the_prefix(running: ServiceProcess) -> None:
    assert running.client.get("/openapi.json").json()["servers"] == [{"url": "/ocr"}]


def test_a_trusted_proxy_says_prefix_and_scheme(running: ServiceProcess) -> None:
    told = {"X-Forwarded-Prefix": "/texts/", "X-Forwarded-Proto": "https", "Host": "shop.example"}
    assert running.client.get("/openapi.json", headers=told).json()["servers"] == [{"url": "/texts"}]
    redirect = running.client.get("/docs/", headers=told)
    assert redirect.headers["location"] == "https://shop.example/texts/docs"


@pytest.mark.parametrize("prefix", ["//evil.example", "/a/../b", "/v1", "/a b", "javascript:"])
def test_a_prefix_that_is_none_is_passed_over(running: ServiceProcess, prefix: str) -> None:
    servers = running.client.get("/openapi.json", headers={"X-Forwarded-Prefix": prefix}).json()["servers"]
    assert servers == [{"url": "/ocr"}]


def test_somebody_else_is_not_believed(running: ServiceProcess) -> None:
    told = {"X-Forwarded-Prefix": "/texts", "X-Forwarded-Proto": "https"}
    url = f"http://[::1]:{running.client.base_url.port}"  # not the trusted address
    assert httpx.get(f"{url}/openapi.json", headers=told).json()["servers"] == [{"url": "/ocr"}]
    assert httpx.get(f"{url}/docs/", headers=told).headers["location"] == f"{url}/ocr/docs"


@pytest.mark.parametrize("kind", ["Image/PNG", "IMAGE/JPEG", "Application/Octet-Stream"])
def test_a_media_type_may_be_written_in_any_case(running: ServiceProcess, kind: str) -> None:
    posted = running.client.post("/v1/read", content=PNG, headers={"Content-Type": kind})
    assert posted.json()["text"] == TEXT


@pytest.mark.parametrize("kind", ["APPLICATION/JSON", "Application/Json; Charset=UTF-8"])
def test_so_may_that_of_json(running: ServiceProcess, kind: str) -> None:
    for path, document in (("/v1/read", {"image": BASE64}), ("/v1/read/batch", {"images": [BASE64]})):
        posted = running.client.post(
            path, content=json.dumps(document).encode(), headers={"Content-Type": kind}
        )
        assert posted.status_code == 200


def test_and_that_of_a_form(running: ServiceProcess) -> None:
    part = (
        b'--x\r\nContent-Disposition: Form-Data; NAME="image"; FileName="a.png"\r\n\r\n%s\r\n--x--\r\n' % PNG
    )
    posted = running.client.post(
        "/v1/read", content=part, headers={"Content-Type": "Multipart/Form-Data; Boundary=x"}
    )
    assert posted.json()["text"] == TEXT


def test_a_text_field_of_a_form_is_named_and_not_taken_for_another_file(running: ServiceProcess) -> None:
    for path in ("/v1/read", "/v1/read/batch"):
        for comments in (["a"], ["a"] * 9):
            answer = running.client.post(path, files={"image": ("a.png", PNG)}, data={"comment": comments})
            assert (answer.status_code, "'comment' is no file" in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize("text", HABITS.values(), ids=HABITS)
def test_base64_is_taken_as_people_write_it_wherever_it_is_taken(running: ServiceProcess, text: str) -> None:
    post = running.client.post
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    assert post("/v1/read", json={"image": text}).json()["text"] == TEXT
    (item,) = post("/v1/read/batch", json={"images": [text]}).json()["items"]
    assert item["result"]["text"] == TEXT
    read = post("/v2/models/abinet/infer", json={"inputs": [tensor]}).json()["outputs"][0]
    assert read["data"] == [TEXT]
