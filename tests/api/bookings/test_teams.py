"""Teams over HTTP: who is shown and booked in which role, and who has the last word on it."""

import asyncio
import datetime as dt
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.database import days_to_lock
from tests.support.clinics import PROVIDER, TYPE, booking, coming_monday, order, small_clinic
from tests.support.over_http import load, run_out
from tests.support.strategies import uid

MONDAY = coming_monday()
SURGEONS, NURSES, ROOMS = 3, [uid(1, n) for n in (10, 11, 12)], 3
VISIT = uid(3, 1)
QUERY = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE, "limit": 500}
TWO = [
    {"key": "nurse", "required_skills": ["nurse"]},
    {"key": "assistant", "required_skills": ["nurse"], "from_minute": 15},
]


def kind(*roles: dict[str, Any], **fields: Any) -> dict[str, Any]:
    row = {"id": TYPE, "name": "Surgery", "duration_minutes": 30, "required_skills": ["gp"]}
    return row | {"roles": list(roles) or TWO} | fields


def practice(**changes: Any) -> dict[str, Any]:
    """Three surgeons, three nurses and three rooms, Mondays from 9 to 12."""
    surgeons = [{"id": uid(1, n), "name": f"Dr. {n}", "skills": ["gp"]} for n in range(SURGEONS)]
    nurses = [{"id": key, "name": f"N {key[-2:]}", "skills": ["nurse"]} for key in NURSES]
    hours = {"weekday": 1, "start_time": "09:00", "end_time": "12:00"}
    return (
        small_clinic(
            providers=[*surgeons, *nurses],
            rooms=[{"id": uid(2, n), "name": f"Room {n}"} for n in range(ROOMS)],
            appointment_types=[
                kind(),
                {"id": VISIT, "name": "Visit", "duration_minutes": 30},
            ],
            availability=[{"provider_id": row["id"], **hours} for row in [*surgeons, *nurses]],
        )
        | changes
    )


def surgery(number: int, start: str, team: dict[str, str] | None = None) -> dict[str, Any]:
    """A booking of a surgeon in a room of their own."""
    own = {"provider_id": uid(1, number), "room_id": uid(2, number)}
    return booking(number, MONDAY, start, **own) | ({} if team is None else {"team": team})


async def book(client: httpx.AsyncClient, start: str, number: int = 0, **more: Any) -> Any:
    own = {"provider_id": uid(1, number), "patient_ref": f"p{number} {start}"}
    return await client.post("/bookings", json=order(MONDAY, start, **own | more))


async def move(client: httpx.AsyncClient, key: str, start: str, **more: Any) -> httpx.Response:
    body = {"date": MONDAY.isoformat(), "start_time": start} | more
    return await client.post(f"/bookings/{key}/reschedule", json=body)


