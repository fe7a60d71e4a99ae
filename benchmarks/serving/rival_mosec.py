"""mosec at POST /inference: `rival_mosec BUNDLE ENGINE WORKERS --port PORT`; no model if ENGINE is none."""

import sys

import numpy as np
from mosec import Server, Worker

from .rival_model import Model

BATCH = 16
WAIT_MS = 2


class Reader(Worker):
    """Decodes like ours and batches like ours."""

    def __init__(self) -> None:
        self._model = Model(sys.argv[1], sys.argv[2])

    def deserialize(self, data: bytes) -> np.ndarray:
        return self._model.prepared(data)

    def forward(self, data: list) -> list:
        return self._model.read(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Reader, num=int(sys.argv[3]), max_batch_size=BATCH, max_wait_time=WAIT_MS)
    server.run()
