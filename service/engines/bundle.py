"""The bundle on disk, as front and worker read it: the manifest, checked, and the graph files it names."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, NamedTuple

FORMAT = 1
STEPS_BEYOND_LENGTH = 1
"""A word of max_length characters is followed by its stop token."""


class BundleError(ValueError):
    """A bundle that cannot be served. The message names the file and the remedy."""


class Graph(NamedTuple):
    """One MindIR file of the bundle."""

    path: str
    kind: str
    batch: int
    sha256: str


class Bundle:
    """A bundle whose manifest has been read and whose files are there.

    Raises BundleError where the folder is no bundle, is of another format, or lacks a file that it names.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)
        try:
            self.name = _text(self.manifest, "name")
            self.version = _text(self.manifest, "version")
            self.charset = _text(self.manifest, "charset")
            self.steps = _number(self.manifest, "max_length", 1) + STEPS_BEYOND_LENGTH
            self.iterations = _number(self.manifest, "iterations", 0)
            self.features = _number(self.manifest, "features", 1)
            shape = dict(enumerate(self.manifest["input"]["shape"]))
            self.channels, self.height, self.width = (_number(shape, axis, 1) for axis in (1, 2, 3))
            self.preprocessing: dict[str, Any] = self.manifest["preprocessing"]
            self.calibration: dict[str, Any] | None = self.manifest.get("calibration")
            self.exporter: dict[str, Any] = self.manifest["exporter"]
            self.graphs = self._graphs(self.manifest["graphs"])
            self._compiled = self._graphs(self.manifest.get("ascend", {}).get("graphs", []))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"{self._manifest_path()}: no valid manifest ({error!r}); export the bundle again"
            ) from error
        missing = [graph.path for graph in self.graphs + self._compiled if not os.path.isfile(graph.path)]
        if missing:
            raise BundleError(f"{missing[0]}: named in the manifest but missing; export the bundle again")

    @property
    def classes(self) -> int:
        """Characters of the charset and the null (stop) class, which is class 0."""
        return len(self.charset) + 1

    def graphs_of(self, kind: str, compiled: bool = False) -> list[Graph]:
        """The graphs of one kind ("vision", "refine" or "abinet").

        With `compiled`, those that Lite's converter compiled for Ascend, where the bundle has them.
        """
        graphs = self._compiled if compiled and self._compiled else self.graphs
        return [graph for graph in graphs if graph.kind == kind]

    def input_shapes(self, kind: str) -> list[tuple[int, ...]]:
        """Shapes of a graph's inputs without the batch axis."""
        if kind == "refine":
            return [(self.steps, self.classes), (self.steps, self.features)]
        return [(self.channels, self.height, self.width)]

    def check_hashes(self, graphs: list[Graph]) -> None:
        """Raises BundleError for the first file whose sha256 is not the manifest's."""
        for graph in graphs:
            if file_sha256(graph.path) != graph.sha256:
                raise BundleError(
                    f"{graph.path}: its sha256 is not the manifest's; copy or export the bundle again"
                )

    def call_bytes(self) -> int:
        """Enough memory for the tensors of any call of this bundle's graphs, or of its answer."""
        largest = max(graph.batch for graph in self.graphs)
        image = self.channels * self.height * self.width
        answer = (1 + 2 * self.iterations) * self.steps * self.classes + self.steps * self.features
        return 4 * largest * max(image, answer)

    def _graphs(self, entries: list[dict[str, Any]]) -> list[Graph]:
        for entry in entries:
            _number(entry, "batch", 1)
            folder, file = os.path.split(entry["file"])
            if folder not in ("", "ascend") or file in ("", ".."):
                raise ValueError("a graph outside of the bundle: {}".format(entry["file"]))
        return [
            Graph(os.path.join(self.folder, entry["file"]), entry["graph"], entry["batch"], entry["sha256"])
            for entry in entries
        ]

    def _manifest_path(self) -> str:
        return os.path.join(self.folder, "manifest.json")


def _text(values: dict[Any, Any], name: str) -> str:
    """Raises ValueError where it is no text that can be shown, sent and logged."""
    value = values[name]
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{name} is no printable text: {value!r}")
    return value


def _number(values: dict[Any, Any], name: Any, least: int) -> int:
    """Raises ValueError where it is no whole number, or a smaller one."""
    value = values[name]
    if type(value) is not int or value < least:
        raise ValueError(f"{name} is no whole number from {least} on: {value!r}")
    return value


def file_sha256(path: str) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _read_manifest(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, "manifest.json")
    try:
        with open(path, encoding="utf-8") as file:
            manifest: dict[str, Any] = json.load(file)
    except OSError as error:
        if folder.endswith(".ckpt") and os.path.isfile(folder):
            raise BundleError(
                f"{folder}: a checkpoint; export it first: abinet export {folder} --output BUNDLE"
            ) from error
        raise BundleError(
            f"{path}: {error.strerror}; a bundle is a folder made by `abinet export`"
        ) from error
    except ValueError as error:
        raise BundleError(f"{path}: not JSON ({error}); export the bundle again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{path}: not a bundle of format {FORMAT}; export it with this release")
    return manifest


def check_release(bundle: Bundle, package: str, release: str) -> None:
    """A MindIR belongs to the release (major.minor) that wrote it.

    Raises BundleError where `package` is of another release than the bundle's exporter.
    """
    written, version = bundle.exporter["mindspore"], bundle.exporter.get("mind_ir_version")
    mine, theirs = _minor(release), _minor(written)
    if mine == theirs:
        return
    raise BundleError(
        f"{bundle.folder}: written by MindSpore {written} (MindIR version {version}), which {package} "
        f"{release} cannot read; export the checkpoint with MindSpore {mine}, "
        f"or give a --worker-python that has release {theirs}"
    )


def _minor(release: str) -> str:
    return ".".join(release.split(".")[:2])
