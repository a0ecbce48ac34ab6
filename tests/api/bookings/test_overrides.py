"""Bookings against the rules of policy, on purpose: what may be, what is kept, and who is told."""

import asyncio
import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import served
from tests.support.clinics import PROVIDER, ROOM, RULE, TYPE, booking, order, small_clinic
from tests.support.over_http import (
    MONDAY,
    book_at_once,
    booked,
    do,
    load,
    run_of,
    run_out,
    solved,
    split,
    to,
)
from tests.support.strategies import uid

WHY = "The chief asked for it."
OTHER_ROOM = uid(2, 1)


def over(*codes: str, **more: Any) -> dict[str, Any]:
    return {"override": list(codes), "override_reason": WHY} | more


def two_rooms(**changes: Any) -> dict[str, Any]:
    rooms = [{"id": ROOM, "name": "Room 1"}, {"id": OTHER_ROOM, "name": "Room 2"}]
    return small_clinic(rooms=rooms, **changes)


def of_vega(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": PROVIDER, "name": "Dr. Vega", "skills": ["gp"]} | changes]


def visit(**changes: Any) -> list[dict[str, Any]]:
    row = {"id": TYPE, "name": "Visit", "duration_minutes": 30, "required_skills": ["gp"]}
    return [row | changes]


NINE_TO_TWELVE = {"start_time": "09:00", "end_time": "12:00", "weekday": 1}
ROOM_AT_NINE = {"room_id": ROOM, "start_time": "09:00", "end_time": "10:00", "weekday": 1}
A_YEAR = {"name": "Small", "timezone": "Europe/Berlin", "min_notice_minutes": 500_000}

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "TOO_SOON": (small_clinic(clinic=A_YEAR), "10:00"),
    "OUTSIDE_PROVIDER_HOURS": (small_clinic(), "20:00"),
    "OUTSIDE_ROOM_HOURS": (
        small_clinic(availability=[{"provider_id": PROVIDER} | NINE_TO_TWELVE, ROOM_AT_NINE]),
        "11:00",
    ),
    "TYPE_DAILY_CAP": (
        two_rooms(appointment_types=visit(daily_cap=1), bookings=[booking(0, MONDAY, "09:00")]),
        "10:00",
    ),
    "PROVIDER_BUSY": (two_rooms(bookings=[booking(0, MONDAY, "10:00")]), "10:15"),
    "PROVIDER_DAILY_CAP": (
        two_rooms(providers=of_vega(daily_cap=1), bookings=[booking(0, MONDAY, "09:00")]),
        "10:00",
    ),
}
"""By the code: a clinic, and a start of which this alone is the matter."""


@pytest.mark.parametrize("code", CASES)
async def test_each_rule_of_policy(client: httpx.AsyncClient, code: str) -> None:
    document, start = CASES[code]
    await load(client, document)
    others = [other for other in CASES if other != code]
    for body in (order(MONDAY, start), order(MONDAY, start, **over(*others))):
        refused = await client.post("/bookings", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "SLOT_UNAVAILABLE")
        assert refused.json()["reasons"] == [code]
    made = await client.post("/bookings", json=order(MONDAY, start, **over(code, *others[:2])))
    assert made.status_code == 201, made.text
    body = made.json()
    assert body["overrides"] == [code]
    assert body["is_overbooked"] == code.startswith("PROVIDER_")
    assert (await client.get(f"/bookings/{body['id']}")).json() == body
    conflicts = await client.get("/bookings/conflicts")
    assert conflicts.json() == []
    (entry,) = (await client.get(f"/bookings/{body['id']}/history")).json()
    assert entry["override_reason"] == WHY
    assert entry["after"]["overrides"] == [code]


