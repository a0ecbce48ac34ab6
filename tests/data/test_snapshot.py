"""What is kept of the clinic's rows is never older than the rows."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.clinic_file import ClinicFile
from data.snapshot import Snapshots, load_clinic
from data.transfer import import_file
from solver.clinic import Clinic
from tests.clinics import PROVIDER, booking, coming_monday, small_clinic
from tests.strategies import uid

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
