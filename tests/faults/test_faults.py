"""The database and the service killed, blocked and left waiting, for real."""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import create_engine
from tests.support.clinics import PROVIDER, TYPE, coming_monday, order, small_clinic
from tests.support.databases import left_open
from tests.support.service import postmaster_of, service

MONDAY = coming_monday()
STARTS = [f"{hour:02d}:{minute:02d}" for hour in range(8, 18) for minute in (0, 15, 30, 45)]


def long_day() -> dict[str, Any]:
    row = {"provider_id": PROVIDER, "weekday": 1, "start_time": "08:00", "end_time": "18:00"}
    document = small_clinic(availability=[row])
    document["appointment_types"][0]["duration_minutes"] = 15
    return document


@pytest.fixture
async def admin(database: EmbeddedPostgres) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database.admin_url, pool_size=4)
    yield engine
    await engine.dispose()


@contextlib.asynccontextmanager
async def served(database: EmbeddedPostgres) -> AsyncIterator[httpx.AsyncClient]:
    with service("serve", DATABASE_URL=database.url) as (_, base):
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            assert (await client.post("/clinic/import", json=long_day())).status_code == 200
            yield client


@contextlib.asynccontextmanager
async def days_locked(admin: AsyncEngine) -> AsyncIterator[None]:
    """Keep the rows that bookings lock."""
    async with left_open(admin) as connection:
        await connection.execute(text("SELECT * FROM resource_days FOR UPDATE"))
        yield


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)  # between two looks


async def until_ready(client: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + 20
    while (await client.get("/readyz")).status_code != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)  # between two tries


def is_clean(answer: httpx.Response) -> bool:
    if answer.status_code == 503:
        return "retry-after" in answer.headers and answer.json()["code"] is not None
    return answer.status_code in (200, 201, 409)


async def test_the_database_restarts_under_the_service(database: EmbeddedPostgres) -> None:
    async with served(database) as client:
        answers: list[httpx.Response] = []
        going = True

        async def keep_booking() -> None:
            number = 0
            while going:
                number += 1
                body = order(MONDAY, STARTS[number % len(STARTS)], patient_ref=f"p{number}")
                answers.append(await client.post("/bookings", json=body))

        booking = asyncio.create_task(keep_booking())
        await until(lambda: len(answers) >= 5)
        database.stop()
        await until(lambda: answers[-1].status_code == 503)
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
        database.start()
        await until_ready(client)
        seen = len(answers)
        await until(lambda: len(answers) >= seen + 5)
        going = False
        await booking
        assert [a.text for a in answers if not is_clean(a)] == []
        won = {a.json()["id"] for a in answers if a.status_code == 201}
        listed = {row["id"] for row in (await client.get("/bookings")).json()}
        assert won <= listed


async def test_an_embedded_server_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with service("serve", "--data-dir", str(tmp_path)) as (_, base):
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            assert (await client.post("/clinic/import", json=small_clinic())).is_success
            first = await client.post("/bookings", json=order(MONDAY, "09:00"))
            server = postmaster_of(tmp_path)
            os.kill(server, signal.SIGKILL)
            await until(lambda: postmaster_of(tmp_path) != server)
            await until_ready(client)
            assert [row["id"] for row in (await client.get("/bookings")).json()] == [
                first.json()["id"]
            ]
            second = await client.post("/bookings", json=order(MONDAY, "10:00", patient_ref="b"))
            assert second.status_code == 201


async def test_a_service_that_joined_takes_the_database_over(tmp_path: Path) -> None:
    with service("serve", "--data-dir", str(tmp_path)) as (owner, base):
        assert httpx.post(f"{base}/clinic/import", json=small_clinic(), timeout=30).is_success
        with service("serve", "--data-dir", str(tmp_path)) as (_, other):
            async with httpx.AsyncClient(base_url=other, timeout=30) as client:
                server = postmaster_of(tmp_path)
                owner.kill()
                await until(lambda: postmaster_of(tmp_path) not in (server, None))
                await until_ready(client)
                answer = await client.post("/bookings", json=order(MONDAY, "09:00"))
                assert answer.status_code == 201


async def test_a_backend_killed_in_a_query(database: EmbeddedPostgres, admin: AsyncEngine) -> None:
    async with served(database) as client:
        await client.post("/bookings", json=order(MONDAY, "08:00"))
        async with admin.connect() as connection:
            pids = await connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'slotwright' AND pid <> pg_backend_pid()"
                )
            )
            assert len(pids.all()) > 0
        answer = await client.post("/bookings", json=order(MONDAY, "09:00", patient_ref="b"))
        assert is_clean(answer)
        await until_ready(client)
        again = await client.post("/bookings", json=order(MONDAY, "10:00", patient_ref="c"))
        assert again.status_code == 201


async def test_a_lock_that_is_not_given_back(
    database: EmbeddedPostgres, admin: AsyncEngine
) -> None:
    async with served(database) as client:
        await client.post("/bookings", json=order(MONDAY, "08:00"))
        body, headers = order(MONDAY, "09:00", patient_ref="b"), {"Idempotency-Key": "k"}
        async with days_locked(admin):
            answer = await client.post("/bookings", json=body, headers=headers)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        after = await client.post("/bookings", json=body, headers=headers)
        assert after.status_code == 201  # an answer that may change is not kept


