"""The oracle's parts against their definitions, so that it may judge the rest."""

import numpy as np

from models.abinet.config import NetworkConfig
from tests.oracles import network as oracle

RNG = np.random.default_rng(0)


def logits_with_nulls(*positions: int, steps: int = 26) -> np.ndarray:
    table = np.zeros((1, steps, 37))
    table[0, :, 1] = 1.0
    table[0, list(positions), 0] = 2.0
    return table


def test_a_convolution_is_the_sum_over_its_window() -> None:
    x = RNG.normal(size=(1, 2, 5, 6))
    p = {"weight": RNG.normal(size=(3, 2, 3, 3)), "bias": RNG.normal(size=3)}
    y = oracle.conv(p, x, (1, 2))
    assert y.shape == (1, 3, 5, 3)
    np.testing.assert_allclose(y[0, 1, 2, 1], (x[0, :, 1:4, 1:4] * p["weight"][1]).sum() + p["bias"][1])
    np.testing.assert_allclose(
        y[0, 1, 0, 0], (x[0, :, :2, :2] * p["weight"][1, :, 1:, 1:]).sum() + p["bias"][1]
    )


def test_batch_norm_uses_the_moving_statistics() -> None:
    x = RNG.normal(size=(4, 3, 2, 2))
    p = {name: RNG.uniform(0.5, 2.0, 3) for name in ("gamma", "beta", "moving_mean", "moving_variance")}
    expected = p["beta"][2] + p["gamma"][2] * (x[1, 2, 0, 1] - p["moving_mean"][2]) / np.sqrt(
        p["moving_variance"][2] + 1e-5
    )
    np.testing.assert_allclose(oracle.batch_norm(p, x)[1, 2, 0, 1], expected)


def test_layer_norm_gives_each_position_mean_beta_and_deviation_gamma() -> None:
    y = oracle.layer_norm({"gamma": np.full(64, 3.0), "beta": np.full(64, 5.0)}, RNG.normal(2, 4, (2, 7, 64)))
    np.testing.assert_allclose(y.mean(-1), 5.0)
    np.testing.assert_allclose(y.std(-1), 3.0, rtol=1e-4)


def test_nearest_enlargement_repeats_every_value() -> None:
    x = np.arange(4.0).reshape(1, 1, 2, 2)
    assert oracle.enlarge(x, (2, 4))[0, 0].tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]


def test_the_length_counts_the_first_null() -> None:
    logits = np.concatenate([logits_with_nulls(4, 9), logits_with_nulls(25)])
    assert oracle.text_lengths(logits, NetworkConfig()).tolist() == [5, 26]


def test_a_null_at_once_gives_the_shortest_length() -> None:
    assert oracle.text_lengths(logits_with_nulls(0, 3), NetworkConfig()).tolist() == [2]


def test_without_a_null_the_length_is_what_the_config_says() -> None:
    assert oracle.text_lengths(logits_with_nulls(), NetworkConfig(no_stop_length="full")).tolist() == [26]
    assert oracle.text_lengths(logits_with_nulls(), NetworkConfig(no_stop_length="shortest")).tolist() == [2]


def test_attention_over_equal_keys_is_the_mean_of_the_values() -> None:
    e = 8
    identity = {"weight": np.eye(e), "bias": np.zeros(e)}
    nothing = {"weight": np.zeros((e, e)), "bias": np.zeros(e)}
    parts = {"query": identity, "key": nothing, "value": identity, "output": identity}
    p = {f"{part}.{name}": value for part, dense in parts.items() for name, value in dense.items()}
    memory = RNG.normal(size=(2, 5, e))
    y = oracle.multi_head_attention(p, RNG.normal(size=(2, 3, e)), memory, heads=2, mask=None)
    np.testing.assert_allclose(y, np.broadcast_to(memory.mean(1, keepdims=True), y.shape))


def test_a_closed_gate_passes_language_and_an_open_one_vision() -> None:
    seen, guessed = RNG.normal(size=(2, 1, 3, 4))
    p = {"gate.weight": np.zeros((4, 8)), "cls.weight": np.eye(4), "cls.bias": np.zeros(4)}
    np.testing.assert_allclose(oracle.alignment({**p, "gate.bias": np.full(4, 50.0)}, guessed, seen), seen)
    np.testing.assert_allclose(
        oracle.alignment({**p, "gate.bias": np.full(4, -50.0)}, guessed, seen), guessed
    )
