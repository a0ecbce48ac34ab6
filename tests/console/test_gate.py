"""Who gets to the console: strangers, pages of others, revoked keys, users of the machine."""

import asyncio
import contextlib
import json
import re
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_at_once

from api.console.gate import STRANGER_SECONDS, STRANGERS_PER_ADDRESS
from tests.console.conftest import Guarded
from tests.support.clinics import coming_monday, order

MONDAY = coming_monday()
EVIL = "https://evil.example"
SECRET = "Patient-Ada-4711"
PAGES_OF_OTHERS = """
<title>trying</title>
<iframe name="hidden"></iframe>
<form id="form" method="post" target="hidden" enctype="text/plain"></form>
<script>
async function attempt(base) {
  const seen = [];
  const send = async (path, options) => {
    try {
      const answer = await fetch(base + path, {method: "POST", credentials: "include", ...options});
      seen.push(path + " " + answer.type + " " + answer.status);
    } catch (error) { seen.push(path + " " + error.name); }
  };
  const clinic = JSON.stringify({clinic: {name: "theirs", timezone: "UTC"}});
  for (const mode of ["no-cors", "cors"]) {
    await send("/clinic/import?replace=true", {mode, body: clinic});
    await send("/clinic/import?replace=true", {mode, body: new Blob([clinic])});
    await send("/keys", {mode, body: '{"role": "admin"}'});
    await send("/console/sign-out", {mode});
  }
  await send("/keys", {headers: {"Content-Type": "application/json"}, body: '{"role": "admin"}'});
  await send("/clinic", {method: "GET"});
  const form = document.getElementById("form");
  for (const path of ["/clinic/import?replace=true", "/console/session", "/bookings/ID/cancel"]) {
    form.action = base + path;
    form.innerHTML = '<input name="key" value="slotwright_theirs">';
    form.submit();
    await new Promise(done => setTimeout(done, 300));
  }
  const socket = base.replace("http", "ws")
    + "/console/_nicegui_ws/socket.io/?EIO=4&transport=websocket";
  seen.push(await new Promise(done => {
    const line = new WebSocket(socket);
    line.onopen = () => done("socket open");
    line.onerror = () => done("socket refused");
  }));
  return seen;
}
</script>
"""


def socket_url(base: str, **query: str) -> str:
    asked = urlencode({"EIO": "4", "transport": "websocket", **query})
    return f"{base.replace('http', 'ws')}/console/_nicegui_ws/socket.io/?{asked}"


def test_a_thousand_silent_sockets_keep_nobody_out(served: str) -> None:
    """Most are refused, the others closed in seconds."""
    before = time.monotonic()
    with ThreadPoolExecutor(1) as thread:  # wherever a browser's event loop may be running
        refused, closed = thread.submit(asyncio.run, many_silent(served, 1000)).result()
    assert refused + closed == 1000
    assert refused > 500
    assert closed >= STRANGERS_PER_ADDRESS
    assert time.monotonic() - before < 90


async def many_silent(base: str, number: int) -> tuple[int, int]:
    """Return how many of as many sockets that only answer pings are refused, and are closed."""
    ends: Counter[str] = Counter()
    gate = asyncio.Semaphore(100)

    async def silent() -> None:
        async with gate:
            try:
                line = await connect(socket_url(base), open_timeout=60, ping_interval=None)
            except InvalidStatus as error:
                ends[f"refused {error.response.status_code}"] += 1
                return
        async with line:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    if await line.recv() == "2":
                        await line.send("3")
            ends["closed"] += 1

    async with httpx.AsyncClient(base_url=base, timeout=30) as client, asyncio.TaskGroup() as all_:
        for _ in range(number):
            all_.create_task(silent())
        for _ in range(20):
            assert (await client.get("/readyz")).status_code == 200
    return ends["refused 403"], ends["closed"]


@pytest.mark.parametrize(
    ("sent", "status", "code", "told"),
    [
        ({}, 422, "VALIDATION_ERROR", "key: is missing"),
        ({"json": {"key": "x"}}, 422, "VALIDATION_ERROR", "key: is missing"),
        ({"files": {"key": b"x"}}, 422, "VALIDATION_ERROR", "key: must be text"),
        (
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
            422,
            "VALIDATION_ERROR",
            "body: cannot be read as a form",
        ),
        ({"data": {"key": "x" * 100_000}}, 413, "BODY_TOO_LARGE", "more than 65536 bytes"),
        ({"content": iter([b"x" * 70_000] * 30)}, 413, "BODY_TOO_LARGE", "more than 65536 bytes"),
    ],
)
def test_a_form_that_no_browser_sends_is_refused_as_by_the_service(
    served: str, sent: dict[str, Any], status: int, code: str, told: str
) -> None:
    typed = {"Content-Type": "application/x-www-form-urlencoded"} if "content" in sent else {}
    headers = typed | sent.get("headers", {})
    answer = httpx.post(f"{served}/console/session", timeout=30, **{**sent, "headers": headers})
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert told in answer.json()["detail"]


