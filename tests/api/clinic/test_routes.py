"""The clinic's rows over HTTP: import, export, edits and their conflicts."""

import datetime as dt
from itertools import product
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.files.clinic_file import json_schema
from solver.time_zones import ABBREVIATIONS
from tests.support.clinics import (
    PROVIDER,
    ROOM,
    RULE,
    TYPE,
    booking,
    coming_monday,
    order,
    small_clinic,
)
from tests.support.over_http import load
from tests.support.strategies import uid

MONDAY = coming_monday()
NORTH, SOUTH = uid(9, 0), uid(9, 1)


def full_clinic() -> dict[str, Any]:
    """Every field of every row written out, as an export writes it."""
    return {
        "clinic": {
            "name": "Full",
            "timezone": "America/New_York",
            "grid_minutes": 10,
            "preference_decay_minutes": 120,
            "min_notice_minutes": 30,
        },
        "providers": [
            {
                "id": PROVIDER,
                "name": "Dr. Vega",
                "skills": ["derma", "gp"],
                "daily_cap": 9,
                "daily_minutes": 400,
                "buffer_before": 5,
                "buffer_after": 10,
                "active": True,
            }
        ],
        "rooms": [
            {
                "id": ROOM,
                "name": "Room 1",
                "equipment": ["ecg"],
                "turnover_minutes": 5,
                "active": False,
                "location_id": NORTH,
            }
        ],
        "locations": [
            {"id": NORTH, "name": "North", "active": True},
            {"id": SOUTH, "name": "South", "active": False},
        ],
        "travel": [{"id": uid(9, 2), "from_id": NORTH, "to_id": SOUTH, "minutes": 20}],
        "equipment_pools": [
            {
                "id": uid(8, 0),
                "name": "Mobile ultrasound",
                "quantity": 2,
                "return_minutes": 15,
                "active": True,
                "location_id": NORTH,
            }
        ],
        "appointment_types": [
            {
                "id": TYPE,
                "name": "Visit",
                "duration_minutes": 30,
                "buffer_before": 0,
                "buffer_after": 5,
                "required_skills": ["gp"],
                "required_equipment": ["ecg"],
                "daily_cap": None,
                "active": True,
                "start_every": 50,
                "start_offset": 10,
                "start_anchor": "midnight",
                "packed": True,
                "required_pools": [{"pool_id": uid(8, 0), "quantity": 1}],
                "roles": [],
            }
        ],
        "provider_types": [
            {
                "id": uid(6, 0),
                "provider_id": PROVIDER,
                "appointment_type_id": TYPE,
                "duration_minutes": 25,
                "buffer_before": None,
                "buffer_after": 4,
                "daily_cap": 3,
                "offered": True,
            }
        ],
        "sessions": [
            {
                "id": uid(7, 0),
                "name": "Diabetes",
                "provider_id": PROVIDER,
                "room_id": None,
                "weekday": 2,
                "date": None,
                "start_time": "09:00",
                "end_time": "24:00",
                "valid_from": "2027-01-01",
                "valid_to": "2027-12-31",
                "every_weeks": 2,
                "appointment_type_ids": [TYPE],
                "max_bookings": 6,
                "opens": {"days_before": 28, "at": "07:00"},
                "releases": {"minutes_before": 2880},
                "active": True,
            },
            {
                "id": uid(7, 1),
                "name": "Nobody",
                "provider_id": None,
                "room_id": None,
                "weekday": None,
                "date": "2027-12-24",
                "start_time": "08:00",
                "end_time": "09:00",
                "valid_from": None,
                "valid_to": None,
                "every_weeks": 1,
                "appointment_type_ids": [],
                "max_bookings": None,
                "opens": None,
                "releases": None,
                "active": False,
            },
        ],
        "availability": [
            {
                "provider_id": PROVIDER,
                "room_id": None,
                "weekday": 1,
                "date": None,
                "start_time": "09:00",
                "end_time": "24:00",
                "kind": "open",
                "valid_from": "2027-01-01",
                "valid_to": None,
                "every_weeks": 2,
                "location_id": NORTH,
            },
            {
                "provider_id": None,
                "room_id": None,
                "weekday": None,
                "date": "2027-12-24",
                "start_time": "12:00",
                "end_time": "18:00",
                "kind": "closed",
                "valid_from": None,
                "valid_to": None,
                "every_weeks": 1,
                "location_id": None,
            },
        ],
        "overbooking_rules": [
            {
                "id": RULE,
                "provider_id": PROVIDER,
                "appointment_type_id": None,
                "weekday": 1,
                "start_time": "09:00",
                "end_time": None,
                "max_overlap": 1,
                "max_per_day": 2,
            }
        ],
        "bookings": [
            {
                "id": uid(5, 0),
                "provider_id": PROVIDER,
                "room_id": ROOM,
                "appointment_type_id": TYPE,
                "date": MONDAY.isoformat(),
                "start_time": "09:07",
                "patient_ref": "p",
                "status": "completed",
                "is_overbooked": False,
                "duration_minutes": 20,
                "buffer_before": 3,
                "buffer_after": 7,
            }
        ],
    }


