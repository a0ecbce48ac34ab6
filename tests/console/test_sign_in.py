"""Who may see what: a service with keys, in a real browser."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from data.embedded import EmbeddedPostgres
from tests.clinics import coming_monday, order
from tests.console.conftest import clinic_of_two
from tests.faults.service import SLOTWRIGHT, service

MONDAY = coming_monday()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A service with a booking, and a key of each of two roles."""
    with (
        EmbeddedPostgres(tmp_path / "database", durable=False) as server,
        service("serve", DATABASE_URL=server.url) as (_, base),
    ):
        assert httpx.post(f"{base}/clinic/import", json=clinic_of_two()).status_code == 200
        booked = httpx.post(f"{base}/bookings", json=order(MONDAY, "09:00", patient_ref="Ada"))
        assert booked.status_code == 201
        keys = {}
        for role in ("admin", "viewer"):
            done = subprocess.run(
                [*SLOTWRIGHT, "keys", "create", "--role", role],
                env=os.environ | {"DATABASE_URL": server.url},
                capture_output=True,
                check=True,
                text=True,
            )
            keys[role] = done.stdout.strip()
        yield base, keys


def test_a_key_opens_what_its_role_may_see(
    locked: tuple[str, dict[str, str]], chromium: Browser
) -> None:
    base, keys = locked
    page = chromium.new_page(locale="en-GB")
    page.goto(f"{base}/console/?date={MONDAY}")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("API key").fill("sw_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known here")

    for role, may_cancel in (("viewer", 0), ("admin", 1)):
        page.get_by_label("API key").fill(keys[role])
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".sw-day")).to_be_visible()
        page.goto(f"{base}/console/?date={MONDAY}")
        page.locator(".sw-booking", has_text="Ada").click()
        expect(page.get_by_text("Provider: Dr. Vega")).to_be_visible()
        expect(page.get_by_role("button", name="Cancel appointment")).to_have_count(may_cancel)
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    cookies = page.context.cookies()
    assert not [cookie for cookie in cookies if cookie["name"] == "slotwright_key"]
    page.context.close()
