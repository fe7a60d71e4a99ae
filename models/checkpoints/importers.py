"""Checkpoints of other ABINets: MindOCR's .ckpt (MindSpore) and the official code's .pth (PyTorch).

Both are translated name by name into native parameters; names without a translation are reported, never
dropped.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np

from models.abinet import NetworkConfig
from models.charset import CHARSET_36
from models.checkpoints.checkpoint import (
    CheckpointError,
    Sidecar,
    load_parameters,
    one_line,
    read_parameters,
)
from service.bundle_format.preprocessing import Preprocessing

if TYPE_CHECKING:
    from models.abinet.abinet import ABINet

#: Both implementations fix the number of heads, which no shape shows.
HEADS = 8

_STAGES = tuple(f"vision.resnet.layer{i}" for i in range(1, 6))

#: Official names to native ones; every rule is applied, in this order.
_OFFICIAL_RULES = [
    (r"^vision\.backbone\.(resnet|pos_encoder)\.", r"vision.\1."),
    (r"^vision\.backbone\.transformer\.layers\.", "vision.encoder."),
    (r"^language\.model\.layers\.", "language.decoder."),
    (r"^(language\.decoder\.\d+)\.norm2\.", r"\1.norm1."),
    (r"^(language\.decoder\.\d+)\.norm3\.", r"\1.norm2."),
    (r"\.(self_attn|multihead_attn)\.out_proj\.", ".attention.output."),
    (r"\.(self_attn|multihead_attn)\.", ".attention."),
    (r"^vision\.attention\.k_encoder\.(\d)\.0\.", r"vision.attention.encoder.\1.conv."),
    (r"^vision\.attention\.k_encoder\.(\d)\.1\.", r"vision.attention.encoder.\1.bn."),
    (r"^vision\.attention\.k_decoder\.(\d)\.1\.", r"vision.attention.decoder.\1.conv."),
    (r"^vision\.attention\.k_decoder\.(\d)\.2\.", r"vision.attention.decoder.\1.bn."),
    (r"^alignment\.w_att\.", "alignment.gate."),
    (r"(\.bn\d?|\.downsample\.1|\.norm\d)\.weight$", r"\1.gamma"),
    (r"(\.bn\d?|\.downsample\.1|\.norm\d)\.bias$", r"\1.beta"),
    (r"\.running_mean$", ".moving_mean"),
    (r"\.running_var$", ".moving_variance"),
]
#: The official attention stacks query, key and value, (3E, E).
_STACKED = re.compile(r"(.*\.attention)\.in_proj_(weight|bias)$")

#: MindOCR's names to native ones; every rule is applied, in this order.
_MINDOCR_RULES = [
    (r"^(backbone|head)\.", ""),
    (r"^vision\.backbone\.(resnet|pos_encoder)\.", r"vision.\1."),
    (r"^vision\.backbone\.transformer\.blocks\.", "vision.encoder."),
    (r"^language\.model\.blocks\.", "language.decoder."),
    (r"^(vision\.encoder\.\d+)\.layernorm(\d)\.", r"\1.norm\2."),
    (r"^(language\.decoder\.\d+)\.cross_attention_layernorm\.", r"\1.norm1."),
    (r"^(language\.decoder\.\d+)\.layernorm2\.", r"\1.norm2."),
    (r"\.cross_attention\.", ".attention."),
    (r"\.attention\.dense1\.", ".attention.query."),
    (r"\.attention\.dense2\.", ".attention.key."),
    (r"\.attention\.dense3\.", ".attention.value."),
    (r"\.attention\.projection\.", ".attention.output."),
    (r"\.output\.mapping\.", ".linear1."),
    (r"\.output\.projection\.", ".linear2."),
    (r"^alignment\.w_att\.", "alignment.gate."),
]
for _level in range(4):
    _encoder, _decoder = (
        rf"^vision\.attention\.k_encoder{_level + 1}",
        rf"^vision\.attention\.k_decoder{_level + 1}",
    )
    _MINDOCR_RULES += [
        (_encoder + r"\.0\.", f"vision.attention.encoder.{_level}.conv."),
        (_encoder + r"\.1\.", f"vision.attention.encoder.{_level}.bn."),
        (_decoder + r"\.1\.", f"vision.attention.decoder.{_level}.conv."),
        (_decoder + r"\.2\.", f"vision.attention.decoder.{_level}.bn."),
    ]
#: MindOCR stores these weights (in, out), where everything else is (out, in).
_TRANSPOSED = re.compile(r"\.(attention\.output|linear1|linear2)\.weight$")


def import_checkpoint(
    source: Union[str, Path],
    normalise: Optional[bool] = None,
    charset: str = CHARSET_36,
    no_stop_length: Optional[str] = None,
) -> Tuple["ABINet", Sidecar]:
    """The network stored in a MindOCR .ckpt or an official .pth, sizes read off its shapes, ready to save.

    ``normalise`` says whether crops are to be normalised before this network. The official code always does,
    so it may stay None for a .pth; MindOCR trains with normalisation and evaluates without, so a .ckpt needs
    it. ``charset`` lists the classes after the null, in their order. ``no_stop_length`` (see
    :class:`NetworkConfig`) is by default that of the checkpoint's own implementation.

    Raises:
        CheckpointError: no such file, broken, of another network or charset, or ``normalise`` is needed.
    """
    from models.abinet.abinet import ABINet

    source = Path(source)
    if not source.is_file():
        raise CheckpointError(f"{source}: no such file")
    if source.suffix == ".ckpt":
        if normalise is None:
            raise CheckpointError(
                f"{source}: MindOCR trains on normalised images but evaluates without: give --normalise yes "
                "(as trained) or --normalise no (as its published accuracy was measured)"
            )
        origin, length_rule = "MindOCR", "full"
        parameters = from_mindocr(read_parameters(source))
    elif source.suffix in (".pth", ".pt"):
        origin, length_rule = "official ABINet (PyTorch)", "shortest"
        parameters = from_official(read_torch(source))
    else:
        raise CheckpointError(f"{source}: neither a MindOCR .ckpt nor an official .pth")
    config = infer_config(parameters, source, charset, no_stop_length or length_rule)
    network = ABINet(config).set_train(False)
    load_parameters(network, parameters, source)
    training = {"imported_from": source.name, "origin": origin}
    return network, Sidecar(config, Preprocessing(normalise=normalise is not False), training)


def from_official(state: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Native parameters of an official state dict; unknown names stay as they are, for the error to list."""
    parameters = {}  # type: Dict[str, np.ndarray]
    for name, value in state.items():
        natives = _natives(name)
        if len(natives) == 3 and value.shape[0] % 3 == 0:
            parameters.update(zip(natives, np.split(value, 3)))
        elif len(natives) == 3:
            parameters[name] = value
        elif natives:
            parameters[natives[0]] = _table(natives[0], value)
    return parameters


