"""The manifest of a bundle: its fields, and the check that the bundle can be used."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from service.bundle_format.hashes import sha256_of

if TYPE_CHECKING:
    from typing_extensions import NotRequired, TypedDict
else:  # Python 3.7 has neither; at run time a manifest is plain JSON values
    TypedDict = dict

FORMAT = 1
MANIFEST = "manifest.json"
#: The folder in the bundle for the graphs that Lite's converter compiled for Ascend.
ASCEND = "ascend"


class BundleError(ValueError):
    """A bundle that cannot be written or used; the message is one line with the file and the remedy."""


class StoredFile(TypedDict):
    """A file of the bundle: its name, relative to the folder, and its hash."""

    file: str
    sha256: str


class GraphFile(StoredFile):
    """One MindIR. `max_difference`: by how much its logits differ from the network's; graphs compiled for
    Ascend have not been compared.
    """

    graph: str
    batch: int
    bytes: NotRequired[int]
    max_difference: NotRequired[float]


class AscendGraphs(TypedDict):
    """The graphs that Lite's converter compiled, and its settings."""

    optimize: str
    precision_mode: str
    graphs: list[GraphFile]


class ReferenceFile(StoredFile):
    """Images (normal noise and word crops) and the network's logits for them."""

    random_images: int
    real_images: int


class Input(TypedDict):
    """The network's input, for one crop."""

    shape: list[int]
    dtype: str
    layout: str
    channels: str


class Exporter(TypedDict):
    """The releases that wrote the graphs: only the same MindSpore (major.minor) can run them."""

    mindspore: str
    python: str
    mind_ir_version: int


class PrecisionDifference(TypedDict):
    """How far half-precision weights move the last logits, and how many readings they change."""

    largest_logit_difference: float
    texts_changed: int
    images: int


class Manifest(TypedDict):
    """The content of `manifest.json`. `max_length` counts characters without the stop; `features` is the
    width of vision's features; `preprocessing`, `calibration` and `early_stop` are copied from the
    checkpoint's NAME.json.
    """

    format: int
    name: str
    version: str
    created: str
    charset: str
    max_length: int
    iterations: int
    features: int
    input: Input
    preprocessing: dict[str, Any]
    calibration: dict[str, Any] | None
    early_stop: NotRequired[dict[str, Any] | None]
    precision: str
    graphs: list[GraphFile]
    exporter: Exporter
    checkpoint: StoredFile
    accuracy: dict[str, Any]
    precision_difference: NotRequired[PrecisionDifference]
    ascend: NotRequired[AscendGraphs]
    reference: ReferenceFile


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """The manifest of a bundle, after a check that it has valid values for all that an engine needs.

    Raises:
        BundleError: there is no such folder, or no manifest in it, or the manifest cannot be used.
    """
    path = os.path.join(folder, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            manifest: Manifest = json.load(file)
    except OSError as error:
        if os.fspath(folder).endswith(".ckpt") and os.path.isfile(folder):
            raise BundleError(
                f"{folder}: a checkpoint; export it first: abinet export {folder} --output BUNDLE"
            ) from error
        raise BundleError(
            f"{path}: {error.strerror}; so this is not a bundle, which is a folder made by `abinet export`"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path}: not JSON ({error}); export the bundle again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{path}: not a bundle of format {FORMAT}; export it with this release")
    try:
        _check(manifest)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: no valid manifest ({error!r}); export the bundle again") from error
    return manifest


def compiled_graphs(manifest: Manifest) -> list[GraphFile]:
    """The graphs that were compiled for Ascend, if any."""
    return manifest["ascend"]["graphs"] if "ascend" in manifest else []


def check_hash(folder: str | os.PathLike[str], entry: StoredFile) -> None:
    """Raises BundleError if a file of the bundle is missing, or does not have the manifest's hash."""
    path = os.path.join(folder, entry["file"])
    if not os.path.isfile(path):
        raise BundleError(f"{path}: named in the manifest but missing; copy or export the bundle again")
    if sha256_of(path) != entry["sha256"]:
        raise BundleError(
            f"{path}: its sha256 is not the manifest's, so it has changed since the export; "
            "copy the bundle again or export it again"
        )


def minor(release: str) -> str:
    """The part of a MindSpore release that a MindIR belongs to: 2.8 of 2.8.0."""
    return ".".join(release.split(".")[:2])


def _check(manifest: Manifest) -> None:
    """Raises KeyError, TypeError or ValueError for the first field that is wrong."""
    for name in ("name", "version", "charset"):
        _text(manifest, name)
    for name, least in (("max_length", 1), ("iterations", 0), ("features", 1)):
        _number(manifest, name, least)
    shape = dict(enumerate(manifest["input"]["shape"]))
    for axis in (1, 2, 3):
        _number(shape, axis, 1)
    for name, value in (("preprocessing", manifest["preprocessing"]), ("exporter", manifest["exporter"])):
        if not isinstance(value, dict):
            raise ValueError(f"{name} is no object: {value!r}")
    for entry in [*manifest["graphs"], *compiled_graphs(manifest)]:
        _text(entry, "graph")
        _number(entry, "batch", 1)
        parent, file = os.path.split(entry["file"])
        if parent not in ("", ASCEND) or file in ("", ".."):
            raise ValueError("a graph outside the bundle: {}".format(entry["file"]))


def _text(values: Any, name: str) -> None:
    """Raises ValueError if the value is no printable text."""
    value = values[name]
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{name} is no printable text: {value!r}")


def _number(values: Any, name: Any, least: int) -> None:
    """Raises ValueError if the value is no whole number, or less than `least`."""
    value = values[name]
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is no whole number from {least} on: {value!r}")