def fields(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [each["field"] for each in answer.json()["errors"]]


def stranded(answer: httpx.Response) -> set[tuple[str, int, str]]:
    told = answer.json()["conflicts"]
    return {(each["booking_id"], each["rule"], each["code"]) for each in told}


async def test_shown_and_booked_is_the_least_team_that_is_able(client: httpx.AsyncClient) -> None:
    await load(client, practice())
    least = {"nurse": NURSES[0], "assistant": NURSES[1]}
    slots = (await client.get("/slots", params=QUERY)).json()
    assert slots["total"] == SURGEONS * ROOMS * 11
    assert {tuple(slot["team"].items()) for slot in slots["slots"]} == {tuple(least.items())}
    made = await book(client, "10:00")
    assert made.status_code == 201, made.text
    assert made.json()["team"] == least
    assert (await client.get(f"/bookings/{made.json()['id']}")).json()["team"] == least
    history = (await client.get(f"/bookings/{made.json()['id']}/history")).json()
    assert history[0]["after"]["team"] == least

    visits = {**QUERY, "appointment_type_id": VISIT, "provider_id": NURSES[1]}
    free = (await client.get("/slots", params=visits)).json()["slots"]
    assert "10:15" not in {slot["start_time"] for slot in free}, "assists from then on"
    assert {"09:45", "10:30"} <= {slot["start_time"] for slot in free}
    assert {tuple(slot["team"]) for slot in free} == {()}
    refused = await book(client, "10:00", 1)
    assert refused.json()["reasons"] == ["ROLE_UNFILLED"], "one nurse is left for two roles"
    own = await book(client, "10:15", provider_id=NURSES[1], appointment_type_id=VISIT)
    assert own.json()["reasons"] == ["PROVIDER_BUSY"]
    blocked = await client.get("/slots", params=QUERY | {"provider_id": NURSES[0]})
    assert blocked.json()["blocked_by"].keys() == {"PROVIDER_LACKS_SKILLS"}

    cancelled = await client.post(f"/bookings/{made.json()['id']}/cancel", json={})
    assert cancelled.status_code == 200
    again = await book(client, "10:00", 1, room_id=uid(2, 1))
    assert again.status_code == 201, "all of the team are free again"
    back = await client.post(f"/bookings/{made.json()['id']}/undo", json={})
    assert back.json()["reasons"] == ["ROLE_UNFILLED"]


async def test_the_caller_names_some_or_all(client: httpx.AsyncClient) -> None:
    await load(client, practice())
    some = await book(client, "09:00", team={"nurse": NURSES[2]})
    assert some.json()["team"] == {"nurse": NURSES[2], "assistant": NURSES[0]}
    taken = await book(client, "09:00", 1, team={"assistant": NURSES[0]})
    assert taken.json()["reasons"] == ["ROLE_UNFILLED"]
    unskilled = await book(client, "10:00", 1, team={"nurse": uid(1, 2)})
    assert unskilled.json()["reasons"] == ["ROLE_UNFILLED"]
    assert unskilled.status_code == 409
    held = await client.post(
        "/holds", json=order(MONDAY, "10:00", team={"nurse": NURSES[1], "assistant": NURSES[2]})
    )
    assert held.json()["team"] == {"nurse": NURSES[1], "assistant": NURSES[2]}
    confirmed = await client.post(f"/holds/{held.json()['id']}/confirm", json={"patient_ref": "x"})
    assert (confirmed.status_code, confirmed.json()["team"]) == (200, held.json()["team"])

    for team, faults in (
        ({"surgeon": NURSES[0]}, ["team.surgeon"]),
        ({"nurse": PROVIDER}, ["team.nurse"]),
        ({"nurse": NURSES[0], "assistant": NURSES[0]}, ["team.assistant"]),
        ({"nurse": uid(1, 99)}, ["team.nurse"]),
        ({"nurse": "nobody"}, ["team.nurse"]),
        ({"surgeon": NURSES[0], "nurse": PROVIDER}, ["team.surgeon", "team.nurse"]),
    ):
        assert fields(await book(client, "11:00", team=team)) == faults
        moved = await move(client, confirmed.json()["id"], "11:00", team=team)
        assert fields(moved) == faults
    answer = await book(client, "11:00", appointment_type_id=VISIT, team={"nurse": NURSES[0]})
    assert fields(answer) == ["team.nurse"]


async def test_a_move_keeps_the_team_where_all_of_it_can(client: httpx.AsyncClient) -> None:
    await load(client, practice())
    team = {"nurse": NURSES[2], "assistant": NURSES[1]}
    made = (await book(client, "09:00", team=team)).json()
    kept = await move(client, made["id"], "09:15")
    assert (kept.status_code, kept.json()["team"]) == (200, team)
    visit = await book(client, "11:00", provider_id=NURSES[2], appointment_type_id=VISIT)
    assert visit.status_code == 201
    refused = await move(client, made["id"], "11:00", keep_team=True)
    assert refused.json()["reasons"] == ["ROLE_UNFILLED"]
    anew = await move(client, made["id"], "11:00")
    assert anew.json()["team"] == {"nurse": NURSES[0], "assistant": NURSES[1]}
    assert anew.json()["version"] == kept.json()["version"] + 1
    named = await move(client, made["id"], "09:30", team={"nurse": NURSES[2]}, keep_team=True)
    assert named.json()["team"] == {"nurse": NURSES[2], "assistant": NURSES[1]}
    other = (await book(client, "11:30", appointment_type_id=VISIT)).json()
    swapped = await client.post("/bookings/swap", json={"a": made["id"], "b": other["id"]})
    assert (swapped.status_code, swapped.json()["code"]) == (409, "INVALID_STATE")


async def test_an_overbooked_booking_may_meet_a_role_and_no_role_an_overbooked_one(
    client: httpx.AsyncClient,
) -> None:
    rules = [{"provider_id": NURSES[0], "max_overlap": 1, "max_per_day": 5}]
    await load(client, practice(overbooking_rules=rules))
    assert (await book(client, "09:00")).json()["team"]["nurse"] == NURSES[0]
    visit = {"provider_id": NURSES[0], "appointment_type_id": VISIT, "room_id": uid(2, 2)}
    over = await book(client, "09:15", **visit, accept_overbooked=True)
    assert (over.status_code, over.json()["is_overbooked"]) == (201, True)
    named = await book(client, "09:30", 1, team={"nurse": NURSES[0]})
    assert named.json()["reasons"] == ["ROLE_UNFILLED"]
    override = {"override": ["PROVIDER_BUSY"], "override_reason": "an emergency"}
    await book(client, "10:00", 1)
    forced = await book(client, "10:15", **visit, **override)
    assert (forced.status_code, forced.json()["overrides"]) == (201, [])
    physical = {"override": ["ROLE_UNFILLED"], "override_reason": "an emergency"}
    assert fields(await book(client, "11:00", **physical)) == ["override[0]"]


async def test_a_hold_has_its_team_until_it_runs_out(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await load(client, practice())
    held = await client.post("/holds", json=order(MONDAY, "10:00"))
    assert held.status_code == 201, held.text
    assert (await book(client, "10:00", 1)).json()["reasons"] == ["ROLE_UNFILLED"]
    await run_out(engine, held.json()["id"])
    assert (await book(client, "10:00", 1)).status_code == 201


async def test_minutes_in_roles_are_busy_ones(client: httpx.AsyncClient) -> None:
    await load(client, practice())
    assert (await book(client, "10:00")).status_code == 201
    await book(client, "10:30", provider_id=NURSES[1], appointment_type_id=VISIT)
    day = MONDAY.isoformat()
    rows = (await client.get("/stats", params={"from": day, "to": day})).json()
    busy = {row["provider_id"]: (row["booked"], row["busy_minutes"]) for row in rows}
    assert busy[PROVIDER] == (1, 30)
    assert [busy[key] for key in NURSES] == [(0, 30), (1, 45), (0, 0)]


# Rows, edits and files


async def test_edits_are_made_and_tell_what_they_put_outside(client: httpx.AsyncClient) -> None:
    team = {"nurse": NURSES[0], "assistant": NURSES[1]}
    rows = [
        surgery(0, "10:00", team),
        surgery(1, "10:30", {"nurse": NURSES[1], "assistant": NURSES[2]}),
    ]
    await load(client, practice(bookings=rows))
    assert (await client.get("/bookings/conflicts")).json() == []
    first, second = ((uid(5, n), 9, "ROLE_UNFILLED") for n in (0, 1))
    nurse = f"/providers/{NURSES[1]}"
    for change, told in (
        ({"skills": []}, {first, second}),
        ({"active": False}, {first, second}),
        ({"buffer_after": 5}, {first, second}),
        ({"name": "Nurse"}, set()),
    ):
        foreseen = await client.patch(nurse, json=change, params={"dry_run": True})
        assert stranded(foreseen) == told, change
    closed = {"provider_id": NURSES[2], "date": MONDAY.isoformat(), "kind": "closed"}
    hours = {"start_time": "10:50", "end_time": "11:10"}
    away = await client.post("/availability", json=closed | hours)
    assert stranded(away) == {second}
    longer = [TWO[0], TWO[1] | {"from_minute": 0}]
    path = f"/appointment-types/{TYPE}"
    assert stranded(await client.patch(path, json={"roles": longer})) == set()
    another = [*TWO, {"key": "porter", "required_skills": []}]
    assert stranded(await client.patch(path, json={"roles": another})) == {first}, "told before"
    assert stranded(await client.patch(path, json={"roles": []})) == set()
    assert (await client.get("/bookings/conflicts")).json() == []

    gone = await client.delete(nurse)
    assert gone.json()["deactivated"] is True, "a booking names them"


async def test_a_file_goes_in_and_comes_out(client: httpx.AsyncClient) -> None:
    team = {"nurse": NURSES[0], "assistant": NURSES[1]}
    rows = [surgery(0, "10:00", team), surgery(1, "10:30")]
    answer = await client.post("/clinic/import", json=practice(bookings=rows))
    assert answer.status_code == 200, answer.text
    told = {(each["booking_id"], each["rule"], each["code"]) for each in answer.json()["warnings"]}
    assert told == {(uid(5, 1), 9, "ROLE_UNFILLED")}
    exported = (await client.get("/clinic/export")).json()
    assert [row.get("team") for row in exported["bookings"]] == [team, None]
    (roles,) = (row["roles"] for row in exported["appointment_types"] if row["id"] == TYPE)
    assert roles == [
        {"key": "nurse", "required_skills": ["nurse"], "from_minute": 0, "to_minute": None},
        {"key": "assistant", "required_skills": ["nurse"], "from_minute": 15, "to_minute": None},
    ]
    again = await client.post("/clinic/import", params={"replace": True}, json=exported)
    assert again.status_code == 200
    assert (await client.get("/clinic/export")).json() == exported
    left_out = await client.post("/clinic/import", json=practice(bookings=[surgery(0, "10:00")]))
    assert left_out.status_code == 200
    assert (await client.get(f"/bookings/{uid(5, 0)}")).json()["team"] == team, "kept"

    for rows in (
        [surgery(1, "10:15", {"nurse": NURSES[1], "assistant": NURSES[2]})],
        [booking(2, MONDAY, "10:15", provider_id=NURSES[1], appointment_type_id=VISIT)],
    ):
        refused = await client.post("/clinic/import", json=exported | {"bookings": rows})
        assert (refused.status_code, refused.json()["code"]) == (409, "BOOKING_CONFLICT")
        (conflict,) = refused.json()["conflicts"]
        assert {conflict["booking_id"], conflict["with_booking_id"]} == {
            uid(5, 0),
            rows[0]["id"],
        }


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"appointment_types": [kind(TWO[0], TWO[0])]}, ["appointment_types[0].roles[1].key"]),
        (
            {"appointment_types": [kind({"key": "a", "to_minute": 31})]},
            ["appointment_types[0].roles[0].to_minute"],
        ),
        (
            {"appointment_types": [kind({"key": "a", "from_minute": 20, "to_minute": 20})]},
            ["appointment_types[0].roles[0].to_minute"],
        ),
        (
            {"appointment_types": [kind({"key": "a", "from_minute": 30})]},
            ["appointment_types[0].roles[0].from_minute"],
        ),
        (
            {"appointment_types": [kind(*({"key": str(n)} for n in range(7)))]},
            ["appointment_types[0].roles"],
        ),
        (
            {"appointment_types": [kind({"key": "", "colour": "red"})]},
            ["appointment_types[0].roles[0].key", "appointment_types[0].roles[0].colour"],
        ),
        (
            {
                "provider_types": [
                    {"provider_id": PROVIDER, "appointment_type_id": TYPE, "duration_minutes": 15}
                ]
            },
            ["provider_types[0].duration_minutes"],
        ),
        (
            {
                "bookings": [
                    surgery(0, "09:00", {"nurse": PROVIDER}),
                    surgery(1, "09:00", {"nurse": NURSES[0], "assistant": NURSES[0]}),
                    surgery(2, "09:00", {"porter": NURSES[0], "nurse": uid(1, 99)}),
                ]
            },
            [
                "bookings[0].team.nurse",
                "bookings[1].team.assistant",
                "bookings[2].team.porter",
                "bookings[2].team.nurse",
            ],
        ),
    ],
)
async def test_faults_name_the_row_and_the_field(
    client: httpx.AsyncClient, changes: dict[str, Any], paths: list[str]
) -> None:
    answer = await client.post("/clinic/import", params={"replace": True}, json=practice(**changes))
    assert fields(answer) == paths


