"""The bundle: a folder of graphs and a manifest, the unit of deployment.

It appears whole or not at all, and every file's hash stands in ``manifest.json``.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator

from models.checkpoints.hashes import sha256_of

FORMAT = 1
MANIFEST = "manifest.json"
REFERENCE = "reference.npz"

#: Largest difference of logits between a graph and its network that still counts as rounding; of the largest
#: logit where that is above 1, because rounding grows with what is rounded.
TOLERANCE = 1e-4


class BundleError(ValueError):
    """A bundle that cannot be written or used; the message is one line with the path and the remedy."""


def graph_file(graph: str, batch: int) -> str:
    """vision.mindir for batch 1, vision_b4.mindir for batch 4."""
    return f"{graph}.mindir" if batch == 1 else f"{graph}_b{batch}.mindir"


def read_manifest(bundle: Path) -> Dict[str, Any]:
    """The manifest of a bundle folder.

    Raises:
        BundleError: no such folder, no manifest in it, or one that this release does not read.
    """
    path = bundle / MANIFEST
    if not path.is_file():
        raise BundleError(f"{bundle}: not a bundle (no {MANIFEST} in it); make one with abinet export")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["format"]
        files = [graph["file"] for graph in manifest["graphs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: not a bundle's manifest ({error}); export the bundle again") from None
    if found != FORMAT:
        raise BundleError(f"{path}: format {found}, this release reads {FORMAT}; export the bundle again")
    if any(Path(file).name != file and Path(file).parent != Path("ascend") for file in files):
        raise BundleError(f"{path}: names a file outside the bundle; export the bundle again")
    return manifest


def check_hashes(bundle: Path, manifest: Dict[str, Any]) -> None:
    """Compares every file of the bundle with its hash in the manifest.

    Raises:
        BundleError: names the first file that is missing or has changed.
    """
    compiled = manifest.get("ascend", {}).get("graphs", [])
    for entry in [*manifest["graphs"], *compiled, manifest["reference"]]:
        path = bundle / entry["file"]
        if not path.is_file():
            raise BundleError(f"{path}: missing; copy the bundle anew or export it again")
        if sha256_of(path) != entry["sha256"]:
            raise BundleError(f"{path}: changed since the export; copy the bundle anew or export it again")


@contextlib.contextmanager
def new_bundle(output: Path, force: bool) -> Iterator[Path]:
    """A folder to fill, which becomes ``output`` when the block ends well and vanishes when it does not.

    Raises:
        BundleError: ``output`` exists without ``force``, is no bundle, or the disk refuses.
    """
    if output.exists():
        if not force:
            raise BundleError(f"{output} exists; use --force to replace it")
        if not (output / MANIFEST).is_file():
            raise BundleError(f"{output} exists and is not a bundle; remove it or choose another name")
    part = output.with_name(f".{output.name}.part-{os.getpid()}")
    old = output.with_name(f".{output.name}.old-{os.getpid()}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        yield part
        if output.exists():
            os.replace(str(output), str(old))
        os.replace(str(part), str(output))
    except OSError as error:
        if old.exists() and not output.exists():
            os.replace(str(old), str(output))
        raise BundleError(f"{output}: could not be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(str(part), ignore_errors=True)
        shutil.rmtree(str(old), ignore_errors=True)