def test_a_stranger_may_only_say_who_it_is(served: str) -> None:
    for said in ("2probe", '42["event",{"client_id":"x","id":1}]', "40" + "x" * 2_000_000):
        with connect_at_once(socket_url(served), open_timeout=30) as line:
            assert str(line.recv()).startswith("0{")
            began = time.monotonic()
            line.send(said)
            with pytest.raises(ConnectionClosed) as end:
                line.recv(timeout=STRANGER_SECONDS - 1)
            assert end.value.rcvd is not None
            assert end.value.rcvd.code in (1008, 1009)
            assert time.monotonic() - began < STRANGER_SECONDS


def test_there_are_no_sockets_by_other_ways(served: str) -> None:
    path = "/console/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    for method in ("GET", "POST"):
        answer = httpx.request(method, f"{served}{path}", headers={"Origin": served}, timeout=30)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


def test_a_socket_of_another_origin(served: str) -> None:
    port = urlsplit(served).port
    for origin in (EVIL, "null", f"http://127.0.0.1:{(port or 0) + 1}", f"http://localhost:{port}"):
        with (
            pytest.raises(InvalidHandshake, match="403"),
            connect_at_once(
                socket_url(served),
                origin=origin,
                open_timeout=30,  # type: ignore[arg-type]
            ),
        ):
            pass


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """Another origin on this machine: to the browser the same site, as its port does not count."""
    (tmp_path / "index.html").write_text(PAGES_OF_OTHERS)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_page_of_another_origin_gets_nothing_in(
    clinic: httpx.Client, chromium: Browser, served: str, elsewhere: str
) -> None:
    booked = clinic.post("/bookings", json=order(MONDAY, "09:00", patient_ref="Ada")).json()
    before = clinic.get("/clinic/export").json()
    context = chromium.new_context()
    for page_of in (f"http://{elsewhere}", f"http://{elsewhere}".replace("127.0.0.1", "localhost")):
        page = context.new_page()
        page.goto(page_of)
        page.evaluate(
            "document.documentElement.innerHTML = document.documentElement.innerHTML"
            f".replace('ID', {booked['id']!r})"
        )
        seen = page.evaluate(f"attempt({served!r})")
        assert seen[-1] == "socket refused"
        assert not [each for each in seen if each.endswith((" 200", " 201", " 204"))], seen
    assert not context.cookies(served)
    context.close()
    assert clinic.get("/clinic/export").json() == before
    assert clinic.get("/keys").json() == []


def opened(guarded: Guarded, key: str) -> dict[str, str]:
    """Open the page of the clinic, as a browser does; return what its socket says of it."""
    page = httpx.get(f"{guarded.base}/console/clinic", headers=guarded.cookie(key), timeout=60)
    assert page.status_code == 200
    found = re.search("client_id['\"]: ?['\"]([^'\"]+)", page.text)
    assert found
    return {
        "client_id": found[1],
        "next_message_id": "0",
        "implicit_handshake": "true",
        "document_id": "d",
        "tab_id": "t",
        "old_tab_id": "",
    }


def test_another_user_of_the_machine_overwrites_nothing(guarded: Guarded) -> None:
    assert guarded.victim.read_text() == "mine"
    names = {entry.name for entry in guarded.shared.iterdir()}
    assert "slotwright" in names
    for entry in guarded.shared.iterdir():
        if entry.name != "slotwright":
            assert stat.S_IMODE(entry.stat().st_mode) & 0o077 == 0, entry
            assert re.fullmatch(r"slotwright-\w+-\w{8}", entry.name), entry