async def export(client: httpx.AsyncClient) -> dict[str, Any]:
    body: dict[str, Any] = (await client.get("/clinic/export")).json()
    return body


async def test_round_trip(client: httpx.AsyncClient) -> None:
    await load(client, full_clinic())
    assert await export(client) == full_clinic()
    await load(client, full_clinic())  # the same again changes nothing
    assert await export(client) == full_clinic()


async def test_import_matches_by_id_and_keeps_the_rest(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "09:00")]))
    renamed = {"id": PROVIDER, "name": "Dr. Vega-Lind", "skills": ["gp"]}
    answer = await client.post(
        "/clinic/import", json={"clinic": small_clinic()["clinic"], "providers": [renamed]}
    )
    assert answer.json()["imported"]["providers"] == 1
    body = await export(client)
    assert body["providers"][0]["name"] == "Dr. Vega-Lind"
    assert len(body["bookings"]) == len(body["availability"]) == 1


async def test_replace_removes_what_the_file_lacks(client: httpx.AsyncClient) -> None:
    await load(client, full_clinic())
    document = small_clinic(bookings=[booking(1, MONDAY, "10:00")])
    answer = await client.post("/clinic/import", params={"replace": True}, json=document)
    assert answer.json()["removed"] == {
        "bookings": 1,
        "availability": 2,
        "overbooking_rules": 1,
        "provider_types": 1,
        "sessions": 2,
        "equipment_pools": 1,
        "locations": 2,
        "travel": 1,
    }
    body = await export(client)
    assert [b["id"] for b in body["bookings"]] == [uid(5, 1)]


async def test_two_bookings_may_change_places(client: httpx.AsyncClient) -> None:
    pair = [booking(0, MONDAY, "09:00"), booking(1, MONDAY, "10:00")]
    await load(client, small_clinic(bookings=pair))
    swapped = [booking(0, MONDAY, "10:00"), booking(1, MONDAY, "09:00")]
    await load(client, small_clinic(bookings=swapped))
    starts = {b["id"]: b["start_time"] for b in (await export(client))["bookings"]}
    assert starts == {uid(5, 0): "10:00", uid(5, 1): "09:00"}


async def test_bookings_that_break_a_constraint_refuse_the_file(
    client: httpx.AsyncClient,
) -> None:
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "09:00")]))
    rows = [
        booking(1, MONDAY, "09:15"),
        booking(2, MONDAY, "11:00"),
        booking(3, MONDAY, "11:00", provider_id=uid(1, 1)),
    ]
    document = small_clinic(bookings=rows)
    document["providers"] += [{"id": uid(1, 1), "name": "Another"}]
    answer = await client.post("/clinic/import", json=document)
    assert (answer.status_code, answer.json()["code"]) == (409, "BOOKING_CONFLICT")
    named = {conflict["booking_id"] for conflict in answer.json()["conflicts"]}
    assert named == {uid(5, 1), uid(5, 3)}
    assert [b["id"] for b in (await export(client))["bookings"]] == [uid(5, 0)]
    assert len((await export(client))["providers"]) == 1


async def test_bookings_that_break_a_softer_rule_are_taken_with_a_warning(
    client: httpx.AsyncClient,
) -> None:
    rows = [booking(0, MONDAY, "18:00"), booking(1, MONDAY, "10:03")]
    answer = await client.post("/clinic/import", json=small_clinic(bookings=rows))
    assert answer.status_code == 200
    assert [(w["booking_id"], w["rule"]) for w in answer.json()["warnings"]] == [(uid(5, 0), 2)]


