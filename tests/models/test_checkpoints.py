"""Native checkpoints, and the import of MindOCR's and the official ones.

The foreign checkpoints are written here from native weights by a table of names, built part by part and
apart from the importer's rules.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from models.abinet import NetworkConfig
from models.abinet.abinet import ABINet
from models.checkpoints import import_command
from models.checkpoints.checkpoint import (
    CheckpointError,
    Sidecar,
    load_checkpoint,
    load_parameters,
    read_parameters,
    save_checkpoint,
)
from models.checkpoints.importers import from_official, import_checkpoint
from service.bundle_format.preprocessing import Preprocessing
from tests.oracles import network as oracle
from tests.support.foreign_checkpoints import Parameters, below, names, to_mindocr, to_official

pytestmark = pytest.mark.slow

TINY = NetworkConfig(
    d_model=32, d_inner=48, vision_layers=2, language_layers=3, resnet_channels=(8, 8, 12, 16, 32),
    resnet_blocks=(2, 1, 1, 2, 1), attention_channels=8,
)  # fmt: skip
SIDECAR = Sidecar(TINY, Preprocessing(interpolation="cubic", normalise=False), {"epochs": 3})


def random_network() -> ABINet:
    network = ABINet(TINY)
    parameters = oracle.random_parameters({p.name: tuple(p.shape) for p in network.get_parameters()})
    load_parameters(network, parameters, "random parameters")
    return network


def values(network: ABINet) -> Parameters:
    return {p.name: p.asnumpy() for p in network.get_parameters()}


def assert_same(got: Parameters, wanted: Parameters) -> None:
    assert sorted(got) == sorted(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def write_ckpt(path: Path, parameters: Parameters) -> Path:
    """A MindSpore checkpoint of these parameters, whatever their names."""
    stored = [{"name": name, "data": ms.Tensor(value)} for name, value in parameters.items()]
    ms.save_checkpoint(stored, str(path))
    return path


@pytest.fixture(scope="module")
def native() -> Parameters:
    return values(random_network())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A native checkpoint, both files."""
    path = tmp_path / "tiny.ckpt"
    save_checkpoint(random_network(), path, SIDECAR)
    return path


def sidecar(checkpoint: Path, **network: object) -> None:
    """Changes settings of the network in the sidecar of ``checkpoint``."""
    path = checkpoint.with_suffix(".json")
    stored = json.loads(path.read_text())
    stored["network"].update(network)
    path.write_text(json.dumps(stored))


# Native checkpoints


def test_loading_gives_back_what_was_saved(checkpoint: Path, native: Parameters) -> None:
    network, stored = load_checkpoint(checkpoint)
    assert_same(values(network), native)
    assert stored == SIDECAR


def test_a_config_from_before_crops_were_shrunk_by_area_asks_for_none(checkpoint: Path) -> None:
    path = checkpoint.with_suffix(".json")
    values = json.loads(path.read_text())
    del values["preprocessing"]["shrink_by_area"]
    path.write_text(json.dumps(values))
    assert load_checkpoint(checkpoint)[1].preprocessing.shrink_by_area is False


