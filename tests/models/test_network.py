"""The MindSpore network: the oracle's numbers, the cloze property, blocked gradients, its sizes."""

import dataclasses

import mindspore as ms
import numpy as np
import pytest

from models.abinet import NETWORKS, NetworkConfig
from models.abinet.abinet import ABINet
from models.checkpoints.checkpoint import load_parameters
from tests.oracles import network as oracle

pytestmark = pytest.mark.slow

TINY = NetworkConfig(
    d_model=32, d_inner=48, vision_layers=2, language_layers=2, resnet_channels=(8, 8, 16, 16, 32),
    resnet_blocks=(2, 1, 1, 2, 1), attention_channels=8, iterations=2,
)  # fmt: skip
TOLERANCE = 1e-4
NEVER_NULL = -30.0


def random_network(
    config: NetworkConfig = TINY, null_bias: float = 1.5
) -> tuple[ABINet, dict[str, np.ndarray]]:
    """A network with arbitrary parameters, and these; the higher ``null_bias``, the shorter its texts."""
    network = ABINet(config).set_train(False)
    parameters = oracle.random_parameters({p.name: tuple(p.shape) for p in network.get_parameters()})
    for name in ("vision.cls.bias", "language.cls.bias", "alignment.cls.bias"):
        parameters[name][0] = null_bias
    load_parameters(network, parameters, "random parameters")
    return network, parameters


def random_images(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 3, 32, 128)).astype(np.float32)


def run(network: ABINet, images: np.ndarray) -> list[np.ndarray]:
    return [logits.asnumpy() for logits in network(ms.Tensor(images))]


def in_manifest_order(reading: oracle.Reading) -> list[np.ndarray]:
    iterations = zip(reading["language"], reading["fused"], strict=True)
    return [reading["vision"], *(logits for pair in iterations for logits in pair)]


