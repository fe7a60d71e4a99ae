"""The PyTorch twin: official names and shapes, the same numbers as the native network."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import mindspore as ms  # noqa: E402

from models.abinet.config import NETWORKS, NetworkConfig  # noqa: E402
from models.checkpoints.importers import from_official, import_checkpoint, to_official  # noqa: E402
from models.torch_twin.abinet import ABINet, text_lengths  # noqa: E402

pytestmark = pytest.mark.slow

TINY = NetworkConfig(
    d_model=32, d_inner=48, resnet_channels=(8, 8, 16, 16, 32), resnet_blocks=(1, 1, 1, 1, 1),
    vision_layers=1, language_layers=2, attention_channels=8,
)  # fmt: skip


@pytest.fixture
def twin() -> ABINet:
    torch.manual_seed(0)
    return ABINet(TINY).eval()


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Parameters of the official full-size network, as its state dict lists them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, rows: int, columns: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (rows, columns)
        if bias:
            shapes[f"{name}.bias"] = (rows,)

    def vectors(name: str, width: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    def batch_norm(name: str, width: int) -> None:
        vectors(name, width)
        shapes[f"{name}.running_mean"] = shapes[f"{name}.running_var"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    def layer(name: str, attention: str, norms: tuple[str, str]) -> None:
        shapes[f"{name}.{attention}.in_proj_weight"] = (1536, 512)
        shapes[f"{name}.{attention}.in_proj_bias"] = (1536,)
        linear(f"{name}.{attention}.out_proj", 512, 512)
        linear(f"{name}.linear1", 2048, 512)
        linear(f"{name}.linear2", 512, 2048)
        for norm in norms:
            vectors(f"{name}.{norm}", 512)

    resnet = "vision.backbone.resnet"
    shapes[f"{resnet}.conv1.weight"] = (32, 3, 3, 3)
    batch_norm(f"{resnet}.bn1", 32)
    before = 32
    stages = zip((32, 64, 128, 256, 512), (3, 4, 6, 6, 3), strict=True)
    for stage, (width, blocks) in enumerate(stages, start=1):
        for index in range(blocks):
            block = f"{resnet}.layer{stage}.{index}"
            shapes[f"{block}.conv1.weight"] = (width, before if index == 0 else width, 1, 1)
            batch_norm(f"{block}.bn1", width)
            shapes[f"{block}.conv2.weight"] = (width, width, 3, 3)
            batch_norm(f"{block}.bn2", width)
        shapes[f"{resnet}.layer{stage}.0.downsample.0.weight"] = (width, before, 1, 1)
        batch_norm(f"{resnet}.layer{stage}.0.downsample.1", width)
        before = width
    shapes["vision.backbone.pos_encoder.pe"] = (256, 1, 512)
    for index in range(3):
        layer(f"vision.backbone.transformer.layers.{index}", "self_attn", ("norm1", "norm2"))
    for level in range(4):
        encoder, decoder = f"vision.attention.k_encoder.{level}", f"vision.attention.k_decoder.{level}"
        shapes[f"{encoder}.0.weight"] = (64, 512 if level == 0 else 64, 3, 3)
        shapes[f"{encoder}.0.bias"] = (64,)
        batch_norm(f"{encoder}.1", 64)
        width = 512 if level == 3 else 64
        shapes[f"{decoder}.1.weight"] = (width, 64, 3, 3)
        shapes[f"{decoder}.1.bias"] = (width,)
        batch_norm(f"{decoder}.2", width)
    for table in ("vision.attention.pos_encoder", "language.token_encoder", "language.pos_encoder"):
        shapes[f"{table}.pe"] = (26, 1, 512)
    linear("vision.attention.project", 512, 512)
    linear("language.proj", 512, 37, bias=False)
    for index in range(4):
        layer(f"language.model.layers.{index}", "multihead_attn", ("norm2", "norm3"))
    linear("alignment.w_att", 512, 1024)
    for model in ("vision", "language", "alignment"):
        linear(f"{model}.cls", 37, 512)
    return shapes


def test_the_full_network_has_the_official_names_and_shapes() -> None:
    state = ABINet(NETWORKS["abinet_resnet45_en"]).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == official_shapes()


def test_the_importer_turns_a_twin_into_the_same_native_network(twin: ABINet, tmp_path: Path) -> None:
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    torch.save({"model": twin.state_dict()}, tmp_path / "twin.pth")
    native, _ = import_checkpoint(tmp_path / "twin.pth", no_stop_length="full")
    images = np.random.default_rng(1).normal(size=(3, 3, 32, 128)).astype(np.float32)
    with torch.no_grad():
        readings = twin(torch.from_numpy(images))
    refined = zip(readings.language, readings.fused, strict=True)
    expected = [readings.vision.logits] + [x for language, fused in refined for x in (language.logits, fused)]
    for ours, theirs in zip(native(ms.Tensor(images)), expected, strict=True):
        np.testing.assert_allclose(ours.asnumpy(), theirs.numpy(), atol=2e-5)


def test_native_parameters_become_the_twins_again(twin: ABINet) -> None:
    state = {name: value.numpy() for name, value in twin.state_dict().items()}
    again = to_official(from_official(state), state)
    assert set(state) - set(again) == {name for name in state if name.endswith("num_batches_tracked")}
    for name, value in again.items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)


def test_no_gradient_flows_from_language_to_vision(twin: ABINet) -> None:
    readings = twin(torch.randn(2, 3, 32, 128))
    readings.language[0].logits.square().sum().backward()
    assert all(p.grad is None for p in twin.vision.parameters())
    assert all(p.grad is not None for p in twin.language.parameters())


def test_no_position_of_the_language_model_sees_its_own_character(twin: ABINet) -> None:
    changes = changes_of_language_logits(twin, changed=3, length=8)
    assert changes[3] == 0
    assert (np.delete(changes[:8], 3) > 0).all()


def test_the_language_model_ignores_what_lies_beyond_the_length(twin: ABINet) -> None:
    assert (changes_of_language_logits(twin, changed=8, length=8) == 0).all()


def changes_of_language_logits(twin: ABINet, changed: int, length: int) -> np.ndarray:
    """Largest change of the logits at each step when the probabilities at step ``changed`` do."""
    before = torch.rand(1, TINY.steps, TINY.classes)
    after = before.clone()
    after[0, changed] += 1.0
    lengths = torch.tensor([length])
    with torch.no_grad():
        difference = twin.language(after, lengths).logits - twin.language(before, lengths).logits
    return difference.abs().amax(dim=-1)[0].numpy()


@pytest.mark.parametrize(
    ("stop", "rule", "length"),
    [(5, "full", 6), (0, "full", 2), (None, "full", 26), (None, "shortest", 2)],
)
def test_a_length_is_the_first_stop_counted_in(stop: int | None, rule: str, length: int) -> None:
    logits = torch.zeros(1, 26, 37)
    logits[0, :, 1] = 1.0
    if stop is not None:
        logits[0, stop, 0] = 2.0
    assert text_lengths(logits, rule).tolist() == [length]