def test_a_checkpoint_with_a_flipped_bit_is_refused(checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tiny\.ckpt: changed since"):
        load_checkpoint(checkpoint)


def test_a_loaded_network_is_in_inference_mode(checkpoint: Path) -> None:
    network, _ = load_checkpoint(checkpoint)
    assert not any(cell.training for _, cell in network.cells_and_names())


def test_saving_leaves_only_the_two_files(checkpoint: Path) -> None:
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["tiny.ckpt", "tiny.json"]


def test_saving_replaces_an_older_checkpoint(checkpoint: Path) -> None:
    newer = dataclasses.replace(SIDECAR, training={"epochs": 4})
    save_checkpoint(random_network(), checkpoint, newer)
    assert load_checkpoint(checkpoint)[1] == newer


def test_one_error_lists_every_parameter_that_does_not_fit(checkpoint: Path, native: Parameters) -> None:
    native = dict(native)
    del native["vision.cls.bias"], native["language.proj.weight"]
    native["alignment.extra"] = np.zeros(1, np.float32)
    native["vision.cls.weight"] = native["vision.cls.weight"].T.copy()
    checkpoint.unlink()
    write_ckpt(checkpoint, native)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(checkpoint)
    message = str(error.value)
    assert message.startswith(str(checkpoint))
    assert "2 missing (language.proj.weight, vision.cls.bias)" in message
    assert "1 unexpected (alignment.extra)" in message
    assert "1 wrongly shaped (vision.cls.weight is (32, 37) instead of (37, 32))" in message


def test_a_config_of_another_size_is_an_error(checkpoint: Path) -> None:
    sidecar(checkpoint, language_layers=4)
    with pytest.raises(CheckpointError, match=r"16 missing .*use the config it was trained with"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"charset": "abca"}, "names a character twice"),
        ({"charset": ""}, "charset is empty"),
        ({"widths": [1]}, "unknown network setting: widths"),
        ({"d_model": "wide"}, "not a usable config"),
    ],
)
def test_an_unusable_config_is_an_error_that_names_the_file(
    checkpoint: Path, setting: dict[str, object], message: str
) -> None:
    sidecar(checkpoint, **setting)
    with pytest.raises(CheckpointError, match=message) as error:
        load_checkpoint(checkpoint)
    assert str(checkpoint.with_suffix(".json")) in str(error.value)


def test_a_charset_of_another_length_is_an_error(checkpoint: Path) -> None:
    sidecar(checkpoint, charset="abc")
    with pytest.raises(CheckpointError, match=r"wrongly shaped .*vision\.cls\.weight is \(37, 32\)"):
        load_checkpoint(checkpoint)


def test_a_config_that_is_not_json_is_an_error(checkpoint: Path) -> None:
    checkpoint.with_suffix(".json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tiny\.json: not a usable config"):
        load_checkpoint(checkpoint)


def test_a_missing_config_is_an_error(checkpoint: Path) -> None:
    checkpoint.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"tiny\.json: no such file"):
        load_checkpoint(checkpoint)


def test_a_missing_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such file"):
        load_checkpoint(tmp_path / "none.ckpt")


def test_a_truncated_checkpoint_is_an_error(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"tiny\.ckpt: truncated or not a MindSpore checkpoint"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all"], ids=["empty", "text"])
def test_a_file_that_is_no_checkpoint_is_an_error(checkpoint: Path, content: bytes) -> None:
    checkpoint.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tiny\.ckpt: truncated or not a MindSpore checkpoint"):
        load_checkpoint(checkpoint)


def test_saving_under_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"ends in \.ckpt"):
        save_checkpoint(random_network(), tmp_path / "tiny.pth", SIDECAR)


# Foreign checkpoints


@pytest.fixture
def mindocr(tmp_path: Path, native: Parameters) -> Path:
    return write_ckpt(tmp_path / "mindocr.ckpt", to_mindocr(native, TINY))


def test_every_native_parameter_has_a_foreign_name(native: Parameters) -> None:
    assert len(to_mindocr(native, TINY)) == len(native)
    assert sum(len(below(native, part)) for part, _, _ in names(TINY)) == len(native)


def test_importing_a_mindocr_checkpoint_gives_the_same_weights(mindocr: Path, native: Parameters) -> None:
    network, stored = import_checkpoint(mindocr, normalise=True)
    assert_same(values(network), native)
    assert stored.network == TINY


def test_importing_an_official_state_gives_the_same_weights(native: Parameters) -> None:
    assert_same(from_official(to_official(native, TINY)), native)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_mindocr_checkpoint_keeps_the_stated_preprocessing(mindocr: Path, normalise: bool) -> None:
    _, stored = import_checkpoint(mindocr, normalise=normalise)
    assert stored.preprocessing.normalise is normalise


