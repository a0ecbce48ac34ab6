"""What is sent is what the models say, field by field: many bodies are written without them."""

import re
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from api.server.app import create_app
from api.service.settings import Settings
from tests.support.clinics import ROOM, TYPE, order
from tests.support.over_http import MONDAY, load, run_of, solved, to, two_of_each
from tests.support.strategies import uid

SOMETIMES = {"conflicting_bookings"}
"""Fields that are left out where there is nothing to tell."""


def strict(schema: Any) -> Any:
    """A schema by which an object has all of its fields and, unless it says so, no other."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: strict(each) for name, each in schema.items()}
    fields = schema.get("properties")
    if schema.get("type") == "object" and isinstance(fields, dict):
        inner["required"] = sorted(fields.keys() - SOMETIMES)
        inner.setdefault("additionalProperties", False)
    return inner


DOCUMENT = strict(create_app(Settings(DATABASE_URL="postgresql://nowhere/nothing")).openapi())


def published(method: str, path: str, status: int) -> dict[str, Any]:
    """The schema of an answer."""
    if path in DOCUMENT["paths"]:
        found = [path]
    else:
        found = [
            each
            for each in DOCUMENT["paths"]
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each), path)
        ]
    [template] = found
    response = DOCUMENT["paths"][template][method.lower()]["responses"][str(status)]
    schema: dict[str, Any] = response["content"]["application/json"]["schema"]
    return {**schema, "components": DOCUMENT["components"]}


async def told(client: httpx.AsyncClient, method: str, path: str, **body: Any) -> Any:
    """The answer to a request, which has every field that its model has and no other."""
    answer = await client.request(method, path, json=body or None)
    assert answer.is_success, answer.text
    schema = published(method, answer.request.url.path, answer.status_code)
    Draft202012Validator(schema).validate(answer.json())
    return answer.json()


async def test_a_body_has_the_fields_of_its_model(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    slots = f"/slots?date={MONDAY}&appointment_type_id={TYPE}"
    assert (await told(client, "GET", slots))["slots"]
    first = await told(client, "POST", "/bookings", **order(MONDAY, "09:00"))
    other = order(MONDAY, "09:00", patient_ref="Cy", provider_id=uid(1, 1), room_id=uid(2, 1))
    second = await told(client, "POST", "/bookings", **other)
    one = f"/bookings/{first['id']}"
    await told(client, "PATCH", one, notes="by phone", version=1)
    await told(client, "POST", f"{one}/reschedule", **to("10:00"))
    await told(client, "POST", "/bookings/swap", a=first["id"], b=second["id"])
    await told(client, "GET", one)
    assert await told(client, "GET", f"{one}/history")
    assert await told(client, "GET", f"/bookings?from={MONDAY}")
    hold = await told(client, "POST", "/holds", **order(MONDAY, "11:00", patient_ref=None))
    await told(client, "POST", f"/holds/{hold['id']}/confirm", patient_ref="Bo")
    assert (await told(client, "PATCH", f"/rooms/{ROOM}", active=False))["conflicts"]
    assert await told(client, "GET", "/bookings/conflicts")
    for path in ("providers", "rooms", "appointment-types", "availability", "overbooking-rules"):
        for row in await told(client, "GET", f"/{path}"):
            await told(client, "GET", f"/{path}/{row['id']}")
    await told(client, "GET", "/clinic")
    await told(client, "PATCH", "/clinic", min_notice_minutes=30)
    await told(client, "POST", f"{one}/cancel")
    await told(client, "POST", f"{one}/undo")
    await told(client, "DELETE", f"/rooms/{ROOM}")
    await told(client, "POST", "/clinic/import?replace=true", **two_of_each())
    await told(client, "GET", f"/stats?from={MONDAY}&to={MONDAY}")
    key = await told(client, "POST", "/keys", role="admin")
    client.headers["Authorization"] = f"Bearer {key['key']}"
    assert await told(client, "GET", "/keys")
    await told(client, "GET", "/healthz")


async def test_a_runs_body_has_the_fields_of_its_model(client: httpx.AsyncClient) -> None:
    await load(client, two_of_each())
    key, _ = await solved(client, run_of([{"id": "r0", "patient_ref": "Ada"}]))
    assert await told(client, "GET", "/what-if")
    run = await told(client, "GET", f"/what-if/{key}")
    scenario = run["scenarios"][0]["name"]
    applied = await told(client, "POST", f"/what-if/{key}/apply", scenario=scenario)
    assert applied["bookings"]
