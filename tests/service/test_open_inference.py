"""The Open Inference Protocol as KServe's and Triton's clients speak it, over a real socket."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest

from service.http.routes.open_inference_messages import InferResponse, ModelStats
from tests.support.tiny_service import ServiceProcess, crop, encoded, service, tiny_bundle

pytestmark = pytest.mark.slow

INFER = "/v2/models/abinet/infer"
FILES = [encoded(crop(seed)) for seed in range(3)]
BASE64 = [base64.b64encode(file).decode() for file in FILES]


def infer(running: ServiceProcess, **request: Any) -> httpx.Response:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": BASE64}
    return running.client.post(INFER, json={"inputs": [tensor], **request})


def outputs(response: httpx.Response) -> dict[str, list]:
    assert response.status_code == 200, response.text
    return {output["name"]: output["data"] for output in response.json()["outputs"]}


def error(response: httpx.Response) -> str:
    assert response.status_code >= 400
    assert list(response.json()) == ["error"]
    message: str = response.json()["error"]
    return message


def test_crops_read_as_through_the_services_own_route(running: ServiceProcess) -> None:
    read = [running.read(crop(seed)).json() for seed in range(3)]
    answer = outputs(infer(running))
    assert answer["text"] == [one["text"] for one in read]
    assert answer["confidence"] == pytest.approx([one["confidence"] for one in read], abs=1e-5)
    assert answer["stopped_at"] == [3, 3, 3]


@pytest.mark.parametrize("length", [len(FILES[0]) + 1, 2**32 - 1])
def test_a_binary_element_that_is_longer_than_what_is_left_is_refused(
    running: ServiceProcess, length: int
) -> None:
    tensor = struct.pack("<I", length) + FILES[0]
    image = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(tensor)},
    }
    head = json.dumps({"inputs": [image]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    response = running.client.post(INFER, content=head + tensor, headers=headers)
    assert f"has {length} bytes, but only {len(FILES[0])} are left" in error(response)


def test_binary_tensors_are_taken_and_given(running: ServiceProcess) -> None:
    tensor = b"".join(struct.pack("<I", len(file)) + file for file in FILES)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [3],
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "confidence"}, {"name": "text", "parameters": {"binary_data": False}}],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    response = running.client.post(INFER, content=head + tensor, headers=headers)
    answer = infer(running)
    end = int(response.headers["inference-header-content-length"])
    confidence, text = json.loads(response.content[:end])["outputs"]
    assert confidence["parameters"] == {"binary_data_size": len(response.content) - end}
    assert text["data"] == outputs(answer)["text"]
    np.testing.assert_allclose(
        np.frombuffer(response.content[end:], "<f4"), outputs(answer)["confidence"], atol=1e-5
    )


def test_outputs_have_the_inputs_shape_and_the_request_its_identifier(running: ServiceProcess) -> None:
    rows = [[image] for image in BASE64]
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3, 1], "data": rows}
    answer = infer(running, inputs=[tensor], id="42", outputs=[{"name": "text"}]).json()
    assert answer["id"] == "42"
    assert [(output["name"], output["shape"]) for output in answer["outputs"]] == [("text", [3, 1])]
    assert InferResponse.model_validate(answer).model_dump(exclude_unset=True) == answer


def test_parameters_are_the_services_options(running: ServiceProcess) -> None:
    assert outputs(infer(running, parameters={"iterations": 1}))["stopped_at"] == [1, 1, 1]


def test_statistics_are_told_as_triton_tells_them(running: ServiceProcess) -> None:
    def told() -> dict[str, Any]:
        answer = running.client.get("/v2/models/abinet/stats").json()
        assert ModelStats.model_validate(answer).model_dump() == answer
        (stats,) = answer["model_stats"]
        return dict(stats)

    before = told()
    infer(running)
    broken = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]}
    infer(running, inputs=[broken])
    after = told()
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["last_inference"] > before["last_inference"]
    added = {
        name: {unit: after["inference_stats"][name][unit] - stat[unit] for unit in ("count", "ns")}
        for name, stat in before["inference_stats"].items()
    }
    assert (added["success"]["count"], added["fail"]["count"]) == (1, 1)
    assert (added["queue"]["count"], added["compute_infer"]["count"]) == (3, 3)
    assert 0 < added["compute_infer"]["ns"] <= 3 * added["success"]["ns"]
    assert after["execution_count"] > before["execution_count"]
    assert sum(one["compute_infer"]["count"] for one in after["batch_stats"]) == after["execution_count"]
    version = after["version"]
    for path in ("/v2/models/stats", f"/v2/models/abinet/versions/{version}/stats"):
        assert running.client.get(path).json()["model_stats"] == [after]


def test_the_model_may_have_a_name_of_ones_own() -> None:
    bundle = str(tiny_bundle())
    environment = {"ABINET_API_KEYS": "key"}
    with service("--bundle", bundle, "--model-name", "street-signs", environment=environment) as named:
        assert named.client.get("/v2/models/street-signs/ready").status_code == 200
        named.client.headers["X-API-Key"] = "key"
        tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": BASE64}
        answer = named.client.post("/v2/models/street-signs/infer", json={"inputs": [tensor]}).json()
        assert answer["model_name"] == "street-signs"
        assert named.client.get("/v2/models/street-signs").json()["name"] == "street-signs"
        assert error(named.client.get("/v2/models/abinet")) == "There is only 'street-signs'."
        assert named.read(crop()).json()["model"]["name"] == "street-signs"


def test_a_crop_that_cannot_be_read_fails_the_request_and_is_named(running: ServiceProcess) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2], "data": [BASE64[0], "aGVsbG8="]}
    assert error(infer(running, inputs=[tensor])).startswith("image[1]: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "pixels"}, "The one input is 'image'"),
        ({"datatype": "FP32"}, "The one input is 'image'"),
        ({"shape": [2]}, "3 elements do not make the shape [2]"),
        ({"shape": [-3]}, "inputs.0.shape.0"),
        ({"shape": [0]}, "inputs.0.shape.0"),
        ({"data": [1, 2, 3]}, "an element of data is no string"),
        ({"shape": [65], "data": [""] * 65}, "More than 64 crops"),
        (
            {"shape": [1], "data": None, "parameters": {"binary_data_size": 9}},
            "binary_data_size is 9, and 0 bytes follow",
        ),
        (
            {"shape": [3, 1], "data": [[BASE64[0]], BASE64[1:]]},
            "the rows of data do not make the shape [3, 1]",
        ),
        (
            {"shape": [3, 1], "data": [[BASE64[0]], *BASE64[1:]]},
            "the rows of data do not make the shape [3, 1]",
        ),
    ],
)
def test_a_tensor_that_is_none_of_images_is_refused(
    running: ServiceProcess, change: dict, message: str
) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": BASE64, **change}
    assert message in error(infer(running, inputs=[tensor]))


def _words(stages: list[dict[str, Any]]) -> list[str]:
    return [stage["text"] if stage["stage"] == "vision" else stage["fused"]["text"] for stage in stages]


def test_what_every_stage_believed_is_an_output_for_those_who_ask(running: ServiceProcess) -> None:
    read = [running.read(crop(seed)).json()["iterations"] for seed in range(3)]
    names = ["text", "confidence", "stopped_at", "turned", "iterations"]
    answer = outputs(infer(running, outputs=[{"name": name} for name in names]))
    found = [json.loads(one) for one in answer["iterations"]]
    assert [_words(one) for one in found] == [_words(one) for one in read]
    assert "iterations" not in outputs(infer(running))


def test_no_parameters_may_be_null(running: ServiceProcess) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": BASE64, "parameters": None}
    wanted = [{"name": "text", "parameters": None}]
    assert outputs(infer(running, inputs=[tensor], parameters=None, outputs=wanted))["text"]


@pytest.mark.parametrize("name", ["iteration", "priority", "sequence_id"])
def test_a_parameter_that_is_not_honoured_is_refused(running: ServiceProcess, name: str) -> None:
    assert f"parameters.{name}" in error(infer(running, parameters={name: 1}))


def test_tritons_timeout_is_the_deadline(running: ServiceProcess) -> None:
    assert infer(running, parameters={"timeout": 1}).status_code == 504
    assert infer(running, parameters={"timeout": 20_000_000}).status_code == 200


def test_an_address_that_ends_with_a_slash_is_not_sent_elsewhere(running: ServiceProcess) -> None:
    assert running.client.get("/v2/").json() == running.client.get("/v2").json()


def test_tritons_clients_find_the_configuration_and_the_repository(running: ServiceProcess) -> None:
    model = running.client.get("/v2/models/abinet").json()
    config = running.client.get("/v2/models/abinet/config").json()
    assert [tensor["name"] for tensor in config["input"]] == ["image"]
    assert [tensor["name"] for tensor in config["output"]] == [tensor["name"] for tensor in model["outputs"]]
    (listed,) = running.client.post("/v2/repository/index", json={}).json()
    assert listed == {"name": "abinet", "version": model["versions"][0], "state": "READY", "reason": ""}


def test_an_output_that_does_not_exist_is_refused(running: ServiceProcess) -> None:
    assert "'boxes'" in error(infer(running, outputs=[{"name": "boxes"}]))


@pytest.mark.parametrize("length", ["-1", "many", "10000"])
def test_a_length_that_is_not_within_the_body_is_refused(running: ServiceProcess, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    assert "Inference-Header-Content-Length" in error(
        running.client.post(INFER, content=b"{}", headers=headers)
    )


@pytest.mark.parametrize(
    "path", ["/v2/models/resnet", "/v2/models/abinet/versions/0", "/v2/models/resnet/ready", "/v2/nothing"]
)
def test_what_is_not_there_is_an_error_of_the_protocol(running: ServiceProcess, path: str) -> None:
    response = running.client.get(path)
    assert response.status_code == 404
    assert error(response)


def test_metadata_describes_server_and_model(running: ServiceProcess) -> None:
    server = running.client.get("/v2").json()
    assert (server["name"], server["extensions"]) == ("abinet", ["binary_tensor_data", "statistics"])
    model = running.client.get("/v2/models/abinet").json()
    assert model == running.client.get(f"/v2/models/abinet/versions/{model['versions'][0]}").json()
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    names = [output["name"] for output in model["outputs"]]
    assert names == ["text", "confidence", "stopped_at", "turned", "iterations"]


def test_probes_say_that_server_and_model_are_ready(running: ServiceProcess) -> None:
    assert running.client.get("/v2/health/live").json() == {"live": True}
    assert running.client.get("/v2/health/ready").json() == {"ready": True}
    assert running.client.get("/v2/models/abinet/ready").json() == {"name": "abinet", "ready": True}
