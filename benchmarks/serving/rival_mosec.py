"""mosec with our decoding and no model, at POST /inference: `rival_mosec.py BUNDLE WORKERS --port PORT`."""

import sys

from mosec import Server, Worker

from service.engines.bundle import Bundle
from service.engines.simulated import TEXT
from service.image_decoding.preprocess import Preprocessor, decode_image

BATCH = 16


class Reader(Worker):
    """Decodes like ours, batches like ours, reads nothing."""

    def __init__(self) -> None:
        self._preprocess = Preprocessor(Bundle(sys.argv[1]))

    def deserialize(self, data: bytes) -> object:
        return self._preprocess(decode_image(data, 16_000_000))

    def forward(self, data: list) -> list:
        return [{"text": TEXT, "confidence": 1.0}] * len(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Reader, num=int(sys.argv[2]), max_batch_size=BATCH, max_wait_time=1)
    server.run()
