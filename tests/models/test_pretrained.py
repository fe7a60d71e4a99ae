"""Weights that a training starts from: whose they are, whole or of one model, every name accounted for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from models.abinet.abinet import ABINet
from models.checkpoints.checkpoint import CheckpointError, Sidecar, save_checkpoint
from models.checkpoints.pretrained import read_pretrained
from tests.support.foreign_checkpoints import to_mindocr
from tests.support.tiny_training import TINY

pytestmark = pytest.mark.slow

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def network() -> ABINet:
    ms.set_seed(5)
    return ABINet(TINY).set_train(False)


@pytest.fixture(scope="module")
def weights(network: ABINet) -> Arrays:
    return {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}


def shapes(weights: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in weights.items()}


def save(arrays: Arrays, path: Path) -> Path:
    """A MindSpore checkpoint without anything beside it."""
    stored = [{"name": name, "data": ms.Tensor(np.ascontiguousarray(v))} for name, v in arrays.items()]
    ms.save_checkpoint(stored, str(path))
    return path


def mindocr_language(weights: Arrays) -> Arrays:
    """The language model as MindOCR stores it."""
    stored = to_mindocr(weights, TINY)
    return {name: value for name, value in stored.items() if name.startswith("head.language.")}


def test_a_native_checkpoint_is_taken_whole_and_its_other_settings_are_said(
    network: ABINet, weights: Arrays, tmp_path: Path
) -> None:
    theirs = replace(TINY, no_stop_length="shortest", dropout=0.3)
    save_checkpoint(network, tmp_path / "given.ckpt", Sidecar(theirs))
    given = read_pretrained(tmp_path / "given.ckpt", TINY, shapes(weights))
    assert given.parameters.keys() == weights.keys()
    assert "its no_stop_length was shortest, in this training it is full" in given.said
    assert "its dropout was 0.3" in given.said


def test_a_checkpoint_of_another_charset_is_refused(network: ABINet, weights: Arrays, tmp_path: Path) -> None:
    save_checkpoint(network, tmp_path / "given.ckpt", Sidecar(replace(TINY, charset=TINY.charset[::-1])))
    with pytest.raises(CheckpointError, match="of the same charset"):
        read_pretrained(tmp_path / "given.ckpt", TINY, shapes(weights))


def test_mindocrs_language_model_alone_is_taken_and_its_optimizer_left_out(
    weights: Arrays, tmp_path: Path
) -> None:
    stored = mindocr_language(weights)
    moments = {f"moment1.{name}": value for name, value in stored.items()}
    path = save({**stored, **moments, "global_step": np.zeros(1, np.int32)}, tmp_path / "given.ckpt")
    given = read_pretrained(path, TINY, shapes(weights))
    assert given.parameters.keys() == {name for name in weights if name.startswith("language.")}
    for name, value in given.parameters.items():
        np.testing.assert_array_equal(value, weights[name])
    assert f"MindOCR; {len(stored)} of language, {len(stored) + 1} of an optimizer left out" in given.said


def test_one_model_may_be_taken_of_a_whole(weights: Arrays, tmp_path: Path) -> None:
    path = save(weights, tmp_path / "given.ckpt")
    given = read_pretrained(path, TINY, shapes(weights), "vision")
    assert {name.split(".")[0] for name in given.parameters} == {"vision"}
    assert "of other models left out" in given.said


def test_every_name_that_fits_nothing_is_named(weights: Arrays, tmp_path: Path) -> None:
    stored = mindocr_language(weights)
    stored["head.language.extra.weight"] = stored.pop("head.language.cls.bias")
    path = save(stored, tmp_path / "given.ckpt")
    with pytest.raises(CheckpointError) as error:
        read_pretrained(path, TINY, shapes(weights))
    assert "1 missing (language.cls.bias); 1 unexpected (language.extra.weight)" in str(error.value)


def test_weights_of_other_sizes_are_refused(weights: Arrays, tmp_path: Path) -> None:
    path = save(mindocr_language(weights), tmp_path / "given.ckpt")
    wanted = {**shapes(weights), "language.cls.bias": (11,)}
    with pytest.raises(CheckpointError, match=r"1 wrongly shaped \(language\.cls\.bias is \(37,\)"):
        read_pretrained(path, TINY, wanted)


@pytest.mark.parametrize("model", ["vision", "language"])
def test_the_official_models_pretrained_alone_are_taken(model: str, weights: Arrays, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from models.torch_twin.abinet import ABINet as Twin

    alone = getattr(Twin(TINY), model).state_dict()
    torch.save({"model": alone, "opt": None}, tmp_path / "best-pretrain.pth")
    given = read_pretrained(tmp_path / "best-pretrain.pth", TINY, shapes(weights))
    assert given.parameters.keys() == {name for name in weights if name.startswith(model)}
    assert f"official ABINet (PyTorch); {len(given.parameters)} of {model}" in given.said
