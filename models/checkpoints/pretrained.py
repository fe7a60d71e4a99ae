"""Weights that a training starts from: native checkpoints, MindOCR's and the official ones, whole or of one
of the three models alone."""

import re
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Tuple, Union

import numpy as np

from models.abinet import NetworkConfig
from models.checkpoints.checkpoint import (
    CheckpointError,
    check_hash,
    check_names,
    read_parameters,
    read_sidecar,
    sidecar_path,
)
from models.checkpoints.importers import from_mindocr, from_official, read_torch

MODELS = ("vision", "language", "alignment")

#: Names of values that trainings keep beside the weights: counters and moments.
_OPTIMIZER = re.compile(
    r"^(moments?\d?|adam_[mv]|accum|ema|global_step|learning_rate|lr|beta\d_power|epoch(_num)?|cur_step_num"
    r"|loss_scale|scale_sense|current_iterator_step|last_overflow_iterator_step|step|weight_decay)(\.|$)"
)
#: These settings may differ from those that a checkpoint was trained with; the weights still mean the same.
_FREE = ("dropout", "iterations", "no_stop_length")


class Pretrained(NamedTuple):
    """``parameters``: native names. ``said``: one line on their origin and on what was not used."""

    parameters: Dict[str, np.ndarray]
    said: str


def read_pretrained(
    path: Union[str, Path], network: NetworkConfig, shapes: Mapping[str, Tuple[int, ...]], model: str = ""
) -> Pretrained:
    """The weights of ``model`` (vision, language or alignment; all that there are by default) stored at
    ``path``, for a network of these sizes, whose parameters have these ``shapes``.

    A native checkpoint has its .json beside it; a .ckpt without one is MindOCR's, or native if its names are;
    a .pth is the official code's. Every name is used, or named in the error or in ``said``.

    Raises:
        CheckpointError: no such file, broken, or weights of another network.
    """
    path = Path(path)
    origin, stored, differing = _read(path, network)
    kept = {name: value for name, value in stored.items() if not _OPTIMIZER.match(name)}
    given = {name: value for name, value in kept.items() if name.startswith(model)}
    models = [one for one in MODELS if any(name.startswith(one + ".") for name in given)]
    if not models:
        raise CheckpointError(f"{path}: holds no weights of {model or 'an ABINet'}")
    wanted = [name for name in shapes if name.split(".")[0] in models]
    misshapen = [
        f"{name} is {given[name].shape} instead of {tuple(shapes[name])}"
        for name in wanted
        if name in given and given[name].shape != tuple(shapes[name])
    ]
    check_names(given, wanted, misshapen, path)
    counts = [f"{sum(name.startswith(one) for name in wanted)} of {one}" for one in models]
    left = [
        f"{count} {what}"
        for count, what in (
            (len(kept) - len(given), "of other models left out"),
            (len(stored) - len(kept), "of an optimizer left out"),
        )
        if count
    ]
    said = "{}: {}; {}".format(path, origin, ", ".join(counts + left))
    return Pretrained(given, "; ".join([said, *differing]))


def _read(path: Path, network: NetworkConfig) -> Tuple[str, Dict[str, np.ndarray], List[str]]:
    """The weights' origin, the weights under native names, and how this training's settings differ."""
    if path.suffix in (".pth", ".pt"):
        return "official ABINet (PyTorch)", from_official(_of_whole(read_torch(path))), []
    stored = read_parameters(path)
    if sidecar_path(path).exists():
        sidecar = read_sidecar(sidecar_path(path))
        check_hash(path, sidecar)
        return "a checkpoint of this project", stored, _differences(path, sidecar.network, network)
    if any(".encoder.0.linear1." in name or name.startswith("language.decoder.") for name in stored):
        return "a checkpoint of this project without its .json", stored, []
    return "MindOCR", from_mindocr(_of_whole(stored)), []


def _of_whole(state: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Gives the names of a single model the prefix that they have in the whole network."""
    if any(re.match(r"^((backbone|head)\.)?(vision|language|alignment)\.", name) for name in state):
        return dict(state)
    if any(name.startswith("backbone.") for name in state):
        model = "vision"
    elif any(name.startswith("model.") for name in state):
        model = "language"
    else:
        model = "alignment"
    return {name if _OPTIMIZER.match(name) else f"{model}.{name}": value for name, value in state.items()}


def _differences(path: Path, theirs: NetworkConfig, ours: NetworkConfig) -> List[str]:
    """Lines on the settings that differ, except sizes, which the shapes show.

    Raises:
        CheckpointError: the weights would mean something else.
    """
    if theirs.charset != ours.charset:
        raise CheckpointError(
            f"{path}: its classes are {theirs.charset!r}, the recipe's network has {ours.charset!r};"
            " start from a checkpoint of the same charset"
        )
    if theirs.heads != ours.heads:
        raise CheckpointError(
            f"{path}: trained with {theirs.heads} heads, the recipe's network has {ours.heads};"
            " name the network that it was trained as"
        )
    return [
        f"its {setting} was {getattr(theirs, setting)}, in this training it is {getattr(ours, setting)}"
        for setting in _FREE
        if getattr(theirs, setting) != getattr(ours, setting)
    ]
