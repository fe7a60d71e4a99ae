"""A bundle without a network, for what runs none: a manifest, and empty files for its graphs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from service.engines.bundle import Bundle

CHARSET = "abcdefghijklmnopqrstuvwxyz1234567890"


def empty_bundle(folder: Path, charset: str = CHARSET, max_length: int = 25, version: str = "1") -> Bundle:
    """Graphs of all kinds at batch sizes 1 and 4, written into the folder."""
    graphs = [
        {
            "file": f"{kind}_b{batch}.mindir",
            "graph": kind,
            "batch": batch,
            "sha256": hashlib.sha256().hexdigest(),
        }
        for kind in ("vision", "refine", "abinet")
        for batch in (1, 4)
    ]
    for graph in graphs:
        (folder / str(graph["file"])).touch()
    manifest = {
        "format": 1,
        "name": "empty",
        "version": version,
        "charset": charset,
        "max_length": max_length,
        "iterations": 3,
        "features": 16,
        "input": {"shape": [1, 3, 32, 128]},
        "preprocessing": {"interpolation": "linear", "normalise": False},
        "exporter": {"mindspore": "none"},
        "graphs": graphs,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Bundle(str(folder))
