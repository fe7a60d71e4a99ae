"""Small pictures of crops, as data URIs."""

from __future__ import annotations

import base64

WIDTH, HEIGHT = 320, 80
_QUALITY = 80


def thumbnail(image: str | bytes) -> str | None:
    """A JPEG within WIDTH x HEIGHT pixels as a data URI; None where the image cannot be decoded."""
    import cv2
    import numpy

    try:
        content = image if isinstance(image, bytes) else numpy.fromfile(image, numpy.uint8)
        decoded = cv2.imdecode(numpy.frombuffer(content, numpy.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        return None
    if decoded is None:
        return None
    height, width = decoded.shape[:2]
    scale = min(1.0, WIDTH / width, HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(decoded, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