async def test_every_fault_is_named_and_nothing_written(client: httpx.AsyncClient) -> None:
    document = small_clinic(
        providers=[{"id": "vega", "name": "", "daily_cap": -1}],
        rooms=[{"id": ROOM, "name": "Room", "equipment": "ecg", "colour": "red"}],
        availability=[
            {"weekday": 1, "start_time": "12:00", "end_time": "09:00", "kind": "closed"},
            {"weekday": 8, "start_time": 540, "end_time": "25:00"},
        ],
    )
    answer = await client.post("/clinic/import", json=document)
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_CLINIC_FILE")
    assert [error["field"] for error in answer.json()["errors"]] == [
        "providers[0].id",
        "providers[0].name",
        "providers[0].daily_cap",
        "rooms[0].equipment",
        "rooms[0].colour",
        "availability[0].end_time",
        "availability[1].weekday",
        "availability[1].start_time",
        "availability[1].end_time",
        "availability[1].kind",
    ]
    assert (await export(client))["rooms"] == []


async def test_faults_of_rows_and_of_references_come_together(client: httpx.AsyncClient) -> None:
    document = small_clinic(rooms=[{"id": "x", "name": "Room"}])
    document["availability"].append(
        {"provider_id": uid(1, 9), "weekday": 1, "start_time": "09:00", "end_time": "10:00"}
    )
    answer = await client.post("/clinic/import", json=document)
    assert [error["field"] for error in answer.json()["errors"]] == [
        "rooms[0].id",
        "availability[1].provider_id",
    ]


async def test_references_and_twice_used_ids_are_faults(client: httpx.AsyncClient) -> None:
    document = small_clinic(bookings=[booking(0, MONDAY, "09:00", room_id=uid(2, 9))] * 2)
    answer = await client.post("/clinic/import", json=document)
    assert [error["field"] for error in answer.json()["errors"]] == [
        "bookings[1].id",
        "bookings[0].room_id",
        "bookings[1].room_id",
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"\xff"', b"[" * 100_000, b'{"clinic": {"name": "\\ud800"}}'],
)
async def test_what_is_no_document(client: httpx.AsyncClient, body: bytes) -> None:
    for kind in ("application/json", "application/yaml"):
        answer = await client.post("/clinic/import", content=body, headers={"content-type": kind})
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] == "INVALID_CLINIC_FILE"


async def test_yaml(client: httpx.AsyncClient) -> None:
    document = f"""
    clinic: {{name: Yaml, timezone: Europe/Berlin}}
    providers: [{{id: {PROVIDER}, name: "12:30", skills: [gp]}}]
    availability:
      - {{provider_id: {PROVIDER}, date: 2027-03-01, start_time: 09:00, end_time: 12:00}}
    """
    answer = await client.post(
        "/clinic/import", content=document, headers={"content-type": "application/yaml"}
    )
    assert answer.status_code == 200, answer.text
    body = await export(client)
    assert body["availability"][0]["end_time"] == "12:00"
    assert body["availability"][0]["date"] == "2027-03-01"


