"""The service below a path of another name's, behind a real Traefik that takes the path away."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Guarded, clinic_of_two
from tests.support.clinics import coming_monday
from tests.support.service import is_ready

MONDAY = coming_monday()
PATH = "/book/of-the.clinic"


@pytest.fixture
def below(guarded: Guarded, tmp_path: Path) -> Iterator[str]:
    """Where the service is for browsers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    router = {"rule": f"PathPrefix(`{PATH}`)", "service": "slotwright", "middlewares": ["strip"]}
    dynamic = {
        "http": {
            "routers": {"slotwright": router},
            "middlewares": {"strip": {"stripPrefix": {"prefixes": [PATH]}}},
            "services": {"slotwright": {"loadBalancer": {"servers": [{"url": guarded.base}]}}},
        }
    }
    file = tmp_path / "dynamic.yaml"
    file.write_text(json.dumps(dynamic))  # which is YAML, too
    binary = shutil.which("traefik", path=str(Path(sys.executable).parent))
    assert binary is not None
    router_process = subprocess.Popen(
        [
            binary,
            f"--entrypoints.web.address=127.0.0.1:{port}",
            f"--providers.file.filename={file}",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        ],
        stdout=subprocess.DEVNULL,
    )
    base = f"http://127.0.0.1:{port}{PATH}"
    try:
        deadline = time.monotonic() + 60
        while not is_ready(base):
            assert router_process.poll() is None
            assert time.monotonic() < deadline
        yield base
    finally:
        router_process.terminate()
        router_process.communicate()


def test_everything_follows_the_path(guarded: Guarded, chromium: Browser, below: str) -> None:
    headers = guarded.bearer()
    loaded = httpx.post(
        f"{below}/clinic/import?replace=true", json=clinic_of_two(), headers=headers, timeout=60
    )
    assert loaded.status_code == 200, loaded.text
    board = f"{below}/console/?date={MONDAY}"
    while "Server error" in httpx.get(board, headers=guarded.cookie(), timeout=60).text:
        pass  # the first page of a process takes longest, and NiceGUI gives it three seconds
    asked: list[str] = []
    context = chromium.new_context(locale="en-GB")
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url.replace("ws", "http", 1)))
    page.goto(f"{below}/")
    page.get_by_role("link", name="The console").click()
    page.get_by_label("API key").fill(guarded.key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".sw-day")).to_be_visible(timeout=60_000)
    (key,) = [each for each in context.cookies() if each["name"] == "slotwright_key"]
    assert key["path"] == f"{PATH}/console"
    page.get_by_label("Go to date").fill(MONDAY.isoformat())
    page.wait_for_url(f"{below}/console/?date={MONDAY}**")
    page.get_by_role("button", name="Find a slot").click()
    page.wait_for_url(f"{below}/console/find?date={MONDAY}")
    for name in ("What if", "Statistics", "Clinic", "Benchmarks", "Day board"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.locator("nav [aria-current=page]")).to_have_text(name)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{below}/console/sign-in")
    assert not context.cookies()
    page.goto(f"{below}/docs")
    expect(page.get_by_text("/bookings/swap")).to_be_visible()
    outside = [url for url in asked if not url.startswith((f"{below}/", "data:", "blob:"))]
    assert not [url for url in outside if not url.endswith("/favicon.ico")]
    context.close()


def test_only_a_plain_path_is_followed(guarded: Guarded) -> None:
    for bad in ("//evil.example", "/a//b", "https://evil.example", '/"><script>', "/a b", "a", "/"):
        headers = {"X-Forwarded-Prefix": bad}
        answer = httpx.get(f"{guarded.base}/console/", headers=headers)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in"), bad