async def test_more_waiting_requests_than_connections(
    database: EmbeddedPostgres, admin: AsyncEngine
) -> None:
    async with served(database) as client:
        await client.post("/bookings", json=order(MONDAY, "08:00"))
        async with days_locked(admin):
            orders = [order(MONDAY, start, patient_ref=start) for start in STARTS[4:]]
            answers = await asyncio.gather(
                *(client.post("/bookings", json=body) for body in orders)
            )
        assert {answer.status_code for answer in answers} == {503}
        assert all("retry-after" in answer.headers for answer in answers)
        await until_ready(client)
        after = await client.post("/bookings", json=order(MONDAY, "12:00", patient_ref="b"))
        assert after.status_code == 201


async def test_a_client_that_hangs_up_leaves_no_transaction(
    database: EmbeddedPostgres, admin: AsyncEngine
) -> None:
    async with served(database) as client:
        await client.post("/bookings", json=order(MONDAY, "08:00"))
        host, port = client.base_url.host, client.base_url.port
        for start in STARTS[4:20]:
            body = orjson.dumps(order(MONDAY, start, patient_ref=start))
            head = (
                "POST /bookings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            with socket.create_connection((host, port)) as raw:
                raw.sendall(head.encode() + body)
                raw.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
                )  # hang up with a reset
        await no_transaction_is_left(admin)
        after = await client.post("/bookings", json=order(MONDAY, "17:00", patient_ref="z"))
        assert after.status_code == 201


async def no_transaction_is_left(admin: AsyncEngine) -> None:
    """Wait until the service has no transaction in the database."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND application_name = 'slotwright' AND xact_start IS NOT NULL"
    )
    deadline = time.monotonic() + 5
    while True:
        async with admin.connect() as connection:
            if (await connection.execute(query)).scalar_one() == 0:
                return
        assert time.monotonic() < deadline


async def test_sigterm_lets_requests_under_way_end(
    database: EmbeddedPostgres, admin: AsyncEngine
) -> None:
    half_a_request = (
        "POST /bookings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    with service("serve", DATABASE_URL=database.url) as (process, base):
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            await client.post("/clinic/import", json=long_day())
            await client.post("/bookings", json=order(MONDAY, "08:00"))
            reader, writer = await asyncio.open_connection(
                client.base_url.host, client.base_url.port
            )
            writer.write(half_a_request.encode())
            assert b"100 Continue" in await reader.readline()  # the service waits for the rest
            async with days_locked(admin):
                waiting = asyncio.create_task(
                    client.post("/bookings", json=order(MONDAY, "09:00", patient_ref="b"))
                )
                await lock_waits(admin)
                process.send_signal(signal.SIGTERM)
                await asyncio.sleep(1)  # as long as the request still takes, not a wait
            assert (await waiting).status_code == 201
            ended = await asyncio.to_thread(process.wait, 60)  # and not for ever
            assert ended in (0, -signal.SIGTERM)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def lock_waits(admin: AsyncEngine) -> None:
    """Wait until a backend of the service waits for a lock."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    deadline = time.monotonic() + 10
    while True:
        async with admin.connect() as connection:
            if (await connection.execute(query)).scalar_one():
                return
        assert time.monotonic() < deadline


async def test_a_service_killed_while_it_writes_leaves_none_or_one(
    database: EmbeddedPostgres,
) -> None:
    for round_ in range(2):
        start = STARTS[4 + round_]
        body, headers = order(MONDAY, start, patient_ref=start), {"Idempotency-Key": f"k{round_}"}
        with service("serve", DATABASE_URL=database.url) as (process, base):
            async with httpx.AsyncClient(base_url=base, timeout=30) as client:
                if round_ == 0:
                    await client.post("/clinic/import", json=long_day())
                sent = asyncio.create_task(client.post("/bookings", json=body, headers=headers))
                await asyncio.sleep(0.004 * round_)  # the moment of the kill, not a wait
                os.kill(process.pid, signal.SIGKILL)
                with contextlib.suppress(httpx.HTTPError):
                    await sent
        with service("serve", DATABASE_URL=database.url) as (_, base):
            async with httpx.AsyncClient(base_url=base, timeout=30) as client:
                known = [
                    b for b in (await client.get("/bookings")).json() if b["patient_ref"] == start
                ]
                assert len(known) <= 1
                again = await client.post("/bookings", json=body, headers=headers)
                assert again.status_code == 201  # the outcome, learnt by repeating
                assert not known or again.json()["id"] == known[0]["id"]


GATE = (
    """
    CREATE FUNCTION pass_the_gate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(1);
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON bookings DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION pass_the_gate()
    """,
)
"""A gate through which each commit of a new booking has to go."""


