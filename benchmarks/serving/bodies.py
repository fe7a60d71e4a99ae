"""What is sent to a service."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

SAMPLE = Path(__file__).resolve().parents[2] / "models" / "zoo" / "samples" / "telescope.png"
BATCH_ITEMS = 64


def crop_jpeg() -> bytes:
    """A crop of 256 x 64 pixels as a JPEG of about 5 kB."""
    return jpeg(crop())


def crop() -> np.ndarray:
    """BGR pixels of a crop of 256 x 64 pixels."""
    return cv2.resize(cv2.imread(str(SAMPLE)), (256, 64))


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def form(name: str, images: list[bytes], fields: Mapping[str, str] | None = None) -> tuple[bytes, str]:
    """The fields and the files as a multipart form: body and content type."""
    parts = [
        b'--crop\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (field.encode(), text.encode())
        for field, text in (fields or {}).items()
    ]
    parts += [
        b'--crop\r\nContent-Disposition: form-data; name="%s"; filename="%d.jpg"\r\n\r\n%s\r\n'
        % (name.encode(), number, image)
        for number, image in enumerate(images)
    ]
    return b"".join(parts) + b"--crop--\r\n", "multipart/form-data; boundary=crop"


def json_batch(images: list[bytes]) -> tuple[bytes, str]:
    encoded = [base64.b64encode(image).decode() for image in images]
    return json.dumps({"images": encoded}).encode(), "application/json"
