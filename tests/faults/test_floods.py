"""Connections that never end and bodies that are too much, thrown at a real service."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from api.access.require import LARGE_BODY
from tests.support.clinics import TYPE, coming_monday, order, small_clinic
from tests.support.databases import migrated_server
from tests.support.service import service

MEGABYTE = 1024 * 1024
MONDAY = coming_monday()
JSON = {"Content-Type": "application/json"}
YAML = {"Content-Type": "application/yaml"}


class Flooded:
    """A service with a clinic, and what may be asked of it."""

    def __init__(self, client: httpx.AsyncClient, pid: int) -> None:
        self.client, self.pid = client, pid

    def peak(self) -> int:
        """The most memory that the process has had, in megabytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) // 1024

    async def serves_others(self, start: str) -> None:
        """See a slot found and booked, as if nothing else went on."""
        query = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}
        assert (await self.client.get("/slots", params=query)).json()["total"] > 0
        body = order(MONDAY, start, patient_ref=start)
        assert (await self.client.post("/bookings", json=body)).status_code == 201

    async def refuses(
        self, path: str, body: bytes, kind: dict[str, str], times: int = 1
    ) -> tuple[int, str]:
        """Send a body some times over; return status and code of the answer, which is short."""

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(times):
                yield body

        answer = await self.client.post(path, content=chunks(), headers=kind)
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < MEGABYTE
        return answer.status_code, answer.json()["code"]


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("floods")
    with migrated_server(directory) as database:
        yield database.url


@pytest.fixture(scope="module")
async def flooded(database_url: str) -> AsyncIterator[Flooded]:
    with service("serve", DATABASE_URL=database_url, SLOTWRIGHT_LOG_LEVEL="WARNING") as (
        process,
        base,
    ):
        async with httpx.AsyncClient(base_url=base, timeout=120) as client:
            assert (await client.post("/clinic/import", json=small_clinic())).is_success
            found = Flooded(client, process.pid)
            await found.serves_others("09:00")
            yield found


async def test_500_that_never_finish_keep_nobody_waiting(flooded: Flooded) -> None:
    address = (flooded.client.base_url.host, flooded.client.base_url.port)
    parts = [
        b"",
        b"GET /slots HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /bookings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
        b"POST /what-if HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n{",
    ]
    with contextlib.ExitStack() as stack:
        for number in range(500):
            connection = stack.enter_context(socket.create_connection(address))
            connection.sendall(parts[number % len(parts)])
        await flooded.serves_others("10:00")
        assert (await flooded.client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("path", ["/bookings", "/clinic/import", "/what-if"])
async def test_an_endless_body_is_refused(flooded: Flooded, path: str) -> None:
    before = flooded.peak()
    times = 100 if path == "/bookings" else LARGE_BODY // MEGABYTE + 10
    flood = asyncio.create_task(flooded.refuses(path, bytes(MEGABYTE), JSON, times=times))
    assert (await flooded.client.get("/readyz")).status_code == 200
    assert await flood == (413, "BODY_TOO_LARGE")
    assert flooded.peak() - before < (40 if path == "/bookings" else 400)


async def test_large_bodies_wait_for_one_another(flooded: Flooded) -> None:
    before = flooded.peak()
    floods = [flooded.refuses("/clinic/import", b" " * MEGABYTE, JSON, times=60) for _ in range(6)]
    found = await asyncio.gather(*floods, flooded.serves_others("10:30"))
    assert found[:-1] == [(422, "INVALID_CLINIC_FILE")] * 6
    assert flooded.peak() - before < 400


@pytest.mark.parametrize("path", ["/bookings", "/providers", "/clinic/import", "/what-if"])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
async def test_json_100000_deep_is_refused(flooded: Flooded, path: str, opening: bytes) -> None:
    assert (await flooded.refuses(path, opening * 100_000, JSON))[0] == 422


ALIASES = b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 60))
MERGES = b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 60))


@pytest.mark.parametrize("path", ["/clinic/import", "/what-if"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(JSON, b"[" + b"[]," * 20_000_000 + b"[]]", id="twenty million lists"),
        pytest.param(JSON, b'{"providers":[' + b"{}," * 200_000 + b"{}]}", id="bare rows"),
        pytest.param(
            JSON, b'{"requests":[' + b"{}," * 200_000 + b'{}],"scenarios":[]}', id="bare requests"
        ),
        pytest.param(YAML, b"- []\n" * 2_000_000, id="ten megabytes of YAML"),
        pytest.param(YAML, b"a0: &a0 {x: 1}\n" + ALIASES, id="aliases of aliases"),
        pytest.param(YAML, b"a0: &a0 {x: 1}\n" + MERGES, id="merges of merges"),
    ],
)
async def test_few_bytes_that_say_much_are_refused(
    flooded: Flooded, path: str, kind: dict[str, str], body: bytes
) -> None:
    before = flooded.peak()
    assert (await flooded.refuses(path, body, kind))[0] == 422
    assert flooded.peak() - before < 400
