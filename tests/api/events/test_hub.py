"""The hub's client: what is told, when, and that no hub can slow or fail a booking."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
import structlog
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import LogCapture
from structlog.typing import EventDict

from api.access.open_until_first_key import KeylessAccess
from api.events import hub as hub_module
from api.events.hub import QUEUE_SIZE, Direct, Hub
from api.server.app import create_app
from api.service.settings import Settings
from data.audit import NO_SHOW_MARKER
from data.events.events import Event
from tests.support.clinics import PROVIDER, ROOM, TYPE, booking, coming_monday, order, small_clinic
from tests.support.fake_hub import OK, drips, hangs, hub, never_ends_the_body, nobody, says
from tests.support.over_http import booked, do, load, run_of, six_wishes, solved, to, two_of_each
from tests.support.strategies import uid

MONDAY = coming_monday()


DELIVERIES = ["direct", "outbox"]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    """The warnings of the hub's client."""
    capture = LogCapture()
    monkeypatch.setattr(hub_module, "log", structlog.wrap_logger(None, processors=[capture]))
    return capture.entries


@contextlib.asynccontextmanager
async def served(url: str, hub_url: str, delivery: str) -> AsyncIterator[httpx.AsyncClient]:
    """The service, with a hub."""
    app = create_app(
        Settings(DATABASE_URL=url, hub_url=hub_url, hub_delivery=delivery),
        KeylessAccess(is_open=True),
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


def told(events: Sequence[Event], key: str | None = None) -> list[str]:
    """The types of events, of one booking if it is named, in the order of versions."""
    mine = [e for e in events if key in (None, e["booking_id"])]
    mine.sort(key=lambda e: e["version"])
    return [e["type"].removeprefix("booking.") for e in mine]


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_life_is_told_by_ids_alone(
    engine: AsyncEngine, database_url: str, delivery: str
) -> None:
    async with hub() as listening, served(database_url, listening.url, delivery) as client:
        await load(client, two_of_each())
        first = await booked(client, "09:00", patient_ref="Ada", notes="afraid of needles")
        (event,) = await listening.heard(1)
        assert dt.datetime.fromisoformat(event.pop("at")).utcoffset() == dt.timedelta(0)
        assert event.pop("id") != first["id"]
        assert event == {
            "type": "booking.created",
            "booking_id": first["id"],
            "provider_id": PROVIDER,
            "room_id": ROOM,
            "appointment_type_id": TYPE,
            "date": MONDAY.isoformat(),
            "start_time": "09:00",
            "status": "booked",
            "version": 1,
        }
        second = await booked(client, "10:00", patient_ref="Bob")
        await do(client, f"/bookings/{first['id']}/reschedule", **to("11:00"))
        await do(client, "/bookings/swap", a=first["id"], b=second["id"])
        await do(client, f"/bookings/{first['id']}/check-in", confirm=True)
        await do(client, f"/bookings/{first['id']}/complete", confirm=True)
        await do(client, f"/bookings/{second['id']}/cancel")
        events = await listening.heard(8)
    whole = ["created", "rescheduled", "rescheduled", "checked_in", "completed"]
    assert told(events, first["id"]) == whole
    assert told(events, second["id"]) == ["created", "rescheduled", "cancelled"]
    assert len({e["id"] for e in events}) == 8
    moved = next(e for e in events if (e["booking_id"], e["version"]) == (second["id"], 2))
    assert moved["start_time"] == "11:00"
    for body in listening.bodies:
        assert not any(word in body for word in (b"Ada", b"Bob", b"needles"))


async def test_what_is_set_right_is_told(engine: AsyncEngine, database_url: str) -> None:
    async with hub() as listening, served(database_url, listening.url, "outbox") as client:
        await load(client, two_of_each())
        path = f"/bookings/{(await booked(client, '09:00'))['id']}"
        for move in ("check-in", "undo", "check-in", "complete", "undo", "cancel", "undo", "undo"):
            insisting = {"confirm": True} if move in ("check-in", "complete") else {}
            assert (await do(client, f"{path}/{move}", **insisting))[0] == 200
        assert (await client.patch(path, json={"notes": "late"})).is_success  # is cancelled
        assert (await do(client, f"{path}/undo"))[1]["status"] == "checked_in"
        assert (await client.patch(path, json={"patient_ref": "Eve"})).is_success
        assert (await do(client, f"{path}/cancel"))[0] == 200
        other = f"/bookings/{(await booked(client, '10:00', patient_ref='b'))['id']}"
        assert (await do(client, f"{other}/cancel"))[0] == 200
        assert (await do(client, f"{other}/undo"))[0] == 200
        _, hold = await do(client, "/holds", **order(MONDAY, "11:00", patient_ref="c"))
        await client.patch(f"/bookings/{hold['id']}", json={"notes": "quiet"})
        for move in ("cancel", "undo"):
            assert (await do(client, f"/bookings/{hold['id']}/{move}"))[0] == 200
        events = await listening.heard(15)
    assert told(events, path.rpartition("/")[2]) == [
        "created",
        "checked_in",
        "changed",
        "checked_in",
        "completed",
        "checked_in",
        "cancelled",
        "checked_in",
        "cancelled",
        "checked_in",
        "changed",
        "cancelled",
    ]
    assert told(events, other.rpartition("/")[2]) == ["created", "cancelled", "created"]


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_hold_is_told_of_once_it_is_booked(
    engine: AsyncEngine, database_url: str, delivery: str
) -> None:
    async with hub() as listening, served(database_url, listening.url, delivery) as client:
        await load(client, two_of_each())
        _, given_up = await do(client, "/holds", **order(MONDAY, "09:00"))
        await do(client, f"/bookings/{given_up['id']}/cancel")
        _, hold = await do(client, "/holds", **order(MONDAY, "10:00"))
        await do(client, f"/holds/{hold['id']}/confirm")
        await do(client, f"/bookings/{hold['id']}/cancel")
        events = await listening.heard(2)
    assert told(events) == told(events, hold["id"]) == ["created", "cancelled"]


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_only_what_was_written_is_told(
    engine: AsyncEngine, database_url: str, delivery: str
) -> None:
    async with hub() as listening, served(database_url, listening.url, delivery) as client:
        await load(client, small_clinic())
        orders = [order(MONDAY, "09:00", patient_ref=f"p{n}") for n in range(6)]
        orders += [order(MONDAY, "10:00", patient_ref="q"), order(MONDAY, "03:00")]
        answers = await asyncio.gather(*(client.post("/bookings", json=o) for o in orders))
        won = [a.json()["id"] for a in answers if a.status_code == 201]
        assert len(won) == 2
        for start, status in (("11:00", 201), ("11:00", 201), ("09:00", 409)):
            answer = await client.post(
                "/bookings",
                json=order(MONDAY, start, patient_ref="r"),
                headers={"Idempotency-Key": start},
            )
            assert answer.status_code == status
        won.append((await client.get("/bookings")).json()[-1]["id"])
        await do(client, f"/bookings/{won[0]}/complete")  # not checked in
        await do(client, f"/bookings/{won[0]}/cancel", version=7)
        await do(client, f"/bookings/{won[0]}/cancel")
        events = await listening.heard(4)
    assert sorted(told(events)) == ["cancelled", "created", "created", "created"]
    assert {e["booking_id"] for e in events} == set(won)


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_plan_is_told_booking_by_booking(
    engine: AsyncEngine, database_url: str, delivery: str
) -> None:
    async with hub() as listening, served(database_url, listening.url, delivery) as client:
        await load(client, small_clinic())
        there = await booked(client, "09:15", patient_ref="there")
        run = run_of(six_wishes()[:5], existing="movable")
        key, _ = await solved(client, run)
        answer = await client.post(f"/what-if/{key}/apply", json={"scenario": "baseline"})
        assert (len(answer.json()["bookings"]), len(answer.json()["moved"])) == (5, 1)
        events = await listening.heard(7)
    assert told(events, there["id"]) == ["created", "rescheduled"]
    assert told(events).count("created") == 6


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_no_show_is_told(engine: AsyncEngine, database_url: str, delivery: str) -> None:
    past = booking(1, MONDAY - dt.timedelta(days=84), "09:00")
    async with hub() as listening:
        async with served(database_url, listening.url, delivery) as client:
            await load(client, small_clinic(bookings=[past]))
        async with engine.begin() as connection:
            await connection.execute(
                text("DELETE FROM job_runs WHERE job = :job"), {"job": NO_SHOW_MARKER}
            )
        async with served(database_url, listening.url, delivery) as client:
            (event,) = await listening.heard(1)
            body = (await client.get(f"/bookings/{uid(5, 1)}")).json()
    assert (event["type"], event["booking_id"]) == ("booking.no_show", uid(5, 1))
    assert (body["status"], body["version"]) == (event["status"], event["version"])


# Hubs that misbehave


def an_event(number: int = 0) -> Event:
    return {"id": uid(9, number), "type": "booking.created"}


async def test_no_hub_is_waited_for_longer_than_may_be(logged: list[EventDict]) -> None:
    async with (
        httpx.AsyncClient(timeout=None, follow_redirects=False) as client,
        hub(hangs) as hanging,
        hub(drips) as dripping,
        hub(never_ends_the_body) as talking,
        hub(says("500 Broken")) as broken,
        hub() as other,
        hub(says(f"307 Elsewhere\r\nLocation: {other.url}")) as redirecting,
        asyncio.timeout(60),  # so that waiting for ever fails
    ):
        urls = [hanging.url, dripping.url, broken.url, redirecting.url, nobody(), talking.url]
        taken = await asyncio.gather(
            *(Hub(client, url).deliver(an_event(n)) for n, url in enumerate(urls))
        )
    assert taken == [False] * 5 + [True]
    assert other.bodies == []
    reasons = {entry["event_id"]: entry["reason"] for entry in logged}
    assert reasons == {
        uid(9, 0): "TimeoutError",
        uid(9, 1): "TimeoutError",
        uid(9, 2): "status 500",
        uid(9, 3): "status 307",
        uid(9, 4): "ConnectError",
    }
    assert {(e["event"], e["log_level"]) for e in logged} == {("hub_failed", "warning")}
    assert len(logged) == 5


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_bookings_do_not_wait_for_a_hub_that_hangs(
    engine: AsyncEngine, database_url: str, delivery: str, logged: list[EventDict]
) -> None:
    document = two_of_each()
    async with hub(hangs) as hanging, served(database_url, hanging.url, delivery) as client:
        await load(client, document)
        for round_ in range(2):
            orders = [
                order(MONDAY, f"{hour:02d}:{minute}", patient_ref=f"{hour} {minute}")
                for hour in (9, 10, 11)
                for minute in ("00", "30")
            ]
            answers = await asyncio.gather(*(client.post("/bookings", json=o) for o in orders))
            assert {a.status_code for a in answers} == {201}
            for answer in answers:
                status, _ = await do(client, f"/bookings/{answer.json()['id']}/cancel")
                assert status == 200
            if round_ == 0:
                await hanging.heard(1)
        assert logged == []  # not even the first attempt has ended
        hanging.answer = OK
        await hanging.stop()  # the connections that hang


async def many_rows(engine: AsyncEngine, number: int) -> Sequence[Row[Any]]:
    """Rows as if so many bookings had been written."""
    query = text(
        "SELECT gen_random_uuid() AS id, 'booked' AS status, NULL AS status_before,"
        " now() AS updated_at, gen_random_uuid() AS provider_id, gen_random_uuid() AS room_id,"
        " gen_random_uuid() AS appointment_type_id, current_date AS date, 540 AS start_minute,"
        " 1 AS version FROM generate_series(1, :number)"
    )
    async with engine.connect() as connection:
        return (await connection.execute(query, {"number": number})).all()


async def test_a_queue_that_is_full_drops_what_comes_with_one_warning(
    engine: AsyncEngine, logged: list[EventDict]
) -> None:
    rows = await many_rows(engine, QUEUE_SIZE + 50)
    async with httpx.AsyncClient() as client, hub() as listening:
        direct = Direct(Hub(client, listening.url))
        direct.after_commit(rows)
        assert [entry["event"] for entry in logged] == ["hub_queue_full"]
        senders = [asyncio.create_task(direct.send()) for _ in range(4)]
        await direct.finish()
        events = await listening.heard(1)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
    assert {e["booking_id"] for e in events} <= {str(row.id) for row in rows[:QUEUE_SIZE]}
    assert logged[0]["event_id"] not in {e["id"] for e in events}


# The outbox


async def waiting(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM outbox"))).scalar_one())


async def let_the_pause_be_over(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE outbox SET due_at = now()"))


async def attempts_of(engine: AsyncEngine) -> list[int]:
    async with engine.connect() as connection:
        query = text("SELECT attempts FROM outbox ORDER BY number")
        return list(await connection.scalars(query))


async def test_an_event_is_sent_until_it_is_taken_and_none_overtakes_it(
    engine: AsyncEngine, database_url: str
) -> None:
    async with (
        hub(says("503 Later")) as refusing,
        served(database_url, refusing.url, "outbox") as client,
    ):
        await load(client, two_of_each())
        first = await booked(client, "09:00")
        await refusing.heard(1)
        for path in ("check-in", "complete"):
            await do(client, f"/bookings/{first['id']}/{path}", confirm=True)
        other = await booked(client, "10:00", patient_ref="b")
        await refusing.heard(2)
        await let_the_pause_be_over(engine)
        await refusing.heard(4)
        tried = [e["booking_id"] for e in refusing.events]
        assert sorted(tried) == sorted([first["id"], other["id"]] * 2)
        assert await attempts_of(engine) == [2, 0, 0, 2]
        refusing.answer = OK
        await let_the_pause_be_over(engine)
        events = (await refusing.heard(8))[4:]
        while await waiting(engine):
            await asyncio.sleep(0)
    mine = [e for e in events if e["booking_id"] == first["id"]]
    assert [e["type"].removeprefix("booking.") for e in mine] == [
        "created",
        "checked_in",
        "completed",
    ]
    (again,) = {e["id"] for e in refusing.events if e["booking_id"] == other["id"]}
    assert again


async def test_pauses_double_up_to_an_hour(engine: AsyncEngine) -> None:
    from data.events import outbox

    async with engine.begin() as connection:
        await outbox.put(connection, [{**an_event(), "booking_id": uid(5, 1)}])
    pauses = []
    for _ in range(40):
        await let_the_pause_be_over(engine)
        assert await outbox.lease(engine) is not None
        assert await outbox.lease(engine) is None
        async with engine.connect() as connection:
            query = text("SELECT round(extract(epoch FROM due_at - now()))::int FROM outbox")
            pauses.append((await connection.execute(query)).scalar_one())
    assert pauses[:4] == [10, 20, 40, 80]
    assert pauses[-1] == 3600
    assert pauses == sorted(pauses)