async def test_what_was_not_needed_leaves_no_trace(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    made = await booked(client, "10:00", **over("TOO_SOON", "PROVIDER_BUSY"))
    assert (made["overrides"], made["is_overbooked"]) == ([], False)
    (entry,) = (await client.get(f"/bookings/{made['id']}/history")).json()
    assert entry["override_reason"] is None


async def test_all_reasons_have_to_be_overridden(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(providers=of_vega(daily_cap=0), appointment_types=visit(
        daily_cap=0
    )))  # fmt: skip
    codes = ["OUTSIDE_PROVIDER_HOURS", "TYPE_DAILY_CAP", "PROVIDER_DAILY_CAP"]
    for left_out in codes:
        named = [code for code in codes if code != left_out]
        status, refused = await do(client, "/bookings", **order(MONDAY, "20:00", **over(*named)))
        assert (status, refused["reasons"]) == (409, codes)
    made = await booked(client, "20:00", **over(*reversed(codes)))
    assert (made["overrides"], made["is_overbooked"]) == (codes, True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"override": ["TOO_SOON"]}, "override_reason"),
        ({"override_reason": WHY}, "override"),
        ({"override": None, "override_reason": WHY}, "override"),
        ({"override": [], "override_reason": WHY}, "override"),
        (over("TOO_SOON", "ROOM_BUSY"), "override[1]"),
        (over("PATIENT_CONFLICT"), "override[0]"),
        (over("WOULD_BE_OVERBOOKED"), "override[0]"),
        (over("TOO_SOON", "NO_SUCH_RULE"), "override[1]"),
        (over("TOO_SOON", "PROVIDER_BUSY", "TOO_SOON"), "override[2]"),
        ({"override": ["TOO_SOON"], "override_reason": "no"}, "override_reason"),
        ({"override": ["TOO_SOON"], "override_reason": "    "}, "override_reason"),
        ({"override": ["TOO_SOON"], "override_reason": "x" * 501}, "override_reason"),
        ({"override": "TOO_SOON", "override_reason": WHY}, "override"),
        ({"override": [["TOO_SOON"]], "override_reason": WHY}, "override[0]"),
    ],
)
async def test_what_is_no_override(
    client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    await load(client, small_clinic())
    made = await booked(client, "09:00", patient_ref="other")
    asked = {
        "/bookings": order(MONDAY, "10:00"),
        "/holds": order(MONDAY, "10:00"),
        f"/bookings/{made['id']}/reschedule": to("10:00"),
    }
    for path, place in asked.items():
        status, refused = await do(client, path, **place, **body)
        assert (status, refused["code"]) == (422, "VALIDATION_ERROR"), refused
        assert [error["field"] for error in refused["errors"]] == [field]


async def test_swaps_and_plans_take_no_override(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    a, b = await booked(client, "09:00"), await booked(client, "10:00", patient_ref="other")
    status, refused = await do(client, "/bookings/swap", a=a["id"], b=b["id"], **over("TOO_SOON"))
    assert status == 422
    assert [error["field"] for error in refused["errors"]] == ["override", "override_reason"]


# What nothing lifts


async def test_the_very_start_of_another_booking(client: httpx.AsyncClient) -> None:
    await load(client, two_rooms(bookings=[booking(0, MONDAY, "10:00")]))
    body = order(MONDAY, "10:00", room_id=OTHER_ROOM, **over("PROVIDER_BUSY"))
    status, refused = await do(client, "/bookings", **body)
    assert (status, refused["reasons"]) == (409, ["PROVIDER_BUSY"])


async def test_a_start_before_now(client: httpx.AsyncClient) -> None:
    zone = ZoneInfo("Pacific/Kiritimati")  # where it is never midnight as these tests begin
    now = dt.datetime.now(zone)
    if now.hour == 0 and now.minute < 20:
        zone = ZoneInfo("Europe/Berlin")
        now = dt.datetime.now(zone)
    document = small_clinic(
        clinic={"name": "Small", "timezone": zone.key},
        availability=[
            {"provider_id": PROVIDER, "date": now.date().isoformat()}
            | {"start_time": "00:00", "end_time": "24:00"}
        ],
    )
    await load(client, document)
    codes = ("TOO_SOON", "OUTSIDE_PROVIDER_HOURS")
    status, refused = await do(client, "/bookings", **order(now.date(), "00:00", **over(*codes)))
    assert (status, refused["reasons"]) == (409, ["TOO_SOON"])


async def test_an_appointment_ends_on_its_date(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic())
    codes = ("OUTSIDE_PROVIDER_HOURS", "OUTSIDE_ROOM_HOURS")
    status, refused = await do(client, "/bookings", **order(MONDAY, "23:45", **over(*codes)))
    assert (status, refused["reasons"]) == (409, ["OUTSIDE_DATE", *codes])
    assert (await booked(client, "23:30", **over(*codes)))["overrides"] == [codes[0]]


async def test_a_patient_is_elsewhere(client: httpx.AsyncClient) -> None:
    providers = [*of_vega(), {"id": uid(1, 1), "name": "Dr. Lund", "skills": ["gp"]}]
    await load(client, two_rooms(providers=providers))
    first = await booked(client, "10:00")
    there = order(MONDAY, "10:15", provider_id=uid(1, 1))
    status, refused = await do(client, "/bookings", **there)
    told = ["OUTSIDE_PROVIDER_HOURS", "PATIENT_CONFLICT"]
    assert (status, refused["code"], refused["reasons"]) == (409, "SLOT_UNAVAILABLE", told)
    assert refused["booking_id"] == first["id"]
    status, refused = await do(client, "/bookings", **there, **over("OUTSIDE_PROVIDER_HOURS"))
    assert (status, refused["code"], refused["reasons"]) == (409, "SLOT_UNAVAILABLE", told)
    more = over("OUTSIDE_PROVIDER_HOURS", allow_patient_overlap=True)
    status, made = await do(client, "/bookings", **there, **more)
    assert (status, made["overrides"]) == (201, ["OUTSIDE_PROVIDER_HOURS"])
    status, refused = await do(client, "/bookings", **order(MONDAY, "10:30"))
    assert (status, refused["code"]) == (409, "PATIENT_CONFLICT")
    assert refused["reasons"] == ["PATIENT_CONFLICT"]


# Overbooking rules beside overrides


async def test_an_override_uses_no_allowance(client: httpx.AsyncClient) -> None:
    rules = [{"id": RULE, "max_overlap": 1, "max_per_day": 1, "start_time": "11:00"}]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(4)]
    standing = [booking(0, MONDAY, "10:00"), booking(1, MONDAY, "11:00")]
    document = small_clinic(rooms=rooms, overbooking_rules=rules, bookings=standing)
    await load(client, document)
    made = await booked(client, "10:15", **over("PROVIDER_BUSY"))
    assert (made["overrides"], made["is_overbooked"]) == (["PROVIDER_BUSY"], True)
    by_rule = await booked(client, "11:15", patient_ref="b", accept_overbooked=True)
    assert (by_rule["overrides"], by_rule["is_overbooked"]) == ([], True)
    status, refused = await do(
        client, "/bookings", **order(MONDAY, "11:20", accept_overbooked=True, patient_ref="c")
    )
    assert (status, refused["reasons"]) == (409, ["OFF_GRID", "PROVIDER_BUSY"])
    assert (await client.get("/bookings/conflicts")).json() == []


async def test_an_overridden_booking_is_met_by_overbooked_ones(client: httpx.AsyncClient) -> None:
    rules = [{"id": RULE, "max_overlap": 1, "max_per_day": 5, "end_time": "10:45"}]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(4)]
    document = small_clinic(
        rooms=rooms, overbooking_rules=rules, bookings=[booking(0, MONDAY, "10:30")]
    )
    await load(client, document)
    await booked(client, "10:45", **over("PROVIDER_BUSY"))
    body = order(MONDAY, "10:15", patient_ref="b", accept_overbooked=True)
    assert (await do(client, "/bookings", **body))[0] == 201
    await do(client, f"/bookings/{uid(5, 0)}/cancel")