def test_the_log_has_no_path_and_no_word_of_a_browser(guarded: Guarded) -> None:
    headers = guarded.cookie()
    missing = httpx.get(
        f"{guarded.base}/console/nowhere", params={"patient": SECRET}, headers=headers
    )
    assert missing.status_code == 404
    _, key = guarded.make("viewer")
    query = opened(guarded, key)
    with greeted(guarded, query, key) as line:
        forged = {"client_id": query["client_id"], "level": "error", "message": f"\n{SECRET}\n"}
        line.send(f"42{json.dumps(['log', forged])}")
        line.send(f"42{json.dumps(['log', {'client_id': SECRET}])}")
        line.send(f"42{json.dumps(['event', {SECRET: SECRET}])}")
        line.send(f"42{json.dumps(['handshake', {SECRET: SECRET}])}")
        line.send('420["handshake", {"client_id": "x"}]')  # answered after those before
        while not str(line.recv(timeout=30)).startswith("430"):
            pass
    assert SECRET not in guarded.log.read_text()
    for written in guarded.log.read_text().splitlines():
        assert json.loads(written)["event"] != "error"


@contextlib.contextmanager
def greeted(guarded: Guarded, query: dict[str, str], key: str | None) -> Iterator[ClientConnection]:
    headers = guarded.cookie(key) if key else {}
    url = socket_url(guarded.base, **query)
    with connect_at_once(url, additional_headers=headers, open_timeout=30) as line:
        assert str(line.recv(timeout=30)).startswith("0{")
        line.send("40")
        yield line


def drained(line: ClientConnection) -> bool:
    """Read on until the other side closes."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            line.recv(timeout=30)
    return True


def test_a_socket_speaks_for_its_own_page_alone(guarded: Guarded) -> None:
    _, viewer = guarded.make("viewer")
    query = opened(guarded, guarded.key)
    for key in (None, viewer, "slotwright_wrong"):
        with greeted(guarded, query, key) as line:
            assert "Implicit handshake failed" in str(line.recv(timeout=30))
            line.send(f'42["event", {{"client_id": "{query["client_id"]}", "id": 1}}]')
            assert drained(line)
    with greeted(guarded, query, guarded.key) as line:
        assert str(line.recv(timeout=30)).startswith("40{")


def test_a_visit_ends_when_its_key_is_revoked(guarded: Guarded) -> None:
    key_id, key = guarded.make("viewer")
    query = opened(guarded, key)
    with greeted(guarded, query, key) as line:
        assert str(line.recv(timeout=30)).startswith("40{")
        httpx.delete(f"{guarded.base}/keys/{key_id}", headers=guarded.bearer())
        assert drained(line)
    with greeted(guarded, query, key) as line:
        assert "Implicit handshake failed" in str(line.recv(timeout=30))
    page = httpx.get(f"{guarded.base}/console/clinic", headers=guarded.cookie(key))
    assert (page.status_code, page.headers["location"]) == (303, "/console/sign-in")


def test_strangers_see_the_sign_in_and_nothing_else(guarded: Guarded) -> None:
    for path in ("/", "/clinic", "/nowhere", "/_nicegui/client/x/upload/1", "/_nicegui_ws/x"):
        answer = httpx.get(f"{guarded.base}/console{path}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in"), path
        answer = httpx.post(f"{guarded.base}/console{path}")
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
    page = httpx.get(f"{guarded.base}/console/sign-in")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_signing_in(guarded: Guarded) -> None:
    def sign_in(key: str | bytes, **headers: str) -> httpx.Response:
        return httpx.post(f"{guarded.base}/console/session", data={"key": key}, headers=headers)

    for key in ("中", "é", "slotwright_wrong", "\x00", "x" * 5000, b"\xff"):
        answer = sign_in(key)
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/console/sign-in?refused=1",
        )
        assert "set-cookie" not in answer.headers
    for foreign in ({"Origin": EVIL}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = sign_in(guarded.key, **foreign)
        assert (answer.status_code, answer.json()["code"]) == (403, "CROSS_SITE_REQUEST")
        assert "set-cookie" not in answer.headers
    answer = sign_in(f" {guarded.key}\n", Origin="https://clinic.example")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
    cookie = answer.headers["set-cookie"]
    assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/console"} <= set(cookie.split("; "))


def test_pages_are_counted_by_address(guarded: Guarded) -> None:
    def sign_in(address: str) -> httpx.Response:
        headers = {"X-Forwarded-For": address}
        return httpx.get(f"{guarded.base}/console/sign-in", headers=headers)

    assert {sign_in("203.0.113.9").status_code for _ in range(60)} == {200}
    answer = sign_in("203.0.113.9")
    assert answer.status_code == 429
    assert sign_in("203.0.113.10").status_code == 200
    assert "Too many pages" in answer.text
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    page = httpx.get(f"{guarded.base}/console/clinic", headers=guarded.cookie(), timeout=60)
    assert page.status_code == 200
