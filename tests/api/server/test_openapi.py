"""The OpenAPI document: complete, and its examples true."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.server.app import create_app
from api.server.examples import PARAMETERS, PROBLEMS, SCHEMAS
from api.server.openapi import TAGS
from api.service.settings import Settings

DOCUMENT = create_app(Settings(DATABASE_URL="postgresql://nowhere/nothing")).openapi()


OPERATIONS = [
    pytest.param(path, operation, id=operation["operationId"])
    for path, methods in DOCUMENT["paths"].items()
    for operation in methods.values()
]


def validate(example: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(example)


@pytest.mark.parametrize(("path", "operation"), OPERATIONS)
def test_an_operation_says_what_a_client_needs(path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert len(operation["tags"]) == 1
    assert operation["tags"][0] in TAGS
    responses = operation["responses"]
    assert any(status.startswith("2") for status in responses)
    for status, response in responses.items():
        if status.startswith("2"):
            assert response["content"]
        else:
            assert response == {"$ref": f"#/components/responses/Problem{status}"}
    assert ("503" in responses) == (path != "/healthz")
    assert ("422" in responses) >= ("requestBody" in operation or "parameters" in operation)


def test_no_two_operations_share_an_id() -> None:
    names = [param.id for param in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_example_fits_its_schema(name: str) -> None:
    validate(SCHEMAS[name], {"$ref": f"#/components/schemas/{name}"})


@pytest.mark.parametrize("status", PROBLEMS)
def test_a_problem_fits_its_schema(status: int) -> None:
    validate(PROBLEMS[status], {"$ref": "#/components/schemas/Problem"})
    assert PROBLEMS[status]["status"] == status


def test_a_parameter_is_a_good_one() -> None:
    used = set()
    for param in OPERATIONS:
        operation: Any = param.values[1]
        for parameter in operation.get("parameters", []):
            if "example" in parameter:
                used.add(parameter["name"])
                validate(parameter["example"], parameter["schema"])
    assert used == set(PARAMETERS)