async def test_would_be_overbooked(client: httpx.AsyncClient) -> None:
    rules = [{"id": RULE, "max_overlap": 1, "max_per_day": 3}]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(4)]
    late = {"provider_id": PROVIDER, "weekday": 1, "start_time": "09:00", "end_time": "10:30"}
    document = small_clinic(
        rooms=rooms,
        overbooking_rules=rules,
        availability=[late],
        bookings=[booking(0, MONDAY, "10:00")],
    )
    await load(client, document)
    only = ["WOULD_BE_OVERBOOKED"]
    body = order(MONDAY, "09:45", **over("TOO_SOON"))
    assert (await do(client, "/bookings", **body))[1]["reasons"] == only
    body = order(MONDAY, "10:15", **over("OUTSIDE_PROVIDER_HOURS"))
    assert (await do(client, "/bookings", **body))[1]["reasons"] == only
    made = await booked(client, "09:45", **over("PROVIDER_BUSY"))  # is as good as accepting it
    assert (made["overrides"], made["is_overbooked"]) == ([], True)
    more = over("OUTSIDE_PROVIDER_HOURS", patient_ref="b", accept_overbooked=True)
    made = await booked(client, "10:15", **more)
    assert (made["overrides"], made["is_overbooked"]) == (["OUTSIDE_PROVIDER_HOURS"], True)