@pytest.mark.parametrize(
    "scalar", ["2001-99-99", "0x_", "!!int abc", "!!float abc", "!!bool abc", "9" * 10_000, "*x"]
)
async def test_yaml_scalars_that_are_none(client: httpx.AsyncClient, scalar: str) -> None:
    document = f"clinic: {{name: a, timezone: UTC, grid_minutes: {scalar}}}"
    answer = await client.post(
        "/clinic/import", content=document, headers={"content-type": "application/yaml"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_CLINIC_FILE")


BOMB = "[&a0 [x, x], " + ", ".join(f"&a{n + 1} [*a{n}, *a{n}]" for n in range(60)) + "]"


@pytest.mark.parametrize(
    "rule",
    [
        "{1: 2}",
        "{null: 1}",
        "{x: 1000000000000000000000}",
        "{x: !!binary aGk=}",
        "{x: !!set {a}}",
        "&a {x: *a}",
        "{x: &a [*a]}",
        f"{{x: {BOMB}}}",
    ],
)
async def test_yaml_that_json_cannot_say(client: httpx.AsyncClient, rule: str) -> None:
    document = f"clinic: {{name: a, timezone: UTC}}\noverbooking_rules: [{rule}]"
    answer = await client.post(
        "/clinic/import", content=document, headers={"content-type": "application/yaml"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_CLINIC_FILE")


@pytest.mark.parametrize("zone", ["Mars/Phobos", "UTC+1", "+01:00", "../../etc/passwd", "Europe"])
async def test_zones_that_are_none(client: httpx.AsyncClient, zone: str) -> None:
    answer = await client.post("/clinic/import", json={"clinic": {"name": "a", "timezone": zone}})
    assert [error["field"] for error in answer.json()["errors"]] == ["clinic.timezone"]


@pytest.mark.parametrize(
    "moment", ["9999-12-31T23:59:59-12:00", "2027-03-01T09:00:00", "soon", 17, None]
)
async def test_when_a_hold_from_a_file_expires(client: httpx.AsyncClient, moment: Any) -> None:
    held = booking(0, MONDAY, "09:00", status="held", expires_at=moment)
    answer = await client.post("/clinic/import", json=small_clinic(bookings=[held]))
    if moment is None:
        assert answer.status_code == 200
    else:
        assert [e["field"] for e in answer.json()["errors"]] == ["bookings[0].expires_at"]


async def test_what_a_grown_type_leaves_behind_still_round_trips(
    client: httpx.AsyncClient,
) -> None:
    rows = [booking(0, MONDAY, "09:00"), booking(1, MONDAY, "09:30")]
    await load(client, small_clinic(bookings=rows))
    grown = {"duration_minutes": 60, "buffer_after": 10}
    assert (await client.patch(f"/appointment-types/{TYPE}", json=grown)).status_code == 200
    made = await client.post("/bookings", json=order(MONDAY, "10:00"))
    assert made.status_code == 201, made.text
    exported = await export(client)
    kept = ("duration_minutes", "buffer_before", "buffer_after")
    assert [tuple(b[name] for name in kept) for b in exported["bookings"]] == [
        (30, 0, 0),
        (30, 0, 0),
        (60, 0, 10),
    ]
    again = await client.post("/clinic/import", params={"replace": True}, json=exported)
    assert again.status_code == 200, again.text
    assert await export(client) == exported


async def test_the_schema_is_published_and_describes_an_export(client: httpx.AsyncClient) -> None:
    from jsonschema import Draft202012Validator

    schema = (await client.get("/clinic/schema")).json()
    assert schema == orjson.loads(orjson.dumps(json_schema()))
    Draft202012Validator.check_schema(schema)
    await load(client, full_clinic())
    Draft202012Validator(schema).validate(await export(client))
    broken = small_clinic(providers=[{"id": PROVIDER}])
    assert list(Draft202012Validator(schema).iter_errors(broken))


# Edits


async def test_rows_are_created_listed_changed_and_deleted(client: httpx.AsyncClient) -> None:
    created = await client.post("/rooms", json={"name": "Room 9", "equipment": ["ecg", "ecg"]})
    assert created.status_code == 201
    room = created.json()
    assert (room["equipment"], room["active"], room["conflicts"]) == (["ecg"], True, [])
    del room["conflicts"]
    assert (await client.get("/rooms")).json() == [room]
    changed = await client.patch(f"/rooms/{room['id']}", json={"turnover_minutes": 10})
    assert changed.json() == room | {"turnover_minutes": 10, "conflicts": []}
    assert (await client.get(f"/rooms/{room['id']}")).json()["turnover_minutes"] == 10
    gone = await client.delete(f"/rooms/{room['id']}")
    assert gone.json() == {
        "id": room["id"],
        "deleted": True,
        "deactivated": False,
        "conflicts": [],
    }
    missing = await client.get(f"/rooms/{room['id']}")
    assert (missing.status_code, missing.json()["code"]) == (404, "NOT_FOUND")


async def test_every_kind_of_row_has_its_routes(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    rows = {
        "providers": {"name": "x"},
        "rooms": {"name": "x"},
        "appointment-types": {"name": "x", "duration_minutes": 20},
        "availability": {
            "provider_id": PROVIDER,
            "weekday": 2,
            "start_time": "09:00",
            "end_time": "10:00",
        },
        "overbooking-rules": {"provider_id": PROVIDER, "max_per_day": 3},
    }
    for path, row in rows.items():
        created = await client.post(f"/{path}", json=row)
        assert created.status_code == 201, created.text
        key = created.json()["id"]
        assert row.items() <= (await client.get(f"/{path}/{key}")).json().items()
        again = await client.post(f"/{path}", json=row | {"id": key})
        assert (again.status_code, again.json()["code"]) == (409, "ALREADY_EXISTS")
        assert (await client.patch(f"/{path}/{key}", json={})).status_code == 200
        assert (await client.delete(f"/{path}/{key}")).json()["deleted"] is True
        assert (await client.delete(f"/{path}/{key}")).status_code == 404


async def test_the_clinics_settings(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    for grid in (20, 1, 7, 240):
        changed = await client.patch("/clinic", json={"grid_minutes": grid})
        assert changed.json()["grid_minutes"] == grid
        assert (await client.get("/clinic")).json()["grid_minutes"] == grid
    bad_grids = ({"grid_minutes": grid} for grid in (0, 241, 2.5, None))
    for bad in (*bad_grids, {"timezone": "Mars/Olympus"}, {"name": None}):
        answer = await client.patch("/clinic", json=bad)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == next(iter(bad))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *product(
            ["localtime", "posixrules", "right/Europe/Berlin", "posix/UTC", "Factory"],
            ["no IANA time zone that a clinic may have; write one like Europe/Berlin"],
        ),
        *(
            (name, f"summer time and some without; write a place's, like {place}")
            for name, place in ABBREVIATIONS.items()
        ),
    ],
)
async def test_a_zone_that_is_not_the_same_everywhere_is_refused(
    client: httpx.AsyncClient, name: str, why: str
) -> None:
    await load(client, small_clinic())
    edited = await client.patch("/clinic", json={"timezone": name})
    document = small_clinic(clinic={"name": "C", "timezone": name})
    imported = await client.post("/clinic/import", json=document)
    for answer, field in ((edited, "timezone"), (imported, "clinic.timezone")):
        assert answer.status_code == 422, answer.text
        (fault,) = answer.json()["errors"]
        assert fault["field"] == field
        assert fault["message"].endswith(why)


async def test_an_edit_tells_the_bookings_it_strands(client: httpx.AsyncClient) -> None:
    rows = [booking(0, MONDAY, "09:00"), booking(1, MONDAY, "11:30")]
    await load(client, small_clinic(bookings=rows))
    window = (await client.get("/availability")).json()[0]
    edit = await client.patch(f"/availability/{window['id']}", json={"end_time": "11:45"})
    assert edit.status_code == 200
    assert [(c["booking_id"], c["rule"]) for c in edit.json()["conflicts"]] == [(uid(5, 1), 2)]
    late = await client.post("/bookings", json=order(MONDAY, "11:30"))
    assert "OUTSIDE_PROVIDER_HOURS" in late.json()["reasons"]
    unrelated = await client.patch(f"/providers/{PROVIDER}", json={"daily_cap": 5})
    assert unrelated.json()["conflicts"] == []


async def test_a_type_may_grow_and_shrink_under_its_bookings(client: httpx.AsyncClient) -> None:
    rows = [booking(0, MONDAY, "09:00"), booking(1, MONDAY, "09:30")]
    await load(client, small_clinic(bookings=rows))
    for minutes, start, end in ((45, "10:00", "10:45"), (15, "11:00", "11:15")):
        edit = {"duration_minutes": minutes}
        edited = await client.patch(f"/appointment-types/{TYPE}", json=edit)
        assert edited.json()["conflicts"] == []
        taken = await client.post("/bookings", json=order(MONDAY, "09:45"))
        assert taken.json()["reasons"] == ["ROOM_BUSY", "PROVIDER_BUSY"]
        made = await client.post("/bookings", json=order(MONDAY, start))
        assert (made.status_code, made.json()["end_time"]) == (201, end)
    assert [b["end_time"] for b in (await client.get("/bookings")).json()] == [
        *("09:30", "10:00", "10:45", "11:15"),
    ]


async def test_a_row_that_bookings_refer_to_is_deactivated(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "09:00")]))
    for path, key in (("providers", PROVIDER), ("rooms", ROOM), ("appointment-types", TYPE)):
        gone = (await client.delete(f"/{path}/{key}")).json()
        assert (gone["deleted"], gone["deactivated"]) == (False, True)
        assert (await client.get(f"/{path}/{key}")).json()["active"] is False
    assert gone["conflicts"] == []  # the booking broke the rule of activity already


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("providers", {"skills": ["gp"]}, "name"),
        ("providers", {"name": "x", "buffer_before": 721}, "buffer_before"),
        ("rooms", {"name": "x", "turnover_minutes": "5"}, "turnover_minutes"),
        ("appointment-types", {"name": "x", "duration_minutes": 0}, "duration_minutes"),
        ("availability", {"start_time": "09:00", "end_time": "10:00"}, "weekday"),
        (
            "availability",
            {"provider_id": uid(1, 9), "weekday": 1, "start_time": "09:00", "end_time": "10:00"},
            "provider_id",
        ),
        ("overbooking-rules", {"start_time": "10:00", "end_time": "09:00"}, "end_time"),
        ("overbooking-rules", {"appointment_type_id": uid(3, 9)}, "appointment_type_id"),
    ],
)
async def test_bad_rows(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await client.post(f"/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR"), answer.text
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *product(("get", "patch", "delete"), ("providers", "availability")),
        ("get", "bookings"),
    ],
)
async def test_ids_that_are_none(client: httpx.AsyncClient, method: str, path: str) -> None:
    extra = {"json": {}} if method == "patch" else {}
    malformed = await getattr(client, method)(f"/{path}/7", **extra)
    assert malformed.status_code == 422
    unknown = await getattr(client, method)(f"/{path}/{uid(9, 9)}", **extra)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("body", [b'{"name": "\xff"}', b"[" * 100_000, b"{", b""])
