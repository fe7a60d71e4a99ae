"""The Open Inference Protocol as KServe's and Triton's clients speak it, over a real socket."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest

from service.http.routes.open_inference_messages import InferResponse
from tests.support.tiny_service import ServiceProcess, crop, encoded, shared_service

pytestmark = pytest.mark.slow

INFER = "/v2/models/abinet/infer"
FILES = [encoded(crop(seed)) for seed in range(3)]
BASE64 = [base64.b64encode(file).decode() for file in FILES]


@pytest.fixture
def running() -> ServiceProcess:
    return shared_service()


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
        ({"shape": [1], "data": None, "parameters": {"binary_data_size": 9}}, "0 elements do not make"),
    ],
)
def test_a_tensor_that_is_none_of_images_is_refused(
    running: ServiceProcess, change: dict, message: str
) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [3], "data": BASE64, **change}
    assert message in error(infer(running, inputs=[tensor]))


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
    assert (server["name"], server["extensions"]) == ("abinet", ["binary_tensor_data"])
    model = running.client.get("/v2/models/abinet").json()
    assert model == running.client.get(f"/v2/models/abinet/versions/{model['versions'][0]}").json()
    assert model["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    names = [output["name"] for output in model["outputs"]]
    assert names == ["text", "confidence", "stopped_at", "turned"]


def test_probes_say_that_server_and_model_are_ready(running: ServiceProcess) -> None:
    assert running.client.get("/v2/health/live").json() == {"live": True}
    assert running.client.get("/v2/health/ready").json() == {"ready": True}
    assert running.client.get("/v2/models/abinet/ready").json() == {"name": "abinet", "ready": True}
