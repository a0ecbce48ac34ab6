"""Who may see what: a service with keys, in a real browser."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.console.conftest import Guarded, Opener, clinic_of_two
from tests.support.clinics import coming_monday, order

MONDAY = coming_monday()


@pytest.fixture
def keys(guarded: Guarded) -> dict[str, str]:
    """A booking, and a key of each of two roles."""
    with httpx.Client(base_url=guarded.base, headers=guarded.bearer(), timeout=60) as client:
        answer = client.post("/clinic/import?replace=true", json=clinic_of_two())
        assert answer.status_code == 200, answer.text
        booked = client.post("/bookings", json=order(MONDAY, "09:00", patient_ref="Ada"))
        assert booked.status_code == 201
    return {"viewer": guarded.make("viewer")[1], "admin": guarded.key}


def test_a_key_opens_what_its_role_may_see(keys: dict[str, str], open_guarded: Opener) -> None:
    page = open_guarded(f"/?date={MONDAY}")
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
        page.get_by_role("link", name="What if").click()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_role("button", name="Find the best plans")).to_have_count(may_do)
        expect(page.get_by_text("is for managers")).to_have_count(1 - may_do)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    cookies = page.context.cookies()
    assert not [cookie for cookie in cookies if cookie["name"] == "slotwright_key"]


def test_a_key_that_was_revoked_opens_nothing_more(
    keys: dict[str, str], guarded: Guarded, open_guarded: Opener
) -> None:
    """The page is still there and its browser sends what it likes: its visit has ended."""
    page = open_guarded("/sign-in", viewport={"width": 1280, "height": 800})
    key_id, key = guarded.make("viewer")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".sw-day")).to_be_visible()
    received: list[str] = []
    page.on(
        "websocket",
        lambda socket: socket.on("framereceived", lambda frame: received.append(str(frame))),
    )
    page.reload()
    expect(page.locator(".sw-day")).to_be_visible()
    assert received
    received.clear()
    httpx.delete(f"{guarded.base}/keys/{key_id}", headers=guarded.bearer())
    page.get_by_label("Search a patient").fill("ada")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=60_000)
    assert not [frame for frame in received if "Ada" in frame]


def test_a_form_that_is_too_large_is_told_so(guarded: Guarded) -> None:
    answer = httpx.post(
        f"{guarded.base}/console/session", data={"key": "a" * 3_000_000}, timeout=60
    )
    assert answer.status_code == 413
    assert answer.json()["code"] == "BODY_TOO_LARGE"
