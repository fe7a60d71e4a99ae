"""Files of a multipart form (RFC 7578), split at its boundary in one go.

A body is bounded, and in memory before it is split. A parser that takes it piece by piece, such as
python-multipart's, needs as long for a file of 5 kB as decoding the image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from python_multipart.multipart import parse_options_header

from service.errors import ProblemType, ServiceError

_LONGEST_BOUNDARY = 256
_LONGEST_HEADERS = 8192
_USUAL = re.compile(rb'form-data; name="([^"\\]*)"; filename="([^"\\]*)"')


class SentFile(NamedTuple):
    """A file of a multipart form."""

    name: str
    body: bytes


class Form(NamedTuple):
    """The files of a multipart form, in its order, and the fields that were expected beside them."""

    files: list[SentFile]
    fields: dict[str, bytes]


def form_of(body: bytes, boundary: bytes, most: int, fields: Sequence[str] = ()) -> Form:
    """The files of a form, whatever the names of their fields, and those of `fields` that it has, as texts or
    files.

    Raises ServiceError if the form is broken, has no file or more than `most`, or another field that is no
    file.
    """
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise _invalid("The form is broken: no boundary, or one that is too long.")
    # The preamble may be missing, and with it the line break before the first boundary.
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary, most + len(fields) + 2)
    form = Form([], {})
    files = form.files
    for part in parts:
        if part.startswith(b"--"):
            break
        field, name, content = _taken_apart(part)
        if field in fields:
            form.fields[field] = content
            continue
        if name is None:
            raise _invalid(f"The form's field {field!r} is no file; options go into the query.")
        if len(files) == most:
            elsewhere = " Several crops go to /v1/read/batch." if most == 1 else ""
            raise ServiceError(ProblemType.TOO_MANY_CROPS, f"The form has more files than {most}.{elsewhere}")
        files.append(SentFile(name, content))
    else:
        raise _invalid("The form is cut off.")
    if not files:
        raise _invalid("The form has no file.")
    return form


def _taken_apart(part: bytes) -> tuple[str, str | None, bytes]:
    """A part's field, file name (if it is a file) and content."""
    headers, blank, content = part.partition(b"\r\n\r\n")
    if not blank or len(headers) > _LONGEST_HEADERS or headers.partition(b"\r\n")[0].strip(b" \t"):
        raise _invalid("The form is broken: a part has no headers.")
    field, name = _field_and_file_name(headers)
    return _text(field), None if name is None else _text(name), content


def _field_and_file_name(headers: bytes) -> tuple[bytes, bytes | None]:
    for line in headers.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            usual = _USUAL.fullmatch(value.strip())
            if usual:
                return usual[1], usual[2]
            _, options = parse_options_header(value)
            return options.get(b"name", b""), options.get(b"filename")
    return b"", None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _invalid(detail: str) -> ServiceError:
    return ServiceError(ProblemType.INVALID_REQUEST, detail)
