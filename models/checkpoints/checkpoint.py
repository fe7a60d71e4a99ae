"""Native checkpoints: NAME.ckpt holds the weights, and NAME.json beside it what they need to be used.

The sidecar states the network's sizes and the pre-processing it was trained with, because weights without
them cannot be used correctly (see :class:`Sidecar`).

MindSpore is imported only when a .ckpt is read or written, so that a training in PyTorch starts without it.
"""

import dataclasses
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Optional, Tuple, Union

import numpy as np

from models.abinet import NetworkConfig
from models.calibration import Calibration
from models.early_stop import EarlyStop
from service.bundle_format.hashes import sha256_of
from service.bundle_format.preprocessing import Preprocessing

if TYPE_CHECKING:
    from models.abinet.abinet import ABINet

FORMAT = 1

#: How many names of one kind an error spells out before it counts the rest.
_NAMES_SHOWN = 12


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one line with the file and the remedy."""


@dataclass(frozen=True)
class Sidecar:
    """The content of NAME.json: sizes, pre-processing, a note for people on the origin of the weights, the
    hash of NAME.ckpt (empty if the config was written by hand), and, if they were fitted, the calibration of
    its confidences and the thresholds of early stop.
    """

    network: NetworkConfig
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    training: Dict[str, Any] = field(default_factory=dict)
    sha256: str = field(default="", compare=False)
    calibration: Optional[Calibration] = None
    early_stop: Optional[EarlyStop] = None

    def to_dict(self) -> Dict[str, Any]:
        """The sidecar as JSON-ready values."""
        return {
            "format": FORMAT,
            "network": self.network.to_dict(),
            "preprocessing": asdict(self.preprocessing),
            "training": self.training,
            "sha256": self.sha256,
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "early_stop": None if self.early_stop is None else asdict(self.early_stop),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Sidecar":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: another format, unknown keys, or settings out of range.
        """
        if values.get("format") != FORMAT:
            raise ValueError("format is {!r}, this release reads {}".format(values.get("format"), FORMAT))
        return cls(
            NetworkConfig.from_dict(values["network"]),
            Preprocessing.from_dict(values["preprocessing"]),
            dict(values.get("training", {})),
            values.get("sha256", ""),
            Calibration.from_dict(values["calibration"]) if values.get("calibration") else None,
            EarlyStop.from_dict(values["early_stop"]) if values.get("early_stop") else None,
        )


def sidecar_path(checkpoint: Union[str, Path]) -> Path:
    """NAME.json for NAME.ckpt."""
    return Path(checkpoint).with_suffix(".json")


def read_sidecar(path: Union[str, Path]) -> Sidecar:
    """The sidecar stored at ``path`` (a .json).

    Raises:
        CheckpointError: missing, not JSON, or not a sidecar of this format.
    """
    path = Path(path)
    try:
        return Sidecar.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file; a checkpoint needs its config beside it (abinet import writes both)"
        ) from None
    except KeyError as error:
        raise CheckpointError(f"{path}: the config lacks {error}") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a usable config: {one_line(error)}") from None


def write_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Writes NAME.json, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    part = path.with_suffix(".json.part")
    try:
        part.write_text(json.dumps(sidecar.to_dict(), indent=2) + "\n", encoding="utf-8")
        os.replace(str(part), str(path))
    finally:
        if part.exists():
            part.unlink()


