"""Providers who differ, over HTTP: their minutes, buffers and caps for a type, or not at all."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.clinics import PROVIDER, ROOM, TYPE, booking, coming_monday, order, small_clinic
from tests.support.over_http import load, solved
from tests.support.strategies import uid

MONDAY = coming_monday()
LINN, OTHER_ROOM, SCAN = uid(1, 1), uid(2, 1), uid(3, 1)
ALLOWANCE = {"id": uid(4, 0), "max_overlap": 1, "max_per_day": 9}


def own(number: int = 0, **fields: Any) -> dict[str, Any]:
    return {"id": uid(6, number), "provider_id": PROVIDER, "appointment_type_id": TYPE} | fields


def two_providers(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Dr. Vega and Dr. Linn, each Monday from 9 to 12, and two rooms."""
    hours = {"weekday": 1, "start_time": "09:00", "end_time": "12:00"}
    return (
        small_clinic(
            providers=[
                {"id": PROVIDER, "name": "Dr. Vega", "skills": ["gp"]},
                {"id": LINN, "name": "Dr. Linn", "skills": ["gp"]},
            ],
            rooms=[{"id": ROOM, "name": "Room 1"}, {"id": OTHER_ROOM, "name": "Room 2"}],
            availability=[{"provider_id": key, **hours} for key in (PROVIDER, LINN)],
            provider_types=list(rows),
        )
        | changes
    )


async def book(client: httpx.AsyncClient, start: str, **changes: Any) -> httpx.Response:
    return await client.post("/bookings", json=order(MONDAY, start, **changes))


async def test_slots_and_bookings_take_the_providers_own_minutes(
    client: httpx.AsyncClient,
) -> None:
    await load(client, two_providers(own(duration_minutes=40, buffer_after=20)))
    query = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}
    slots = (await client.get("/slots", params=query | {"rooms": "all"})).json()
    ends = {(s["provider_id"], s["start_time"]): s["end_time"] for s in slots["slots"]}
    assert (ends[PROVIDER, "09:00"], ends[LINN, "09:00"]) == ("09:40", "09:30")
    assert slots["total"] == 2 * (10 + 11)

    made = await book(client, "09:00", patient_ref="a")
    assert (made.status_code, made.json()["end_time"]) == (201, "09:40")
    soon = await book(client, "09:45", patient_ref="b")
    assert (soon.status_code, soon.json()["reasons"]) == (409, ["PROVIDER_BUSY"])
    assert (await book(client, "10:00", patient_ref="b")).status_code == 201

    moved = await client.post(
        f"/bookings/{made.json()['id']}/reschedule",
        json={"date": MONDAY.isoformat(), "start_time": "11:00", "provider_id": LINN},
    )
    assert moved.json()["end_time"] == "11:30"
    linns = (await book(client, "09:00", provider_id=LINN, patient_ref="c")).json()["id"]
    vegas = (await client.get("/bookings", params={"provider_id": PROVIDER})).json()[0]["id"]
    swapped = await client.post("/bookings/swap", json={"a": linns, "b": vegas})
    assert swapped.status_code == 200, swapped.text
    ends = {name: swapped.json()[name]["end_time"] for name in ("a", "b")}
    assert ends == {"a": "10:40", "b": "09:30"}


