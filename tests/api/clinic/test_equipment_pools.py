"""Equipment that moves, over HTTP: what is out, until when, and who has the last word on it."""

import asyncio
import datetime as dt
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.database import days_to_lock
from tests.support.clinics import PROVIDER, ROOM, TYPE, booking, coming_monday, order, small_clinic
from tests.support.over_http import load, run_out, solved
from tests.support.strategies import uid

MONDAY = coming_monday()
SCANNER, COUNT = uid(8, 0), 6
QUERY = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}


def pool(number: int = 0, **fields: Any) -> dict[str, Any]:
    row = {"id": uid(8, number), "name": "Mobile ultrasound", "quantity": 1, "return_minutes": 15}
    return row | fields


def kind(*needs: dict[str, Any], **fields: Any) -> dict[str, Any]:
    taken = list(needs or [{"pool_id": SCANNER, "quantity": 1}])
    row = {"id": TYPE, "name": "Scan", "duration_minutes": 30, "required_pools": taken}
    return row | fields


def practice(*kinds: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Six providers, each Monday from 9 to 12 in a room of their own, who share one scanner."""
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(COUNT)]
    hours = {"weekday": 1, "start_time": "09:00", "end_time": "12:00"}
    return (
        small_clinic(
            providers=providers,
            rooms=[{"id": uid(2, n), "name": f"Room {n}"} for n in range(COUNT)],
            equipment_pools=[pool()],
            appointment_types=list(kinds) or [kind()],
            availability=[{"provider_id": row["id"], **hours} for row in providers],
        )
        | changes
    )


def at(number: int, start: str, **changes: Any) -> dict[str, Any]:
    own = {"provider_id": uid(1, number), "room_id": uid(2, number)}
    return booking(number, MONDAY, start, **own) | changes


async def book(client: httpx.AsyncClient, number: int, start: str, **more: Any) -> httpx.Response:
    own = {"provider_id": uid(1, number), "room_id": uid(2, number), "patient_ref": f"p{number}"}
    return await client.post("/bookings", json=order(MONDAY, start, **own, **more))


def stranded(answer: httpx.Response) -> set[tuple[str, int, str]]:
    told = answer.json()["conflicts"]
    return {(each["booking_id"], each["rule"], each["code"]) for each in told}


async def test_what_is_out_is_back_only_after_its_return(client: httpx.AsyncClient) -> None:
    await load(client, practice())
    made = await book(client, 0, "10:00")
    assert made.status_code == 201, made.text
    for start, codes in (
        ("09:15", None),
        ("09:30", ["EQUIPMENT_BUSY"]),
        ("10:30", ["EQUIPMENT_BUSY"]),
        ("10:45", None),
    ):
        answer = await book(client, 1, start)
        assert answer.json().get("reasons") == codes, (start, answer.text)
        if codes is None:
            await client.post(f"/bookings/{answer.json()['id']}/cancel", json={})
    slots = (await client.get("/slots", params=QUERY | {"provider_id": uid(1, 1)})).json()
    starts = {slot["start_time"] for slot in slots["slots"]}
    assert starts == {"09:00", "09:15", "10:45", "11:00", "11:15", "11:30"}

    moved = await client.post(
        f"/bookings/{made.json()['id']}/reschedule",
        json={"date": MONDAY.isoformat(), "start_time": "10:15"},
    )
    assert moved.status_code == 200, "its own equipment is not in its way"
    over = {"override": ["EQUIPMENT_BUSY"], "override_reason": "it is urgent"}
    refused = await book(client, 1, "10:15", **over)
    assert refused.json()["errors"][0]["field"] == "override[0]"


async def test_blocked_by_tells_equipment_that_is_out(client: httpx.AsyncClient) -> None:
    await load(client, practice(equipment_pools=[pool(active=False)]))
    slots = (await client.get("/slots", params=QUERY)).json()
    assert slots["slots"] == []
    assert slots["blocked_by"]["EQUIPMENT_BUSY"] == COUNT * COUNT * 11
    assert (await book(client, 0, "10:00")).json()["reasons"] == ["EQUIPMENT_BUSY"]


async def test_the_peak_counts_and_not_the_sum_of_all_that_overlap(
    client: httpx.AsyncClient,
) -> None:
    long, half = uid(3, 1), {"pool_id": SCANNER, "quantity": 2}
    kinds = [kind(), kind(half, id=long, duration_minutes=90)]
    await load(client, practice(*kinds, equipment_pools=[pool(quantity=3)]))
    assert (await book(client, 0, "09:00")).status_code == 201
    assert (await book(client, 1, "10:30")).status_code == 201
    assert (await book(client, 2, "09:00", appointment_type_id=long)).status_code == 201
    assert (await book(client, 3, "09:45")).status_code == 201, "two and one are out then"
    refused = await book(client, 4, "10:30", appointment_type_id=long)
    assert refused.json()["reasons"] == ["EQUIPMENT_BUSY"]


async def test_equipment_may_be_out_past_midnight(client: httpx.AsyncClient) -> None:
    tuesday, evening = MONDAY + dt.timedelta(days=1), {"start_time": "22:00", "end_time": "24:00"}
    early = {"start_time": "00:00", "end_time": "02:00"}
    hours = [
        {"provider_id": uid(1, n), "weekday": day, **when}
        for n in range(COUNT)
        for day, when in ((1, evening), (2, early))
    ]
    pools = [pool(return_minutes=60)]
    await load(client, practice(availability=hours, equipment_pools=pools))
    assert (await book(client, 0, "23:30")).status_code == 201
    slots = (
        await client.get("/slots", params=QUERY | {"date": tuesday.isoformat(), "limit": 200})
    ).json()["slots"]
    assert min(slot["start_time"] for slot in slots) == "01:00"
    refused = await client.post(
        "/bookings", json=order(tuesday, "00:45", provider_id=uid(1, 1), room_id=uid(2, 1))
    )
    assert refused.json()["reasons"] == ["EQUIPMENT_BUSY"]
    next_day = await client.post(
        "/bookings", json=order(tuesday, "01:00", provider_id=uid(1, 1), room_id=uid(2, 1))
    )
    assert next_day.status_code == 201
    assert (await book(client, 2, "22:00")).status_code == 201


async def test_a_hold_has_its_equipment_until_it_runs_out(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, practice())
    own = {"provider_id": PROVIDER, "room_id": ROOM}
    held = await client.post("/holds", json=order(MONDAY, "10:00", **own))
    assert held.status_code == 201, held.text
    assert (await book(client, 1, "10:00")).json()["reasons"] == ["EQUIPMENT_BUSY"]
    await run_out(engine, held.json()["id"])
    assert (await book(client, 1, "10:00")).status_code == 201
    confirmed = await client.post(f"/holds/{held.json()['id']}/confirm", json={"patient_ref": "x"})
    assert confirmed.json()["code"] == "INVALID_STATE"


async def test_of_six_bookings_at_once_as_many_win_as_there_are_pieces(
    client: httpx.AsyncClient,
) -> None:
    await load(client, practice(equipment_pools=[pool(quantity=2)]))
    answers = await asyncio.gather(*(book(client, n, "10:00") for n in range(COUNT)))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(201), codes.count(409)) == (2, COUNT - 2)
    lost = [answer.json()["reasons"] for answer in answers if answer.status_code == 409]
    assert lost == [["EQUIPMENT_BUSY"]] * (COUNT - 2)


# Rows, edits and files


async def test_edits_are_made_and_tell_what_they_put_outside(client: httpx.AsyncClient) -> None:
    rows = [at(0, "10:00"), at(1, "10:15"), at(2, "11:30")]
    await load(client, practice(equipment_pools=[pool(quantity=2)], bookings=rows))
    both = {(uid(5, n), 10, "EQUIPMENT_BUSY") for n in (0, 1)}
    path = f"/equipment-pools/{SCANNER}"
    foreseen = await client.patch(path, json={"quantity": 1}, params={"dry_run": True})
    assert stranded(foreseen) == both
    made = await client.patch(path, json={"quantity": 1})
    assert (made.status_code, stranded(made)) == (200, both)
    listed = (await client.get("/bookings/conflicts")).json()
    assert {each["booking_id"] for each in listed} == {uid(5, 0), uid(5, 1)}
    assert stranded(await client.patch(path, json={"return_minutes": 60})) == {
        (uid(5, 2), 10, "EQUIPMENT_BUSY")
    }
    taken = f"/appointment-types/{TYPE}"
    assert stranded(await client.patch(taken, json={"required_pools": []})) == set()
    assert (await client.get("/bookings/conflicts")).json() == []
    needs = {"required_pools": [{"pool_id": SCANNER, "quantity": 2}]}
    assert len(stranded(await client.patch(taken, json=needs))) == 3

    gone = await client.delete(path)
    assert gone.json()["deactivated"] is True, "a type takes from it"
    assert (await client.get(path)).json()["active"] is False
    await client.patch(taken, json={"required_pools": []})
    assert (await client.delete(path)).json()["deleted"] is True


async def test_bookings_over_the_peak_go_on_through_their_day(client: httpx.AsyncClient) -> None:
    rows = [at(0, "10:00"), at(1, "10:15")]
    await load(client, practice(equipment_pools=[pool(quantity=2)], bookings=rows))
    await client.patch(f"/equipment-pools/{SCANNER}", json={"quantity": 0})
    moves = {"patient_ref": "another"}
    assert (await client.patch(f"/bookings/{uid(5, 0)}", json=moves)).status_code == 200
    cancelled = await client.post(f"/bookings/{uid(5, 0)}/cancel", json={})
    assert cancelled.status_code == 200
    back = await client.post(f"/bookings/{uid(5, 0)}/undo", json={})
    assert back.json()["reasons"] == ["EQUIPMENT_BUSY"]


async def test_a_file_goes_in_and_comes_out_and_may_not_exceed_a_pool(
    client: httpx.AsyncClient,
) -> None:
    rows = [at(0, "10:00"), at(1, "10:15")]
    document = practice(equipment_pools=[pool(quantity=2)], bookings=rows)
    await load(client, document)
    exported = (await client.get("/clinic/export")).json()
    assert exported["equipment_pools"] == [pool(quantity=2, active=True, location_id=None)]
    assert exported["appointment_types"][0]["required_pools"] == kind()["required_pools"]

    lowered = exported | {"equipment_pools": [pool(quantity=1)]}
    answer = await client.post("/clinic/import", json=lowered)
    assert answer.status_code == 200
    told = {(each["booking_id"], each["code"]) for each in answer.json()["warnings"]}
    assert told == {(uid(5, n), "EQUIPMENT_BUSY") for n in (0, 1)}

    more = exported | {"bookings": [*exported["bookings"], at(2, "10:30")]}
    more["equipment_pools"] = [pool(quantity=2)]
    refused = await client.post("/clinic/import", json=more)
    assert (refused.status_code, refused.json()["code"]) == (409, "BOOKING_CONFLICT")
    (conflict,) = refused.json()["conflicts"]
    assert (conflict["booking_id"], conflict["start_time"]) == (uid(5, 2), "10:30")
    assert conflict["detail"] == "3 of Mobile ultrasound are out then, there are 2"
    assert (await client.get("/equipment-pools")).json()[0]["quantity"] == 1


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"equipment_pools": [pool(quantity=1001)]}, "equipment_pools[0].quantity"),
        ({"equipment_pools": [pool(return_minutes=1441)]}, "equipment_pools[0].return_minutes"),
        ({"equipment_pools": [pool(colour="red")]}, "equipment_pools[0].colour"),
        ({"equipment_pools": [pool(), pool()]}, "equipment_pools[1].id"),
        ({"equipment_pools": []}, "appointment_types[0].required_pools[0].pool_id"),
        (
            {"appointment_types": [kind(*kind()["required_pools"] * 2)]},
            "appointment_types[0].required_pools[1].pool_id",
        ),
        (
            {"appointment_types": [kind({"pool_id": SCANNER, "quantity": 0})]},
            "appointment_types[0].required_pools[0].quantity",
        ),
    ],
)
async def test_faults_name_the_row_and_the_field(
    client: httpx.AsyncClient, changes: dict[str, Any], path: str
) -> None:
    answer = await client.post("/clinic/import", params={"replace": True}, json=practice(**changes))
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [path]


async def test_a_type_names_pools_that_are_there_each_once(client: httpx.AsyncClient) -> None:
    await load(client, practice())
    path = f"/appointment-types/{TYPE}"
    unknown = [f"required_pools[{n}].pool_id" for n in range(1, 9)]
    for needs, faults in (
        ([{"pool_id": uid(8, 7), "quantity": 1}], ["required_pools[0].pool_id"]),
        (kind()["required_pools"] * 2, ["required_pools[1].pool_id"]),
        ([{"pool_id": SCANNER}], ["required_pools[0].quantity"]),
        ([{"pool_id": uid(8, n), "quantity": 1} for n in range(9)], ["required_pools", *unknown]),
    ):
        answer = await client.patch(path, json={"required_pools": needs})
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == faults


# The last word


async def test_without_locks_the_database_keeps_the_peak(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bookings that know nothing of one another: what they write is asked once more at the end."""
    await load(client, practice())
    monkeypatch.setattr(days_to_lock, "pools_to_lock", lambda *_: set())
    answers = await asyncio.gather(*(_hold(client, n) for n in range(COUNT)))
    assert [answer.status_code for answer in answers].count(201) == 1
    lost = [answer.json()["reasons"] for answer in answers if answer.status_code != 201]
    assert lost == [["EQUIPMENT_BUSY"]] * (COUNT - 1)


async def test_without_the_trigger_the_locks_keep_the_peak(
    client: httpx.AsyncClient, admin_engine: AsyncEngine
) -> None:
    await load(client, practice())
    async with admin_engine.begin() as connection:
        for name in ("bookings_within_pools", "new_bookings_within_pools"):
            await connection.execute(text(f"ALTER TABLE bookings DISABLE TRIGGER {name}"))
    try:
        answers = await asyncio.gather(*(_hold(client, n) for n in range(COUNT)))
    finally:
        async with admin_engine.begin() as connection:
            for name in ("bookings_within_pools", "new_bookings_within_pools"):
                await connection.execute(text(f"ALTER TABLE bookings ENABLE TRIGGER {name}"))
    assert [answer.status_code for answer in answers].count(201) == 1


async def _hold(client: httpx.AsyncClient, number: int) -> httpx.Response:
    """Hold a place: holds are written each in a transaction of its own, bookings together."""
    own = {"provider_id": uid(1, number), "room_id": uid(2, number), "patient_ref": f"p{number}"}
    return await client.post("/holds", json=order(MONDAY, "10:00", **own))


# What-if


async def test_a_scenario_has_more_of_it_and_tells_how_much_is_out(
    client: httpx.AsyncClient,
) -> None:
    await load(client, practice(bookings=[at(0, "09:00")]))
    second = {"op": "set", "entity": "equipment_pools", "id": SCANNER, "field": "quantity"}
    document = {
        "name": "A second scanner",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "time_limit_seconds": 10,
        "requests": [{"id": "r", "appointment_type_id": TYPE, "count": 8}],
        "scenarios": [
            {"name": "now", "changes": []},
            {"name": "two", "changes": [second | {"value": 2}]},
            {
                "name": "another",
                "changes": [
                    {"op": "add_pool", "id": uid(8, 1), "name": "Old one", "quantity": 5},
                    {
                        "op": "set",
                        "entity": "appointment_types",
                        "id": TYPE,
                        "field": "required_pools",
                        "value": [{"pool_id": uid(8, 1), "quantity": 5}],
                    },
                    {"op": "remove", "entity": "equipment_pools", "id": SCANNER},
                ],
            },
        ],
    }
    _, run = await solved(client, document)
    now, two, another = run["scenarios"]
    assert [s["kpis"]["placed"] for s in (now, two, another)] == [3, 7, 5]
    assert {row["reason"] for row in now["unplaced"]} == {"LOST_TO_CONTENTION"}
    assert now["kpis"]["pool_peak"] == {SCANNER: 1.0}
    assert now["kpis"]["pool_utilisation"] == {SCANNER: 1.0}
    assert another["kpis"]["pool_peak"] == {uid(8, 1): 1.0}