# Rooms


async def test_the_room_that_needs_the_least(client: httpx.AsyncClient) -> None:
    rows = [
        {"provider_id": PROVIDER} | NINE_TO_TWELVE,
        ROOM_AT_NINE,
        {"room_id": OTHER_ROOM, "weekday": 1, "start_time": "09:00", "end_time": "20:00"},
    ]
    await load(client, two_rooms(availability=rows))
    both = over("OUTSIDE_PROVIDER_HOURS", "OUTSIDE_ROOM_HOURS")
    made = await booked(client, "19:00", **both)
    assert (made["room_id"], made["overrides"]) == (OTHER_ROOM, ["OUTSIDE_PROVIDER_HOURS"])
    made = await booked(client, "11:00", patient_ref="b", **both)
    assert (made["room_id"], made["overrides"]) == (OTHER_ROOM, [])
    made = await booked(client, "20:00", patient_ref="c", **both)
    assert (made["room_id"], made["overrides"]) == (
        ROOM,
        ["OUTSIDE_PROVIDER_HOURS", "OUTSIDE_ROOM_HOURS"],
    )


async def test_without_a_room_the_easiest_tells_why(client: httpx.AsyncClient) -> None:
    rooms = [
        {"id": ROOM, "name": "Closed and taken", "equipment": ["ecg"]},
        {"id": OTHER_ROOM, "name": "Closed", "equipment": ["ecg"]},
        {"id": uid(2, 2), "name": "Bare"},
    ]
    closed = {"start_time": "09:00", "end_time": "09:30", "weekday": 2}
    rows = [
        {"provider_id": PROVIDER} | NINE_TO_TWELVE,
        {"room_id": ROOM} | closed,
        {"room_id": OTHER_ROOM} | closed,
    ]
    types = [*visit(required_equipment=["ecg"]), visit(id=uid(3, 1))[0]]
    elsewhere = {"id": uid(1, 1), "name": "Dr. Lund", "skills": ["gp"]}
    taken = booking(0, MONDAY, "10:00", provider_id=uid(1, 1))
    document = small_clinic(
        rooms=rooms,
        availability=rows,
        appointment_types=types,
        providers=[*of_vega(), elsewhere],
        bookings=[taken],
    )
    await load(client, document)
    status, refused = await do(client, "/bookings", **order(MONDAY, "10:00"))
    assert (status, refused["reasons"]) == (409, ["OUTSIDE_ROOM_HOURS"])
    made = await booked(client, "10:00", **over("OUTSIDE_ROOM_HOURS"))
    assert made["room_id"] == OTHER_ROOM


# Holds, moves, undoing


async def test_a_hold_that_overrides_is_confirmed_as_it_is(client: httpx.AsyncClient) -> None:
    await load(client, two_rooms(bookings=[booking(0, MONDAY, "10:00")]))
    status, hold = await do(client, "/holds", **order(MONDAY, "10:15", **over("PROVIDER_BUSY")))
    assert (status, hold["status"], hold["overrides"]) == (201, "held", ["PROVIDER_BUSY"])
    status, made = await do(client, f"/holds/{hold['id']}/confirm")
    assert (status, made["status"], made["overrides"]) == (200, "booked", ["PROVIDER_BUSY"])
    assert made["is_overbooked"] is True
    held, confirmed = (await client.get(f"/bookings/{made['id']}/history")).json()
    assert (held["override_reason"], confirmed["override_reason"]) == (WHY, None)


