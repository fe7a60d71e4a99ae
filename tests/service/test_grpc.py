"""The Open Inference Protocol over gRPC, as Triton's own client speaks it to a real service."""

from __future__ import annotations

import contextlib
import queue
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.errors import ProblemType
from service.grpc.statuses import STATUS_OF
from tests.support.processes import children
from tests.support.tiny_service import (
    ROOT,
    ServiceProcess,
    crop,
    encoded,
    service,
    simulated_service,
    tiny_bundle,
)

FILES = [encoded(crop(seed)) for seed in range(3)]
NAMES = ["text", "confidence", "stopped_at", "turned", "iterations"]
Code = grpc.StatusCode


def address(running: ServiceProcess) -> str:
    return running._match(r"gRPC at (\S+)").group(1)


def client(running: ServiceProcess) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(address(running))


def tensor(*files: bytes, of: Any = triton) -> Any:
    image = of.InferInput("image", [len(files)], "BYTES")
    image.set_data_from_numpy(np.array(files, dtype=object))
    return image


def status(error: triton.InferenceServerException) -> str:
    return str(error.status()).removeprefix("StatusCode.")


@pytest.fixture(scope="module")
def running() -> Iterator[ServiceProcess]:
    with service("--bundle", str(tiny_bundle()), "--grpc-port", "0", "--max-body-bytes", "200000") as running:
        yield running


@pytest.fixture(scope="module")
def slow() -> Iterator[ServiceProcess]:
    """A service of a second a call, of which a key is asked."""
    options = [
        "--engine",
        "simulated",
        "--simulated-ms",
        "1000",
        "--max-queue",
        "4",
        "--max-batch-items",
        "4",
    ]
    keys = {"ABINET_API_KEYS": "key"}
    bundle = str(tiny_bundle())
    with service("--bundle", bundle, "--grpc-port", "0", *options, environment=keys) as running:
        running.client.headers["X-API-Key"] = "key"
        yield running


@pytest.fixture(scope="module")
def large() -> Iterator[ServiceProcess]:
    with simulated_service("--grpc-port", "0") as running:
        yield running


def infer(running: ServiceProcess, *files: bytes, model: str = "abinet", **options: Any) -> Any:
    with client(running) as asking:
        return asking.infer(model, [tensor(*files)], **options)


def refusal(running: ServiceProcess, *files: bytes, **options: Any) -> tuple[str, str]:
    with pytest.raises(triton.InferenceServerException) as found:
        infer(running, *files, **options)
    return status(found.value), found.value.message()


def test_every_failure_has_a_status() -> None:
    assert set(STATUS_OF) == set(ProblemType)


@pytest.mark.slow
def test_crops_are_answered_as_over_http(running: ServiceProcess) -> None:
    outputs = [triton.InferRequestedOutput(name) for name in NAMES]
    over_grpc = infer(running, *FILES, outputs=outputs, request_id="42", parameters={"iterations": 2})
    with triton_http.InferenceServerClient(running.client.base_url.netloc.decode()) as asking:
        over_http = asking.infer(
            "abinet",
            [tensor(*FILES, of=triton_http)],
            outputs=[triton_http.InferRequestedOutput(name) for name in NAMES],
            parameters={"iterations": 2},
        )
    for name in ("text", "stopped_at", "turned"):
        assert list(over_grpc.as_numpy(name)) == list(over_http.as_numpy(name))
    np.testing.assert_allclose(over_grpc.as_numpy("confidence"), over_http.as_numpy("confidence"), atol=1e-5)
    assert [len(one) > 100 for one in over_grpc.as_numpy("iterations")] == [True] * 3
    answer = over_grpc.get_response()
    assert (answer.id, answer.model_name) == ("42", "abinet")
    assert answer.model_version == over_http.get_response()["model_version"]


@pytest.mark.slow
def test_a_tensor_in_contents_is_answered_in_contents(running: ServiceProcess) -> None:
    request = triton.service_pb2.ModelInferRequest(model_name="abinet")
    given = request.inputs.add(name="image", datatype="BYTES", shape=[3, 1])
    given.contents.bytes_contents.extend(FILES)
    with grpc.insecure_channel(address(running)) as channel:
        answer = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    text, confidence, stopped_at, _ = answer.outputs
    assert [one.decode() for one in text.contents.bytes_contents] == [
        running.read(crop(seed)).json()["text"] for seed in range(3)
    ]
    assert len(confidence.contents.fp32_contents) == 3
    assert list(stopped_at.contents.int_contents) == [3, 3, 3]
    assert [list(one.shape) for one in answer.outputs] == [[3, 1]] * 4
    assert not answer.raw_output_contents