async def test_roles_end_within_the_appointment_with_every_provider(
    client: httpx.AsyncClient,
) -> None:
    await load(client, practice())
    own = {"provider_id": PROVIDER, "appointment_type_id": TYPE}
    refused = await client.post("/provider-types", json=own | {"duration_minutes": 15})
    assert fields(refused) == ["duration_minutes"]
    made = await client.post("/provider-types", json=own | {"duration_minutes": 20})
    assert made.status_code == 201, made.text
    path = f"/appointment-types/{TYPE}"
    late = await client.patch(path, json={"roles": [{"key": "a", "to_minute": 25}]})
    assert fields(late) == ["roles[0].to_minute"]
    document = practice(appointment_types=[kind({"key": "a", "to_minute": 25})])
    answer = await client.post("/clinic/import", json=document)
    assert fields(answer) == ["appointment_types[0].roles"]
    assert (await client.patch(path, json={"duration_minutes": 15})).status_code == 422
    short = await book(client, "09:00")
    assert (short.status_code, short.json()["end_time"]) == (201, "09:20")


# The last word


async def _hold(client: httpx.AsyncClient, number: int) -> httpx.Response:
    """Hold a place: holds are written each in a transaction of its own, bookings together."""
    own = {"provider_id": uid(1, number), "room_id": uid(2, number), "patient_ref": f"p{number}"}
    return await client.post("/holds", json=order(MONDAY, "10:00", **own))