@pytest.mark.parametrize("moment", ["at its locks", "at its commit"])
async def test_a_service_killed_at_a_known_moment(
    database: EmbeddedPostgres, admin: AsyncEngine, moment: str
) -> None:
    body, headers = order(MONDAY, "09:00", patient_ref="b"), {"Idempotency-Key": "k"}
    with service("serve", DATABASE_URL=database.url) as (process, base):
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            await client.post("/clinic/import", json=long_day())
            await client.post("/bookings", json=order(MONDAY, "08:00"))
            async with admin.begin() as connection:
                for statement in GATE:
                    await connection.execute(text(statement))
            async with left_open(admin) as other:
                closed = (
                    "SELECT * FROM resource_days FOR UPDATE"
                    if moment == "at its locks"
                    else "SELECT pg_advisory_xact_lock(1)"
                )
                await other.execute(text(closed))
                sent = asyncio.create_task(client.post("/bookings", json=body, headers=headers))
                await lock_waits(admin)
                assert (await client.get("/healthz")).status_code == 200
                process.kill()
                with pytest.raises(httpx.HTTPError):  # nothing said before it is kept
                    await sent
    await no_transaction_is_left(admin)
    with service("serve", DATABASE_URL=database.url) as (_, base):
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            known = [b for b in (await client.get("/bookings")).json() if b["patient_ref"] == "b"]
            assert len(known) == (0 if moment == "at its locks" else 1)
            for row in known:
                entries = (await client.get(f"/bookings/{row['id']}/history")).json()
                assert [entry["action"] for entry in entries] == ["book"]
            again = await client.post("/bookings", json=body, headers=headers)
            assert again.status_code == 201  # the outcome, learnt by repeating
            assert again.json()["id"] in [row["id"] for row in known] or not known


async def test_an_edit_races_bookings(database: EmbeddedPostgres) -> None:
    async with served(database) as client:
        window = (await client.get("/availability")).json()[0]
        orders = [order(MONDAY, start, patient_ref=start) for start in STARTS]
        requests = [client.post("/bookings", json=body) for body in orders]
        edit = client.patch(f"/availability/{window['id']}", json={"end_time": "12:00"})
        answers = await asyncio.gather(*requests[:20], edit, *requests[20:])
        edited = answers.pop(20)
        assert edited.status_code == 200
        stranded = {conflict["booking_id"] for conflict in edited.json()["conflicts"]}
        outside = {
            a.json()["id"]
            for a in answers
            if a.status_code == 201 and a.json()["end_time"] > "12:00"
        }
        assert outside == stranded
        refused = [a for a in answers if a.status_code != 201]
        assert all("OUTSIDE_PROVIDER_HOURS" in a.json()["reasons"] for a in refused)


# What-if runs


def demanding_run() -> dict[str, Any]:
    """More than a long day holds, so it takes a while."""
    wishes = [
        {"id": f"r{n}", "appointment_type_id": TYPE, "priority": 1 + n % 9} for n in range(99)
    ]
    return {
        "name": "Too much",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "requests": wishes,
        "time_limit_seconds": 30,
    }


async def until_running(client: httpx.AsyncClient, key: str) -> None:
    while (await client.get(f"/what-if/{key}")).json()["status"] == "queued":
        await asyncio.sleep(0.05)


async def test_a_run_outlives_the_service_that_solves_it(database: EmbeddedPostgres) -> None:
    with service("serve", DATABASE_URL=database.url) as (process, base):
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            assert (await client.post("/clinic/import", json=long_day())).status_code == 200
            key = (await client.post("/what-if", json=demanding_run())).json()["id"]
            await until_running(client, key)
            solvers = children_of(process.pid)
            process.kill()
    async with served(database) as client:
        while any(Path(f"/proc/{pid}").exists() for pid in solvers):
            await asyncio.sleep(0.05)
        await client.delete(f"/what-if/{key}")
        while (body := (await client.get(f"/what-if/{key}")).json())["status"] == "running":
            await asyncio.sleep(0.05)
        assert body["status"] in ("done", "stopped")
        assert len(body["scenarios"][0]["placements"]) > 30


async def test_of_two_services_one_solves_a_run(
    database: EmbeddedPostgres, admin: AsyncEngine
) -> None:
    async with served(database) as client, served(database):
        keys = [
            (
                await client.post("/what-if", json={**demanding_run(), "time_limit_seconds": 2})
            ).json()["id"]
            for _ in range(4)
        ]
        for key in keys:
            while (await client.get(f"/what-if/{key}")).json()["status"] != "done":
                await asyncio.sleep(0.05)
        async with admin.connect() as connection:
            attempts = await connection.scalars(text("SELECT attempt FROM what_if_runs"))
            assert list(attempts) == [1] * 4


async def test_a_run_that_loses_its_database_is_taken_up_again(database: EmbeddedPostgres) -> None:
    async with served(database) as client:
        key = (await client.post("/what-if", json=demanding_run())).json()["id"]
        await until_running(client, key)
        database.stop()
        database.start()
        await until_ready(client)
        await client.delete(f"/what-if/{key}")
        while (body := (await client.get(f"/what-if/{key}")).json())["status"] == "running":
            await asyncio.sleep(0.05)
        assert body["status"] in ("done", "stopped")


def children_of(pid: int) -> list[int]:
    """Process ids of all processes that descend from one."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *children_of(child)]
    return found