async def test_bodies_that_cannot_be_read(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post("/rooms", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["field"] == "body"


async def test_half_a_surrogate_pair(client: httpx.AsyncClient) -> None:
    for field in ("start_time", "end_time", "kind", "provider_id", "date"):
        body = f'{{"weekday": 1, "start_time": "09:00", "end_time": "10:00", "{field}": "\\ud800"}}'
        headers = {"content-type": "application/json"}
        answer = await client.post("/availability", content=body, headers=headers)
        assert answer.status_code == 422, answer.text
        assert field in [error["field"] for error in answer.json()["errors"]]


async def test_other_errors_are_problems_too(client: httpx.AsyncClient) -> None:
    for answer in (await client.get("/nowhere"), await client.put("/rooms")):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] in ("NOT_FOUND", "METHOD_NOT_ALLOWED")
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    assert (await client.get("/openapi.json")).status_code == 200


async def test_a_day_of_the_past_has_no_conflicts(client: httpx.AsyncClient) -> None:
    past = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=30)
    past -= dt.timedelta(days=past.isoweekday() - 1)
    await load(client, small_clinic(bookings=[booking(0, past, "09:00")]))
    row = (await client.get("/availability")).json()[0]
    assert (await client.delete(f"/availability/{row['id']}")).json()["conflicts"] == []


