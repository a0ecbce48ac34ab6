"""A real service with a clinic of two, and Chromium to look at its console."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from data.database.embedded.server import EmbeddedPostgres
from tests.support.clinics import small_clinic
from tests.support.databases import migrated
from tests.support.service import service
from tests.support.strategies import uid

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
VEGA, LINN = uid(1, 0), uid(1, 1)
VISIT, SCAN = uid(3, 0), uid(3, 1)


def clinic_of_two() -> dict[str, Any]:
    """Dr. Vega sees and scans, Dr. Linn sees; weekdays 9 to 12 and 13 to 16; two rooms."""
    hours = (("09:00", "12:00"), ("13:00", "16:00"))
    return small_clinic(
        providers=[
            {"id": VEGA, "name": "Dr. Vega", "skills": ["gp", "scan"], "buffer_after": 5},
            {"id": LINN, "name": "Dr. Linn", "skills": ["gp"]},
        ],
        rooms=[
            {"id": uid(2, 0), "name": "Room 1", "turnover_minutes": 5},
            {"id": uid(2, 1), "name": "Room 2", "equipment": ["scanner"]},
        ],
        appointment_types=[
            {"id": VISIT, "name": "Visit", "duration_minutes": 30, "required_skills": ["gp"]},
            {
                "id": SCAN,
                "name": "Scan",
                "duration_minutes": 45,
                "required_skills": ["scan"],
                "required_equipment": ["scanner"],
            },
        ],
        availability=[
            {"provider_id": who, "weekday": day, "start_time": start, "end_time": end}
            for who in (VEGA, LINN)
            for day in range(1, 6)
            for start, end in hours
        ],
    )


@pytest.fixture(scope="session")
def console_database(database: EmbeddedPostgres) -> str:
    """A database of its own on the session's server: the service works in it by itself."""
    at_once(database.admin_url, "CREATE DATABASE console")
    return migrated(database, "console")


def at_once(url: str, statement: str) -> None:
    """Carry out one statement, wherever a browser's event loop may be running."""

    async def execute() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, execute()).result()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="session")
def served(console_database: str, data_dir: Path) -> Iterator[str]:
    arguments = ("serve", "--data-dir", str(data_dir))
    quiet = {"SLOTWRIGHT_LOG_LEVEL": "WARNING"}
    with service(*arguments, DATABASE_URL=console_database, **quiet) as (_, base):
        yield base


@dataclass
class Guarded:
    """A service with a key, behind a proxy as it were, on a machine with other users."""

    base: str
    key: str
    shared: Path
    """What it is told to use for temporary files, where another user was before it."""
    victim: Path
    """A file that the other user was after."""
    log: Path

    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def cookie(self, key: str | None = None) -> dict[str, str]:
        return {"Cookie": f"slotwright_key={key or self.key}"}

    def make(self, role: str) -> tuple[str, str]:
        """Make a key; return its id and the key itself."""
        answer = httpx.post(f"{self.base}/keys", json={"role": role}, headers=self.bearer())
        body = answer.json()
        return body["id"], body["key"]


@pytest.fixture(scope="session")
def guarded(
    database: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    at_once(database.admin_url, "CREATE DATABASE guarded")
    url = migrated(database, "guarded")
    with tempfile.TemporaryDirectory(prefix="slotwright-shared-", dir="/var/tmp") as directory:
        shared = Path(directory)
        shared.chmod(0o1777)
        victim = tmp_path_factory.mktemp("victim") / "file"
        victim.write_text("mine")
        set_a_trap(shared, victim)
        log = tmp_path_factory.mktemp("log") / "log"
        with service(
            "serve",
            log=log,
            DATABASE_URL=url,
            TMPDIR=str(shared),
            SLOTWRIGHT_RATE_LIMITS="on",
            SLOTWRIGHT_TRUSTED_PROXIES="127.0.0.0/8",
            SLOTWRIGHT_PUBLIC_URL="https://clinic.example",
        ) as (_, base):
            key = httpx.post(f"{base}/keys", json={"role": "admin"}).json()["key"]
            yield Guarded(base, key, shared, victim, log)


def set_a_trap(shared: Path, victim: Path) -> None:
    """Do as another user of the machine what once overwrote a file of whoever started this."""
    script = (
        'mkdir "$0/slotwright" && echo \'{"a": 1}\' >"$0/slotwright/storage-general.json"'
        ' && ln -s "$1" "$0/slotwright/storage-general.json.tmp"'
    )
    user = "nobody" if os.geteuid() == 0 else None
    subprocess.run(["sh", "-c", script, str(shared), str(victim)], check=True, user=user)


@pytest.fixture(scope="module")  # its event loop must be gone before other tests have theirs
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "the console's tests need Chromium: apt-get install chromium"
    expect.set_options(timeout=10_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def clinic(served: str) -> Iterator[httpx.Client]:
    """The service with the clinic of two, and no bookings."""
    with httpx.Client(base_url=served, timeout=30) as client:
        answer = client.post("/clinic/import?replace=true", json=clinic_of_two())
        assert answer.status_code == 200, answer.text
        yield client


type Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def usual(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that has been here before: it need not load all the scripts again."""
    context = chromium.new_context(locale="en-GB")
    yield context
    context.close()


@pytest.fixture
def open_page(
    chromium: Browser, usual: BrowserContext, served: str, clinic: httpx.Client
) -> Iterator[Opener]:
    """Open a page of the console; with options, in a browser of its own."""
    yield from opening(chromium, usual, served)


@pytest.fixture
def open_guarded(chromium: Browser, usual: BrowserContext, guarded: Guarded) -> Iterator[Opener]:
    """Open a page of the console that takes a key."""
    yield from opening(chromium, usual, guarded.base)


def opening(chromium: Browser, usual: BrowserContext, served: str) -> Iterator[Opener]:
    """Yield what opens pages.

    A script's error fails the test, and so does whatever is asked of any other host.
    """
    errors: list[str] = []
    contexts: list[BrowserContext] = []

    def asked(request: Request) -> None:
        if urlsplit(request.url).netloc not in (urlsplit(served).netloc, ""):
            errors.append(f"{request.url} lies elsewhere")

    def opened(path: str = "/", **options: Any) -> Page:
        context = usual
        if options:
            context = chromium.new_context(**{"locale": "en-GB"} | options)
            contexts.append(context)
        page = context.new_page()
        page.on("request", asked)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{served}/console{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    for page in usual.pages:
        page.close()
    usual.clear_cookies()
    assert not errors


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """Keep a picture of a page."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def keep(page: Page, name: str) -> None:
        page.screenshot(path=SCREENSHOTS / f"{name}.png")

    return keep