def test_a_mindocr_checkpoint_needs_the_preprocessing_stated(mindocr: Path) -> None:
    with pytest.raises(CheckpointError, match=r"mindocr\.ckpt: .*--normalise"):
        import_checkpoint(mindocr)


def test_one_error_lists_what_a_mindocr_checkpoint_lacks_and_has_too_much(
    tmp_path: Path, native: Parameters
) -> None:
    foreign = to_mindocr(native, TINY)
    del foreign["head.alignment.w_att.bias"]
    foreign["head.alignment.w_new.bias"] = np.zeros(3, np.float32)
    path = write_ckpt(tmp_path / "other.ckpt", foreign)
    with pytest.raises(
        CheckpointError,
        match=r"1 missing \(alignment\.gate\.bias\); 1 unexpected \(alignment\.w_new\.bias\)",
    ):
        import_checkpoint(path, normalise=True)


def test_a_charset_of_another_length_is_refused_at_import(mindocr: Path) -> None:
    with pytest.raises(CheckpointError, match="has 37 classes, the charset 'abc' and the null make 4"):
        import_checkpoint(mindocr, normalise=True, charset="abc")


def test_another_file_type_is_refused_at_import(tmp_path: Path) -> None:
    path = tmp_path / "weights.onnx"
    path.write_bytes(b"onnx")
    with pytest.raises(CheckpointError, match=r"neither a MindOCR \.ckpt nor an official \.pth"):
        import_checkpoint(path)


def test_a_file_that_is_not_there_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such file"):
        import_checkpoint(tmp_path / "none.ckpt")


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    import_command.configure(parser)
    return parser.parse_args(words)


def test_the_import_command_writes_a_native_checkpoint(
    mindocr: Path, tmp_path: Path, native: Parameters
) -> None:
    output = tmp_path / "imported.ckpt"
    assert import_command.run(arguments(str(mindocr), "-o", str(output), "--normalise", "no")) == 0
    network, stored = load_checkpoint(output)
    assert_same(values(network), native)
    assert stored.preprocessing.normalise is False


def test_the_import_command_overwrites_only_when_forced(mindocr: Path) -> None:
    before = read_parameters(mindocr)
    with pytest.raises(CheckpointError, match=r"mindocr\.ckpt exists; use --force"):
        import_command.run(arguments(str(mindocr), "-o", str(mindocr), "--normalise", "no"))
    assert_same(read_parameters(mindocr), before)


# Official checkpoints as files, which PyTorch reads


def save_torch(path: Path, native: Parameters, form: str) -> Path:
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(np.array(value)) for name, value in to_official(native, TINY).items()}
    forms = {
        "model": {"model": state},
        "model and optimiser": {"model": state, "opt": {"state": {}, "param_groups": []}},
        "bare": state,
        "data parallel": {"model": {f"module.{name}": value for name, value in state.items()}},
    }
    torch.save(forms[form], path)
    return path


@pytest.mark.parametrize("form", ["model", "model and optimiser", "bare", "data parallel"])
def test_importing_an_official_file_gives_the_same_weights(
    tmp_path: Path, native: Parameters, form: str
) -> None:
    network, stored = import_checkpoint(save_torch(tmp_path / "official.pth", native, form))
    assert_same(values(network), native)
    assert stored.network == dataclasses.replace(TINY, no_stop_length="shortest")
    assert stored.preprocessing == Preprocessing()


@pytest.mark.parametrize("kept", [0, 5000], ids=["empty", "truncated"])
def test_a_broken_official_file_is_an_error(tmp_path: Path, native: Parameters, kept: int) -> None:
    path = save_torch(tmp_path / "official.pth", native, "model")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"official\.pth: cannot be read as a PyTorch file"):
        import_checkpoint(path)


def test_an_official_file_that_holds_no_tensors_is_an_error(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "official.pth"
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match=r"official\.pth: holds no state dict"):
        import_checkpoint(path)
