"""The interface's description: valid, and as good for a program as for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import SecretStr

from service.http.app import create_app
from service.http.middleware import OPEN_PATHS
from service.observability.observer import Observer
from service.reading.reader import Reader
from service.settings.model import Settings

pytestmark = pytest.mark.slow


class IdleReader:
    """Has settings and nothing to read with."""

    state = "starting"

    def __init__(self, *keys: str) -> None:
        self.settings = Settings(api_keys=tuple(map(SecretStr, keys)))
        self.observer = Observer()


def description(*keys: str) -> dict[str, Any]:
    return create_app(cast(Reader, IdleReader(*keys))).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


@pytest.mark.parametrize("keys", [(), ("key",)])
def test_the_description_is_valid(keys: tuple[str, ...]) -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(description(*keys)).iter_errors()] == []


def test_every_problem_document_is_the_one_named_schema() -> None:
    named = {"$ref": "#/components/schemas/ProblemDetails"}
    found = [
        content["schema"]
        for _, operation in operations(description("key"))
        for answer in operation["responses"].values()
        for kind, content in answer.get("content", {}).items()
        if kind == "application/problem+json"
    ]
    assert len(found) > 20
    assert all(schema == named for schema in found)


def test_with_keys_the_operations_that_need_one_say_so_and_the_others_that_they_do_not() -> None:
    for path, operation in operations(description("key")):
        if path in OPEN_PATHS:
            assert operation["security"] == [], path
        else:
            assert {"401", "4XX"} & set(operation["responses"]), path


def test_no_parameter_of_a_query_takes_a_list() -> None:
    queries = [
        parameter["schema"]
        for _, operation in operations(description())
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    ]
    assert queries
    assert not [schema for schema in queries if "array" in str(schema)]


def test_operations_have_identifiers_of_their_own() -> None:
    identifiers = [operation["operationId"] for _, operation in operations(description())]
    assert len(set(identifiers)) == len(identifiers)
