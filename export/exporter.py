"""From a checkpoint to a bundle (see :mod:`export.bundle`)."""

import contextlib
import datetime
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor
from mindspore.train.mind_ir_pb2 import ModelProto

from export import ascend
from export.bundle import REFERENCE, graph_file, new_bundle
from export.graphs import GRAPHS, cell_of, fold_attention, fold_batch_norm, input_shapes, store_weights
from export.reference import (
    RANDOM_IMAGES,
    Reference,
    largest_difference,
    make_reference,
    random_images,
    read_images,
    tolerance,
)
from models.abinet.abinet import ABINet
from models.abinet.config import IMAGE_SIZE, NetworkConfig
from models.checkpoints.checkpoint import Sidecar, load_checkpoint
from service.bundle_format.hashes import sha256_of
from service.bundle_format.manifest import (
    FORMAT,
    MANIFEST,
    BundleError,
    Exporter,
    GraphFile,
    Manifest,
    PrecisionDifference,
    ReferenceFile,
)

#: Word crops that came with the project.
SAMPLES = Path(__file__).resolve().parent.parent / "models" / "zoo" / "samples"


def export_bundle(
    checkpoint: Path,
    output: Path,
    batch_sizes: Sequence[int] = (),
    precision: str = "fp32",
    images: Optional[Path] = None,
    force: bool = False,
    ascend_target: Optional[str] = None,
    report: Callable[[str], None] = print,
) -> Manifest:
    """Writes the bundle ``output`` and returns its manifest; ``report`` gets a line for each graph.

    Batch 1 is always there, ``batch_sizes`` are added. ``precision`` fp16 stores weights in half precision
    and computes in single. Every graph is run on random images and on those of the folder ``images``, and
    compared with the network.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        BundleError: the bundle cannot be written, or a graph differs by more than 1e-4 from the network.
    """
    converter = ascend.find_converter() if ascend_target else None
    ms.set_context(mode=ms.GRAPH_MODE)
    with new_bundle(output, force) as folder:
        network, sidecar = load_checkpoint(checkpoint)
        inputs = np.concatenate([random_images(), read_images(images or SAMPLES, sidecar.preprocessing)])
        trained = make_reference(network, inputs)
        network, reference = _network_to_export(checkpoint, precision, trained)
        graphs: List[GraphFile] = []
        for batch in sorted({1, *batch_sizes}):
            for graph in GRAPHS:
                entry = _export_graph(network, sidecar.network, graph, batch, folder, reference)
                report(
                    "{file:<22}{size:>9.1f} MB   largest difference {max_difference:.1e}".format(
                        size=entry["bytes"] / 1e6, **entry
                    )
                )
                graphs.append(entry)
        manifest = _describe(
            checkpoint,
            sidecar,
            precision,
            graphs,
            _exporter(folder / graph_file("refine", 1)),
            _store_reference(folder / REFERENCE, reference),
        )
        if precision == "fp16":
            manifest["precision_difference"] = _precision_difference(trained, reference)
        if converter is not None:
            manifest["ascend"] = ascend.convert(converter, folder, graphs, str(ascend_target))
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def mind_ir_version(path: Path) -> int:
    """The version of the format that a MindIR states; a runtime reads only those it knows."""
    model = ModelProto()
    model.ParseFromString(path.read_bytes())
    return int(model.mind_ir_version)


def _network_to_export(checkpoint: Path, precision: str, trained: Reference) -> Tuple[ABINet, Reference]:
    """A second network from the checkpoint, as the graphs store it, and the answers that they must give."""
    network, _ = load_checkpoint(checkpoint)
    fold_batch_norm(network)
    fold_attention(network)
    store_weights(network, precision)
    return network, trained if precision == "fp32" else make_reference(network, trained["images"])


def _export_graph(
    network: ABINet, config: NetworkConfig, graph: str, batch: int, folder: Path, reference: Reference
) -> GraphFile:
    path = folder / graph_file(graph, batch)
    inputs = [Tensor(np.zeros(shape, np.float32)) for shape in input_shapes(config, graph, batch)]
    try:
        with _inside(folder):
            ms.export(cell_of(network, graph), *inputs, file_name=path.name, file_format="MINDIR")
        # MindSpore makes the file readable only for its owner, but a service may run as another user.
        path.chmod(0o644)
        difference = largest_difference(path, graph, batch, reference)
    except Exception as error:
        free = shutil.disk_usage(str(folder)).free
        cause = f"only {free // 1000} kB are free on its disk; make room" if free < 1 << 20 else str(error)
        raise BundleError(f"{path.name}: could not be exported ({' '.join(cause.split())})") from None
    if not difference <= tolerance(reference):
        raise BundleError(
            f"{path.name}: differs from the network by {difference:.1e}, over {tolerance(reference):.0e}; "
            "nothing was written; try another MindSpore release"
        )
    return {
        "file": path.name,
        "graph": graph,
        "batch": batch,
        "sha256": sha256_of(path),
        "bytes": path.stat().st_size,
        "max_difference": difference,
    }


def _store_reference(path: Path, reference: Reference) -> ReferenceFile:
    np.savez_compressed(str(path), **reference)
    return {
        "file": path.name,
        "sha256": sha256_of(path),
        "random_images": RANDOM_IMAGES,
        "real_images": len(reference["images"]) - RANDOM_IMAGES,
    }


def _exporter(graph: Path) -> Exporter:
    return {
        "mindspore": ms.__version__,
        "python": platform.python_version(),
        "mind_ir_version": mind_ir_version(graph),
    }


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """With the folder as the current one: MindSpore refuses paths with spaces, umlauts and other signs."""
    before = os.getcwd()
    os.chdir(str(folder))
    try:
        yield
    finally:
        os.chdir(before)


def _precision_difference(trained: Reference, rounded: Reference) -> PrecisionDifference:
    """How far rounding the weights moves the last logits, and how many readings it changes."""
    before, after = trained["outputs"][-1], rounded["outputs"][-1]
    changed = (before.argmax(-1) != after.argmax(-1)).any(-1)
    return {
        "largest_logit_difference": float(np.abs(before - after).max()),
        "texts_changed": int(changed.sum()),
        "images": len(changed),
    }


def _describe(
    checkpoint: Path,
    sidecar: Sidecar,
    precision: str,
    graphs: List[GraphFile],
    exporter: Exporter,
    reference: ReferenceFile,
) -> Manifest:
    digest = sha256_of(checkpoint)
    config = sidecar.network
    return {
        "format": FORMAT,
        "name": checkpoint.stem,
        "version": digest[:12],
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "charset": config.charset,
        "max_length": config.max_length,
        "iterations": config.iterations,
        "features": config.d_model,
        "input": {"shape": [1, 3, *IMAGE_SIZE], "dtype": "float32", "layout": "NCHW", "channels": "RGB"},
        "preprocessing": sidecar.to_dict()["preprocessing"],
        "calibration": sidecar.to_dict()["calibration"],
        "early_stop": sidecar.to_dict()["early_stop"],
        "precision": precision,
        "graphs": graphs,
        "exporter": exporter,
        "checkpoint": {"file": checkpoint.name, "sha256": digest},
        "accuracy": sidecar.training.get("accuracy", {}),
        "reference": reference,
    }
