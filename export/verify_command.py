"""``abinet verify``: checks that a bundle is whole, and that its graphs still answer like the network."""

import argparse
from pathlib import Path

from export.bundle import check_hashes
from service.bundle_format.manifest import BundleError, Manifest, minor, read_manifest


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("bundle", type=Path, help="the bundle's folder")


def run(args: argparse.Namespace) -> int:
    """Checks hashes, then runs every graph on the bundle's reference; returns the exit code."""
    manifest = read_manifest(args.bundle)
    check_hashes(args.bundle, manifest)
    print(f"{len(manifest['graphs'])} graphs have the hashes of the manifest")

    import mindspore as ms
    import numpy as np

    check_release(args.bundle, manifest, ms.__version__)
    from export.reference import largest_difference, tolerance

    ms.set_context(mode=ms.GRAPH_MODE)
    with np.load(str(args.bundle / manifest["reference"]["file"]), allow_pickle=False) as stored:
        reference = dict(stored)
    allowed = tolerance(reference)
    for entry in manifest["graphs"]:
        path = args.bundle / entry["file"]
        difference = largest_difference(path, entry["graph"], entry["batch"], reference)
        print(f"{path.name:<22}largest difference {difference:.1e}", flush=True)
        if not difference <= allowed:
            raise BundleError(
                f"{path}: differs by {difference:.1e} from the network here, "
                f"more than {allowed:.0e}; export the checkpoint again on this machine"
            )
    print(f"{args.bundle}: verified on MindSpore {ms.__version__}")
    return 0


def check_release(bundle: Path, manifest: Manifest, running: str) -> None:
    """A MindIR belongs to the MindSpore release (major.minor) that wrote it.

    Raises:
        BundleError: another release is running.
    """
    wrote = manifest["exporter"]["mindspore"]
    if minor(wrote) != minor(running):
        raise BundleError(
            f"{bundle}: written by MindSpore {wrote}, but this is {running}; "
            "export the checkpoint again with this release, or use that one"
        )
