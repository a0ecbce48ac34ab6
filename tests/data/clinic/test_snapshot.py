"""What is kept of the clinic's rows is never older than the rows."""

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.support.clinics import as_document
from data.clinic.import_export import import_file
from data.clinic.snapshot import Snapshots, load_clinic
from data.files.clinic_file import ClinicFile
from solver.clinic.clinic import Clinic
from solver.clinic.entities import Availability, Booking
from solver.clinic.request import SlotRequest
from solver.slots.search import find_slots
from tests.conftest import empty_tables
from tests.support.clinics import (
    PROVIDER,
    booking,
    coming_monday,
    moved_to,
    small_clinic,
    without_collisions,
)
from tests.support.strategies import KEPT, clinics, uid

MONDAY = coming_monday()


ADD = f"""INSERT INTO rooms (id, name, equipment, turnover_minutes, active)
VALUES ('{uid(2, 9)}', 'New', '{{}}', 0, true)"""


CHANGES = {
    "providers": "UPDATE providers SET daily_cap = 3",
    "rooms": ADD,
    "appointment_types": "UPDATE appointment_types SET duration_minutes = 15",
    "availability": "DELETE FROM availability",
    "overbooking_rules": f"""INSERT INTO overbooking_rules (id, max_overlap, max_per_day)
                             VALUES ('{uid(4, 9)}', 1, 1)""",
    "clinic": "UPDATE clinic SET grid_minutes = 30",
    "bookings": "UPDATE bookings SET status = 'cancelled'",
}


async def fresh(engine: AsyncEngine) -> Clinic:
    async with engine.connect() as connection:
        return await load_clinic(connection, MONDAY, MONDAY)


@pytest.mark.parametrize("table", CHANGES)
async def test_a_change_made_behind_the_service_shows_at_once(
    engine: AsyncEngine, table: str
) -> None:
    document = small_clinic(bookings=[booking(0, MONDAY, "09:00")])
    await import_file(engine, ClinicFile.model_validate(document), replace=True, today=MONDAY)
    snapshots = Snapshots(engine)
    before = await snapshots.load(MONDAY, MONDAY)
    assert before == await fresh(engine)
    again = await snapshots.load(MONDAY, MONDAY)
    assert again == before
    assert again.providers is before.providers  # kept, not read again
    assert again.bookings is before.bookings  # read again, and the same
    async with engine.begin() as connection:
        await connection.execute(text(CHANGES[table]))
    after = await snapshots.load(MONDAY, MONDAY)
    assert after == await fresh(engine)
    assert after != before


async def test_a_change_that_is_not_committed_is_not_kept(engine: AsyncEngine) -> None:
    await import_file(engine, ClinicFile.model_validate(small_clinic()), replace=True, today=MONDAY)
    snapshots = Snapshots(engine)
    async with engine.connect() as connection:
        await connection.execute(text("UPDATE providers SET daily_cap = 7"))
        assert (await snapshots.load(MONDAY, MONDAY)).provider_by_id[PROVIDER].daily_cap is None
        await connection.commit()
    assert (await snapshots.load(MONDAY, MONDAY)).provider_by_id[PROVIDER].daily_cap == 7


# Of the dates beside, no more is read than counts


@pytest.mark.parametrize(
    ("start", "reach", "is_read"),
    [
        ("09:00", 0, False),
        ("23:00", 0, False),
        ("23:30", 0, False),  # it ends at midnight
        ("23:35", 0, True),
        ("23:00", 30, False),
        ("23:00", 35, True),
    ],
)
async def test_the_date_before_is_read_where_something_may_be_busy_at_midnight(
    engine: AsyncEngine, start: str, reach: int, is_read: bool
) -> None:
    clinic = small_clinic(bookings=[booking(0, MONDAY - dt.timedelta(days=1), start)])
    clinic["rooms"][0]["turnover_minutes"] = reach
    await import_file(engine, ClinicFile.model_validate(clinic), replace=True, today=MONDAY)
    found = await Snapshots(engine).load(MONDAY, MONDAY)
    assert bool(found.bookings) is is_read


@st.composite
def busy_nights(draw: st.DrawFn) -> Clinic:
    """A clinic that is open all night, with bookings about midnight and far from it."""
    clinic = moved_to(draw(clinics()), MONDAY)
    book = [
        Booking(
            uid(5, number),
            draw(st.sampled_from(clinic.providers)).id,
            draw(st.sampled_from(clinic.rooms)).id,
            draw(st.sampled_from(clinic.appointment_types)).id,
            MONDAY + dt.timedelta(days=draw(st.sampled_from([-1, 0, 1]))),
            draw(st.sampled_from([0, 5, 20, 600, 660, 1380, 1400, 1430])),
            patient_ref=f"patient {number}",
            is_overbooked=draw(st.booleans()),
            **draw(KEPT),
        )
        for number in range(draw(st.integers(1, 8)))
    ]
    all_night = tuple(
        Availability(0, 1440, provider_id=provider.id, weekday=1) for provider in clinic.providers
    )
    return without_collisions(replace(clinic, availability=all_night).with_bookings(book))


@given(busy_nights())
@settings(max_examples=40)
async def test_what_is_not_read_changes_no_answer(
    engine: AsyncEngine, admin_engine: AsyncEngine, clinic: Clinic
) -> None:
    await empty_tables(admin_engine)
    file = ClinicFile.model_validate(as_document(clinic))
    await import_file(engine, file, replace=True, today=MONDAY)
    whole, narrow = await fresh(engine), await Snapshots(engine).load(MONDAY, MONDAY)
    now = dt.datetime.combine(MONDAY - dt.timedelta(days=3), dt.time(), dt.UTC)
    for kind in whole.appointment_types:
        request = SlotRequest(kind.id, MONDAY, now)
        expected = find_slots(whole, request, limit=500, rooms="all")
        assert find_slots(narrow, request, limit=500, rooms="all") == expected
