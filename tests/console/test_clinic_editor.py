"""The clinic edited in a real browser, the conflicts in view before anything is saved."""

import httpx
from playwright.sync_api import expect

from tests.clinics import coming_monday, order
from tests.console.conftest import VEGA, Opener

MONDAY = coming_monday()


def test_an_edit_with_conflicts_is_seen_before_it_is_saved(
    clinic: httpx.Client, open_page: Opener
) -> None:
    assert clinic.post("/bookings", json=order(MONDAY, "14:00")).status_code == 201
    page = open_page("/clinic")
    page.get_by_role("tab", name="Hours").click()
    row = page.locator("tr", has_text="Monday").filter(has_text="Dr. Vega")
    row.filter(has_text="13:00").get_by_role("button").click()
    page.get_by_label("From", exact=True).fill("15:00")
    expect(page.get_by_text("1 booking would be outside the rules")).to_be_visible()
    hours = clinic.get("/availability").json()
    assert not [h for h in hours if h["start_time"] == "15:00"], "nothing is saved yet"
    page.get_by_role("button", name="Save all the same").click()
    expect(row.filter(has_text="15:00")).to_be_visible()
    assert [
        h["provider_id"] for h in clinic.get("/availability").json() if h["start_time"] == "15:00"
    ] == [VEGA]


def test_a_row_is_made_and_taken_away(clinic: httpx.Client, open_page: Opener) -> None:
    page = open_page("/clinic")
    page.get_by_role("tab", name="Rooms").click()
    page.get_by_role("button", name="New room").click()
    page.get_by_label("Name").fill("Room 3")
    expect(page.get_by_text("No booking is in the way.")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Room 3").click()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("button", name="Room 3")).to_have_count(0)
    assert len(clinic.get("/rooms").json()) == 2
