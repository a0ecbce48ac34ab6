"""Who may see what: a service with keys, in a real browser."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect
from sqlalchemy import make_url

from tests.clinics import coming_monday, order
from tests.console.conftest import Opener, at_once

MONDAY = coming_monday()


@pytest.fixture
def keys(clinic: httpx.Client, console_database: str) -> Iterator[dict[str, str]]:
    """A booking, and a key of each of two roles: the service is open no longer."""
    booked = clinic.post("/bookings", json=order(MONDAY, "09:00", patient_ref="Ada"))
    assert booked.status_code == 201
    made: dict[str, str] = {}
    for role in ("admin", "viewer"):
        bearer = {"Authorization": f"Bearer {made['admin']}"} if made else {}
        answer = clinic.post("/keys", json={"role": role}, headers=bearer)
        assert answer.status_code == 201, answer.text
        made[role] = answer.json()["key"]
    yield made
    admin = make_url(console_database).set(username="postgres").render_as_string()
    at_once(admin, "TRUNCATE api_keys")
    while clinic.get("/providers").status_code == 401:
        pass  # keys once read are relied on for a second


def test_a_key_opens_what_its_role_may_see(keys: dict[str, str], open_page: Opener) -> None:
    page = open_page(f"/?date={MONDAY}")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("API key").fill("slotwright_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known here")

    for role, may_do in (("viewer", 0), ("admin", 1)):
        page.get_by_label("API key").fill(keys[role])
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".sw-who")).to_have_text(role)
        expect(page.get_by_role("button", name="Find a slot")).to_have_count(may_do)
        page.get_by_label("Go to date").fill(MONDAY.isoformat())
        page.locator(".sw-booking", has_text="Ada").click()
        expect(page.get_by_text("Provider: Dr. Vega")).to_be_visible()
        expect(page.get_by_role("button", name="Cancel appointment")).to_have_count(may_do)
        page.get_by_role("button", name="Close").click()
        page.get_by_role("link", name="Clinic").click()
        expect(page.get_by_role("cell", name="Dr. Vega")).to_be_visible()
        expect(page.get_by_role("button", name="New provider")).to_have_count(may_do)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    cookies = page.context.cookies()
    assert not [cookie for cookie in cookies if cookie["name"] == "slotwright_key"]


def test_a_key_that_was_revoked_opens_nothing_more(
    keys: dict[str, str], clinic: httpx.Client, open_page: Opener
) -> None:
    """The page is still there and its browser sends what it likes: each handler asks for the key.

    What the browser does with what comes back is up to it; this one ignores that it is led away.
    """
    page = open_page("/sign-in", viewport={"width": 1280, "height": 800})
    page.get_by_label("API key").fill(keys["viewer"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".sw-day")).to_be_visible()
    received: list[str] = []
    page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda frame: received.append(str(frame))),
    )
    page.reload()
    expect(page.locator(".sw-day")).to_be_visible()
    admin = {"Authorization": f"Bearer {keys['admin']}"}
    (viewer,) = [k for k in clinic.get("/keys", headers=admin).json() if k["role"] == "viewer"]
    assert clinic.delete(f"/keys/{viewer['id']}", headers=admin).status_code == 200
    page.route("**/sign-in", lambda route: route.fulfill(status=204))  # stays where it is
    with page.expect_request("**/sign-in"):
        received.clear()
        page.get_by_label("Search a patient").fill("ada")
    for _ in range(3):
        with page.expect_request("**/sign-in"):
            page.get_by_label("Search a patient").press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert received
    assert not [frame for frame in received if "Ada" in frame]
