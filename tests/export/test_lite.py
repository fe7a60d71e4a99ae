"""Real MindSpore Lite 2.0.0 answers as MindSpore 2.8 does, with graphs that MindSpore 2.0.0 exported."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import mindspore
import numpy as np
import pytest
from mindspore import Tensor

from export.bundle import graph_file
from export.exporter import SAMPLES
from export.graphs import GRAPHS
from export.reference import read_images
from models.abinet import NetworkConfig
from models.abinet.abinet import ABINet
from models.checkpoints.checkpoint import Sidecar, load_checkpoint, save_checkpoint
from tests.support.tiny_service import tiny_bundle

PROJECT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
BATCH_SIZES = (1, 4)
# As deep as the paper's network, but narrow: two releases compile its graphs in seconds.
NARROW = NetworkConfig(
    d_model=32, heads=4, d_inner=64, resnet_channels=(8, 8, 16, 16, 32), attention_channels=8
)

pytestmark = [pytest.mark.lite, pytest.mark.slow]


class Call(NamedTuple):
    """One call of a graph: MindSpore's tensors."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


def run(*command: object) -> "subprocess.CompletedProcess[str]":
    words = [str(word) for word in command]
    environment = {**os.environ, "GLOG_v": "3"}
    return subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, and batch norms that are not the identity, or folding them could not go wrong.

    They shrink what they normalise, or activations and rounding would grow a thousandfold over 45 layers.
    """
    mindspore.set_seed(1)
    random = np.random.default_rng(1)
    drawn: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
        "gamma": lambda shape: random.uniform(0.5, 1, shape),
        "beta": lambda shape: random.normal(0, 0.2, shape),
        "moving_mean": lambda shape: random.normal(0, 0.2, shape),
        "moving_variance": lambda shape: random.uniform(1, 2, shape),
    }
    network = ABINet(NARROW)
    for parameter in network.get_parameters():
        draw = drawn.get(parameter.name.split(".")[-1])
        if draw:
            parameter.set_data(Tensor(draw(parameter.shape).astype(np.float32)))
    path = tmp_path_factory.mktemp("checkpoint") / "narrow.ckpt"
    save_checkpoint(network, path, Sidecar(NARROW))
    return path


@pytest.fixture(scope="module")
def lite_bundle(checkpoint: Path, lite_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tmp_path_factory.mktemp("bundles") / "narrow"
    sizes = ",".join(map(str, BATCH_SIZES))
    done = run(lite_python, "-m", "export", checkpoint, "--output", bundle, "--batch-sizes", sizes)
    assert done.returncode == 0, done.stderr
    return bundle


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> ABINet:
    return load_checkpoint(checkpoint)[0]


def images(batch: int) -> np.ndarray:
    """Real crops, then noise, as network input (batch, 3, 32, 128)."""
    noise = np.random.default_rng(batch).standard_normal((batch, 3, 32, 128)).astype(np.float32)
    return np.concatenate([read_images(SAMPLES, Sidecar(NARROW).preprocessing), noise])[:batch]


@pytest.fixture(scope="module")
def calls(network: ABINet) -> dict[str, Call]:
    """One call of each graph file, answered by MindSpore 2.8's network as it was trained, nothing folded."""
    made = {}
    for batch in BATCH_SIZES:
        crops = Tensor(images(batch))
        vision = network.vision(crops)
        made[graph_file("abinet", batch)] = Call([crops], network(crops))
        made[graph_file("vision", batch)] = Call([crops], vision)
        made[graph_file("refine", batch)] = Call(vision, network.refine(*vision))
    return made


@pytest.fixture(scope="module")
def answers(
    lite_bundle: Path, lite_python: Path, calls: dict[str, Call], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """What Lite answers to the same calls, as FILE/0, FILE/1..."""
    folder = tmp_path_factory.mktemp("answers")
    inputs = {f"{file}/{i}": x.asnumpy() for file, call in calls.items() for i, x in enumerate(call.inputs)}
    np.savez(folder / "inputs.npz", **inputs)
    runner = PROJECT / "tests" / "support" / "lite_runner.py"
    done = run(lite_python, runner, lite_bundle, folder / "inputs.npz", folder / "outputs.npz")
    assert done.returncode == 0, done.stderr
    with np.load(folder / "outputs.npz") as outputs:
        return dict(outputs)


@pytest.mark.parametrize("batch", BATCH_SIZES)
@pytest.mark.parametrize("graph", GRAPHS)
def test_lite_answers_as_the_network_does(
    graph: str, batch: int, calls: dict[str, Call], answers: dict[str, np.ndarray]
) -> None:
    file = graph_file(graph, batch)
    outputs = [output.asnumpy() for output in calls[file].outputs]
    assert {name for name in answers if name.startswith(f"{file}/")} == {
        f"{file}/{number}" for number in range(len(outputs))
    }
    for number, output in enumerate(outputs):
        np.testing.assert_allclose(answers[f"{file}/{number}"], output, rtol=0, atol=TOLERANCE)


def test_the_manifest_names_the_release_that_lite_can_read(lite_bundle: Path) -> None:
    exporter = json.loads((lite_bundle / "manifest.json").read_text())["exporter"]
    assert (exporter["mindspore"], exporter["mind_ir_version"], exporter["python"][:3]) == ("2.0.0", 1, "3.7")


def test_the_command_makes_the_environment_once(lite_python: Path) -> None:
    made_at = lite_python.parent.stat().st_mtime_ns
    done = run(sys.executable, "-m", "export.lite_environment")
    assert (done.stdout.strip(), lite_python.parent.stat().st_mtime_ns) == (str(lite_python), made_at)


def test_verify_refuses_a_bundle_of_another_release_in_one_line(lite_bundle: Path) -> None:
    done = run(sys.executable, "-m", "service", "verify", lite_bundle)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"abinet: {lite_bundle}: written by MindSpore 2.0.0, but this is {mindspore.__version__}; "
        "export the checkpoint again with this release, or use that one"
    ]


def test_the_service_refuses_lites_bundle_without_lite(lite_bundle: Path) -> None:
    done = run(
        sys.executable,
        "-m",
        "service",
        "serve",
        "--port",
        0,
        "--bundle",
        lite_bundle,
        "--engine",
        "mindspore",
    )
    assert_one_error_that_names(done, "2.0.0")


def test_the_service_refuses_another_releases_bundle_with_lite(lite_python: Path) -> None:
    lite = ("--engine", "lite", "--worker-python", lite_python)
    done = run(sys.executable, "-m", "service", "serve", "--port", 0, "--bundle", tiny_bundle(), *lite)
    assert_one_error_that_names(done, mindspore.__version__)


def assert_one_error_that_names(done: "subprocess.CompletedProcess[str]", release: str) -> None:
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("abinet: ")
    assert release in last
    assert "Traceback" not in done.stderr
