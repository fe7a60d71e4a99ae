"""ABINet's forward pass in plain NumPy: what the network, the exports and the engines are compared with.

Written from the paper (Fang et al., "Read Like Humans", CVPR 2021) and native parameter names alone, one
function a formula, without MindSpore. Shapes: N images, T steps, E features, C classes, H x W positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

if TYPE_CHECKING:
    from models.abinet.config import NetworkConfig

Array = np.ndarray[Any, np.dtype[Any]]
Parameters = dict[str, Array]

EPSILON = 1e-5
SHORTEST = 2
STAGE_STRIDES = (2, 1, 2, 1, 1)
KEY_STRIDES = ((1, 2), (2, 2), (2, 2), (2, 2))


class Reading(TypedDict):
    """All logits: ``vision`` (N, T, C), ``language`` and ``fused`` one such array per iteration."""

    vision: Array
    language: list[Array]
    fused: list[Array]


def forward(
    parameters: Parameters, images: Array, config: NetworkConfig, dtype: type = np.float64
) -> Reading:
    """Logits of normalised ``images`` (N, 3, 32, 128), computed in ``dtype`` (section 3, figure 2)."""
    p: Parameters = {name: np.asarray(value, dtype) for name, value in parameters.items()}
    vision_logits, vision_features = vision(scope(p, "vision"), images.astype(dtype), config)
    reading = Reading(vision=vision_logits, language=[], fused=[])
    logits = vision_logits
    for _ in range(config.iterations):
        language_logits, logits = refine(p, logits, vision_features, config)
        reading["language"].append(language_logits)
        reading["fused"].append(logits)
    return reading


def random_parameters(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> Parameters:
    """Float32 values for native names: batch statistics, gains and tables as arbitrary as the weights."""
    rng = np.random.default_rng(seed)

    def value(name: str, shape: tuple[int, ...]) -> Array:
        if name.endswith(("gamma", "moving_variance")):
            return rng.uniform(0.5, 1.5, shape)
        if len(shape) == 1 or name.endswith(".pe"):
            return rng.normal(0.0, 0.3, shape)
        return rng.normal(0.0, 1.5 / np.sqrt(np.prod(shape[1:])), shape)

    return {name: value(name, shape).astype(np.float32) for name, shape in shapes.items()}


def refine(p: Parameters, logits: Array, features: Array, config: NetworkConfig) -> tuple[Array, Array]:
    """One iterative correction (section 3.2): language and fused logits from the last logits (N, T, C) and
    the vision features (N, T, E)."""
    lengths = text_lengths(logits, config)
    language_logits, language_features = language(scope(p, "language"), softmax(logits), lengths, config)
    return language_logits, alignment(scope(p, "alignment"), language_features, features)


def vision(p: Parameters, images: Array, config: NetworkConfig) -> tuple[Array, Array]:
    """Section 3.1: F_b = Transformer(ResNet(x)), then one feature per step by position attention."""
    maps = resnet(scope(p, "resnet"), images)
    n, e, h, w = maps.shape
    x = maps.reshape(n, e, h * w).transpose(0, 2, 1) + p["pos_encoder.pe"]
    for i in range(config.vision_layers):
        x = transformer_layer(scope(p, f"encoder.{i}"), x, x, config.heads)
    maps = x.transpose(0, 2, 1).reshape(n, e, h, w)
    features = position_attention(scope(p, "attention"), maps)
    return dense(scope(p, "cls"), features), features


def resnet(p: Parameters, images: Array) -> Array:
    """ResNet-45 (section 3.1): (N, 3, 32, 128) to (N, E, 8, 32)."""
    x = relu(batch_norm(scope(p, "bn1"), conv(scope(p, "conv1"), images)))
    for stage, stride in enumerate(STAGE_STRIDES, start=1):
        for i in range(children(p, f"layer{stage}")):
            x = basic_block(scope(p, f"layer{stage}.{i}"), x, stride if i == 0 else 1)
    return x


def basic_block(p: Parameters, x: Array, stride: int) -> Array:
    """1x1 then 3x3 convolution, which carries the stride; the shortcut is projected if it has weights."""
    y = relu(batch_norm(scope(p, "bn1"), conv(scope(p, "conv1"), x)))
    y = batch_norm(scope(p, "bn2"), conv(scope(p, "conv2"), y, (stride, stride)))
    projection = scope(p, "downsample.0")
    if projection:
        x = batch_norm(scope(p, "downsample.1"), conv(projection, x, (stride, stride)))
    return relu(y + x)


def position_attention(p: Parameters, values: Array) -> Array:
    """F_v = softmax(Q K^T / sqrt(E)) V (section 3.1): Q encodes the step, K = U-Net(F_b), V = F_b."""
    n, e, h, w = values.shape
    maps = [values]
    for i, stride in enumerate(KEY_STRIDES):
        maps.append(conv_norm_relu(scope(p, f"encoder.{i}"), maps[-1], stride))
    key = maps.pop()
    for i in range(len(KEY_STRIDES)):
        skipped = maps.pop()
        key = conv_norm_relu(scope(p, f"decoder.{i}"), enlarge(key, skipped.shape[2:]))
        if maps:  # the outermost level has no shortcut
            key = key + skipped
    query = dense(scope(p, "project"), p["pos_encoder.pe"])
    scores = query @ key.reshape(n, e, h * w) / np.sqrt(e)
    return softmax(scores) @ values.reshape(n, e, h * w).transpose(0, 2, 1)


def text_lengths(logits: Array, config: NetworkConfig) -> Array:
    """Position of the first null + 1, at least 2; without a null what ``config.no_stop_length`` says. (N,)"""
    steps = logits.shape[1]
    unstopped = steps if config.no_stop_length == "full" else SHORTEST
    is_null = logits.argmax(-1) == 0
    lengths = np.where(is_null.any(-1), is_null.argmax(-1) + 1, unstopped)
    return np.maximum(lengths, SHORTEST)


def language(
    p: Parameters, probabilities: Array, lengths: Array, config: NetworkConfig
) -> tuple[Array, Array]:
    """The bidirectional cloze network (section 3.2): step i attends to P(y_j) W_l for every j != i within
    the length, by softmax(Q K^T / sqrt(E) + M) V with M_ij = -inf if j may not be seen."""
    steps = probabilities.shape[1]
    memory = probabilities @ p["proj.weight"].T + p["token_encoder.pe"]
    beyond = np.arange(steps) >= lengths[:, None]
    hidden = np.eye(steps, dtype=bool) | beyond[:, None, :]
    mask = np.where(hidden, -np.inf, 0.0)[:, None].astype(memory.dtype)
    x = np.broadcast_to(p["pos_encoder.pe"], memory.shape)
    for i in range(config.language_layers):
        x = transformer_layer(scope(p, f"decoder.{i}"), x, memory, config.heads, mask)
    return dense(scope(p, "cls"), x), x


def alignment(p: Parameters, language_features: Array, vision_features: Array) -> Array:
    """F_f = G F_v + (1 - G) F_l with G = sigmoid([F_l, F_v] W_f) (section 3.3), classified."""
    both = np.concatenate((language_features, vision_features), axis=-1)
    gate = 1.0 / (1.0 + np.exp(-dense(scope(p, "gate"), both)))
    return dense(scope(p, "cls"), gate * vision_features + (1.0 - gate) * language_features)


def transformer_layer(p: Parameters, x: Array, memory: Array, heads: int, mask: Array | None = None) -> Array:
    """Attention to ``memory`` and feed-forward, each with residual, then layer norm (Vaswani et al. 2017)."""
    x = layer_norm(scope(p, "norm1"), x + multi_head_attention(scope(p, "attention"), x, memory, heads, mask))
    y = dense(scope(p, "linear2"), relu(dense(scope(p, "linear1"), x)))
    return layer_norm(scope(p, "norm2"), x + y)


def multi_head_attention(p: Parameters, x: Array, memory: Array, heads: int, mask: Array | None) -> Array:
    """softmax(Q K^T / sqrt(E / heads) + M) V in every head, the heads joined and projected."""

    def split(y: Array) -> Array:
        n, t, e = y.shape
        return y.reshape(n, t, heads, e // heads).transpose(0, 2, 1, 3)

    query = split(dense(scope(p, "query"), x))
    key = split(dense(scope(p, "key"), memory))
    value = split(dense(scope(p, "value"), memory))
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + mask
    joined = (softmax(scores) @ value).transpose(0, 2, 1, 3).reshape(x.shape)
    return dense(scope(p, "output"), joined)


def conv_norm_relu(p: Parameters, x: Array, stride: tuple[int, int] = (1, 1)) -> Array:
    """Convolution, batch normalisation, ReLU."""
    return relu(batch_norm(scope(p, "bn"), conv(scope(p, "conv"), x, stride)))


def conv(p: Parameters, x: Array, stride: tuple[int, int] = (1, 1)) -> Array:
    """Cross-correlation, padded by half the (odd, square) kernel; bias if there is one."""
    half = p["weight"].shape[-1] // 2
    x = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)))
    kernel = p["weight"].shape[2:]
    windows: Array = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))  # type: ignore[call-overload]
    windows = windows[:, :, :: stride[0], :: stride[1]]
    y = np.tensordot(windows, p["weight"], axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    return y + p["bias"][:, None, None] if "bias" in p else y


def batch_norm(p: Parameters, x: Array) -> Array:
    """Batch normalisation with the moving statistics."""
    scale = p["gamma"] / np.sqrt(p["moving_variance"] + EPSILON)
    return (x - p["moving_mean"][:, None, None]) * scale[:, None, None] + p["beta"][:, None, None]


def layer_norm(p: Parameters, x: Array) -> Array:
    """Layer normalisation over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * p["gamma"] + p["beta"]


def dense(p: Parameters, x: Array) -> Array:
    """x W^T + b, the weight stored (out, in)."""
    return x @ p["weight"].T + p["bias"]


def enlarge(x: Array, size: tuple[int, ...]) -> Array:
    """Nearest-neighbour upsampling of the last two axes to ``size``."""
    rows = np.arange(size[0]) * x.shape[2] // size[0]
    columns = np.arange(size[1]) * x.shape[3] // size[1]
    return x[:, :, rows][..., columns]


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, 0.0)


def softmax(x: Array) -> Array:
    """Over the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def scope(p: Parameters, prefix: str) -> Parameters:
    """The parameters below ``prefix``, named from there."""
    start = prefix + "."
    return {name[len(start) :]: value for name, value in p.items() if name.startswith(start)}


def children(p: Parameters, prefix: str) -> int:
    """How many numbered parts lie directly below ``prefix``."""
    return len({name.split(".")[0] for name in scope(p, prefix)})
