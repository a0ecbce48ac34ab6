"""Each hour's work once, by the database's clock; no-shows, and who wins a race for one."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.audit import NO_SHOW_MARKER
from data.bookings import reading, status
from data.bookings.decisions import Policy
from data.clinic.import_export import import_document
from data.events.events import Audience
from data.jobs.hourly import do_due_hours
from data.jobs.no_shows import mark_no_shows, surely_past
from solver.scoring.parts import DEFAULT_WEIGHTS
from tests.support.clinics import booking, small_clinic
from tests.support.strategies import uid

NOW = dt.datetime.now(dt.UTC)


TODAY = NOW.date()


POLICY = Policy(NOW, DEFAULT_WEIGHTS, 365, "front desk")


GRACE = 30


class Listener(Audience):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[Row[Any]] = []

    def after_commit(self, rows: Sequence[Row[Any]]) -> None:
        self.heard += rows


async def fill(engine: AsyncEngine, *rows: dict[str, Any], timezone: str = "UTC") -> None:
    document = small_clinic(clinic={"name": "C", "timezone": timezone}, bookings=list(rows))
    await import_document(engine, orjson.dumps(document), is_yaml=False, replace=True, today=TODAY)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM job_runs"))


def last_week(number: int, start: str, **changes: Any) -> dict[str, Any]:
    return booking(number, TODAY - dt.timedelta(days=7), start, **changes)


async def ended_ago(engine: AsyncEngine, number: int, minutes: int, timezone: str) -> None:
    """Move a booking of half an hour so that it ended some minutes (not quite one more) ago."""
    async with engine.begin() as connection:
        now = (await connection.execute(text("SELECT now()"))).scalar_one()
        start = now.astimezone(ZoneInfo(timezone)) - dt.timedelta(minutes=minutes + 30)
        minute = start.hour * 60 + start.minute
        await connection.execute(
            text("UPDATE bookings SET date = :day, start_minute = :start WHERE id = :key"),
            {"day": start.date(), "start": minute, "key": uid(5, number)},
        )


async def mark(engine: AsyncEngine) -> list[str]:
    """Let the marker do its work; the bookings that it marked."""
    async with engine.begin() as connection:
        return [str(row.id) for row in await mark_no_shows(GRACE)(connection, NOW)]


async def status_of(engine: AsyncEngine, number: int) -> tuple[str, int]:
    row, _ = await reading.get(engine, uid(5, number))
    return row.status, row.version


# The marker


async def test_what_is_booked_and_over_is_marked(engine: AsyncEngine) -> None:
    others = ["checked_in", "completed", "cancelled", "no_show"]
    rows = [last_week(n, f"{9 + n:02d}:00", status=s) for n, s in enumerate(others, 2)]
    await fill(engine, last_week(1, "09:00"), *rows)
    before, _ = await reading.get(engine, uid(5, 1))
    assert await mark(engine) == [uid(5, 1)]
    after, _ = await reading.get(engine, uid(5, 1))
    assert (after.status, after.version) == ("no_show", before.version + 1)
    assert after.updated_at > before.updated_at
    assert [(await status_of(engine, n))[0] for n in range(2, 6)] == others
    imported, entry = await audit.history(engine, "booking", uid(5, 1))
    assert imported["action"] == "import"
    assert (entry["actor"], entry["action"]) == (NO_SHOW_MARKER, "no_show")
    assert (entry["before"]["status"], entry["after"]["status"]) == ("booked", "no_show")
    assert entry["before"].keys() == entry["after"].keys()
    assert "provider_span" not in entry["after"]
    assert await mark(engine) == []


@pytest.mark.parametrize(("minutes", "is_marked"), [(28, True), (40, False)])
async def test_a_booking_is_over_when_its_own_minutes_are(
    engine: AsyncEngine, minutes: int, is_marked: bool
) -> None:
    """Its type takes half an hour."""
    await fill(engine, last_week(1, "09:00", duration_minutes=minutes))
    await ended_ago(engine, 1, 31, "UTC")
    assert await mark(engine) == [uid(5, 1)] * is_marked


@pytest.mark.parametrize(
    "timezone",  # PostgreSQL's own table may have other offsets of the last two
    [
        "UTC",
        "Asia/Kolkata",
        "Pacific/Kiritimati",
        "Pacific/Niue",
        "America/Vancouver",
        "Europe/Chisinau",
    ],
)
@pytest.mark.parametrize(("minutes", "is_marked"), [(GRACE + 1, True), (GRACE - 2, False)])
async def test_the_grace_counts_from_the_end_in_the_clinics_zone(
    engine: AsyncEngine, timezone: str, minutes: int, is_marked: bool
) -> None:
    await fill(engine, last_week(1, "09:00"), timezone=timezone)
    await ended_ago(engine, 1, minutes, timezone)
    assert await mark(engine) == ([uid(5, 1)] if is_marked else [])


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2027-10-31T00:15:00Z", "2027-10-31 01:15:00"),  # 02:15, and it comes again
        ("2027-10-31T01:15:00Z", "2027-10-31 02:15:00"),
        ("2027-10-31T02:15:00Z", "2027-10-31 03:15:00"),
        ("2027-03-28T01:15:00Z", "2027-03-28 03:15:00"),  # after the hour that was skipped
    ],
)
def test_what_is_past_for_sure_where_the_clocks_change(moment: str, expected: str) -> None:
    found = surely_past(dt.datetime.fromisoformat(moment), ZoneInfo("Europe/Berlin"))
    assert str(found) == expected


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("CET", "Europe/Brussels"),
        ("EET", "Europe/Athens"),
        ("right/Europe/Berlin", "Europe/Berlin"),
        ("posix/Asia/Tokyo", "Asia/Tokyo"),
        ("no-such-zone", "UTC"),
    ],
)
def test_a_zone_that_is_none_any_more_becomes_what_it_stood_for(name: str, becomes: str) -> None:
    revision = ScriptDirectory("migrations").get_revision("0012")
    assert revision.module._iana(name) == becomes


async def test_a_check_in_under_way_wins(engine: AsyncEngine) -> None:
    await fill(engine, last_week(1, "09:00"), last_week(2, "10:00"))
    async with engine.begin() as desk:
        await status.change_status(desk, uid(5, 1), "check_in", POLICY, confirm=True)
        assert await mark(engine) == [uid(5, 2)]
    assert await mark(engine) == []
    assert await status_of(engine, 1) == ("checked_in", 2)


async def waits_for_a_lock(engine: AsyncEngine) -> None:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(10):
        waiting = 0
        while not waiting:
            async with engine.connect() as connection:  # a transaction sees one moment only
                waiting = (await connection.execute(query)).scalar_one()


@pytest.mark.parametrize("commits", [True, False])
async def test_a_check_in_that_comes_second_waits_and_wins_all_the_same(
    engine: AsyncEngine, commits: bool
) -> None:
    await fill(engine, last_week(1, "09:00"))

    async def check_in() -> str:
        async with engine.begin() as desk:
            row, _ = await status.change_status(desk, uid(5, 1), "check_in", POLICY, confirm=True)
            return str(row.status)

    async with engine.connect() as marker:
        assert len(await mark_no_shows(GRACE)(marker, NOW)) == 1
        arriving = asyncio.create_task(check_in())
        await waits_for_a_lock(engine)
        await (marker.commit() if commits else marker.rollback())
    assert await arriving == "checked_in"


# The hours


async def hours_done(engine: AsyncEngine, job: str) -> list[dt.datetime]:
    async with engine.connect() as connection:
        query = text("SELECT hour FROM job_runs WHERE job = :job ORDER BY hour")
        return list(await connection.scalars(query, {"job": job}))


async def count(connection: AsyncConnection, since: dt.datetime) -> list[Row[Any]]:
    """Work that shows how often it was done, and from which hour on."""
    await connection.execute(
        text("INSERT INTO idempotency_keys VALUES ('job', :since, '', 0, '')"),
        {"since": since.isoformat()},
    )
    return []


async def test_of_many_processes_one_does_the_hour(engine: AsyncEngine) -> None:
    await fill(engine, last_week(1, "09:00"))
    listener = Listener()
    done = await asyncio.gather(
        *(do_due_hours(engine, NO_SHOW_MARKER, mark_no_shows(GRACE), listener) for _ in range(12))
    )
    assert sorted(len(hours) for hours in done) == [0] * 11 + [1]
    assert await status_of(engine, 1) == ("no_show", 2)
    assert [(str(row.id), row.status_before) for row in listener.heard] == [(uid(5, 1), "booked")]
    history = await audit.history(engine, "booking", uid(5, 1))
    assert [entry["action"] for entry in history] == ["import", "no_show"]
    assert list(await do_due_hours(engine, NO_SHOW_MARKER, mark_no_shows(GRACE), listener)) == []


async def test_missed_hours_are_done_in_one_go(engine: AsyncEngine) -> None:
    await fill(engine)
    await do_due_hours(engine, "counting", count, Audience())
    (this_hour,) = await hours_done(engine, "counting")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE job_runs SET hour = hour - interval '5 hours'"))
    missed = await do_due_hours(engine, "counting", count, Audience())
    assert len(missed) >= 5  # the clock may have struck meanwhile
    assert (await hours_done(engine, "counting"))[-5:] == list(missed)[-5:]
    async with engine.connect() as connection:
        since = set(await connection.scalars(text("SELECT key FROM idempotency_keys")))
    assert since == {hour.isoformat() for hour in (this_hour, min(missed))}


async def test_work_that_fails_leaves_its_hour_to_be_done(engine: AsyncEngine) -> None:
    await fill(engine)

    async def fail(connection: AsyncConnection, since: dt.datetime) -> list[Row[Any]]:
        await count(connection, since)
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        await do_due_hours(engine, "counting", fail, Audience())
    assert await hours_done(engine, "counting") == []
    assert len(await do_due_hours(engine, "counting", count, Audience())) == 1


async def test_a_clock_that_is_put_back_does_nothing_twice(engine: AsyncEngine) -> None:
    await fill(engine)
    await do_due_hours(engine, "counting", count, Audience())
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE job_runs SET hour = hour + interval '3 hours'"))
    assert list(await do_due_hours(engine, "counting", count, Audience())) == []
