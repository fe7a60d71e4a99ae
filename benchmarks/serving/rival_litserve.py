"""LitServe with our decoding and no model: `rival_litserve.py BUNDLE PORT`. One route, POST /predict.

LitServe takes no raw body: the image comes as the file `image` of a form.
"""

import sys
from typing import Any

import litserve
import numpy as np
from fastapi import Request

from service.engines.bundle import Bundle
from service.engines.simulated import TEXT
from service.image_decoding.preprocess import Preprocessor, decode_image

BATCH = 16


class Reader(litserve.LitAPI):
    """Decodes like ours, batches like ours, reads nothing."""

    def setup(self, device: str) -> None:
        self._preprocess = Preprocessor(Bundle(sys.argv[1]))

    def decode_request(self, request: Request, **_: Any) -> np.ndarray:
        return self._preprocess(decode_image(request["image"].file.read(), 16_000_000))

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray, **_: Any) -> list[str]:
        return [TEXT] * len(x)

    def unbatch(self, output: list[str]) -> list[str]:
        return output

    def encode_response(self, output: str, **_: Any) -> dict[str, Any]:
        return {"text": output, "confidence": 1.0}


if __name__ == "__main__":
    server = litserve.LitServer(
        Reader(max_batch_size=BATCH, batch_timeout=0.001), accelerator="cpu", workers_per_device=1
    )
    server.run(port=int(sys.argv[2]), host="127.0.0.1", log_level="error", generate_client_file=False)
