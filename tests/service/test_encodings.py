"""Bodies that came packed."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ProblemType, ServiceError
from service.http.encodings import unpacked
from tests.support.tiny_service import ServiceProcess, crop, encoded, problem, shared_service

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
LIMIT = 1 << 20


async def taken(body: bytes, encoding: str, limit: int = LIMIT) -> bytes:
    return await unpacked(body, encoding.encode(), limit, lambda held: None)


async def refused(body: bytes, encoding: str) -> ServiceError:
    with pytest.raises(ServiceError) as found:
        await taken(body, encoding)
    return found.value


@pytest.mark.parametrize("encoding", PACK)
@given(body=st.binary(max_size=2000), times=st.sampled_from([0, 1, 7, 500]))
async def test_whatever_was_packed_is_unpacked(encoding: str, body: bytes, times: int) -> None:
    assert await taken(PACK[encoding](body * times), encoding) == body * times


@pytest.mark.parametrize("encoding", PACK)
@given(cut=st.integers(min_value=1, max_value=30))
async def test_a_stream_that_is_cut_off_is_broken(encoding: str, cut: int) -> None:
    packed = PACK[encoding](b"some bytes of an image")
    assert (await refused(packed[:-cut], encoding)).problem is ProblemType.BROKEN_BODY


@pytest.mark.parametrize("encoding", PACK)
@given(body=st.binary(max_size=100))
async def test_any_bytes_are_taken_or_refused_and_nothing_else_happens(encoding: str, body: bytes) -> None:
    error = None
    try:
        await taken(body, encoding)
    except ServiceError as found:
        error = found
    assert error is None or error.problem is ProblemType.BROKEN_BODY


@pytest.mark.parametrize("encoding", PACK)
async def test_bytes_behind_the_end_are_refused(encoding: str) -> None:
    packed = PACK[encoding](b"first")
    assert "bytes follow its end" in (await refused(packed * 2, encoding)).detail


@pytest.mark.parametrize("encoding", PACK)
async def test_a_body_of_just_the_limit_is_taken_and_one_byte_more_is_not(encoding: str) -> None:
    assert len(await taken(PACK[encoding](bytes(LIMIT)), encoding)) == LIMIT
    assert (await refused(PACK[encoding](bytes(LIMIT + 1)), encoding)).problem is ProblemType.BODY_TOO_LARGE


async def test_a_bomb_costs_no_more_memory_than_the_limit() -> None:
    bomb = gzip.compress(bytes(200 * LIMIT))
    tracemalloc.start()
    try:
        assert (await refused(bomb, "gzip")).problem is ProblemType.BODY_TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 3 * LIMIT
    finally:
        tracemalloc.stop()


async def test_unpacked_bytes_take_room_as_sent_ones_do() -> None:
    held: list[int] = []
    packed = gzip.compress(bytes(LIMIT))
    await unpacked(packed, b"gzip", LIMIT, held.append)
    assert held[-1] == len(packed) + LIMIT
    assert held == sorted(held)


@pytest.fixture
def running() -> ServiceProcess:
    return shared_service()


def post(running: ServiceProcess, body: bytes, encoding: str, path: str = "/v1/read") -> httpx.Response:
    return running.client.post(path, content=body, headers={"Content-Encoding": encoding})


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate"])
def test_a_packed_crop_is_read_as_the_crop(running: ServiceProcess, encoding: str) -> None:
    image = encoded(crop(1))
    packed = PACK["deflate" if encoding == "deflate" else "gzip"](image)
    assert post(running, packed, encoding).json()["text"] == running.read(crop(1)).json()["text"]


@pytest.mark.slow
def test_a_packed_form_is_a_batch(running: ServiceProcess) -> None:
    request = running.client.build_request("POST", "/v1/read/batch", files={"images": encoded(crop(1))})
    headers = {"Content-Type": request.headers["content-type"], "Content-Encoding": "gzip"}
    answer = running.client.post("/v1/read/batch", content=gzip.compress(request.read()), headers=headers)
    assert [one["result"]["text"] for one in answer.json()["items"]] == [running.read(crop(1)).json()["text"]]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [None, *PACK])
def test_tritons_client_may_pack_its_requests(running: ServiceProcess, algorithm: str | None) -> None:
    image = triton.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([encoded(crop(1))], dtype=object))
    with triton.InferenceServerClient(running.client.base_url.netloc.decode()) as client:
        answer = client.infer("abinet", [image], request_compression_algorithm=algorithm)
    assert answer.as_numpy("text")[0].decode() == running.read(crop(1)).json()["text"]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_another_encoding_is_refused_with_those_that_are_read(running: ServiceProcess, encoding: str) -> None:
    answer = post(running, encoded(crop()), encoding)
    assert problem(answer) == (415, "unsupported-encoding")
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    wrong_type = running.client.post("/v1/read/batch", content=b"x", headers={"Content-Type": "text/plain"})
    assert "accept-encoding" not in wrong_type.headers


@pytest.mark.slow
def test_broken_streams_and_bombs_have_their_statuses(running: ServiceProcess) -> None:
    assert problem(post(running, gzip.compress(encoded(crop()))[:-4], "gzip")) == (400, "broken-body")
    assert problem(post(running, b"", "gzip")) == (400, "broken-body")
    assert problem(post(running, gzip.compress(bytes(64 << 20)), "gzip")) == (413, "body-too-large")
    assert post(running, gzip.compress(bytes(64 << 20)), "gzip", "/v2/models/abinet/infer").status_code == 413
