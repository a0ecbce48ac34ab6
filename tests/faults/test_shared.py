"""Several service processes, real proxies and real Redis: one count, and no forged address."""

import asyncio
import datetime as dt
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from click.testing import Result
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from uvicorn.supervisors.multiprocess import SIGNALS

from api.server import run as serving
from api.server.database import with_engine
from tests.support.clinics import coming_monday
from tests.support.commands import beside
from tests.support.databases import migrated_server
from tests.support.redis_server import redis_server
from tests.support.service import SLOTWRIGHT, service


def test_two_services_share_one_count(tmp_path: Path) -> None:
    with (
        migrated_server(tmp_path / "database") as database,
        redis_server() as server,
    ):
        environment = {
            "DATABASE_URL": database.url,
            "REDIS_URL": server.url,
            "SLOTWRIGHT_RATE_LIMITS": "on",
        }
        with (
            service("serve", **environment) as (_, one),
            service("serve", **environment, SLOTWRIGHT_TRUSTED_PROXIES="127.0.0.0/8") as (_, other),
            httpx.Client(timeout=10) as client,
        ):
            found = [client.get(f"{base}/slots") for base in (one, other) for _ in range(110)]
            codes = [answer.status_code for answer in found]
            assert (codes.count(422), codes.count(429)) == (200, 20)

            elsewhere = {"X-Forwarded-For": "203.0.113.9"}
            assert client.get(f"{one}/slots", headers=elsewhere).status_code == 429
            assert client.get(f"{other}/slots", headers=elsewhere).status_code == 422

            server.stop()
            found = [client.get(f"{base}/slots") for base in (one, other) for _ in range(30)]
            assert {answer.status_code for answer in found} == {422}


def workers_of(pid: int) -> list[int]:
    """The processes that serve for a `serve --workers`."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [n for n in children if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()]


def figures(base: str, name: str) -> float:
    """The sum of a metric's values, as whichever process answers tells it."""
    page = httpx.get(f"{base}/metrics", timeout=10).text
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))


def test_any_of_several_processes_tells_the_figures_of_all(tmp_path: Path) -> None:
    asked = 'slotwright_request_seconds_count{method="GET",route="/slots"'
    with (
        migrated_server(tmp_path / "database") as database,
        service("serve", "--workers", "2", DATABASE_URL=database.url) as (process, base),
    ):
        for _ in range(40):  # each on a connection of its own, for either process to take
            assert httpx.get(f"{base}/slots", timeout=10).status_code == 422
        assert {figures(base, asked) for _ in range(10)} == {40}
        workers = workers_of(process.pid)
        assert len(workers) == 2
        environment = Path(f"/proc/{workers[0]}/environ").read_bytes().split(b"\0")
        kept = dict(each.partition(b"=")[::2] for each in environment)[b"PROMETHEUS_MULTIPROC_DIR"]
        [connections] = Path(os.fsdecode(kept)).glob(f"gauge_*_{workers[0]}.db")
        gone = os.pidfd_open(workers[0])
        os.kill(workers[0], signal.SIGKILL)
        assert select.select([gone], [], [], 20)[0]  # until then it is dealt connections
        os.close(gone)
        deadline = time.monotonic() + 20
        while connections.exists():
            assert time.monotonic() < deadline
            assert figures(base, asked) == 40  # what it counted stays
        process.terminate()
        process.wait(30)
        assert not connections.parent.exists()


def test_no_process_opens_again_once_one_has_seen_a_key(tmp_path: Path) -> None:
    with (
        migrated_server(tmp_path / "database") as database,
        service("serve", "--workers", "2", DATABASE_URL=database.url) as (process, base),
    ):
        assert httpx.get(f"{base}/keys", timeout=30).json() == []
        assert httpx.post(f"{base}/keys", json={"role": "admin"}).status_code == 201
        asyncio.run(with_engine(database.admin_url, lose_the_keys))

        def seen() -> set[int]:  # each on a connection of its own, for either process to take
            return {httpx.get(f"{base}/bookings", timeout=30).status_code for _ in range(40)}

        assert seen() == {401}
        workers = workers_of(process.pid)
        os.kill(workers[0], signal.SIGKILL)
        deadline = time.monotonic() + 120
        while len(set(workers_of(process.pid)) - {workers[0]}) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between two looks
        while listening(int(base.rpartition(":")[2])) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert seen() == {401}


def test_a_process_that_dies_as_it_starts_is_not_waited_for() -> None:
    handlers = {each: signal.getsignal(each) for each in SIGNALS}
    workers = serving.Workers(uvicorn.Config("api.server.app:service", workers=1), sockets=[])
    try:
        workers.init_processes()
        [worker] = workers.processes
        worker.process.kill()
        worker.join()
        assert worker.parent_conn.poll(60)  # that nobody will answer is heard at once
        assert not worker.ping(60)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