@pytest.mark.slow
def test_the_model_describes_itself_as_over_http(running: ServiceProcess) -> None:
    with client(running) as asking:
        assert asking.is_server_live()
        assert asking.is_server_ready()
        assert asking.is_model_ready("abinet")
        assert asking.get_server_metadata(as_json=True) == running.client.get("/v2").json()
        metadata = asking.get_model_metadata("abinet", as_json=True)
        config = asking.get_model_config("abinet", as_json=True)["config"]
        index = asking.get_model_repository_index(as_json=True)["models"]
    described = running.client.get("/v2/models/abinet").json()
    assert (metadata["versions"], metadata["platform"]) == (described["versions"], described["platform"])
    assert [one["name"] for one in metadata["outputs"]] == NAMES
    assert [one["name"] for one in config["output"]] == NAMES
    assert [(one["name"], one["state"]) for one in index] == [("abinet", "READY")]


@pytest.mark.slow
def test_requests_are_counted_with_those_of_http(running: ServiceProcess) -> None:
    def read() -> int:
        with client(running) as asking:
            (stats,) = asking.get_inference_statistics("abinet", as_json=True)["model_stats"]
        return int(stats.get("inference_count", 0))

    before = read()
    infer(running, *FILES)
    assert read() == before + 3
    assert refusal(running, b"hello")[0] == "INVALID_ARGUMENT"
    counted = running.client.get("/metrics").text
    for code in ("200", "415"):
        labels = f'code="{code}",route="/inference.GRPCInferenceService/ModelInfer"'
        other_way = f'route="/inference.GRPCInferenceService/ModelInfer",code="{code}"'
        assert labels in counted or other_way in counted


@pytest.mark.slow
def test_a_line_of_the_log_has_the_requests_identifier(running: ServiceProcess) -> None:
    infer(running, FILES[0], headers={"x-request-id": "mine-7"})
    line = running._match(r".*request_id=mine-7.*").group(0)
    assert "route=/inference.GRPCInferenceService/ModelInfer status=200" in line
    assert "crops=1" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "options", "code", "message"),
    [
        ([FILES[0]], {"model": "resnet"}, "NOT_FOUND", "There is only 'abinet'."),
        ([FILES[0]], {"model_version": "0"}, "NOT_FOUND", "There is no version '0'"),
        ([b"hello"], {}, "INVALID_ARGUMENT", "image[0]: "),
        ([FILES[0]], {"priority": 1}, "INVALID_ARGUMENT", "parameters.priority"),
        ([FILES[0]], {"sequence_id": 1}, "INVALID_ARGUMENT", "parameters.sequence_id"),
        ([FILES[0]], {"parameters": {"iterations": 9}}, "INVALID_ARGUMENT", "this model has 3 at most"),
        ([FILES[0]], {"timeout": 1}, "DEADLINE_EXCEEDED", "Not read within"),
        ([b"x"] * 65, {}, "INVALID_ARGUMENT", "More than 64 crops"),
        ([bytes(200_001)], {}, "RESOURCE_EXHAUSTED", "larger than max"),
        ([bytes(9_000_000)], {"compression_algorithm": "gzip"}, "RESOURCE_EXHAUSTED", "larger than max"),
        (
            [FILES[0]],
            {"outputs": [triton.InferRequestedOutput("boxes")]},
            "INVALID_ARGUMENT",
            "No output 'boxes'",
        ),
        (
            [FILES[0]],
            {"outputs": [triton.InferRequestedOutput("text", class_count=2)]},
            "INVALID_ARGUMENT",
            "no parameter 'classification' is taken",
        ),
    ],
)
def test_what_cannot_be_read_has_the_status_of_its_kind(
    running: ServiceProcess, files: list[bytes], options: dict[str, Any], code: str, message: str
) -> None:
    found = refusal(running, *files, **options)
    assert found[0] == code
    assert message in found[1]


