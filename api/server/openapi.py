"""The OpenAPI document: what FastAPI reads from the routes, completed for who generates a client.

``python -m api.server.openapi`` prints it; no database is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.http.errors import MEDIA_TYPE, Problem
from api.server.examples import PARAMETERS, PROBLEMS, SCHEMAS
from data.files.clinic_file import ClinicFile
from data.files.run_file import RunFile

DESCRIPTION = """\
Scheduling for a clinic: every bookable slot, exact, scored and explained.

- **Dates and times** are those of the clinic's time zone (`YYYY-MM-DD`, `HH:MM`); `start` and `end`
  also carry their UTC offset.
- **Repeating a write** is safe with an `Idempotency-Key` header: the same request with the same key
  gets its first answer for 24 hours.
- **Errors** are `application/problem+json` (RFC 9457) with a stable `code`.
- **Callers** send their API key as `Authorization: Bearer KEY`. The key's role decides what it may
  do: `viewer` reads, `scheduler` also books, `manager` also runs what-ifs and edits the clinic,
  `admin` also manages keys.
"""


TAGS = {
    "slots": "What can be booked: every feasible placement of a date, scored, best first.",
    "bookings": "Appointments and holds: made, moved, exchanged, cancelled, attended.",
    "clinic": "The clinic's settings, and the whole clinic as one file.",
    "providers": "The clinicians: skills, buffers, daily caps.",
    "rooms": "The rooms: equipment and turnover.",
    "appointment-types": "What is booked: durations, buffers, required skills and equipment.",
    "equipment-pools": "Equipment that is brought to where it is needed: how much there is of it.",
    "provider-types": "What one provider does otherwise than a type says, or does not offer.",
    "locations": "The places at which the clinic has rooms.",
    "travel": "Minutes of the ways between places, which providers and patients need.",
    "sessions": "Hours kept for some types or for a number of bookings, and their release.",
    "availability": "Open and closed spans of providers, rooms and the clinic.",
    "overbooking-rules": "Allowances to book over a provider's regular capacity.",
    "what-if": "Many requests planned at once, in several scenarios, compared, and carried out.",
    "stats": "Figures per date and provider.",
    "keys": "API keys and their roles.",
    "health": "Whether the process lives and its database answers; for these no key is asked.",
}


ANSWERS = {
    401: "Nobody known: the key is missing, unknown or revoked",
    403: "The caller's role does not allow it, or a page of another site had a browser send it",
    404: "There is no such row",
    409: "The book or the row does not allow it as it stands; `code` and `reasons` tell why",
    408: "The body did not come",
    412: "The row is not the one that `If-Match` names: someone has changed it",
    413: "The body is too large",
    415: "The body is of another kind than the route reads; set `Content-Type`",
    421: "The service is open, and asked for by a name that is not this machine's",
    422: "The request is malformed; `errors` names each field",
    429: "Too many requests; repeat after `Retry-After` seconds",
    500: "A fault of the service; it has been logged",
    503: "Busy, or the database is away; repeat after `Retry-After` seconds",
}
"""Every error a route may answer with, and what it means."""


RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before the request is repeated.",
        "schema": {"type": "integer", "minimum": 0},
    }
}


FILES: dict[str, type[BaseModel]] = {"ClinicFile": ClinicFile, "RunFile": RunFile}
"""Documents that a route reads itself, by the name of their schema."""


FILE_BODIES = {"importClinic": "ClinicFile", "createRun": "RunFile"}


FILE_ANSWERS = {"exportClinic": "ClinicFile"}


def install(app: FastAPI) -> None:
    """Have `app` publish the completed document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=DESCRIPTION,
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    operations = list(_operations(document))
    used = {tag for _, operation in operations for tag in operation["tags"]}
    document["tags"] = [
        {"name": name, "description": text} for name, text in TAGS.items() if name in used
    ]
    components = document["components"]
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key."}
    }
    document["security"] = [{"key": []}, {}]
    _complete_schemas(components["schemas"])
    components["responses"] = {
        f"Problem{status}": _answer(status, text) for status, text in ANSWERS.items()
    }
    for path, operation in operations:
        _complete(path, operation)
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _complete_schemas(schemas: dict[str, Any]) -> None:
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, model in FILES.items():
        schema = model.model_json_schema(ref_template=f"#/components/schemas/{name}.{{model}}")
        rows = schema.pop("$defs")
        schemas[name] = schema
        schemas.update({f"{name}.{row}": each for row, each in rows.items()})
    schemas.setdefault("Problem", Problem.model_json_schema())
    for name, example in SCHEMAS.items():
        if name in schemas:
            schemas[name]["examples"] = [example]


def _answer(status: int, description: str) -> dict[str, Any]:
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": PROBLEMS[status]}
    answer: dict[str, Any] = {"description": description, "content": {MEDIA_TYPE: content}}
    if status in (429, 503):
        answer["headers"] = RETRY_AFTER
    return answer


def _complete(path: str, operation: dict[str, Any]) -> None:
    operation.setdefault("description", f"{operation['summary']}.")
    for parameter in operation.get("parameters", []):
        if parameter["name"] in PARAMETERS:
            parameter["example"] = PARAMETERS[parameter["name"]]
    name = operation["operationId"]
    if name in FILE_BODIES:
        content = operation["requestBody"]["content"]
        content["application/json"]["schema"] = _reference(FILE_BODIES[name])
    responses = operation["responses"]
    if name in FILE_ANSWERS:
        responses["200"]["content"]["application/json"]["schema"] = _reference(FILE_ANSWERS[name])
    possible = {int(status) for status in responses if int(status) in ANSWERS}
    possible.add(421)
    if path != "/healthz":
        possible |= {500, 503}
    if operation["tags"] == ["health"]:
        operation["security"] = []
    else:
        possible |= {401, 403, 429}
    if "parameters" in operation:
        possible.add(422)
    if "requestBody" in operation:
        possible |= {408, 413, 415, 422}
    for status in sorted(possible):
        responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


if __name__ == "__main__":
    from api.server.app import create_app
    from api.service.settings import Settings

    published = create_app(Settings()).openapi()
    sys.stdout.buffer.write(orjson.dumps(published, option=orjson.OPT_INDENT_2) + b"\n")
