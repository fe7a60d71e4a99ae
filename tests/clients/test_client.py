"""The Python client and the real service, over TCP and a Unix socket.

Its engine is simulated where the text does not matter.
"""

from __future__ import annotations

import importlib.metadata
import io
import itertools
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

import abinet_client
from abinet_client import (
    AsyncClient,
    BadImage,
    Client,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    RefinementStage,
    UnexpectedAnswer,
    UnreadableFile,
    VisionStage,
)
from abinet_client._images import file_bytes
from service.engines.simulated import TEXT
from tests.support.both_clients import Connect, both_clients
from tests.support.empty_bundle import empty_bundle
from tests.support.tiny_service import (
    ServiceProcess,
    crop,
    encoded,
    service,
    shared_service,
    simulated_service,
)

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
CROP = encoded(crop())


@pytest.fixture(scope="module")
def simulated() -> Iterator[ServiceProcess]:
    limits = ("--max-batch-items", "5", "--max-body-bytes", "100000")
    with simulated_service("--simulated-ms", "0", *limits) as running:
        yield running


def url(running: ServiceProcess) -> str:
    return str(running.client.base_url)


@both_clients
def test_a_reading_is_what_the_service_answers(connect: Connect, simulated: ServiceProcess) -> None:
    with connect(url(simulated)) as client:
        reading = client.read(CROP).model_dump(
            exclude={"timings_ms", "request_id"}, exclude_unset=True, mode="json"
        )
    answer = simulated.read(crop()).json()
    del answer["timings_ms"]
    assert reading == answer


@both_clients
def test_the_iterations_are_typed(connect: Connect, simulated: ServiceProcess) -> None:
    with connect(url(simulated)) as client:
        reading = client.read(CROP, iterations=2)
    vision, *refinements = reading.iterations
    assert isinstance(vision, VisionStage)
    assert [stage.iteration for stage in refinements if isinstance(stage, RefinementStage)] == [1, 2]
    assert reading.stopped_at == 2


@both_clients
def test_crops_are_turned_where_that_is_asked_for(connect: Connect) -> None:
    running = shared_service()
    alone = running.read(crop(), turns="all").json()
    with connect(url(running)) as client:
        one, (many,) = client.read(CROP, turns="all"), client.read_many([CROP], turns="all")
    assert one.turned == many.result().turned == alone["turned"]
    assert one.text == many.result().text == alone["text"]


@both_clients
def test_many_crops_read_as_each_alone_and_in_order(connect: Connect) -> None:
    crops = [encoded(crop(seed)) for seed in range(7)]
    with connect(url(shared_service())) as client:
        many = [outcome.result().text for outcome in client.read_many(crops, batch_size=3)]
        assert many == [client.read(one).text for one in crops]


@both_clients
def test_a_crop_that_fails_has_its_own_error(connect: Connect, simulated: ServiceProcess) -> None:
    images: list[str | bytes] = [CROP, "missing.png", b"no image", CROP, b"x" * 200_000, CROP]
    with connect(url(simulated)) as client:
        outcomes = list(client.read_many(images))
    assert [outcome.image for outcome in outcomes] == images
    assert [outcome.reading and outcome.reading.text for outcome in outcomes] == [
        TEXT,
        None,
        None,
        TEXT,
        None,
        TEXT,
    ]
    assert [isinstance(outcome.error, BadImage) for outcome in outcomes if outcome.error] == [True] * 3
    with pytest.raises(BadImage, match=re.escape("missing.png: No such file or directory")):
        outcomes[1].result()


@both_clients
def test_a_batch_that_the_service_finds_too_large_is_halved(
    connect: Connect, simulated: ServiceProcess
) -> None:
    with connect(url(simulated)) as client:
        assert all(outcome.reading for outcome in client.read_many([CROP] * 40, batch_size=40))


@both_clients
def test_what_the_service_says_of_itself(connect: Connect, simulated: ServiceProcess) -> None:
    with connect(url(simulated)) as client:
        client.read(CROP)
        assert client.health().is_ready
        assert client.model().manifest["name"] == client.model().name == "empty"
        assert client.latency().windows["1m"].stages["total"].count > 0


