"""An edit reads the bookings that it can touch and no others, and tells what the checker tells."""

import datetime as dt
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.hospital.book import hospital_clinic
from benchmarks.support.clinics import as_document, uid
from data.bookings import outside_rules as outside
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.clinic.entities import Availability, Booking
from solver.rules.checked_book import BookChecker
from solver.rules.ledger import PACKED
from tests.conftest import empty_tables
from tests.support.clinics import (
    as_imported,
    coming_monday,
    moved_to,
    small_clinic,
    without_collisions,
)
from tests.support.strategies import KEPT, clinics

PROVIDERS, PER_DAY, DAYS = 4, 22, 10


MONDAY = coming_monday()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bookings were read from the database, each time that any were."""
    counts: list[int] = []
    load = outside.load_packed

    async def counting(*args: Any) -> outside.Packed:
        packed, in_roles = await load(*args)
        counts.append(len(packed) // PACKED.itemsize)
        return packed, in_roles

    monkeypatch.setattr(outside, "load_packed", counting)
    return counts


async def hospital(client: httpx.AsyncClient) -> None:
    clinic = hospital_clinic(MONDAY, providers=PROVIDERS, bookings=PROVIDERS * PER_DAY * DAYS)
    await load(client, clinic)


async def load(client: httpx.AsyncClient, clinic: Clinic) -> None:
    answer = await client.post(
        "/clinic/import",
        params={"replace": True},
        content=orjson.dumps(as_document(clinic)),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 200, answer.text


WEEKLY = {"weekday": 1, "start_time": "09:00", "end_time": "10:00", "kind": "closed"}


EVERY_OTHER = {"valid_from": (MONDAY - dt.timedelta(days=3)).isoformat(), "every_weeks": 2}


KEPT_HOURS = {"name": "Kept", "weekday": 1, "start_time": "09:00", "end_time": "10:00"}


EVERY = PROVIDERS * PER_DAY * DAYS


@pytest.mark.parametrize(
    ("method", "path", "body", "most"),
    [
        ("PATCH", f"/providers/{uid(1, 0)}", {"name": "Dr New"}, None),
        ("PATCH", f"/rooms/{uid(2, 0)}", {"name": "New"}, None),
        ("PATCH", f"/appointment-types/{uid(3, 0)}", {"name": "New"}, None),
        ("PATCH", "/clinic", {"name": "New", "min_notice_minutes": 30, "grid_minutes": 15}, None),
        ("PATCH", "/clinic", {"timezone": "Asia/Tokyo"}, 0),
        ("POST", "/providers", {"name": "Dr More"}, None),
        ("POST", "/overbooking-rules", {"max_overlap": 1}, 0),
        ("PATCH", f"/providers/{uid(1, 0)}", {"skills": ["gp"]}, PER_DAY * DAYS),
        ("PATCH", f"/rooms/{uid(2, 0)}", {"turnover_minutes": 20}, PER_DAY * DAYS),
        ("POST", "/availability", {**WEEKLY, "provider_id": uid(1, 0)}, PER_DAY * 2),
        ("POST", "/availability", WEEKLY, PER_DAY * 2 * PROVIDERS),
        ("POST", "/availability", WEEKLY | EVERY_OTHER, PER_DAY * PROVIDERS),
        ("POST", "/sessions", {**KEPT_HOURS, "provider_id": uid(1, 0)}, PER_DAY * 2),
        ("POST", "/sessions", KEPT_HOURS | EVERY_OTHER, PER_DAY * PROVIDERS),
        ("POST", "/sessions", KEPT_HOURS | {"active": False}, None),
        ("PATCH", f"/appointment-types/{uid(3, 0)}", {"active": False}, EVERY // 2),
        ("PATCH", f"/appointment-types/{uid(3, 0)}", {"duration_minutes": 60}, None),
        ("PATCH", f"/appointment-types/{uid(3, 0)}", {"buffer_before": 60}, None),
        ("DELETE", f"/providers/{uid(1, 0)}", None, PER_DAY * DAYS),
    ],
)
async def test_an_edit_reads_only_what_it_can_touch(
    client: httpx.AsyncClient,
    read: list[int],
    method: str,
    path: str,
    body: dict[str, Any] | None,
    most: int | None,
) -> None:
    await hospital(client)
    read.clear()
    for dry_run in (True, False):
        answer = await client.request(method, path, json=body, params={"dry_run": dry_run})
        assert answer.is_success, answer.text
    assert len(read) == (0 if most is None else 2)
    assert all(count <= (most or 0) for count in read)


async def test_of_many_conflicts_the_first_are_told_and_all_are_counted(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "MOST_TOLD", 5)
    monkeypatch.setattr(outside, "FEWEST_DAYS", 2)
    await hospital(client)
    closed = {**WEEKLY, "start_time": "00:00", "end_time": "24:00"}
    answer = (await client.post("/availability", json=closed)).json()
    assert answer["conflicting_bookings"] == PER_DAY * 2 * PROVIDERS
    assert len({c["booking_id"] for c in answer["conflicts"]}) == 5
    first = answer["conflicts"][0]
    assert first["date"] == MONDAY.isoformat()
    assert first["code"] == "OUTSIDE_PROVIDER_HOURS"
    assert first["provider_name"].startswith("Dr ")
    assert first["patient_ref"].startswith("patient ")
    assert first["room_name"].startswith("Room ")
    assert first["appointment_type_name"]


async def test_a_dry_run_writes_nothing_and_waits_for_nobody(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    from data.database.locks import lock_clinic

    await load(client, hospital_clinic(MONDAY, providers=1, bookings=22))
    async with engine.connect() as connection:
        await lock_clinic(connection)
        answer = await client.patch(
            f"/providers/{uid(1, 0)}", json={"active": False}, params={"dry_run": True}
        )
    assert len(answer.json()["conflicts"]) == 22
    assert (await client.get(f"/providers/{uid(1, 0)}")).json()["active"]


# Edits of one row by two people


async def test_an_edit_of_what_someone_has_changed_meanwhile_is_refused(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/clinic/import", json=small_clinic())
    for path, first, second in (
        (f"/providers/{uid(1, 0)}", {"name": "A"}, {"daily_cap": 3}),
        ("/clinic", {"name": "B"}, {"grid_minutes": 30}),
    ):
        seen = (await client.get(path)).headers["etag"]
        guard = {"if-match": seen}
        foreseen = await client.patch(path, json=first, headers=guard, params={"dry_run": True})
        assert foreseen.status_code == 200
        written = await client.patch(path, json=first, headers=guard)
        assert written.status_code == 200
        assert written.headers["etag"] != seen
        refused = await client.patch(path, json=second, headers=guard)
        assert (refused.status_code, refused.json()["code"]) == (412, "STALE_VERSION")
        guard = {"if-match": written.headers["etag"]}
        assert (await client.patch(path, json=second, headers=guard)).status_code == 200
    refused = await client.delete(f"/rooms/{uid(2, 0)}", headers={"if-match": '"other"'})
    assert refused.status_code == 412


async def test_a_patch_cannot_give_a_row_another_id(client: httpx.AsyncClient) -> None:
    await client.post("/clinic/import", json=small_clinic())
    path = f"/rooms/{uid(2, 0)}"
    refused = await client.patch(path, json={"id": uid(2, 9)})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "id")
    assert (await client.patch(path, json={"id": uid(2, 0).upper()})).status_code == 200


# What is told is what the checker tells


@st.composite
def edits(draw: st.DrawFn) -> tuple[Clinic, str, str, dict[str, Any] | None, Clinic]:
    """A clinic with bookings, an edit as it is sent, and the clinic after it."""
    clinic = moved_to(draw(clinics()), MONDAY)
    book = [
        Booking(
            uid(5, number),
            draw(st.sampled_from(clinic.providers)).id,
            draw(st.sampled_from(clinic.rooms)).id,
            draw(st.sampled_from(clinic.appointment_types)).id,
            MONDAY + dt.timedelta(days=draw(st.sampled_from([0, 0, 0, 1, 6]))),
            draw(st.sampled_from([480, 510, 530, 540, 600, 1020, 1400, 0])),
            patient_ref=f"patient {number}",
            is_overbooked=draw(st.booleans()),
            **draw(KEPT),
        )
        for number in range(8)
    ]
    clinic = as_imported(without_collisions(clinic.with_bookings(book)))
    kind = draw(
        st.sampled_from(["provider", "room", "type", "type", "hours", "closure", "allowance"])
    )
    provider, room = clinic.providers[0], clinic.rooms[0]
    of_type = clinic.appointment_types[0]
    if kind == "provider":
        change = draw(
            st.sampled_from(
                [
                    {"daily_cap": 1},
                    {"daily_minutes": 40},
                    {"buffer_after": 45},
                    {"skills": []},
                    {"active": False},
                ]
            )
        )
        given = {k: frozenset(v) if isinstance(v, list) else v for k, v in change.items()}
        after = replace(clinic, providers=(replace(provider, **given), *clinic.providers[1:]))
        return clinic, "PATCH", f"/providers/{provider.id}", change, after
    if kind == "room":
        change = draw(st.sampled_from([{"turnover_minutes": 60}, {"equipment": []}]))
        given = {k: frozenset(v) if isinstance(v, list) else v for k, v in change.items()}
        after = replace(clinic, rooms=(replace(room, **given), *clinic.rooms[1:]))
        return clinic, "PATCH", f"/rooms/{room.id}", change, after
    if kind == "type":
        change = draw(
            st.sampled_from(
                [
                    {"duration_minutes": 120},
                    {"duration_minutes": 5},
                    {"buffer_before": 90, "daily_cap": 1},
                    {"required_skills": ["physio"]},
                ]
            )
        )
        given = {k: frozenset(v) if isinstance(v, list) else v for k, v in change.items()}
        types = (replace(of_type, **given), *clinic.appointment_types[1:])
        after = replace(clinic, appointment_types=types)
        return clinic, "PATCH", f"/appointment-types/{of_type.id}", change, after
    if kind == "allowance":
        rule = {"max_overlap": 3, "max_per_day": 1, "provider_id": provider.id}
        after = replace(clinic, overbooking_rules=clinic.overbooking_rules[1:])
        if not clinic.overbooking_rules:
            return clinic, "POST", "/overbooking-rules", rule, clinic
        return clinic, "DELETE", f"/overbooking-rules/{clinic.overbooking_rules[0].id}", None, after
    owner = {"room_id": room.id} if draw(st.booleans()) else {"provider_id": provider.id}
    valid_from = draw(st.sampled_from([None, MONDAY - dt.timedelta(days=3), MONDAY]))
    row = Availability(
        500,
        560,
        kind="closed" if kind == "closure" else "open",
        weekday=draw(st.sampled_from([1, 2])),
        valid_from=valid_from,
        every_weeks=1 if valid_from is None else draw(st.sampled_from([1, 2])),
        **({} if kind == "closure" and draw(st.booleans()) else owner),
    )
    sent = {
        **{
            name: getattr(row, name)
            for name in ("provider_id", "room_id", "weekday", "kind", "every_weeks")
        },
        "valid_from": None if row.valid_from is None else row.valid_from.isoformat(),
        "start_time": format_time(row.start),
        "end_time": format_time(row.end),
    }
    after = replace(clinic, availability=(*clinic.availability, row))
    return clinic, "POST", "/availability", sent, after


@given(edits())
@settings(max_examples=40)
async def test_conflicts_are_what_the_checker_tells_after_and_not_before(
    client: httpx.AsyncClient, admin_engine: AsyncEngine, edit: Any
) -> None:
    clinic, method, path, body, after = edit
    await empty_tables(admin_engine)
    await load(client, clinic)
    known = {(v.booking.id, v.rule) for v in BookChecker(clinic).violations()}
    in_order = sorted(after.bookings, key=lambda b: (b.date, b.start, b.id))
    expected = [
        (v.booking.id, v.rule, v.code, v.detail)
        for v in BookChecker(after.with_bookings(in_order)).violations()
        if (v.booking.id, v.rule) not in known
    ]
    for dry_run, days_at_once in ((True, outside.FEWEST_DAYS), (True, 1), (False, 2)):
        with patch.object(outside, "FEWEST_DAYS", days_at_once):
            answer = await client.request(method, path, json=body, params={"dry_run": dry_run})
        assert answer.is_success, answer.text
        told = answer.json()["conflicts"]
        assert [(c["booking_id"], c["rule"], c["code"], c["detail"]) for c in told] == expected
