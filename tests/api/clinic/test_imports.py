"""An import changes a booking as any other writer does, and large files go in and out."""

import asyncio
import datetime as dt
import random
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.clinic.files import export_in_turn
from benchmarks.hospital.book import hospital_clinic
from benchmarks.support.clinics import as_document
from data.clinic import import_export as transfer
from data.clinic import import_file as incoming
from data.database.engine import POOL_SIZE
from data.database.transaction import lock_clinic_holding_rows
from data.files.clinic_file import ClinicFile
from tests.support.clinics import ROOM, TYPE, booking, coming_monday, order, small_clinic
from tests.support.databases import until_stuck
from tests.support.over_http import load
from tests.support.strategies import uid

MONDAY = coming_monday()


async def bring(client: httpx.AsyncClient, document: Any, **params: Any) -> dict[str, Any]:
    answer = await client.post("/clinic/import", params=params, json=document)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def one(client: httpx.AsyncClient) -> dict[str, Any]:
    await load(client, small_clinic())
    made = await client.post("/bookings", json=order(MONDAY, "09:00"))
    body: dict[str, Any] = made.json()
    return body


async def exported(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/clinic/export")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


async def test_an_import_that_moves_a_booking_is_a_change_of_it(client: httpx.AsyncClient) -> None:
    made = await one(client)
    document = await exported(client)
    document["bookings"][0]["start_time"] = "10:07"
    await bring(client, document)
    now = (await client.get(f"/bookings/{made['id']}")).json()
    assert (now["start_time"], now["version"], now["score"]) == ("10:07", 2, None)
    assert now["updated_at"] > made["updated_at"]
    entries = (await client.get(f"/bookings/{made['id']}/history")).json()
    assert [entry["action"] for entry in entries] == ["book", "import"]
    assert (entries[1]["before"]["start_minute"], entries[1]["after"]["start_minute"]) == (540, 607)
    assert entries[1]["after"]["version"] == 2
    stale = await client.post(f"/bookings/{made['id']}/cancel", json={"version": 1})
    assert stale.json()["code"] == "STALE_VERSION"


@pytest.mark.parametrize(
    "change", [{"patient_ref": "Q-2"}, {"notes": "by phone"}, {"status": "checked_in"}]
)
async def test_an_import_that_leaves_the_place_leaves_the_score(
    client: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    made = await one(client)
    document = await exported(client)
    document["bookings"][0] |= change
    await bring(client, document)
    now = (await client.get(f"/bookings/{made['id']}")).json()
    assert {**made, **change} | {"version": 2} == now | {"updated_at": made["updated_at"]}


async def test_an_import_of_what_is_there_changes_nothing(client: httpx.AsyncClient) -> None:
    made = await one(client)
    document = await exported(client)
    for replace in (False, True):
        await bring(client, document, replace=replace)
    assert (await client.get(f"/bookings/{made['id']}")).json() == made
    assert len((await client.get(f"/bookings/{made['id']}/history")).json()) == 1


async def test_the_history_of_a_removed_booking_stays(client: httpx.AsyncClient) -> None:
    made = await one(client)
    report = await bring(client, small_clinic(), replace=True)
    assert report["removed"]["bookings"] == 1
    assert (await client.get(f"/bookings/{made['id']}")).status_code == 404
    entries = (await client.get(f"/bookings/{made['id']}/history")).json()
    assert [entry["action"] for entry in entries] == ["book", "import"]
    assert entries[1]["after"] is None
    assert entries[1]["before"]["patient_ref"] == "someone"
    assert (await client.get(f"/bookings/{uid(5, 9)}/history")).status_code == 404


@pytest.mark.parametrize(("move", "was"), [("cancel", "cancelled"), ("check-in", "checked in")])
async def test_a_file_older_than_a_change_of_status_is_warned_of(
    client: httpx.AsyncClient, engine: AsyncEngine, move: str, was: str
) -> None:
    made = await one(client)
    document = await exported(client)
    async with engine.begin() as connection:  # by whatever rules a desk changes it
        status = was.replace(" ", "_")
        await connection.execute(text(f"UPDATE bookings SET status = '{status}'"))
    (warning,) = (await bring(client, document))["warnings"]
    assert (warning["booking_id"], warning["code"]) == (made["id"], "STATUS_TAKEN_BACK")
    assert warning["detail"] == f"was {was}, and by this file is booked again"
    assert (await client.get(f"/bookings/{made['id']}")).json()["version"] == 3


async def test_a_patient_whom_a_file_puts_in_two_places_is_warned_of(
    client: httpx.AsyncClient,
) -> None:
    providers = [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(2)]
    rooms = [{"id": uid(2, n), "name": f"R{n}"} for n in range(2)]
    there = {"provider_id": uid(1, 1), "room_id": uid(2, 1)}
    hours = [
        {"provider_id": p["id"], "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
        for p in providers
    ]
    document = small_clinic(providers=providers, rooms=rooms, availability=hours)
    await bring(client, document)
    made = (await client.post("/bookings", json=order(MONDAY, "09:00", patient_ref="Anna"))).json()
    document["bookings"] = [
        booking(0, MONDAY, "09:15", patient_ref=" ANNA", **there),
        booking(1, MONDAY, "09:45", patient_ref="anna", **there),
        booking(2, MONDAY, "10:15", patient_ref="anna", status="cancelled", **there),
    ]
    (warning,) = (await bring(client, document))["warnings"]
    assert (warning["booking_id"], warning["code"]) == (uid(5, 0), "PATIENT_CONFLICT")
    assert (warning["patient_ref"], made["id"] in warning["detail"]) == (" ANNA", True)


async def test_any_writer_counts_a_booking_up(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    made = await one(client)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE bookings SET notes = 'by hand'"))
        await connection.execute(text("UPDATE bookings SET duration_minutes = duration_minutes"))
    now = (await client.get(f"/bookings/{made['id']}")).json()
    assert now["version"] == 2
    assert now["updated_at"] > made["updated_at"]


async def test_two_that_change_places_in_a_file_are_changed_once_each(
    client: httpx.AsyncClient,
) -> None:
    rows = [booking(0, MONDAY, "09:00"), booking(1, MONDAY, "09:30")]
    await load(client, small_clinic(bookings=rows))
    swapped = [booking(0, MONDAY, "09:30"), booking(1, MONDAY, "09:00")]
    new = booking(2, MONDAY, "10:00")
    await bring(client, small_clinic(bookings=[*swapped, new]))
    listed = (await client.get("/bookings")).json()
    assert [(b["id"], b["version"]) for b in listed] == [
        (uid(5, 1), 2),
        (uid(5, 0), 2),
        (uid(5, 2), 1),
    ]
    swap = await client.post("/bookings/swap", json={"a": uid(5, 0), "b": uid(5, 1)})
    assert [swap.json()[key]["version"] for key in ("a", "b")] == [3, 3]


async def test_all_that_collide_are_named_and_nothing_is_written(
    client: httpx.AsyncClient,
) -> None:
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "09:00")]))
    rows = [
        booking(1, MONDAY, "09:15"),
        booking(2, MONDAY, "10:00"),
        booking(3, MONDAY, "10:00"),
        booking(4, MONDAY, "11:00"),
    ]
    answer = await client.post("/clinic/import", json=small_clinic(bookings=rows))
    assert (answer.status_code, answer.json()["code"]) == (409, "BOOKING_CONFLICT")
    told = [
        (c["with_booking_id"], c["booking_id"], c["start_time"], c["detail"])
        for c in answer.json()["conflicts"]
    ]
    assert told == [
        (uid(5, 0), uid(5, 1), "09:15", f"they overlap at room {ROOM}"),
        (uid(5, 2), uid(5, 3), "10:00", f"both start then at room {ROOM}"),
    ]
    assert len((await client.get("/bookings")).json()) == 1
    assert (await client.get(f"/bookings/{uid(5, 4)}/history")).status_code == 404