@pytest.mark.slow
def test_a_packed_message_is_read(running: ServiceProcess) -> None:
    assert list(infer(running, FILES[0], compression_algorithm="gzip").as_numpy("text")) == list(
        infer(running, FILES[0]).as_numpy("text")
    )


@pytest.mark.slow
def test_bytes_that_are_no_message_are_refused(running: ServiceProcess) -> None:
    with grpc.insecure_channel(address(running)) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as found:
            ask(b"\xff" * 100)
    assert found.value.code() is Code.INVALID_ARGUMENT
    assert dict(found.value.trailing_metadata())["abinet-problem"] == "invalid-request"


@pytest.mark.slow
def test_a_stream_is_answered_in_order_and_an_error_does_not_end_it(running: ServiceProcess) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with client(running) as asking:
        asking.start_stream(lambda result, error: answers.put((result, error)))
        for number, file in enumerate([FILES[0], b"hello", FILES[1]]):
            asking.async_stream_infer("abinet", [tensor(file)], request_id=str(number))
        (first, _), (_, error), (third, _) = [answers.get(timeout=30) for _ in range(3)]
        asking.stop_stream()
    assert [first.get_response().id, third.get_response().id] == ["0", "2"]
    assert "image[0]: " in error.message()
    assert third.as_numpy("text")[0].decode() == running.read(crop(1)).json()["text"]


def health(running: ServiceProcess, name: str = "") -> Any:
    with grpc.insecure_channel(address(running)) as channel:
        return health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name)).status


@pytest.mark.slow
def test_kubernetes_finds_it_healthy_without_a_key(slow: ServiceProcess) -> None:
    assert health(slow) == health_pb2.HealthCheckResponse.SERVING
    assert health(slow, "inference.GRPCInferenceService") == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as found:
        health(slow, "other")
    assert found.value.code() is Code.NOT_FOUND
    with client(slow) as asking:
        assert asking.is_server_live()
        assert asking.is_model_ready("abinet")


@pytest.mark.slow
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}])
def test_without_the_right_key_nothing_is_read(slow: ServiceProcess, headers: dict[str, str]) -> None:
    assert refusal(slow, FILES[0], headers=headers)[0] == "UNAUTHENTICATED"


@pytest.mark.slow
@pytest.mark.parametrize("headers", [{"authorization": "Bearer key"}, {"x-api-key": "key"}])
def test_either_header_may_have_the_key(slow: ServiceProcess, headers: dict[str, str]) -> None:
    assert infer(slow, FILES[0], headers=headers, parameters={"iterations": 0}).as_numpy("text").size == 1


KEY = {"x-api-key": "key"}


@pytest.mark.slow
def test_the_clients_own_deadline_counts(slow: ServiceProcess) -> None:
    begun = time.monotonic()
    assert refusal(slow, FILES[0], headers=KEY, client_timeout=0.3)[0] == "DEADLINE_EXCEEDED"
    assert time.monotonic() - begun < 10


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def waiting(running: ServiceProcess) -> float:
    found = re.search(r"^abinet_queue_depth (.*)$", running.client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found.group(1))


@pytest.mark.slow
def test_a_cancelled_call_takes_its_crops_out_and_a_full_queue_is_exhausted(slow: ServiceProcess) -> None:
    def begin(name: str) -> Any:
        headers = {**KEY, "x-request-id": name}
        return asking.async_infer("abinet", [tensor(*FILES, FILES[0])], lambda *_: None, headers=headers)

    with client(slow) as asking:
        calls = [begin("first")]
        wait_until(lambda: waiting(slow) > 0)
        wait_until(lambda: waiting(slow) == 0)  # the engine has them, for seconds
        calls.append(begin("second"))
        wait_until(lambda: waiting(slow) > 0)
        assert refusal(slow, *FILES, FILES[0], headers=KEY)[0] == "RESOURCE_EXHAUSTED"
        for call in calls:
            call.cancel()
        slow._match(r"request_id=second .*status=499 .*problem=client-gone")
        wait_until(lambda: waiting(slow) == 0)


