"""Multipart forms, split at their boundary."""

from __future__ import annotations

import contextlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import parse_options_header

from service.errors import ProblemType, ServiceError
from service.http.multipart import SentFile, form_of


def files_of_form(body: bytes, boundary: bytes, most: int) -> list[SentFile]:
    return form_of(body, boundary, most).files


HEAD = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


def problem_of(body: bytes, boundary: bytes = b"x", most: int = 2) -> ProblemType:
    with pytest.raises(ServiceError) as failure:
        files_of_form(body, boundary, most)
    return failure.value.problem


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n'), min_size=1)


@given(st.lists(st.tuples(NAMES, st.binary())))
def test_what_httpx_sends_arrives(files: list[tuple[str, bytes]]) -> None:
    sent = [("images", (name, body)) for name, body in [("first", b"\r\n--"), *files]]
    request = httpx.Request("POST", "http://here", files=sent)
    _, options = parse_options_header(request.headers["content-type"])
    found = files_of_form(request.read(), options[b"boundary"], len(sent))
    assert [body for _, body in found] == [body for _, (_, body) in sent]
    assert found[0].name == "first"


@given(st.binary())
def test_whatever_comes_is_a_form_or_refused(body: bytes) -> None:
    with contextlib.suppress(ServiceError):
        assert files_of_form(HEAD + body, b"x", 4)


def test_a_file_that_holds_the_boundary_within_a_line_is_whole() -> None:
    assert files_of_form(HEAD + b" --x\n--x--\r\n--x--", b"x", 1) == [SentFile("a.png", b" --x\n--x--")]


def test_names_are_read_as_browsers_and_curl_write_them() -> None:
    for written, name in [
        (b'form-data; name="i"; filename="a b.png"', "a b.png"),
        (b"form-data; name=i; filename=a.png", "a.png"),
        (b'form-data; filename="a\\"b.png"; name="i"', 'a"b.png'),
        ('form-data; name="i"; filename="ä.png"'.encode(), "ä.png"),
        (b'form-data; name="i"; filename=""', ""),
    ]:
        body = b"--x\r\ncontent-type: image/png\r\nCONTENT-DISPOSITION: " + written + b"\r\n\r\nbody\r\n--x--"
        assert files_of_form(body, b"x", 1) == [SentFile(name, b"body")]


def test_preamble_and_epilogue_are_passed_over() -> None:
    body = b"This is a form.\r\n" + HEAD + b"body\r\n--x--\r\nThat was it."
    assert files_of_form(body, b"x", 1) == [SentFile("a.png", b"body")]


def test_a_form_without_an_end_is_cut_off() -> None:
    assert problem_of(HEAD + b"body") is ProblemType.INVALID_REQUEST
    assert problem_of(HEAD + b"body\r\n--x\r\n") is ProblemType.INVALID_REQUEST


def test_a_form_without_a_boundary_is_refused() -> None:
    assert problem_of(HEAD, b"") is ProblemType.INVALID_REQUEST


def test_more_files_than_allowed_are_refused_before_they_are_taken_apart() -> None:
    assert problem_of((HEAD + b"\r\n") * 1000 + b"--x--") is ProblemType.TOO_MANY_CROPS
    assert len(files_of_form((HEAD + b"\r\n") * 2 + b"--x--", b"x", 2)) == 2


def test_a_field_that_is_no_file_is_named() -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="detail"\r\n\r\ntrue\r\n--x--'
    with pytest.raises(ServiceError, match="'detail'"):
        files_of_form(body, b"x", 1)