async def test_what_is_new_and_free_is_written_before_the_clinic_is_held(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(client, small_clinic(bookings=[booking(0, MONDAY, "09:00")]))
    written = []

    async def holding(connection: AsyncConnection, seconds: float) -> None:
        count = await connection.execute(text("SELECT count(*) FROM bookings"))
        written.append(count.scalar_one())
        await lock_clinic_holding_rows(connection, seconds)

    monkeypatch.setattr(transfer, "lock_clinic_holding_rows", holding)
    moved_away = booking(0, MONDAY, "11:00")
    rows = [moved_away, booking(1, MONDAY, "09:00"), booking(2, MONDAY, "10:00")]
    await bring(client, small_clinic(bookings=rows))
    assert written == [2]  # and not the one whose place another of the file still has
    listed = (await client.get("/bookings")).json()
    assert [b["id"] for b in listed] == [uid(5, 1), uid(5, 2), uid(5, 0)]
    for number in range(3):
        entries = (await client.get(f"/bookings/{uid(5, number)}/history")).json()
        assert [entry["action"] for entry in entries] == ["import"] * (2 if number == 0 else 1)


async def test_other_notes_are_written_before_the_clinic_is_held(
    client: httpx.AsyncClient, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for such a booking meanwhile gives way to the import, and comes after it."""
    rows = [booking(number, MONDAY, f"{9 + number:02}:00") for number in range(3)]
    await load(client, small_clinic(bookings=rows))
    noted: list[str] = []
    cancelling: list[asyncio.Task[httpx.Response]] = []

    async def holding(connection: AsyncConnection, seconds: float) -> None:
        found = await connection.execute(text("SELECT id FROM bookings WHERE notes <> ''"))
        noted.extend(map(str, found.scalars()))
        cancelling.append(asyncio.create_task(client.post(f"/bookings/{uid(5, 1)}/cancel")))
        await until_stuck(engine, *cancelling)
        await lock_clinic_holding_rows(connection, seconds)

    monkeypatch.setattr(transfer, "lock_clinic_holding_rows", holding)
    moved = booking(2, MONDAY, "11:30")
    await bring(
        client, small_clinic(bookings=[each | {"notes": "N"} for each in [*rows[:2], moved]])
    )
    assert sorted(noted) == [uid(5, 0), uid(5, 1)]  # and not the one that is moved, too
    [answer] = await asyncio.gather(*cancelling)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["notes"], answer.json()["version"]) == ("N", 3)
    entries = (await client.get(f"/bookings/{uid(5, 1)}/history")).json()
    assert [entry["action"] for entry in entries] == ["import", "import", "cancel"]
    assert [entry["after"]["notes"] for entry in entries] == [None, "N", "N"]
    assert entries[1]["before"]["notes"] is None


async def test_a_large_file_is_read_in_a_process_of_its_own_and_round_trips(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "LARGE", 1000)
    clinic = hospital_clinic(MONDAY, providers=3, bookings=1500)
    document = as_document(clinic)
    random.Random(0).shuffle(document["bookings"])
    document["bookings"][0] |= {
        "notes": "a tab\t, a line\n, a back\\slash, \\N",
        "patient_ref": "é",
    }
    report = await bring(client, document)
    assert report["imported"]["bookings"] == 1500
    assert report["warnings"] == []
    told = await exported(client)
    minutes = {row["id"]: [row[name] for name in KEPT] for row in document["appointment_types"]}
    for row in document["bookings"]:
        row |= dict(zip(KEPT, minutes[row["appointment_type_id"]], strict=True))
    assert ClinicFile.model_validate(told).bookings == sorted(
        ClinicFile.model_validate(document).bookings,
        key=lambda row: (row.date, row.start_time, row.id),
    )
    again = await bring(client, told, replace=True)
    assert again["removed"] == {}
    del document["bookings"][7]["date"]
    document["bookings"][8]["room_id"] = uid(2, 99)
    refused = await client.post("/clinic/import", json=document)
    assert [error["field"] for error in refused.json()["errors"]] == [
        "bookings[7].date",
        "bookings[8].room_id",
    ]


# What a booking keeps


KEPT = ("duration_minutes", "buffer_before", "buffer_after")


def visit(*minutes: int) -> dict[str, Any]:
    """The small clinic's type, of other minutes."""
    return {"id": TYPE, "name": "Visit", **dict(zip(KEPT, minutes, strict=True))}


async def kept(client: httpx.AsyncClient) -> dict[str, tuple[int, ...]]:
    """What each booking has kept, by the time at which it starts."""
    rows = (await exported(client))["bookings"]
    return {row["start_time"]: tuple(row[name] for name in KEPT) for row in rows}


async def test_minutes_left_out_of_a_new_booking_are_those_of_its_type(
    client: httpx.AsyncClient,
) -> None:
    await bring(client, small_clinic(appointment_types=[visit(30, 5, 10)]))
    without_types = small_clinic(bookings=[booking(0, MONDAY, "09:00")])
    del without_types["appointment_types"]
    await bring(client, without_types)
    assert await kept(client) == {"09:00": (30, 5, 10)}
    rows = [
        booking(1, MONDAY, "10:00"),
        booking(2, MONDAY, "11:00", duration_minutes=15, buffer_after=0),
    ]
    await bring(client, small_clinic(appointment_types=[visit(45, 0, 20)], bookings=rows))
    assert await kept(client) == {"09:00": (30, 5, 10), "10:00": (45, 0, 20), "11:00": (15, 0, 0)}


async def test_minutes_left_out_of_a_stored_booking_stay_as_they_are(
    client: httpx.AsyncClient,
) -> None:
    rows = [booking(0, MONDAY, "09:00", buffer_before=7), booking(1, MONDAY, "10:00")]
    await bring(client, small_clinic(appointment_types=[visit(30, 5, 10)], bookings=rows))
    before = (await client.get("/bookings")).json()
    again = [booking(0, MONDAY, "09:00"), booking(1, MONDAY, "11:00")]  # one of them is moved
    await bring(client, small_clinic(appointment_types=[visit(45, 0, 20)], bookings=again))
    assert await kept(client) == {"09:00": (30, 7, 10), "11:00": (30, 5, 10)}
    after = (await client.get("/bookings")).json()
    assert after[0] == before[0]
    assert after[1]["version"] == 2


async def test_minutes_that_a_file_writes_are_taken(client: httpx.AsyncClient) -> None:
    made = await one(client)
    document = await exported(client)
    document["bookings"][0] |= {"duration_minutes": 20, "buffer_before": 3, "buffer_after": 4}
    await bring(client, document)
    assert await kept(client) == {"09:00": (20, 3, 4)}
    now = (await client.get(f"/bookings/{made['id']}")).json()
    assert (now["end_time"], now["version"], now["score"]) == ("09:20", 2, made["score"])
    entries = (await client.get(f"/bookings/{made['id']}/history")).json()
    told = [[entry[name][field] for field in KEPT] for entry in entries for name in ("after",)]
    assert told == [[30, 0, 0], [20, 3, 4]]
    assert [entries[1]["before"][field] for field in KEPT] == [30, 0, 0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("duration_minutes", 0),
        ("duration_minutes", 1441),
        ("duration_minutes", "30"),
        ("duration_minutes", True),
        ("buffer_before", -1),
        ("buffer_before", 721),
        ("buffer_after", 1.5),
        ("buffer_after", 721),
        ("end_time", "09:30"),
    ],
)
async def test_minutes_that_cannot_be_are_a_fault(
    client: httpx.AsyncClient, field: str, value: Any
) -> None:
    document = small_clinic(bookings=[booking(0, MONDAY, "09:00", **{field: value})])
    answer = await client.post("/clinic/import", json=document)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [f"bookings[0].{field}"]


async def test_bookings_stand_beside_one_another_by_the_minutes_that_they_keep(
    client: httpx.AsyncClient,
) -> None:
    """A type that is shorter for a while frees nothing, and takes nothing when it is longer."""
    await bring(client, small_clinic(bookings=[booking(0, MONDAY, "09:00")]))
    between = booking(1, MONDAY, "09:15")
    shorter = small_clinic(appointment_types=[visit(15, 0, 0)], bookings=[between])
    answer = await client.post("/clinic/import", json=shorter)
    assert (answer.status_code, answer.json()["code"]) == (409, "BOOKING_CONFLICT")
    first = booking(0, MONDAY, "09:00", duration_minutes=15)
    await bring(client, shorter | {"bookings": [first, between]})
    report = await bring(client, small_clinic(appointment_types=[visit(30, 0, 0)]))
    assert report["warnings"] == []
    assert await kept(client) == {"09:00": (15, 0, 0), "09:15": (15, 0, 0)}


async def test_warnings_tell_of_the_past_only_what_the_file_brings(
    client: httpx.AsyncClient,
) -> None:
    past = MONDAY - dt.timedelta(days=70)
    await load(client, small_clinic(bookings=[booking(0, past, "08:00")]))
    report = await bring(client, small_clinic(bookings=[booking(1, past, "07:00")]))
    assert {w["booking_id"] for w in report["warnings"]} == {uid(5, 1)}


async def test_an_export_is_what_the_file_model_writes(client: httpx.AsyncClient) -> None:
    odd = 'Q "1"\\ \t\n\u2028 é 🦷 \u0001</script>'
    rows = [
        booking(0, MONDAY, "09:00", notes=odd, patient_ref=odd.strip()),
        booking(1, MONDAY, "10:00", status="held", expires_at="2090-01-01T00:00:00.120+00:00"),
        booking(2, MONDAY, "11:00", status="held", expires_at="2090-01-01T00:00:00+02:00"),
        booking(3, MONDAY + dt.timedelta(days=1), "09:05", status="no_show"),
        booking(4, dt.date(2019, 3, 4), "11:30", status="cancelled", notes=""),
    ]
    await load(client, small_clinic(bookings=rows))
    written = await exported(client)
    assert written == ClinicFile.model_validate(written).to_json()
    brought = {row["id"]: row for row in rows}
    for row in written["bookings"]:
        for field, value in brought[row["id"]].items():
            if field != "expires_at":
                assert row[field] == value
        held = [
            dt.datetime.fromisoformat(each.get("expires_at", "2000-01-01"))
            for each in (row, brought[row["id"]])
        ]
        assert held[0] == held[1]
    assert [b["notes"] for b in written["bookings"] if "notes" in b] == ["", odd]


async def test_exports_leave_connections_to_others(engine: AsyncEngine) -> None:
    """Each has one until its reader, who may be slow, has all."""
    exports = [export_in_turn(engine, f"caller {number}") for number in range(POOL_SIZE)]
    begun = [asyncio.ensure_future(anext(pieces)) for pieces in exports]
    await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    for pieces, first in zip(exports, begun, strict=True):
        assert (await first).startswith(b"{")
        await pieces.aclose()