def read_parameters(path: Union[str, Path]) -> Dict[str, np.ndarray]:
    """All parameters of a MindSpore .ckpt, by name.

    Raises:
        CheckpointError: no such file, truncated, or not a MindSpore checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.suffix != ".ckpt":
        raise CheckpointError(f"{path}: not a .ckpt; convert other formats with abinet import")
    import mindspore as ms

    try:
        parameters = ms.load_checkpoint(str(path))
    except Exception:  # any error of MindSpore's parser; its own message wrongly blames permissions
        raise CheckpointError(
            f"{path}: truncated or not a MindSpore checkpoint; copy or train it again"
        ) from None
    return {name: parameter.asnumpy() for name, parameter in parameters.items()}


def load_parameters(
    network: "ABINet", parameters: Mapping[str, np.ndarray], source: Union[str, Path]
) -> None:
    """Sets every parameter of ``network``; nothing is set unless all names and shapes agree.

    Raises:
        CheckpointError: lists the missing, unexpected and wrongly shaped parameters of ``source``.
    """
    import mindspore as ms

    own = {parameter.name: parameter for parameter in network.get_parameters()}
    misshapen = [
        f"{name} is {parameters[name].shape} instead of {tuple(parameter.shape)}"
        for name, parameter in own.items()
        if name in parameters and parameters[name].shape != tuple(parameter.shape)
    ]
    check_names(parameters, own, misshapen, source)
    for name, parameter in own.items():
        parameter.set_data(ms.Tensor(np.ascontiguousarray(parameters[name], np.float32)))


def check_names(
    given: Iterable[str], wanted: Iterable[str], misshapen: List[str], source: Union[str, Path]
) -> None:
    """Raises one error that lists every wrong name, if there are any.

    Raises:
        CheckpointError: names missing from or unknown to the network, or shapes that differ.
    """
    given, wanted = list(given), list(wanted)
    problems = [
        (kind, names)
        for kind, names in (
            ("missing", sorted(set(wanted) - set(given))),
            ("unexpected", sorted(set(given) - set(wanted))),
            ("wrongly shaped", misshapen),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            "{} does not fit the network: {}; use the config it was trained with".format(
                source,
                "; ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in problems),
            )
        )


def load_checkpoint(path: Union[str, Path]) -> Tuple["ABINet", Sidecar]:
    """The network of NAME.ckpt and NAME.json, in inference mode.

    Raises:
        CheckpointError: either file is missing or broken, or they do not fit each other.
    """
    from models.abinet.abinet import ABINet

    parameters, sidecar = read_checkpoint(path)
    network = ABINet(sidecar.network).set_train(False)
    load_parameters(network, parameters, path)
    check_hash(path, sidecar)
    return network, sidecar


def read_checkpoint(path: Union[str, Path]) -> Tuple[Dict[str, np.ndarray], Sidecar]:
    """The parameters of NAME.ckpt and the sidecar in NAME.json.

    Raises:
        CheckpointError: either file is missing or broken.
    """
    return read_parameters(path), read_sidecar(sidecar_path(path))


def check_hash(path: Union[str, Path], sidecar: Sidecar) -> None:
    """Raises CheckpointError if the weights at ``path`` are not those that ``sidecar`` was written for."""
    if sidecar.sha256 and sidecar.sha256 != sha256_of(Path(path)):
        raise CheckpointError(f"{path}: changed since its config was written beside it; copy both again")


def save_checkpoint(network: "ABINet", path: Union[str, Path], sidecar: Sidecar) -> None:
    """Writes the network's parameters with :func:`write_checkpoint`."""
    write_checkpoint({p.name: p.asnumpy() for p in network.get_parameters()}, path, sidecar)


def write_checkpoint(parameters: Mapping[str, np.ndarray], path: Union[str, Path], sidecar: Sidecar) -> None:
    """Writes NAME.ckpt and NAME.json, each whole or not at all.

    Raises:
        CheckpointError: the name does not end in .ckpt.
        OSError: the folder cannot be written.
    """
    import mindspore as ms

    path = Path(path)
    if path.suffix != ".ckpt":
        raise CheckpointError(f"{path}: a checkpoint's name ends in .ckpt")
    path.parent.mkdir(parents=True, exist_ok=True)
    weights_part = path.with_suffix(".part.ckpt")
    try:
        stored = [{"name": name, "data": ms.Tensor(value)} for name, value in parameters.items()]
        ms.save_checkpoint(stored, str(weights_part))
        os.chmod(str(weights_part), 0o644)  # MindSpore makes it read-only
        sidecar = dataclasses.replace(sidecar, sha256=sha256_of(weights_part))
        write_sidecar(sidecar_path(path), sidecar)
        os.replace(str(weights_part), str(path))
    finally:
        if weights_part.exists():
            weights_part.unlink()


def one_line(error: BaseException) -> str:
    """The first sentence of a library's error, without its line breaks."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def _some(names: List[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    rest = len(names) - _NAMES_SHOWN
    return shown if rest <= 0 else f"{shown} and {rest} more"
