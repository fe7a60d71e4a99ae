"""One name, one thing: a class's name is used once, in whichever package."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("service", "models", "export", "clients")

SDK = "clients/abinet_client/_models.py"
MIRRORED = {
    *("Alternative", "BatchItem", "CanaryInfo", "Character", "GraphBatches", "Health", "LatencyReport"),
    *("LatencyWindow", "LexiconChoice", "ModelInfo", "ModelName", "Prediction", "Reading"),
    *("RefinementStage", "StageLatency", "Timings", "VisionStage"),
}
"""What the service answers. The SDK's users find it in `SDK` under the names that the interface gives it."""

TWINS = {"ABINet", "Alignment", "PositionAttention", "PositionalEncoding"}
"""The same network in MindSpore and in PyTorch."""


@pytest.fixture(scope="module")
def files() -> dict[str, list[str]]:
    """Where each class is, by its name without the underscore of a private one; not what protoc made."""
    found = defaultdict(list)
    for path in sorted(path for package in PACKAGES for path in (PROJECT / package).rglob("*.py")):
        if not path.stem.endswith("_pb2"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found[node.name.lstrip("_")].append(str(path.relative_to(PROJECT)))
    return found


def test_a_class_name_is_used_once(files: dict[str, list[str]]) -> None:
    shared = {name: places for name, places in files.items() if len(places) > 1}
    assert {name: shared[name] for name in shared.keys() - MIRRORED - TWINS} == {}
    assert shared.keys() == MIRRORED | TWINS


@pytest.mark.parametrize("name", sorted(MIRRORED))
def test_a_shared_name_is_the_sdks_and_one_of_the_services(name: str, files: dict[str, list[str]]) -> None:
    ours, mirror = sorted(files[name], key=lambda file: file == SDK)
    assert mirror == SDK
    assert ours.startswith("service/")


@pytest.mark.parametrize("name", sorted(TWINS))
def test_a_twin_is_in_both_frameworks(name: str, files: dict[str, list[str]]) -> None:
    assert sorted(Path(file).parent.name for file in files[name]) == ["abinet", "torch_twin"]
