"""What is around every request: ids, logs, headers, bounds, figures."""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
import uvicorn
from fastapi import HTTPException
from fastapi.responses import PlainTextResponse
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from api.access.open_until_first_key import KeylessAccess
from api.access.require import LARGE_BODY
from api.http import middleware as envelope
from api.server.app import create_app
from api.service.settings import Settings
from tests.support.clinics import PROVIDER, TYPE, coming_monday, order, small_clinic
from tests.support.sockets import read_to_end

MONDAY = coming_monday()


SECRET = "Patient-Ada-4711"


async def test_the_request_id_comes_back(client: httpx.AsyncClient) -> None:
    given = await client.get("/healthz", headers={"X-Request-ID": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    made = {(await client.get("/healthz")).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for bad in ("with blank", "x" * 129, 'quo"te', ""):
        answer = await client.get("/healthz", headers={"X-Request-ID": bad})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    missing = await client.get("/nowhere", headers={"X-Request-ID": "abc-2"})
    assert (missing.status_code, missing.headers["x-request-id"]) == (404, "abc-2")


async def test_a_line_for_every_request_and_no_patient_in_it(client: httpx.AsyncClient) -> None:
    with capture_logs() as logged:
        await client.post("/clinic/import", json=small_clinic())
        body = order(MONDAY, "09:00", patient_ref=SECRET, notes=SECRET)
        booked = (await client.post("/bookings", json=body)).json()
        await client.post("/bookings", json=body)
        typed = {"Content-Type": "application/json"}
        await client.post("/bookings", content=f'{{"{SECRET}": ', headers=typed)
        await client.get("/bookings", params={"patient_ref": SECRET})
        await client.get(f"/bookings/{booked['id']}/history", params={"x": SECRET})
        await client.get(f"/{SECRET}")
        await client.request(SECRET.upper().replace("-", ""), "/healthz")
    lines = [entry for entry in logged if entry["event"] == "request"]
    assert len(lines) == 8
    assert [(e["method"], e["route"], e["status"]) for e in lines[:2]] == [
        ("POST", "/clinic/import", 200),
        ("POST", "/bookings", 201),
    ]
    assert lines[5]["route"] == "/bookings/{booking_id}/history"
    assert all(line["ms"] > 0 for line in lines)
    assert SECRET.lower() not in repr(logged).lower()
    assert SECRET.upper().replace("-", "") not in repr(logged)


async def test_a_fault_of_ours_tells_nothing_and_logs_no_values(
    client: httpx.AsyncClient, admin_engine: AsyncEngine
) -> None:
    await client.post("/clinic/import", json=small_clinic())
    async with admin_engine.begin() as connection:
        await connection.execute(
            text("ALTER TABLE bookings ADD CONSTRAINT broken CHECK (patient_ref <> 'Ada-4711')")
        )
    try:
        with capture_logs() as logged:
            body = order(MONDAY, "09:00", patient_ref="Ada-4711")
            answer = await client.post("/bookings", json=body, headers={"X-Request-ID": "r"})
    finally:
        async with admin_engine.begin() as connection:
            await connection.execute(text("ALTER TABLE bookings DROP CONSTRAINT broken"))
    assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL_ERROR")
    assert answer.headers["x-request-id"] == "r"
    assert [e["event"] for e in logged] == ["unexpected", "request"]
    assert logged[0]["error"] == "IntegrityError"
    assert "Ada-4711" not in answer.text + repr(logged)


@pytest.mark.parametrize("path", ["/healthz", "/slots", "/nowhere", "/docs", "/openapi.json"])
async def test_security_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert ("default-src 'none'" in headers["content-security-policy"]) == (path != "/docs")
    assert "http" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


async def test_a_head_is_a_get_without_its_body(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz", "/", "/docs", "/openapi.json", "/bookings", "/nowhere"):
        head, got = await client.head(path), await client.get(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-length"] == got.headers["content-length"]
        assert head.headers["content-type"] == got.headers["content-type"]
    assert (await client.head("/bookings/swap")).status_code in (404, 405, 422)


async def test_the_first_page_leads_on(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    for name in re.findall('href="([^"]+)"', page.text):
        assert (await client.get(f"/{name}")).status_code == 200, name
    assert 'href="docs"' in page.text
    assert "console" not in page.text  # it is not mounted here


async def test_the_interface_is_shown_by_our_own_files(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    parts = re.findall('(?:src|href)="(?!data:)([^"]+)"', page)
    assert len(parts) == 3
    for part in parts:
        answer = await client.get(f"/{part}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(("text/javascript", "text/css"))
    assert "//" not in "".join(parts)
    assert (await client.get("/docs/other.js")).status_code == 422


async def test_no_redirect_leads_to_a_name_that_was_sent(client: httpx.AsyncClient) -> None:
    for path in ("/bookings/", "/healthz/", "/docs/", "/what-if/"):
        answer = await client.get(path)
        assert answer.status_code == 404, path


def grow(size: int) -> AsyncIterator[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        sent, part = 0, b" " * 65536
        while sent < size:
            yield part
            sent += 65536

    return chunks()


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/bookings", 2 * 1024 * 1024),
        ("/clinic/import", LARGE_BODY),
        ("/what-if", LARGE_BODY),
    ],
)
async def test_a_body_that_is_too_large(
    client: httpx.AsyncClient, path: str, limit: int, declared: bool
) -> None:
    headers = {"Content-Type": "application/json"}
    if declared:  # refused for what it says, before it is read
        headers["Content-Length"] = str(limit + 1)
    size = 65536 if declared else limit + 65536
    answer = await client.post(path, content=grow(size), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert answer.headers["content-type"] == "application/problem+json"
    if path == "/bookings":
        fits = await client.post(
            path, content=b" " * limit, headers=headers | {"Content-Length": str(limit)}
        )
        assert fits.status_code == 422


@pytest.mark.parametrize("depth", [200, 300, 1000, 5000, 100_000])
@pytest.mark.parametrize("path", ["/bookings", "/clinic/import", "/what-if", "/providers"])
async def test_deeply_nested_json(client: httpx.AsyncClient, path: str, depth: int) -> None:
    for nested in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        for body in (nested, f'{{"notes": {nested}}}'):
            for more in ({}, {"Idempotency-Key": "k"}):
                headers = {"Content-Type": "application/json", **more}
                answer = await client.post(path, content=body, headers=headers)
                assert answer.status_code in (400, 422), (answer.status_code, answer.text[:200])


@pytest.mark.parametrize("path", ["/clinic/import", "/what-if"])
@pytest.mark.parametrize("depth", [300, 900])
async def test_deeply_nested_yaml(client: httpx.AsyncClient, path: str, depth: int) -> None:
    for body in ("[" * depth + "]" * depth, "- " * depth + "x"):
        answer = await client.post(path, content=body, headers={"Content-Type": "application/yaml"})
        assert answer.status_code in (400, 422), (answer.status_code, answer.text[:200])


async def test_a_request_that_takes_too_long(
    client: httpx.AsyncClient, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.post("/clinic/import", json=small_clinic())
    await client.post("/bookings", json=order(MONDAY, "09:00"))
    monkeypatch.setattr(envelope, "SECONDS", 0.3)
    async with engine.begin() as connection:
        await connection.execute(text("SELECT * FROM resource_days FOR UPDATE"))
        late = await client.post("/bookings", json=order(MONDAY, "10:00", patient_ref="b"))
    assert (late.status_code, late.json()["code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert late.headers["retry-after"] == "1"
    monkeypatch.setattr(envelope, "SECONDS", 0.05)
    whole = small_clinic(
        rooms=[{"id": f"00000000-0000-0000-0000-{n:012d}", "name": "R"} for n in range(300)]
    )
    loaded = await client.post("/clinic/import", json=whole)  # may take longer than others
    assert loaded.status_code == 200


def figure(page: str, name: str, **labels: str) -> float:
    for line in page.splitlines():
        if line.startswith(f"{name}{{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


async def test_figures(client: httpx.AsyncClient) -> None:
    async def page() -> str:
        return (await client.get("/metrics")).text

    before = await page()
    await client.post("/clinic/import", json=small_clinic())
    query = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}
    found = (await client.get("/slots", params=query)).json()
    await client.post("/bookings", json=order(MONDAY, "09:00"))
    await client.post("/bookings", json=order(MONDAY, "09:00", patient_ref="b"))
    for _ in range(2):  # the repeat is no second placement
        keyed = {"Idempotency-Key": "k"}
        await client.post("/bookings", json=order(MONDAY, "10:00", patient_ref="c"), headers=keyed)
    await client.post("/holds", json=order(MONDAY, "09:15", patient_ref="d"))
    after = await page()

    def grown(name: str, **labels: str) -> float:
        return figure(after, name, **labels) - figure(before, name, **labels)

    assert grown("slotwright_request_seconds_count", route="/slots", status="200") == 1
    assert grown("slotwright_request_seconds_count", route="/bookings", status="201") == 3
    assert grown("slotwright_slot_candidates_count", stage="before") == 1
    assert grown("slotwright_slot_candidates_sum", stage="after") == found["total"]
    assert grown("slotwright_slot_candidates_sum", stage="before") > found["total"]
    assert grown("slotwright_bookings_total", outcome="won") == 2
    assert grown("slotwright_bookings_total", outcome="PROVIDER_BUSY") == 2
    assert figure(after, "slotwright_pool_connections", state="open") >= 1
    assert "slotwright_solve_seconds_count" in after
    assert PROVIDER not in after


async def test_a_line_names_its_request_wherever_it_is_written(
    client: httpx.AsyncClient,
) -> None:
    import structlog

    async def seen() -> Any:
        return structlog.contextvars.get_contextvars()

    await asyncio.gather(*(client.get("/healthz") for _ in range(5)))
    assert await seen() == {}


@contextlib.asynccontextmanager
async def listening(database_url: str) -> AsyncIterator[str]:
    """The service on a real socket, in this process."""
    app = create_app(
        Settings(DATABASE_URL=database_url, rate_limits="off"), KeylessAccess(is_open=True)
    )
    config = uvicorn.Config(app, port=0, log_config=None)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def upload(base: str, path: str, *parts: bytes, pause: float = 0) -> bytes:
    """Send the beginning of a body of 40 MB; return what comes back until the other side closes."""
    where = urlsplit(base)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = f"POST {path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {40 * 1024 * 1024}\r\n\r\n".encode())
    answering = asyncio.create_task(read_to_end(reader))
    for part in parts:
        if answering.done():
            break
        writer.write(part)
        await asyncio.sleep(pause)
    answer = await answering
    writer.close()
    return answer


async def test_stalled_uploads_are_dropped_and_hold_nobody_up(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "BODY_SECONDS", 2.0)
    monkeypatch.setattr(envelope, "BODY_RATE", 100 * 1024 * 1024)
    whole = orjson.dumps(small_clinic()) + b" " * (3 * 1024 * 1024)
    typed = {"Content-Type": "application/json"}
    async with listening(database_url) as base, httpx.AsyncClient(base_url=base, timeout=120) as c:
        begun = b" " * (5 * 1024 * 1024 // 2)
        stalled = [asyncio.create_task(upload(base, "/clinic/import", begun)) for _ in range(3)]
        answer = await c.post("/clinic/import", content=whole, headers=typed)
        assert answer.status_code == 200, answer.text
        for dropped in await asyncio.gather(*stalled):
            assert dropped.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"REQUEST_TIMEOUT"' in dropped
            assert b"connection: close" in dropped.lower()


@pytest.mark.parametrize("is_slow", [True, False])
async def test_what_is_wrong_with_a_body_is_told_whatever_the_app_makes_of_it(
    monkeypatch: pytest.MonkeyPatch, is_slow: bool
) -> None:
    monkeypatch.setattr(envelope, "BODY_SECONDS", 0.1)
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
        except HTTPException:
            await PlainTextResponse("in its own words", 400)(scope, receive, send)

    async def receive() -> Message:
        if is_slow:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bytes(envelope.MAX_BODY + 1), "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    await envelope.Envelope(app)(scope, receive, send)
    begun, whole = sent
    code = "REQUEST_TIMEOUT" if is_slow else "BODY_TOO_LARGE"
    assert (begun["status"], orjson.loads(whole["body"])["code"]) == (408 if is_slow else 413, code)


async def test_a_dripped_body_is_dropped(
    engine: AsyncEngine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "BODY_SECONDS", 0.5)
    async with listening(database_url) as base:  # each part in time, the whole never
        drops = itertools.repeat(b" ", 10_000)
        dropped = await upload(base, "/clinic/import", *drops, pause=0.05)
        assert dropped.startswith(b"HTTP/1.1 408 ")