async def test_a_dry_run_tells_the_conflicts_and_writes_nothing(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "11:00")]))
    (hours,) = (await client.get("/availability")).json()
    before = (await client.get("/clinic/export")).json()
    path, body = f"/availability/{hours['id']}", {"end_time": "10:00"}
    foreseen = await client.patch(path, json=body, params={"dry_run": True})
    assert foreseen.status_code == 200
    assert [c["rule"] for c in foreseen.json()["conflicts"]] == [2]
    gone = await client.delete(path, params={"dry_run": True})
    assert (gone.json()["deleted"], len(gone.json()["conflicts"])) == (True, 1)
    made = await client.post("/rooms", json={"name": "Room 9"}, params={"dry_run": True})
    assert (made.status_code, made.json()["conflicts"]) == (200, [])
    assert (await client.get("/clinic/export")).json() == before
    edited = await client.patch(path, json=body)
    assert edited.json() == foreseen.json()


@pytest.mark.parametrize("blank", [" ", "\t", "\u200b", "\u3000"])
async def test_blanks_are_no_names(client: httpx.AsyncClient, blank: str) -> None:
    document = small_clinic()
    document["clinic"]["name"] = blank
    document["providers"][0] |= {"name": blank, "skills": ["gp", blank]}
    document["rooms"][0]["name"] = blank
    document["appointment_types"][0]["name"] = blank
    refused = await client.post("/clinic/import", json=document)
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == [
        "clinic.name",
        "providers[0].name",
        "providers[0].skills[1]",
        "rooms[0].name",
        "appointment_types[0].name",
    ]
    assert {fault["message"] for fault in refused.json()["errors"]} == {
        "must not be blank; write what people are to read"
    }


async def test_a_blank_name_of_before_is_still_shown(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, small_clinic())
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE providers SET name = ' ', skills = '{ }'"))
        await connection.execute(text("UPDATE clinic SET name = ' '"))
    [row] = (await client.get("/providers")).json()
    assert row["name"] == " "
    assert (await client.get("/clinic")).json()["name"] == " "
    assert (await client.get("/clinic/export")).json()["providers"][0]["name"] == " "
    renamed = await client.patch(f"/providers/{row['id']}", json={"name": "Dr. Vega"})
    assert renamed.status_code == 200
