"""A new bundle: a folder of graphs and a manifest, the unit of deployment.

It appears whole or not at all, and ``manifest.json`` has the hash of every file.
"""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Iterator, List

from service.bundle_format.manifest import (
    MANIFEST,
    BundleError,
    Manifest,
    StoredFile,
    check_hash,
    compiled_graphs,
)

REFERENCE = "reference.npz"

#: Largest difference of logits between a graph and its network that still counts as rounding; of the largest
#: logit if that is above 1, because rounding errors grow with the values.
TOLERANCE = 1e-4


def graph_file(graph: str, batch: int) -> str:
    """vision.mindir for batch 1, vision_b4.mindir for batch 4."""
    return f"{graph}.mindir" if batch == 1 else f"{graph}_b{batch}.mindir"


def check_hashes(bundle: Path, manifest: Manifest) -> None:
    """Compares every file of the bundle with its hash in the manifest.

    Raises:
        BundleError: names the first file that is missing or has changed.
    """
    stored: List[StoredFile] = [*manifest["graphs"], *compiled_graphs(manifest), manifest["reference"]]
    for entry in stored:
        check_hash(bundle, entry)


@contextlib.contextmanager
def new_bundle(output: Path, force: bool) -> Iterator[Path]:
    """A folder to fill, which becomes ``output`` if the block succeeds and vanishes if it fails.

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
