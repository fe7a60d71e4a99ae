"""LitServe at POST /predict: `rival_litserve BUNDLE ENGINE PORT`; without a model if ENGINE is none.

LitServe takes no raw body: the image comes as the file `image` of a form.
"""

import sys
from typing import Any

import litserve
import numpy as np
from fastapi import Request

from .rival_model import Model

BATCH = 16
WAIT_S = 0.002


class Reader(litserve.LitAPI):
    """Decodes like ours and batches like ours."""

    def setup(self, device: str) -> None:
        self._model = Model(sys.argv[1], sys.argv[2])

    def decode_request(self, request: Request, **_: Any) -> np.ndarray:
        return self._model.prepared(request["image"].file.read())

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return inputs

    def predict(self, x: list[np.ndarray] | np.ndarray, **_: Any) -> list[dict[str, Any]]:
        return self._model.read(list(x))

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any], **_: Any) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Reader(max_batch_size=BATCH, batch_timeout=WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[3]), host="127.0.0.1", log_level="error", generate_client_file=False)