async def test_a_hold_that_overrides_is_confirmed_when_nothing_is_in_its_way_any_more(
    client: httpx.AsyncClient,
) -> None:
    await load(client, two_rooms(bookings=[booking(0, MONDAY, "10:00")]))
    _, hold = await do(client, "/holds", **order(MONDAY, "10:15", **over("PROVIDER_BUSY")))
    await do(client, f"/bookings/{uid(5, 0)}/cancel")
    _, made = await do(client, f"/holds/{hold['id']}/confirm")
    assert (made["overrides"], made["is_overbooked"]) == (["PROVIDER_BUSY"], True)


async def test_a_hold_that_overrides_is_refused_for_what_is_new(client: httpx.AsyncClient) -> None:
    await load(client, two_rooms())
    _, hold = await do(client, "/holds", **order(MONDAY, "20:00", **over("OUTSIDE_PROVIDER_HOURS")))
    await client.patch(f"/rooms/{hold['room_id']}", json={"active": False})
    status, refused = await do(client, f"/holds/{hold['id']}/confirm")
    assert (status, refused["reasons"]) == (409, ["ROOM_INACTIVE", "OUTSIDE_PROVIDER_HOURS"])


async def test_a_reschedule_keeps_its_own_overrides_alone(client: httpx.AsyncClient) -> None:
    await load(client, two_rooms())
    made = await booked(client, "20:00", **over("OUTSIDE_PROVIDER_HOURS"))
    path = f"/bookings/{made['id']}/reschedule"
    status, refused = await do(client, path, **to("21:00"))
    assert (status, refused["reasons"]) == (409, ["OUTSIDE_PROVIDER_HOURS"])
    status, moved = await do(client, path, **to("21:00", **over("OUTSIDE_PROVIDER_HOURS")))
    assert (status, moved["overrides"]) == (200, ["OUTSIDE_PROVIDER_HOURS"])
    assert moved["room_id"] == made["room_id"]
    status, moved = await do(client, path, **to("10:00"))
    assert (status, moved["overrides"]) == (200, [])
    told = (await client.get(f"/bookings/{made['id']}/history")).json()
    assert [entry["override_reason"] for entry in told] == [WHY, WHY, None]


async def test_a_swap_drops_overrides(client: httpx.AsyncClient) -> None:
    await load(client, two_rooms(bookings=[booking(0, MONDAY, "10:00")]))
    late = await booked(client, "20:00", **over("OUTSIDE_PROVIDER_HOURS"))
    a, b = late["id"], uid(5, 0)
    status, refused = await do(client, "/bookings/swap", a=a, b=b)
    assert (status, refused["reasons"]) == (409, ["OUTSIDE_PROVIDER_HOURS"])
    await client.post("/availability", json={
        "provider_id": PROVIDER, "date": MONDAY.isoformat(),
        "start_time": "09:00", "end_time": "21:00",
    })  # fmt: skip
    status, swapped = await do(client, "/bookings/swap", a=a, b=b)
    assert (status, swapped["a"]["overrides"], swapped["b"]["overrides"]) == (200, [], [])


async def test_a_cancelled_one_comes_back_as_it_was(client: httpx.AsyncClient) -> None:
    await load(client, two_rooms())
    made = await booked(client, "20:00", **over("OUTSIDE_PROVIDER_HOURS"))
    await do(client, f"/bookings/{made['id']}/cancel")
    status, back = await do(client, f"/bookings/{made['id']}/undo")
    assert (status, back["status"]) == (200, "booked")
    assert back["overrides"] == ["OUTSIDE_PROVIDER_HOURS"]


async def test_a_hold_that_has_run_out_is_in_nobodys_way(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, two_rooms())
    status, hold = await do(client, "/holds", **order(MONDAY, "10:00"))
    assert status == 201
    body = order(MONDAY, "10:00", patient_ref="b", **over("PROVIDER_BUSY"))
    assert (await do(client, "/bookings", **body))[1]["reasons"] == ["PROVIDER_BUSY"]
    await run_out(engine, hold["id"])
    status, made = await do(client, "/bookings", **body)
    assert (status, made["overrides"], made["is_overbooked"]) == (201, [], False)


# The standing book


