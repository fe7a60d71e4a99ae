"""The network's own answers to random and to real images, and how far a graph is from them.

The bundle carries inputs and answers (``reference.npz``), so that any machine can repeat the comparison
without the checkpoint.
"""

import contextlib
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from export.bundle import TOLERANCE
from models.abinet.abinet import ABINet
from models.abinet.config import IMAGE_SIZE
from service import image_files
from service.bundle_format.manifest import BundleError
from service.bundle_format.preprocessing import Preprocessing

RANDOM_IMAGES = 4
MOST_IMAGES = 32

Reference = Dict[str, np.ndarray]


def read_images(folder: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Up to 32 crops of a folder as network input (N, 3, 32, 128).

    Raises:
        BundleError: no folder, or no readable image in it.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such folder of images")
    crops = []
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        with contextlib.suppress(OSError, ValueError):
            crops.append(preprocessing(image_files.decode(path.read_bytes()), IMAGE_SIZE))
        if len(crops) == MOST_IMAGES:
            break
    if not crops:
        raise BundleError(f"{folder}: no PNG, JPEG, BMP, WebP or TIFF image in it that can be decoded")
    return np.stack(crops)


def random_images() -> np.ndarray:
    """The same four images of normal noise, (4, 3, 32, 128), every time."""
    return np.random.RandomState(0).standard_normal((RANDOM_IMAGES, 3, *IMAGE_SIZE)).astype(np.float32)


def make_reference(network: ABINet, images: np.ndarray) -> Reference:
    """The network's answers: ``images``, ``features`` and ``outputs`` (1 + 2 * iterations, N, T, classes)."""
    _, features = network.vision(Tensor(images))
    outputs = np.stack([output.asnumpy() for output in network(Tensor(images))])
    return {"images": images, "features": features.asnumpy(), "outputs": outputs}


def tolerance(reference: Reference) -> float:
    """The largest difference from this reference's logits that still counts as rounding."""
    return TOLERANCE * max(1.0, float(np.abs(reference["outputs"]).max()))


def largest_difference(path: Path, graph: str, batch: int, reference: Reference) -> float:
    """Largest absolute difference between the answers of the graph at ``path`` and of the network.

    Raises:
        BundleError: MindSpore cannot load or run the graph.
    """
    try:
        cell = nn.GraphCell(ms.load(str(path)))
        return max(
            float(np.abs(got - want).max())
            for inputs, wanted in _cases(graph, reference)
            for got, want in zip(_run(cell, inputs, batch), wanted)
        )
    except Exception as error:  # MindSpore raises any error of its parser or compiler
        reason = " ".join(str(error).split())[:120]
        raise BundleError(f"{path}: MindSpore {ms.__version__} cannot run it ({reason})") from None


def _cases(graph: str, reference: Reference) -> List[Tuple[List[np.ndarray], List[np.ndarray]]]:
    """Inputs and wanted outputs, one pair a call; refine is called once an iteration."""
    images, features, outputs = reference["images"], reference["features"], reference["outputs"]
    if graph == "vision":
        return [([images], [outputs[0], features])]
    if graph == "abinet":
        return [([images], list(outputs))]
    logits = [outputs[0], *outputs[2::2]]
    return [
        ([logits[i], features], [outputs[2 * i + 1], outputs[2 * i + 2]]) for i in range(len(outputs) // 2)
    ]


def _run(cell: nn.Cell, inputs: Sequence[np.ndarray], batch: int) -> List[np.ndarray]:
    """Runs a graph of fixed batch over all rows; the last batch is filled up with its first row."""
    count = len(inputs[0])
    chunks = []
    for start in range(0, count, batch):
        rows = [array[start : start + batch] for array in inputs]
        missing = batch - len(rows[0])
        filled = [np.concatenate([array, np.repeat(array[:1], missing, axis=0)]) for array in rows]
        outputs = cell(*[Tensor(array) for array in filled])
        chunks.append([output.asnumpy()[: batch - missing] for output in outputs])
    return [np.concatenate(parts) for parts in zip(*chunks)]
