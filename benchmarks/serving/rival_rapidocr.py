"""PP-OCRv6 behind FastAPI, as one writes it by hand: `rival_rapidocr tiny|small PORT`. POST /read."""

import sys
import threading
from typing import Any

import cv2
import numpy as np
import uvicorn
from fastapi import FastAPI, File
from pp_ocr import recogniser
from rapidocr.ch_ppocr_rec import TextRecInput

app = FastAPI()
recognise = recogniser(sys.argv[1], threads=2)
one_at_a_time = threading.Lock()


@app.post("/read")
def read(image: bytes = File()) -> dict[str, Any]:
    """The text of one crop."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    with one_at_a_time:
        answer = recognise(TextRecInput(img=[pixels], return_word_box=False))
    return {"text": answer.txts[0], "confidence": float(answer.scores[0])}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