def assert_equals_oracle(
    network: ABINet, parameters: dict[str, np.ndarray], config: NetworkConfig, images: np.ndarray
) -> None:
    expected = in_manifest_order(oracle.forward(parameters, images, config))
    for got, wanted in zip(run(network, images), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def tiny() -> tuple[ABINet, dict[str, np.ndarray]]:
    return random_network()


@pytest.fixture
def network(tiny: tuple[ABINet, dict[str, np.ndarray]]) -> ABINet:
    return tiny[0]


@pytest.fixture
def probabilities() -> np.ndarray:
    """Character probabilities (1, 26, 37), no two steps alike."""
    return oracle.softmax(np.random.default_rng(7).normal(0, 3, (1, 26, 37))).astype(np.float32)


def language_logits(network: ABINet, probabilities: np.ndarray, length: int) -> np.ndarray:
    logits, _ = network.language(ms.Tensor(probabilities), ms.Tensor([float(length)], ms.float32))
    return logits.asnumpy()[0]


@pytest.mark.parametrize("n", [1, 3])
def test_network_equals_the_oracle_at_any_batch_size(
    tiny: tuple[ABINet, dict[str, np.ndarray]], n: int
) -> None:
    assert_equals_oracle(*tiny, TINY, random_images(n))


@pytest.mark.parametrize("first_null", [0, 1, 2, 12, 24, 25])
def test_one_iteration_equals_the_oracle_wherever_the_text_stops(
    tiny: tuple[ABINet, dict[str, np.ndarray]], first_null: int
) -> None:
    network, parameters = tiny
    rng = np.random.default_rng(first_null)
    logits = rng.normal(0, 2, (2, 26, 37)).astype(np.float32)
    logits[..., 0] = NEVER_NULL
    logits[0, [first_null, 25], 0] = -NEVER_NULL
    features = rng.normal(0, 1, (2, 26, TINY.d_model)).astype(np.float32)
    refined = network.refine(ms.Tensor(logits), ms.Tensor(features))
    expected = oracle.refine(parameters, logits, features, TINY)
    for got, wanted in zip(refined, expected, strict=True):
        np.testing.assert_allclose(got.asnumpy(), wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("rule", ["full", "shortest"])
def test_network_equals_the_oracle_when_no_text_ever_stops(rule: str) -> None:
    config = dataclasses.replace(TINY, no_stop_length=rule)
    network, parameters = random_network(config, NEVER_NULL)
    assert_equals_oracle(network, parameters, config, random_images(2))


def test_network_in_graph_mode_equals_the_oracle(tiny: tuple[ABINet, dict[str, np.ndarray]]) -> None:
    network, parameters = tiny
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        assert_equals_oracle(network, parameters, TINY, random_images(2))
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)


def test_images_of_a_batch_do_not_influence_one_another(network: ABINet) -> None:
    images = random_images(3)
    together, alone = run(network, images), run(network, images[1:2])
    for batch, single in zip(together, alone, strict=True):
        np.testing.assert_allclose(batch[1:2], single, rtol=0, atol=1e-5)


def test_text_length_is_the_first_null_plus_one_within_two_and_all_steps(network: ABINet) -> None:
    logits = np.zeros((4, 26, 37), np.float32)
    logits[..., 5] = 1.0
    for row, position in enumerate([0, 7, 25]):
        logits[row, position:, 0] = 2.0
    assert network.text_length(ms.Tensor(logits)).asnumpy().tolist() == [2, 8, 26, 26]


@pytest.mark.parametrize("position", [0, 9, 15])
def test_language_model_does_not_see_the_position_it_predicts(
    network: ABINet, probabilities: np.ndarray, position: int
) -> None:
    changed = probabilities.copy()
    changed[:, position] = np.roll(changed[:, position], 5)
    before, after = (language_logits(network, p, length=16) for p in (probabilities, changed))
    np.testing.assert_array_equal(before[position], after[position])
    others = np.delete(np.arange(26), position)
    assert (np.abs(before - after)[others].max(axis=1) > TOLERANCE).all()


def test_language_model_does_not_see_beyond_the_length(network: ABINet, probabilities: np.ndarray) -> None:
    changed = probabilities.copy()
    changed[:, 5:] = changed[:, :4:-1]
    before, after = (language_logits(network, p, length=5) for p in (probabilities, changed))
    np.testing.assert_array_equal(before, after)


def test_language_model_sees_the_last_position_within_the_length(
    network: ABINet, probabilities: np.ndarray
) -> None:
    changed = probabilities.copy()
    changed[:, 5:] = changed[:, :4:-1]
    before, after = (language_logits(network, p, length=6) for p in (probabilities, changed))
    assert np.abs(before[0] - after[0]).max() > TOLERANCE


def largest_vision_gradient(network: ABINet, output: int) -> float:
    """Of the sum of squares of one of the network's outputs."""
    weights = ms.ParameterTuple(network.vision.trainable_params())

    def loss(images: ms.Tensor) -> ms.Tensor:
        return (network(images)[output] ** 2).sum()

    gradients = ms.grad(loss, grad_position=None, weights=weights)(ms.Tensor(random_images(1)))
    return max(float(np.abs(gradient.asnumpy()).max()) for gradient in gradients)


def test_no_gradient_passes_from_language_to_vision(network: ABINet) -> None:
    assert largest_vision_gradient(network, output=1) == 0.0


def test_gradients_pass_from_the_fused_logits_to_vision(network: ABINet) -> None:
    assert largest_vision_gradient(network, output=2) > 0.0


def test_tables_of_positions_are_not_trained(network: ABINet) -> None:
    assert not [p.name for p in network.trainable_params() if p.name.endswith(".pe")]


@pytest.mark.parametrize(
    ("name", "least", "most"), [("abinet_resnet45_en", 36.7e6, 36.8e6), ("abinet_medium_en", 4e6, 10e6)]
)
def test_bundled_configs_have_the_stated_number_of_parameters(name: str, least: float, most: float) -> None:
    count = sum(int(np.prod(p.shape)) for p in ABINet(NETWORKS[name]).trainable_params())
    assert least < count < most


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"d_model": 64}, "resnet_channels ends in 32, not in d_model, 64"),
        ({"heads": 5}, "not an even multiple of 5 heads"),
        ({"resnet_blocks": (1, 1)}, "five numbers"),
        ({"charset": "aab"}, "names a character twice"),
        ({"no_stop_length": "half"}, "no_stop_length is 'half'"),
    ],
)
def test_sizes_that_contradict_one_another_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **setting)  # type: ignore[arg-type]


def test_config_survives_json() -> None:
    assert NetworkConfig.from_dict(TINY.to_dict()) == TINY