def to_official(
    parameters: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
) -> Dict[str, np.ndarray]:
    """The inverse of :func:`from_official`: native ``parameters`` under the names and in the shapes of the
    official ``state``, whose values do not matter. What inference never reads is left out.

    Raises:
        KeyError: a parameter is missing.
        ValueError: one has another shape.
    """
    official = {}
    for name, value in state.items():
        natives = _natives(name)
        if natives:
            joined = np.concatenate([parameters[native] for native in natives])
            official[name] = joined.reshape(value.shape)
    return official


def _natives(name: str) -> List[str]:
    """The native parameters that an official one holds, stacked along its first axis."""
    if name.endswith(".num_batches_tracked"):
        return []  # a training counter that inference never reads
    native = _rename(name, _OFFICIAL_RULES)
    stacked = _STACKED.match(native)
    if not stacked:
        return [native]
    return [f"{stacked.group(1)}.{part}.{stacked.group(2)}" for part in ("query", "key", "value")]


def from_mindocr(state: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Native parameters of a MindOCR checkpoint; unknown names stay as they are, for the error to list."""
    parameters = {}
    for name, value in state.items():
        native = _rename(name, _MINDOCR_RULES)
        parameters[native] = _table(native, value.T if _TRANSPOSED.search(native) else value)
    return parameters


def read_torch(path: Path) -> Dict[str, np.ndarray]:
    """The state dict of an official .pth: bare, under "model" (with or without "opt"), or from DataParallel.

    Raises:
        CheckpointError: no such file, PyTorch is not installed, or not a file of tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"{path}: reading a .pth needs PyTorch: run it as `uv run --extra torch abinet import ...`, "
            "or pip install torch"
        ) from None
    try:
        state: Any = torch.load(str(path), map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler may raise any error
        raise CheckpointError(
            f"{path}: cannot be read as a PyTorch file of tensors ({one_line(error)}); copy it again"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no state dict of an ABINet")
    return {re.sub(r"^module\.", "", name): value.float().numpy() for name, value in state.items()}


def infer_config(
    parameters: Mapping[str, np.ndarray], source: Path, charset: str, no_stop_length: str
) -> NetworkConfig:
    """The sizes that the shapes of native ``parameters`` show; for others, the paper's.

    Raises:
        CheckpointError: ``charset`` has another number of classes.
    """
    given: Dict[str, Any] = {"heads": HEADS, "charset": charset, "no_stop_length": no_stop_length}
    try:
        config = NetworkConfig(
            d_model=parameters["vision.cls.weight"].shape[1],
            d_inner=parameters["vision.encoder.0.linear1.weight"].shape[0],
            vision_layers=_count(parameters, r"vision\.encoder\.(\d+)\."),
            language_layers=_count(parameters, r"language\.decoder\.(\d+)\."),
            resnet_channels=tuple(parameters[f"{stage}.0.conv1.weight"].shape[0] for stage in _STAGES),
            resnet_blocks=tuple(_count(parameters, stage + r"\.(\d+)\.") for stage in _STAGES),
            attention_channels=parameters["vision.attention.encoder.0.conv.weight"].shape[0],
            max_length=parameters["language.pos_encoder.pe"].shape[0] - 1,
            **given,
        )
    except (KeyError, ValueError, IndexError):
        return NetworkConfig(**given)  # loading into it will list the missing names
    classes = parameters["vision.cls.weight"].shape[0]
    if classes != config.classes:
        raise CheckpointError(
            f"{source}: has {classes} classes, the charset {charset!r} and the null make {config.classes}; "
            "name the characters in class order with --charset"
        )
    return config


def _rename(name: str, rules: List[Tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _table(native: str, value: np.ndarray) -> np.ndarray:
    """The table of positions, which both implementations keep as (length, 1, E)."""
    return value[:, 0] if native.endswith(".pe") and value.ndim == 3 else value


def _count(parameters: Mapping[str, np.ndarray], pattern: str) -> int:
    return 1 + max(int(match.group(1)) for match in (re.match(pattern, name) for name in parameters) if match)
