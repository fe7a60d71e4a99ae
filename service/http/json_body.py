"""Bodies of JSON: counted before they are parsed, and parsed before they are validated.

A validator collects every fault that it finds; a body of millions of wrong elements would take it minutes.
"""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from service.errors import Problem, ServiceError, invalid
from service.types import MOST_LEXICON_WORDS

Model = TypeVar("Model", bound=BaseModel)

_ELEMENTS_A_CROP = 256
"""Far more than any crop needs, so that its name may have commas as well."""
_MEMBERS = 32
_PLAIN = str.maketrans({"-": "+", "_": "/", "\r": None, "\n": None, " ": None, "\t": None})


def json_object(body: bytes, most_crops: int) -> dict[str, Any]:
    """The object that a body is. Raises ServiceError if it is none, or far too large for so many crops."""
    # Not a count of elements, which only a parser knows, but never less.
    elements = sum(map(body.count, (b",", b"[", b"{")))
    if elements > _ELEMENTS_A_CROP * (1 + most_crops) + MOST_LEXICON_WORDS:
        raise ServiceError(Problem.INVALID_REQUEST, "The body has too many elements.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ServiceError(Problem.INVALID_REQUEST, f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise ServiceError(Problem.INVALID_REQUEST, "The body is no JSON object.")
    if len(document) > _MEMBERS:
        raise ServiceError(Problem.INVALID_REQUEST, f"The body has more than {_MEMBERS} members.")
    return document


def base64_of(image: str) -> str:
    """What a decoder takes for base64, of the ways in which people write it: a data URI, lines, URL-safe."""
    if image.startswith("data:"):
        image = image.partition(",")[2]
    if image.isascii() and image.translate(_PLAIN) == image:
        return image
    image = image.translate(_PLAIN)
    return image + "=" * (-len(image) % 4)


def validated(model: type[Model], document: dict[str, Any], where: str = "") -> Model:
    """Raises ServiceError, which says in which part of the request (`where`) the fault is."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid(error, where) from None