@both_clients
def test_a_unix_socket_serves_as_well(connect: Connect, tmp_path: Path) -> None:
    bundle, path = empty_bundle(tmp_path).folder, tmp_path / "socket"
    command = [sys.executable, "-m", "service", "serve", "--engine", "simulated"]
    with subprocess.Popen(
        [*command, "--bundle", str(bundle), "--uds", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as process:
        assert process.stderr
        try:
            assert any("is ready after" in line for line in process.stderr)
            with connect(uds=path) as client:
                assert client.read(CROP).text == TEXT
                assert [outcome.result().text for outcome in client.read_many([CROP] * 3)] == [TEXT] * 3
        finally:
            process.kill()


@both_clients
def test_connections_are_kept(connect: Connect, simulated: ServiceProcess) -> None:
    with connect(url(simulated)) as client:
        ports = {_port_of(client) for _ in range(3)}
    assert len(ports) == 1


def _port_of(client: Any) -> int:
    """Of the one idle connection after a read."""
    client.read(CROP)
    connections: Any = client._connections if isinstance(client, Client) else client._client._connections
    http = connections._http if isinstance(client, Client) else connections._kept[0].http
    (connection,) = http._transport._pool.connections
    port: int = connection._connection._network_stream.get_extra_info("client_addr")[1]
    return port


@both_clients
def test_an_option_out_of_range_is_the_callers_error(connect: Connect, simulated: ServiceProcess) -> None:
    with connect(url(simulated)) as client:
        with pytest.raises(InvalidRequest, match="9 iterations asked"):
            client.read(CROP, iterations=9)
        assert [type(one.error) for one in client.read_many([CROP] * 2, iterations=9)] == [InvalidRequest] * 2


@both_clients
def test_the_service_is_told_the_deadline(connect: Connect, tmp_path: Path) -> None:
    slow = ("--engine", "simulated", "--simulated-ms", "500")
    with service("--bundle", str(empty_bundle(tmp_path).folder), *slow) as running:
        with (
            connect(url(running)) as client,
            pytest.raises(DeadlineExceeded, match="Not read within") as late,
        ):
            client.read(CROP, timeout=0.2)
        assert late.value.status == 504


IMAGE = np.random.default_rng(5).integers(0, 256, (13, 29, 4), np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        IMAGE,
        IMAGE[..., :3],
        IMAGE[..., 0],
        IMAGE[..., :1],
        IMAGE[::-2, ::3, :3],
        IMAGE.astype(np.uint16) * 257,
    ],
    ids=["BGRA", "BGR", "grey", "one channel", "strided", "16 bits"],
)
def test_an_array_goes_out_as_a_png_of_the_same_pixels(array: np.ndarray) -> None:
    decoded = cv2.imdecode(np.frombuffer(file_bytes(array), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.dtype == array.dtype
    assert np.array_equal(decoded, array.squeeze())


@pytest.mark.parametrize("array", [IMAGE / 255, IMAGE[0, 0], IMAGE[:, :, :2], IMAGE[:0]])
def test_an_array_that_is_no_picture_is_a_bad_image(array: np.ndarray) -> None:
    with pytest.raises(BadImage, match="array"):
        file_bytes(array)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I", "RGB", "RGBA", "CMYK", "F"])
def test_a_pillow_image_goes_out_in_any_mode(mode: str) -> None:
    image = Image.fromarray(IMAGE[..., :3]).convert("L").convert(mode)
    with Image.open(io.BytesIO(file_bytes(image))) as sent:
        assert np.array_equal(np.asarray(sent.convert("L")), np.asarray(image.convert("RGB").convert("L")))


def test_a_pillow_image_is_turned_as_its_file_would_be() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(IMAGE[..., :3]).save(file, "PNG", exif=exif)
    with Image.open(file) as turned, Image.open(io.BytesIO(file_bytes(turned))) as sent:
        assert sent.size == (13, 29)
        assert np.array_equal(np.asarray(sent), np.asarray(ImageOps.exif_transpose(turned)))


def test_a_pillow_image_of_a_broken_file_is_a_bad_image() -> None:
    with Image.open(io.BytesIO(CROP[:200])) as image, pytest.raises(BadImage, match="Pillow"):
        file_bytes(image)


def test_paths_and_bytes_go_out_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "crop.png"
    path.write_bytes(CROP)
    for image in (path, str(path), CROP, bytearray(CROP), memoryview(CROP)):
        assert file_bytes(image) == CROP


@both_clients
def test_what_is_no_image_at_all_is_a_type_error(connect: Connect) -> None:
    with connect() as client:
        with pytest.raises(TypeError, match="not int"):
            client.read(7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not NoneType"):
            list(client.read_many(itertools.repeat(None)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://"}, "base_url"),
        ({"base_url": "http://a:port"}, "base_url"),
        ({"api_key": "key\n"}, "API key"),
        ({"api_key": ""}, "API key"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused_at_once(kind: Any, options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kind(**options)


@both_clients
@pytest.mark.parametrize("option", ["concurrency", "batch_size"])
def test_no_requests_and_no_crops_in_them_are_refused(connect: Connect, option: str) -> None:
    with connect() as client, pytest.raises(ValueError, match=option):
        list(client.read_many([CROP], **{option: 0}))  # type: ignore[arg-type]


@both_clients
def test_file_objects_are_images(connect: Connect, simulated: ServiceProcess, tmp_path: Path) -> None:
    (tmp_path / "crop.png").write_bytes(CROP)
    with connect(url(simulated)) as client, open(tmp_path / "crop.png", "rb") as file:
        assert client.read(io.BytesIO(CROP)).text == client.read(file).text == TEXT
        with (
            open(tmp_path / "crop.png", encoding="latin-1") as text,
            pytest.raises(TypeError, match="binary mode"),
        ):
            client.read(text)  # type: ignore[arg-type]


@both_clients
def test_a_file_that_cannot_be_read_is_a_bad_image_and_an_oserror(connect: Connect, tmp_path: Path) -> None:
    with connect() as client:
        for kind in (UnreadableFile, BadImage, OSError):
            with pytest.raises(kind, match=r"none\.png: No such file"):
                client.read(tmp_path / "none.png")


@both_clients
@pytest.mark.parametrize("one", ["abc.png", b"abc", Path("abc.png")])
def test_one_image_is_not_several(connect: Connect, one: Any) -> None:
    with connect() as client, pytest.raises(TypeError, match="is a list of one"):
        list(client.read_many(one))


@both_clients
def test_where_nobody_listens_a_call_fails_soon(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    started = time.monotonic()
    with (
        connect(f"http://127.0.0.1:{free}") as client,
        pytest.raises(ConnectionFailed, match=f"127.0.0.1:{free}"),
    ):
        client.read(CROP)
    assert time.monotonic() - started < 10  # a safety net: with the pauses of other failures it is 17 s


@both_clients
def test_a_wrong_base_url_is_named(connect: Connect, simulated: ServiceProcess) -> None:
    wrong = f"{url(simulated)}/api"
    with connect(wrong) as client, pytest.raises(UnexpectedAnswer, match=f"{wrong}/v1/read.*: Not Found"):
        client.read(CROP)


@both_clients
def test_no_timeout_is_none_and_the_service_is_told_none(connect: Connect, simulated: ServiceProcess) -> None:
    with connect(url(simulated), timeout=None) as client:
        assert client.read(CROP).text == TEXT
        assert client.with_options(timeout=20).read(CROP, timeout=None).text == TEXT


@both_clients
def test_options_change_on_the_same_connections(connect: Connect, simulated: ServiceProcess) -> None:
    with connect(url(simulated)) as client:
        named = client.with_options(headers={"X-Request-Id": "of-this-client"})
        named.close() if isinstance(named, Client) else None
        assert named.read(CROP).request_id == "of-this-client"
        assert client.read(CROP).request_id not in ("", "of-this-client")
        assert [one.result().request_id for one in named.read_many([CROP] * 2)] == ["of-this-client"] * 2
        with pytest.raises(DeadlineExceeded):
            client.with_options(timeout=1e-9).read(CROP)


@both_clients
def test_a_reading_has_the_characters_of_its_text(connect: Connect, simulated: ServiceProcess) -> None:
    with connect(url(simulated)) as client:
        reading = client.read(CROP)
        assert "".join(one.character for one in reading.characters) == reading.text
        assert client.read(CROP, detail=False).characters == ()


@both_clients
def test_the_environment_names_the_service_and_the_key(
    connect: Connect, simulated: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABINET_URL", url(simulated))
    with connect() as client:
        assert client.read(CROP).text == TEXT
    monkeypatch.setenv("ABINET_API_KEY", "key\n")
    with pytest.raises(ValueError, match="API key"), connect():
        pass
    monkeypatch.setenv("ABINET_URL", "here")
    with pytest.raises(ValueError, match="ABINET_URL 'here' is not like"), connect():
        pass


def test_an_http_client_of_ones_own_is_used_and_stays_open(simulated: ServiceProcess) -> None:
    with httpx.Client(headers={"X-Request-Id": "mine"}) as http:
        with Client(url(simulated), http_client=http) as client:
            assert client.read(CROP).request_id == "mine"
        assert not http.is_closed


def test_the_version_is_that_of_the_distribution() -> None:
    assert abinet_client.__version__ == importlib.metadata.version("abinet-client")


def test_a_machine_with_the_client_alone_has_a_command(simulated: ServiceProcess, tmp_path: Path) -> None:
    (tmp_path / "crop.png").write_bytes(CROP)
    # Without the project's folder on the path there is no service to start.
    program = (
        "import sys; from importlib.util import find_spec as real; import importlib.util\n"
        "importlib.util.find_spec = lambda name: None if name == 'service' else real(name)\n"
        "from abinet_client.batch.main import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    alone = subprocess.run(command, capture_output=True, text=True)
    assert (alone.returncode, alone.stderr.splitlines()[-1]) == (
        2,
        "abinet-read: abinet-ascend is not installed, so no service can start: name one with --url",
    )
    done = subprocess.run([*command, "--url", url(simulated)], capture_output=True, text=True)
    assert (done.returncode, TEXT in done.stdout) == (0, True)


EXAMPLES = re.findall(r"```python\n(.*?)```", (PROJECT / "clients" / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_readme_run(example: str, simulated: ServiceProcess, tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    for name in ("crop.png", "other.png", "crops/a.png"):
        (tmp_path / name).write_bytes(CROP)
    (tmp_path / "crops" / "notes.txt").write_text("no image")
    (tmp_path / "notes.txt").write_text("no image")
    program = example.replace("http://127.0.0.1:8000", url(simulated))
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_client_imports_neither_numpy_nor_opencv_nor_pillow() -> None:
    program = "import sys, abinet_client; sys.exit(bool({'numpy', 'cv2', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
