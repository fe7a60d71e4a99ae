"""The bundle on disk, as front and worker read it: the manifest, checked, and the graph files it names."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Dict, List, NamedTuple, Tuple

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
            self.name: str = self.manifest["name"]
            self.version: str = self.manifest["version"]
            self.charset: str = self.manifest["charset"]
            self.steps: int = self.manifest["max_length"] + STEPS_BEYOND_LENGTH
            self.iterations: int = self.manifest["iterations"]
            self.features: int = self.manifest["features"]
            _, self.channels, self.height, self.width = self.manifest["input"]["shape"]
            self.preprocessing: Dict[str, Any] = self.manifest["preprocessing"]
            self.exporter: Dict[str, Any] = self.manifest["exporter"]
            self.graphs = [self._graph(entry) for entry in self.manifest["graphs"]]
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                "{}: no valid manifest ({!r}); export the bundle again".format(self._manifest_path(), error)
            ) from error
        missing = [graph.path for graph in self.graphs if not os.path.isfile(graph.path)]
        if missing:
            raise BundleError("{}: named in the manifest but missing; export the bundle again".format(missing[0]))

    @property
    def classes(self) -> int:
        """Characters of the charset and the null (stop) class, which is class 0."""
        return len(self.charset) + 1

    def graphs_of(self, kind: str) -> List[Graph]:
        """The graphs of one kind ("vision", "refine" or "abinet"), smallest batch first."""
        return sorted((graph for graph in self.graphs if graph.kind == kind), key=lambda graph: graph.batch)

    def check_hashes(self, graphs: List[Graph]) -> None:
        """Raises BundleError for the first file whose sha256 is not the manifest's."""
        for graph in graphs:
            if file_sha256(graph.path) != graph.sha256:
                raise BundleError(
                    "{}: its sha256 is not the manifest's; copy or export the bundle again".format(graph.path)
                )

    def arena_bytes(self) -> int:
        """Enough memory for the tensors of any call of this bundle's graphs, or of its answer."""
        largest = max(graph.batch for graph in self.graphs)
        image = self.channels * self.height * self.width
        answer = (1 + 2 * self.iterations) * self.steps * self.classes + self.steps * self.features
        return 4 * largest * max(image, answer)

    def _graph(self, entry: Dict[str, Any]) -> Graph:
        file = entry["file"]
        if os.path.basename(file) != file:
            raise ValueError("a graph outside of the bundle: {}".format(file))
        return Graph(os.path.join(self.folder, file), entry["graph"], entry["batch"], entry["sha256"])

    def _manifest_path(self) -> str:
        return os.path.join(self.folder, "manifest.json")


def file_sha256(path: str) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _read_manifest(folder: str) -> Dict[str, Any]:
    path = os.path.join(folder, "manifest.json")
    try:
        with open(path, encoding="utf-8") as file:
            manifest: Dict[str, Any] = json.load(file)
    except OSError as error:
        raise BundleError("{}: {}; a bundle is a folder made by `abinet export`".format(path, error.strerror)) from error
    except ValueError as error:
        raise BundleError("{}: not JSON ({}); export the bundle again".format(path, error)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError("{}: not a bundle of format {}; export it with this release".format(path, FORMAT))
    return manifest


_READS_EACH_OTHER: Tuple[Tuple[str, ...], ...] = (("2.7", "2.8"),)
"""Releases that write and read the same MindIR version; any other release reads only its own."""


def check_release(bundle: Bundle, package: str, release: str) -> None:
    """Raises BundleError where `package` of this release cannot read what the bundle's exporter wrote."""
    written = bundle.exporter["mindspore"]
    mine, theirs = _minor(release), _minor(written)
    if mine == theirs or any(mine in group and theirs in group for group in _READS_EACH_OTHER):
        return
    raise BundleError(
        "{}: written by MindSpore {} (MindIR version {}), which {} {} cannot read; export the checkpoint with "
        "MindSpore {}, or give a --worker-python that has release {}".format(
            bundle.folder, written, bundle.exporter.get("mind_ir_version"), package, release, mine, theirs
        )
    )


def _minor(release: str) -> str:
    return ".".join(release.split(".")[:2])