@pytest.mark.slow
def test_what_is_in_flight_is_answered_when_the_service_stops() -> None:
    options = ["--engine", "simulated", "--simulated-ms", "500", "--grpc-port", "0", "--fronts", "2"]
    answers: queue.Queue[Any] = queue.Queue()
    with service("--bundle", str(tiny_bundle()), *options) as running, client(running) as asking:
        asking.async_infer("abinet", [tensor(FILES[0])], lambda result, error: answers.put((result, error)))
        time.sleep(0.3)  # until it has surely arrived; if not, it is refused as below
        running.process.terminate()
        running._match("finishing what is in flight")
        result, error = answers.get(timeout=30)
        assert error is None
        assert result.as_numpy("text").size == 1
        assert running.process.wait(30) == 0
        assert refusal(running, FILES[0])[0] == "UNAVAILABLE"


def memory(running: ServiceProcess) -> int:
    """Bytes that the service's front has, beside which the spare one is small."""
    fronts = children(running.process.pid, "fronts.process")
    return max(4096 * int(Path(f"/proc/{front}/statm").read_text().split()[1]) for front in fronts)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["answered", "refused", "in a stream"])
def test_a_message_leaves_the_memory_with_its_answer(large: ServiceProcess, way: str) -> None:
    size, times = 4_000_000, 30
    file = bytes(size) if way == "refused" else FILES[0] + bytes(size)
    ended: queue.Queue[None] = queue.Queue()

    def ask() -> None:
        if way == "in a stream":
            asking.async_stream_infer("abinet", [tensor(file)])
            ended.get(timeout=60)
        else:
            with contextlib.suppress(triton.InferenceServerException):
                asking.infer("abinet", [tensor(file)])

    with client(large) as asking:
        if way == "in a stream":
            asking.start_stream(lambda result, error: ended.put(None))
        for _ in range(5):
            ask()
        before = memory(large)
        for _ in range(times):
            ask()
        assert memory(large) - before < times * size / 2


@pytest.mark.slow
def test_messages_and_bodies_of_http_share_one_room() -> None:
    body = FILES[0] + bytes(2_500_000)
    limits = ["--max-body-bytes", "3000000", "--max-held-bytes", "4000000"]
    with simulated_service("--grpc-port", "0", *limits) as running:
        host, port = running.client.base_url.host, running.client.base_url.port
        with socket.create_connection((host, port)) as sender:
            head = f"POST /v1/read HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            sender.sendall(head.encode() + body[:-1])

            def one_is_refused() -> bool:
                """The message, or the body if it came later."""
                is_answered = bool(select.select([sender], [], [], 0)[0])
                return is_answered or not text_of(running, body)

            wait_until(one_is_refused)
        wait_until(lambda: text_of(running, body) != "")


@pytest.mark.slow
def test_connections_are_limited_and_those_that_end_make_room() -> None:
    def is_open(one: socket.socket) -> bool:
        """HTTP/2 begins with the settings of the server."""
        one.settimeout(10)
        with contextlib.suppress(ConnectionError):
            one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            return bool(one.recv(1))
        return False

    with simulated_service("--grpc-port", "0", "--max-connections", "4") as running:
        host, _, port = address(running).rpartition(":")
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(8)]
            assert sum(map(is_open, opened)) == 4
        wait_until(lambda: text_of(running, FILES[0]) != "")


def text_of(running: ServiceProcess, file: bytes) -> str:
    """What is read, or nothing if it is refused."""
    with contextlib.suppress(triton.InferenceServerException):
        return str(infer(running, file).as_numpy("text")[0].decode())
    return ""


def fault_of(*arguments: str, without: str = "") -> str:
    """The one line that a service says which cannot start, with a module that is not installed."""
    hidden = f"sys.modules[{without!r}] = None; " if without else ""
    start = f"import sys; {hidden}from service.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", start, "serve", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    return done.stderr


def test_a_port_that_is_taken_is_a_line_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "choose another --grpc-port" in fault_of("--grpc-port", str(taken.getsockname()[1]))


def test_a_port_shared_by_another_service_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        assert "choose another --grpc-port" in fault_of("--grpc-port", str(taken.getsockname()[1]))


def test_without_the_extra_a_line_names_it() -> None:
    assert "uv run --extra grpc abinet" in fault_of("--grpc-port", "0", without="grpc_health")
