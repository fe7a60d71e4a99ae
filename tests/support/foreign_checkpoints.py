"""The names and shapes that the other ABINets store their parameters under."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.abinet.config import NetworkConfig

Parameters = dict[str, np.ndarray]


def names(config: NetworkConfig) -> Iterator[tuple[str, str, str]]:
    """Native, official and MindOCR's name of every part; an official * stands for the joint q, k, v."""
    yield "vision.resnet.conv1", "vision.backbone.resnet.conv1", "backbone.vision.backbone.resnet.conv1"
    yield "vision.resnet.bn1", "vision.backbone.resnet.bn1", "backbone.vision.backbone.resnet.bn1"
    for stage, blocks in enumerate(config.resnet_blocks, start=1):
        for block in range(blocks):
            for part in ("conv1", "bn1", "conv2", "bn2", "downsample.0", "downsample.1"):
                name = f"resnet.layer{stage}.{block}.{part}"
                yield f"vision.{name}", f"vision.backbone.{name}", f"backbone.vision.backbone.{name}"
    for i in range(config.vision_layers):
        parts = layer_names("self_attn", ("norm1", "norm2"), "attention", ("layernorm1", "layernorm2"))
        for native, official, mindocr in parts:
            yield (
                f"vision.encoder.{i}.{native}",
                f"vision.backbone.transformer.layers.{i}.{official}",
                f"backbone.vision.backbone.transformer.blocks.{i}.{mindocr}",
            )
    for i in range(config.language_layers):
        norms = ("cross_attention_layernorm", "layernorm2")
        parts = layer_names("multihead_attn", ("norm2", "norm3"), "cross_attention", norms)
        for native, official, mindocr in parts:
            yield (
                f"language.decoder.{i}.{native}",
                f"language.model.layers.{i}.{official}",
                f"head.language.model.blocks.{i}.{mindocr}",
            )
    attention = "vision.attention"
    for i in range(4):
        for position, kind in enumerate(("conv", "bn")):
            for side, index in (("encoder", position), ("decoder", position + 1)):
                yield (
                    f"{attention}.{side}.{i}.{kind}",
                    f"{attention}.k_{side}.{i}.{index}",
                    f"backbone.{attention}.k_{side}{i + 1}.{index}",
                )
    yield "vision.pos_encoder", "vision.backbone.pos_encoder", "backbone.vision.backbone.pos_encoder"
    for part in (f"{attention}.pos_encoder", f"{attention}.project", "vision.cls"):
        yield part, part, f"backbone.{part}"
    for part in ("proj", "token_encoder", "pos_encoder", "cls"):
        yield f"language.{part}", f"language.{part}", f"head.language.{part}"
    yield "alignment.gate", "alignment.w_att", "head.alignment.w_att"
    yield "alignment.cls", "alignment.cls", "head.alignment.cls"


def layer_names(
    official: str, official_norms: tuple[str, str], mindocr: str, mindocr_norms: tuple[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Native, official and MindOCR's names within a transformer layer."""
    for i, part in enumerate(("query", "key", "value"), start=1):
        yield f"attention.{part}", f"{official}.*", f"{mindocr}.dense{i}"
    yield "attention.output", f"{official}.out_proj", f"{mindocr}.projection"
    yield "linear1", "linear1", "output.mapping"
    yield "linear2", "linear2", "output.projection"
    for i in (0, 1):
        yield f"norm{i + 1}", official_norms[i], mindocr_norms[i]


def to_mindocr(native: Parameters, config: NetworkConfig) -> Parameters:
    """MindOCR's parameters: a few weights (in, out), tables of positions (T, 1, E)."""
    in_out = (".projection.weight", ".output.mapping.weight")
    written = {}
    for part, _, mindocr in names(config):
        for name, value in below(native, part).items():
            foreign = f"{mindocr}.{name}"
            value = value[:, None] if name == "pe" else value
            written[foreign] = value.T.copy() if foreign.endswith(in_out) else value
    return written


def to_official(native: Parameters, config: NetworkConfig) -> Parameters:
    """The official state dict: q, k and v stacked, PyTorch's names, a counter in each batch norm."""
    renamed = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    written: Parameters = {}
    for part, official, _ in names(config):
        for name, value in below(native, part).items():
            if official.endswith(".*"):
                foreign = f"{official[:-1]}in_proj_{name}"
                value = np.concatenate([written[foreign], value]) if foreign in written else value
            else:
                foreign = f"{official}.{renamed.get(name, name)}"
            written[foreign] = value[:, None] if name == "pe" else value
            if name == "moving_mean":
                written[f"{official}.num_batches_tracked"] = np.array(1000)
    return written


def below(native: Parameters, part: str) -> Parameters:
    """The parameters directly in ``part``, by their last name."""
    split = ((name.rpartition("."), value) for name, value in native.items())
    return {last: value for (owner, _, last), value in split if owner == part}