async def _one_wins(client: httpx.AsyncClient) -> list[list[str]]:
    """Whom three nurses are asked for twice three times; return why the others lost."""
    answers = await asyncio.gather(*(_hold(client, n) for n in range(SURGEONS)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    return [answer.json()["reasons"] for answer in answers if answer.status_code != 201]


async def test_of_many_at_once_as_many_win_as_there_are_nurses_for(
    client: httpx.AsyncClient,
) -> None:
    await load(client, practice())
    assert await _one_wins(client) == [["ROLE_UNFILLED"]] * 2
    together = (book(client, "11:00", n) for n in range(SURGEONS))
    codes = [answer.status_code for answer in await asyncio.gather(*together)]
    assert sorted(codes) == [201, 409, 409]


async def test_one_role_or_an_own_appointment_wins(client: httpx.AsyncClient) -> None:
    document = practice(appointment_types=[kind(TWO[0]), practice()["appointment_types"][1]])
    await load(client, document)
    for start in ("09:00", "10:00", "11:00"):
        asked = [
            *(book(client, start, n, team={"nurse": NURSES[0]}) for n in range(2)),
            book(client, start, provider_id=NURSES[0], appointment_type_id=VISIT),
        ]
        answers = await asyncio.gather(*asked)
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409]


async def test_without_locks_the_database_keeps_teams_apart(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bookings that know nothing of one another: what they write is asked once more at the end."""
    await load(client, practice())
    monkeypatch.setattr(days_to_lock, "members_to_lock", lambda *_: set())
    assert await _one_wins(client) == [["ROLE_UNFILLED"]] * 2


async def test_without_the_trigger_the_locks_keep_teams_apart(
    client: httpx.AsyncClient, admin_engine: AsyncEngine
) -> None:
    await load(client, practice())
    names = ("bookings_teams_apart", "new_bookings_teams_apart")
    async with admin_engine.begin() as connection:
        for name in names:
            await connection.execute(text(f"ALTER TABLE bookings DISABLE TRIGGER {name}"))
    try:
        await _one_wins(client)
    finally:
        async with admin_engine.begin() as connection:
            for name in names:
                await connection.execute(text(f"ALTER TABLE bookings ENABLE TRIGGER {name}"))


async def test_the_database_knows_roles_past_midnight_and_whom_they_leave_alone(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    team = {"nurse": NURSES[0], "assistant": NURSES[1]}
    await load(client, practice(bookings=[surgery(0, "10:00", team)]))
    move_there = text("UPDATE bookings SET date = :day, start_minute = :start WHERE id = :id")
    own = booking(1, MONDAY, "11:00", provider_id=NURSES[1], appointment_type_id=VISIT)
    own["room_id"] = uid(2, 1)
    await load(client, {"clinic": practice()["clinic"], "bookings": [own]})
    async with engine.begin() as connection:
        await connection.execute(move_there, {"day": MONDAY, "start": 1425, "id": uid(5, 0)})
    tuesday = MONDAY + dt.timedelta(days=1)
    with pytest.raises(Exception, match="the provider is in a role"):
        async with engine.begin() as connection:
            await connection.execute(move_there, {"day": tuesday, "start": 10, "id": uid(5, 1)})
    async with engine.begin() as connection:
        await connection.execute(move_there, {"day": tuesday, "start": 15, "id": uid(5, 1)})