async def test_an_edit_tells_of_the_other_rules_alone(client: httpx.AsyncClient) -> None:
    await load(client, two_rooms())
    made = await booked(client, "20:00", **over("OUTSIDE_PROVIDER_HOURS"))
    sick = {"provider_id": PROVIDER, "date": MONDAY.isoformat(), "kind": "closed"}
    sick |= {"start_time": "00:00", "end_time": "24:00"}
    answer = await client.post("/availability", json=sick)
    assert (answer.status_code, answer.json()["conflicts"]) == (201, [])
    shut = sick | {"provider_id": None, "room_id": made["room_id"]}
    answer = await client.post("/availability", json=shut)
    told = [(c["booking_id"], c["rule"], c["code"]) for c in answer.json()["conflicts"]]
    assert told == [(made["id"], 2, "OUTSIDE_ROOM_HOURS")]
    (standing,) = (await client.get("/bookings/conflicts")).json()
    assert [rule["code"] for rule in standing["rules"]] == ["OUTSIDE_ROOM_HOURS"]
    assert standing["overrides"] == ["OUTSIDE_PROVIDER_HOURS"]


async def test_what_overrides_a_cap_puts_no_other_over_it(client: httpx.AsyncClient) -> None:
    document, start = CASES["TYPE_DAILY_CAP"]
    await load(client, document)
    await booked(client, start, **over("TYPE_DAILY_CAP"))
    assert (await client.get("/bookings/conflicts")).json() == []
    status, refused = await do(client, "/bookings", **order(MONDAY, "11:00", patient_ref="c"))
    assert (status, refused["reasons"]) == (409, ["TYPE_DAILY_CAP"])


async def test_out_and_in_again(client: httpx.AsyncClient) -> None:
    await load(client, two_rooms())
    made = await booked(client, "20:00", **over("OUTSIDE_PROVIDER_HOURS"))
    plain = await booked(client, "10:00", patient_ref="other")
    document = (await client.get("/clinic/export")).json()
    rows = {row["id"]: row for row in document["bookings"]}
    assert rows[made["id"]]["overrides"] == ["OUTSIDE_PROVIDER_HOURS"]
    assert "overrides" not in rows[plain["id"]]
    again = (await client.post("/clinic/import", params={"replace": True}, json=document)).json()
    assert again["warnings"] == []
    assert (await client.get("/clinic/export")).json() == document
    del rows[made["id"]]["overrides"]  # which keeps what is stored
    await load(client, document)
    assert (await client.get(f"/bookings/{made['id']}")).json() == made
    rows[made["id"]]["overrides"] = []
    told = (await client.post("/clinic/import", json=document)).json()
    assert [warning["code"] for warning in told["warnings"]] == ["OUTSIDE_PROVIDER_HOURS"]
    stripped = (await client.get(f"/bookings/{made['id']}")).json()
    assert (stripped["overrides"], stripped["version"]) == ([], made["version"] + 1)
    rows[made["id"]]["overrides"] = ["TOO_SOON", "ROOM_BUSY"]
    refused = await client.post("/clinic/import", json=document)
    place = document["bookings"].index(rows[made["id"]])
    assert [error["field"] for error in refused.json()["errors"]] == [
        f"bookings[{place}].overrides[1]"
    ]


async def test_a_plan_leaves_it_where_it_is_unless_its_provider_is_out(
    client: httpx.AsyncClient,
) -> None:
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(2)]
    rows = [{"provider_id": p["id"]} | NINE_TO_TWELVE for p in providers]
    late = booking(0, MONDAY, "20:00", overrides=["OUTSIDE_PROVIDER_HOURS"])
    document = two_rooms(providers=providers, availability=rows, bookings=[late])
    await load(client, document)
    out = {"op": "provider_out", "provider_id": PROVIDER, "date": MONDAY.isoformat()}
    scenarios = [{"name": "baseline"}, {"name": "out", "changes": [out]}]
    run = run_of([{"id": "r"}], existing="movable", scenarios=scenarios)
    key, body = await solved(client, run)
    baseline, away = body["scenarios"]
    assert (baseline["moves"], len(baseline["placements"])) == ([], 1)
    assert [move["booking_id"] for move in away["moves"]] == [uid(5, 0)]
    answer = await client.post(
        f"/what-if/{key}/apply", json={"scenario": "out", "apply_changes": True}
    )
    assert answer.status_code == 200, answer.text
    (moved,) = answer.json()["moved"]
    assert (moved["id"], moved["provider_id"], moved["overrides"]) == (uid(5, 0), uid(1, 1), [])
    assert answer.json()["conflicts"] == []


