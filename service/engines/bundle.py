"""A bundle as front and worker use it: its manifest, and the graph files that it names."""

from __future__ import annotations

import os
from typing import NamedTuple

from service.bundle_format.manifest import (
    BundleError,
    GraphFile,
    check_hash,
    compiled_graphs,
    minor,
    read_manifest,
)

STEPS_BEYOND_LENGTH = 1
"""A word of max_length characters is followed by its stop token."""


class Graph(NamedTuple):
    """One MindIR file of the bundle."""

    path: str
    kind: str
    batch: int
    entry: GraphFile


class Bundle:
    """A bundle whose manifest has been read and whose files are there.

    Raises BundleError if the folder is no bundle, is of another format, or lacks a file that it names.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.name = self.manifest["name"]
        self.version = self.manifest["version"]
        self.charset = self.manifest["charset"]
        self.steps = self.manifest["max_length"] + STEPS_BEYOND_LENGTH
        self.iterations = self.manifest["iterations"]
        self.features = self.manifest["features"]
        self.channels, self.height, self.width = self.manifest["input"]["shape"][1:4]
        self.preprocessing = self.manifest["preprocessing"]
        self.calibration = self.manifest.get("calibration")
        self.early_stop = self.manifest.get("early_stop")
        self.exporter = self.manifest["exporter"]
        self.graphs = self._graphs(self.manifest["graphs"])
        self._compiled = self._graphs(compiled_graphs(self.manifest))
        missing = [graph.path for graph in self.graphs + self._compiled if not os.path.isfile(graph.path)]
        if missing:
            raise BundleError(f"{missing[0]}: named in the manifest but missing; export the bundle again")

    @property
    def classes(self) -> int:
        """Characters of the charset and the null (stop) class, which is class 0."""
        return len(self.charset) + 1

    def graphs_of(self, kind: str, compiled: bool = False) -> list[Graph]:
        """The graphs of one kind ("vision", "refine" or "abinet").

        With `compiled`, those that Lite's converter compiled for Ascend, if the bundle has them.
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
            check_hash(self.folder, graph.entry)

    def call_bytes(self) -> int:
        """Bytes that hold the tensors of any call of this bundle's graphs, or of its answer."""
        largest = max(graph.batch for graph in self.graphs)
        image = self.channels * self.height * self.width
        answer = (1 + 2 * self.iterations) * self.steps * self.classes + self.steps * self.features
        return 4 * largest * max(image, answer)

    def _graphs(self, entries: list[GraphFile]) -> list[Graph]:
        return [
            Graph(os.path.join(self.folder, entry["file"]), entry["graph"], entry["batch"], entry)
            for entry in entries
        ]


def check_release(bundle: Bundle, package: str, release: str) -> None:
    """A MindIR belongs to the release (major.minor) that wrote it.

    Raises BundleError if `package` is of another release than the bundle's exporter.
    """
    written, version = bundle.exporter["mindspore"], bundle.exporter.get("mind_ir_version")
    mine, theirs = minor(release), minor(written)
    if mine == theirs:
        return
    raise BundleError(
        f"{bundle.folder}: written by MindSpore {written} (MindIR version {version}), which {package} "
        f"{release} cannot read; export the checkpoint with MindSpore {mine}, "
        f"or give a --worker-python that has release {theirs}"
    )