async def test_what_is_not_offered_is_like_a_skill_that_is_lacking(
    client: httpx.AsyncClient,
) -> None:
    await load(client, two_providers(own(offered=False)))
    refused = await book(client, "09:00")
    assert refused.json()["reasons"] == ["PROVIDER_LACKS_SKILLS"]
    query = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}
    slots = (await client.get("/slots", params=query)).json()["slots"]
    assert {slot["provider_id"] for slot in slots} == {LINN}
    alone = (await client.get("/slots", params=query | {"provider_id": PROVIDER})).json()
    assert alone["blocked_by"] == {"PROVIDER_LACKS_SKILLS": 2 * (1 + (1440 - 30) // 15)}


async def test_a_cap_for_the_type_is_lifted_by_no_allowance(client: httpx.AsyncClient) -> None:
    await load(client, two_providers(own(daily_cap=1), overbooking_rules=[ALLOWANCE]))
    assert (await book(client, "09:00", patient_ref="a")).status_code == 201
    for start in ("10:00", "09:15"):
        refused = await book(client, start, patient_ref="b", accept_overbooked=True)
        assert (refused.status_code, refused.json()["reasons"]) == (409, ["PROVIDER_DAILY_CAP"])
    assert (await book(client, "09:15", provider_id=LINN, patient_ref="b")).status_code == 201


async def test_of_ten_bookings_at_once_the_cap_lets_three_in(client: httpx.AsyncClient) -> None:
    await load(client, two_providers(own(daily_cap=3, duration_minutes=15)))
    starts = [f"{9 + n // 4:02d}:{15 * (n % 4):02d}" for n in range(10)]
    answers = await asyncio.gather(
        *(book(client, start, patient_ref=f"p{n}") for n, start in enumerate(starts))
    )
    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(409)) == (3, 7)
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    assert all(body["reasons"] == ["PROVIDER_DAILY_CAP"] for body in refused)


async def test_edits_tell_what_they_put_outside(client: httpx.AsyncClient) -> None:
    rows = [booking(n, MONDAY, f"{9 + n:02d}:00") for n in range(2)]
    rows.append(booking(2, MONDAY, "09:00", provider_id=LINN, room_id=OTHER_ROOM))
    await load(client, two_providers(bookings=rows))
    vegas = {uid(5, 0), uid(5, 1)}

    def stranded(answer: httpx.Response) -> set[tuple[str, int]]:
        return {(each["booking_id"], each["rule"]) for each in answer.json()["conflicts"]}

    fields = {name: value for name, value in own().items() if name != "id"}
    foreseen = await client.post(
        "/provider-types", json=fields | {"daily_cap": 1}, params={"dry_run": True}
    )
    assert stranded(foreseen) == {(key, 6) for key in vegas}
    made = await client.post("/provider-types", json=fields | {"duration_minutes": 60})
    assert (made.status_code, made.json()["conflicts"]) == (201, [])
    path = f"/provider-types/{made.json()['id']}"
    assert stranded(await client.patch(path, json={"daily_cap": 2})) == set()
    assert stranded(await client.patch(path, json={"offered": False})) == {
        (key, 1) for key in vegas
    }
    assert stranded(await client.patch(path, json={"provider_id": LINN})) == {(uid(5, 2), 1)}
    listed = (await client.get("/bookings/conflicts")).json()
    assert [each["booking_id"] for each in listed] == [uid(5, 2)]
    assert (await client.delete(path)).json()["conflicts"] == []
    assert (await client.get("/bookings/conflicts")).json() == []
    times = (await client.get(f"/bookings/{uid(5, 0)}")).json()
    assert (times["start_time"], times["end_time"]) == ("09:00", "09:30")


async def test_one_row_of_a_pair_is_enough(client: httpx.AsyncClient) -> None:
    await load(client, two_providers(own(daily_cap=1)))
    twice = await client.post("/provider-types", json=own(1))
    assert (twice.status_code, twice.json()["code"]) == (409, "ALREADY_EXISTS")
    assert uid(6, 0) in twice.json()["detail"]
    other = await client.post("/provider-types", json=own(1, provider_id=LINN))
    assert other.status_code == 201
    moved = await client.patch(f"/provider-types/{uid(6, 1)}", json={"provider_id": PROVIDER})
    assert (moved.status_code, moved.json()["code"]) == (409, "ALREADY_EXISTS")


async def test_a_file_names_rows_by_their_pairs(client: httpx.AsyncClient) -> None:
    await load(client, two_providers(own(daily_cap=4)))
    unnamed = {name: value for name, value in own(duration_minutes=45).items() if name != "id"}
    again = two_providers(unnamed, unnamed | {"provider_id": LINN})
    await load(client, again)
    rows = (await client.get("/clinic/export")).json()["provider_types"]
    assert [(row["provider_id"], row["duration_minutes"]) for row in rows] == [
        (PROVIDER, 45),
        (LINN, 45),
    ]
    assert rows[0]["id"] == uid(6, 0)
    named = two_providers(own(7, daily_cap=2))
    answer = await client.post("/clinic/import", json=named, params={"replace": True})
    assert answer.status_code == 200, answer.text
    assert [row["id"] for row in (await client.get("/provider-types")).json()] == [uid(6, 7)]
    written = (await client.get("/clinic/export")).json()
    answer = await client.post("/clinic/import", json=written, params={"replace": True})
    assert answer.status_code == 200, answer.text
    assert (await client.get("/clinic/export")).json() == written


async def test_a_booking_without_minutes_is_imported_with_its_providers(
    client: httpx.AsyncClient,
) -> None:
    rows = [booking(n, MONDAY, f"{9 + n:02d}:00") for n in range(2)]
    await load(client, two_providers(own(duration_minutes=40, buffer_after=5), bookings=rows[:1]))
    await load(client, two_providers(bookings=rows))  # its row stays, though not in this file
    kept = (await client.get("/clinic/export")).json()["bookings"]
    fields = ("duration_minutes", "buffer_before", "buffer_after")
    assert [tuple(b[name] for name in fields) for b in kept] == [(40, 0, 5), (40, 0, 5)]
    third = booking(2, MONDAY, "11:00")
    changed = two_providers(own(duration_minutes=20), bookings=[*rows, third])
    await load(client, changed)
    kept = (await client.get("/clinic/export")).json()["bookings"]
    assert [b["duration_minutes"] for b in kept] == [40, 40, 20]
    gone = two_providers(bookings=[*kept, booking(3, MONDAY, "11:30")])
    answer = await client.post("/clinic/import", json=gone, params={"replace": True})
    assert answer.status_code == 200, answer.text
    kept = (await client.get("/clinic/export")).json()["bookings"]
    assert [b["duration_minutes"] for b in kept] == [40, 40, 20, 30]


async def test_faults_are_all_told_at_once(client: httpx.AsyncClient) -> None:
    bad = two_providers(
        own(0, duration_minutes=0),
        own(1, buffer_before=721),
        own(2, provider_id=uid(1, 9), appointment_type_id=uid(3, 9)),
        own(3, provider_id=LINN, daily_cap=-1, offered="yes"),
    )
    answer = await client.post("/clinic/import", json=bad)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {
        "provider_types[0].duration_minutes",
        "provider_types[1].buffer_before",
        "provider_types[1].appointment_type_id",
        "provider_types[2].provider_id",
        "provider_types[2].appointment_type_id",
        "provider_types[3].daily_cap",
        "provider_types[3].offered",
    }
    await load(client, two_providers())
    for fields, field in (
        ({"provider_id": uid(1, 9)}, "provider_id"),
        ({"duration_minutes": 1441}, "duration_minutes"),
        ({"minutes": 5}, "minutes"),
    ):
        refused = await client.post("/provider-types", json=own() | fields)
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("differs", "placed"),
    [({"duration_minutes": 60}, 3 + 6), ({"daily_cap": 2}, 2 + 6), ({"offered": False}, 6)],
)
async def test_a_scenario_may_let_a_provider_differ(
    client: httpx.AsyncClient, differs: dict[str, Any], placed: int
) -> None:
    row = {"provider_id": PROVIDER, "appointment_type_id": TYPE, **differs}
    await load(client, two_providers())
    run = {
        "name": "Who differs",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "requests": [{"id": "r", "appointment_type_id": TYPE, "count": 12}],
        "scenarios": [
            {"name": "baseline"},
            {"name": "changed", "changes": [{"op": "add_provider_type", **row}]},
        ],
        "time_limit_seconds": 20,
    }
    key, done = await solved(client, run)
    assert [len(each["placements"]) for each in done["scenarios"]] == [12, placed]
    answer = await client.post(
        f"/what-if/{key}/apply", json={"scenario": "changed", "apply_changes": True}
    )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["bookings"]) == placed
    (made,) = (await client.get("/provider-types")).json()
    assert row.items() <= made.items()


async def test_a_patient_is_elsewhere_for_as_long_as_the_provider_takes(
    client: httpx.AsyncClient,
) -> None:
    await load(client, two_providers(own(duration_minutes=60)))
    assert (await book(client, "09:30", provider_id=LINN, patient_ref="a")).status_code == 201
    refused = await book(client, "09:00", patient_ref="a")
    assert (refused.status_code, refused.json()["code"]) == (409, "PATIENT_CONFLICT")
    assert (await book(client, "10:00", patient_ref="a")).status_code == 201
    refused = await book(client, "10:30", provider_id=LINN, patient_ref="a")
    assert (refused.status_code, refused.json()["code"]) == (409, "PATIENT_CONFLICT")