async def lose_the_keys(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM api_keys"))


def sockets_of(pid: int) -> int:
    links = (f.readlink() for f in Path(f"/proc/{pid}/fd").iterdir())
    return sum(str(link).startswith("socket:") for link in links)


def listening(port: int) -> int:
    """How many sockets listen on a port of this machine."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(row.split()[1].endswith(f":{port:04X}") and row.split()[3] == "0A" for row in rows)


def test_processes_share_the_connections_that_come_at_once(tmp_path: Path) -> None:
    with (
        migrated_server(tmp_path / "database") as database,
        service("serve", "--workers", "2", DATABASE_URL=database.url) as (process, base),
    ):
        port = int(base.rpartition(":")[2])
        deadline = time.monotonic() + 60
        while listening(port) < 2:
            assert time.monotonic() < deadline
        workers = workers_of(process.pid)
        before = [sockets_of(pid) for pid in workers]
        with ExitStack() as opened:
            made = [
                opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                for _ in range(64)
            ]
            for each in made:
                each.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert all(each.recv(100).startswith(b"HTTP/1.1 200") for each in made)
            more = [sockets_of(pid) - n for pid, n in zip(workers, before, strict=True)]
        assert min(more) > 64 / 8, more


def test_a_port_that_is_taken_is_told_of(tmp_path: Path) -> None:
    with (
        migrated_server(tmp_path / "database") as database,
        service("serve", DATABASE_URL=database.url) as (_, base),
    ):
        port = base.rpartition(":")[2]
        done = subprocess.run(
            [*SLOTWRIGHT, "serve", "--port", port, "--workers", "2"],
            env={**os.environ, "DATABASE_URL": database.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 3
        assert f"port {port} is taken" in done.stderr


def of_a_coming_week(name: str) -> dict[str, Any]:
    """A file of a benchmark instance that keeps the solver busy, moved by whole weeks."""
    place = Path(__file__).parents[2] / "benchmarks" / "instances" / "weeks"
    start = dt.date.fromisoformat(json.loads((place / "l0.run.json").read_text())["start_date"])
    ahead = coming_monday() - start
    moved: dict[str, Any] = json.loads(
        re.sub(
            r"\b\d{4}-\d\d-\d\d\b",
            lambda found: (dt.date.fromisoformat(found[0]) + ahead).isoformat(),
            (place / f"l0.{name}.json").read_text(),
        )
    )
    return moved


def test_a_service_told_to_end_leaves_its_run_and_its_streams(tmp_path: Path) -> None:
    with migrated_server(tmp_path / "database") as database:
        with (
            service("serve", DATABASE_URL=database.url) as (process, base),
            httpx.Client(base_url=base, timeout=30) as client,
        ):
            loaded = client.post("/clinic/import", json=of_a_coming_week("clinic"))
            assert loaded.status_code == 200
            run = of_a_coming_week("run") | {"time_limit_seconds": 120}
            key = client.post("/what-if", json=run).json()["id"]
            with client.stream("GET", f"/what-if/{key}/events") as stream:
                lines = stream.iter_lines()
                assert "event: progress" in next(lines)
                process.send_signal(signal.SIGTERM)
                assert all("event: end" not in line for line in lines)
            process.wait(15)
        with (
            service("serve", DATABASE_URL=database.url) as (_, base),
            httpx.Client(base_url=base, timeout=30) as client,
        ):
            while client.get(f"/what-if/{key}").json()["status"] != "running":
                time.sleep(0.05)  # between two looks
            assert asyncio.run(with_engine(database.url, attempts)) == [1]


async def attempts(engine: AsyncEngine) -> list[int]:
    """How often each run was taken up, but for those times it was given back."""
    async with engine.connect() as connection:
        return list(await connection.scalars(text("SELECT attempt FROM what_if_runs")))


def test_beyond_loopback_a_key_is_needed(tmp_path: Path) -> None:
    with migrated_server(tmp_path / "database") as database:

        def command(*arguments: str) -> Result:
            return beside(*arguments, DATABASE_URL=database.url)

        refused = command("serve", "--host", "0.0.0.0", "--port", "0")
        assert refused.exit_code == 2
        assert "slotwright keys create --role admin" in refused.stderr
        made = command("keys", "create", "--role", "admin", "--name", "Desk")
        key = made.stdout.strip()
        assert (made.exit_code, len(key.split())) == (0, 1)
        assert command("keys", "create", "--role", "viewer", "--name", "Desk").exit_code == 2
        assert "Desk" in command("keys", "list").stdout
        assert key not in command("keys", "list").stdout
        with (
            service("serve", "--host", "0.0.0.0", DATABASE_URL=database.url) as (_, base),
            httpx.Client(base_url=base, timeout=30) as client,
        ):
            assert client.get("/rooms").status_code == 401
            headers = {"Authorization": f"Bearer {key}"}
            [row] = client.get("/keys", headers=headers).json()
            assert command("keys", "revoke", "nonsense").exit_code == 2
            assert command("keys", "revoke", row["id"]).exit_code == 0
            deadline = time.monotonic() + 10
            while client.get("/rooms", headers=headers).status_code != 401:
                assert time.monotonic() < deadline