# Many at once, and who may


async def test_one_of_ten_overridden_ones_at_a_start_wins(client: httpx.AsyncClient) -> None:
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(10)]
    await load(client, small_clinic(rooms=rooms))
    orders = [
        order(MONDAY, "20:00", patient_ref=f"p{n}")
        | over("OUTSIDE_PROVIDER_HOURS", "PROVIDER_BUSY")
        for n in range(10)
    ]
    won, lost = split(await book_at_once(client, orders))
    assert (len(won), len(lost)) == (1, 9)
    assert all("PROVIDER_BUSY" in answer["reasons"] for answer in lost)


async def test_overlapping_ones_at_once_are_all_made(client: httpx.AsyncClient) -> None:
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(3)]
    await load(client, small_clinic(rooms=rooms))
    starts = ["10:00", "10:15", "10:30"]
    bodies = [order(MONDAY, start, patient_ref=start) | over("PROVIDER_BUSY") for start in starts]
    won, lost = split(await book_at_once(client, bodies))
    assert (len(won), lost) == (3, [])
    regular = [row["start_time"] for row in won if not row["is_overbooked"]]
    assert len(regular) in (1, 2)
    assert (await client.get("/bookings/conflicts")).json() == []


async def test_roles(engine: AsyncEngine, database_url: str) -> None:
    async with served(database_url, rate_limits="off") as client:
        await load(client, two_rooms())
        made = {}
        for role in ("admin", "manager", "scheduler", "viewer"):
            headers = {"Authorization": f"Bearer {made['admin']}"} if made else {}
            answer = await client.post("/keys", json={"role": role}, headers=headers)
            made[role] = answer.json()["key"]
    bearer = {role: {"Authorization": f"Bearer {key}"} for role, key in made.items()}
    body = order(MONDAY, "20:00") | over("OUTSIDE_PROVIDER_HOURS")
    async with served(database_url, rate_limits="off") as client:
        refused = await client.post("/bookings", json=body, headers=bearer["scheduler"])
        assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
        assert refused.json()["required_role"] == "manager"
        granted = await client.post("/bookings", json=body, headers=bearer["manager"])
        assert granted.status_code == 201
        path = f"/bookings/{granted.json()['id']}/history"
        for role, is_told in [("viewer", False), ("scheduler", False), ("manager", True)]:
            (entry,) = (await client.get(path, headers=bearer[role])).json()
            assert ("override_reason" in entry) == is_told
    async with served(database_url, rate_limits="off", override_role="scheduler") as client:
        body |= {"start_time": "21:00", "patient_ref": "other"}
        granted = await client.post("/bookings", json=body, headers=bearer["scheduler"])
        assert granted.status_code == 201
        refused = await client.post("/bookings", json=body, headers=bearer["viewer"])
        assert (refused.status_code, refused.json()["required_role"]) == (403, "scheduler")


async def test_erasing_a_patient_forgets_the_reasons(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, two_rooms())
    made = await booked(client, "20:00", **over("OUTSIDE_PROVIDER_HOURS"))
    await do(client, f"/bookings/{made['id']}/cancel")
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE bookings SET patient_ref = 'erased-x', patient_key = 'erased-x'")
        )
        await connection.execute(
            text("SELECT erase_patient(ARRAY['someone'], 'erased-0123456789ab', 'test')")
        )
    entries = (await client.get(f"/bookings/{made['id']}/history")).json()
    assert [entry["override_reason"] for entry in entries] == [None, None]


async def test_a_repeat_returns_the_first_answer(client: httpx.AsyncClient) -> None:
    await load(client, two_rooms())
    body = order(MONDAY, "20:00") | over("OUTSIDE_PROVIDER_HOURS")
    headers = {"Idempotency-Key": "once"}
    first, second = await asyncio.gather(
        *(client.post("/bookings", json=body, headers=headers) for _ in range(2))
    )
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert first.status_code == 201
