"""What a front desk does all day, in a real browser."""

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.clinics import coming_monday, order
from tests.console.conftest import LINN, SCAN, VEGA, VISIT, Opener

MONDAY = coming_monday()
SECONDS = 2_000
"""Within so many milliseconds one browser sees what another did."""


def booking(page: Page, patient: str) -> Any:
    return page.locator(".sw-booking", has_text=patient)


def book(clinic: httpx.Client, start: str, **changes: Any) -> dict[str, Any]:
    answer = clinic.post("/bookings", json=order(MONDAY, start, **changes))
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_a_patient_is_booked_moved_and_cancelled(
    clinic: httpx.Client, open_page: Opener, shoot: Callable[[Page, str], None]
) -> None:
    page = open_page(f"/find?date={MONDAY}")
    choose(page, "Type", "Visit")
    expect(page.get_by_text("each in its best room")).to_contain_text(f"{MONDAY:%A}")
    shoot(page, "slot-finder")
    page.locator(".sw-slot", has_text="Dr. Vega").first.click()
    expect(page.get_by_role("timer")).to_contain_text("Held for you")
    (held,) = clinic.get("/bookings", params={"status": "held"}).json()
    page.get_by_role("button", name="Book", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Who is it for?")
    page.get_by_label("Patient").fill("Ada")
    page.get_by_role("button", name="Book", exact=True).click()
    expect(page.get_by_text("Booked: Ada")).to_be_visible()
    assert clinic.get(f"/bookings/{held['id']}").json()["status"] == "booked"

    page.goto(f"{clinic.base_url}/console/?date={MONDAY}")
    expect(booking(page, "Ada")).to_be_visible()
    shoot(page, "day-board")
    booking(page, "Ada").click()
    page.get_by_role("button", name="Reschedule").click()
    page.locator(f'.sw-offer[data-start-time="14:00"][data-provider-id="{LINN}"]').click()
    expect(booking(page, "Ada")).to_have_attribute("aria-label", re.compile("14:00, Ada"))
    moved = clinic.get(f"/bookings/{held['id']}").json()
    assert (moved["start_time"], moved["provider_id"]) == ("14:00", LINN)

    booking(page, "Ada").click()
    page.get_by_role("button", name="Cancel appointment").click()
    page.get_by_role("button", name="Yes, cancel it").click()
    expect(booking(page, "Ada")).to_have_count(0)
    assert clinic.get(f"/bookings/{held['id']}").json()["status"] == "cancelled"


def test_a_hold_given_back_or_left_behind_is_free(clinic: httpx.Client, open_page: Opener) -> None:
    page = open_page(f"/find?date={MONDAY}&type={SCAN}")
    page.locator(".sw-slot").first.click()
    page.get_by_role("button", name="Give it back").click()
    expect(page.get_by_role("timer")).to_have_count(0)
    assert clinic.get("/bookings", params={"status": "held"}).json() == []
    page.locator(".sw-slot").first.click()
    expect(page.get_by_role("timer")).to_contain_text("Held for you")
    page.goto(f"{clinic.base_url}/console/?date={MONDAY}")
    expect(page.locator(".sw-is-held.sw-booking")).to_have_count(1)
    expect(page.locator(".sw-is-held.sw-booking")).to_have_count(0)


def test_a_place_that_somebody_else_has_taken_says_so(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page(f"/find?date={MONDAY}&type={SCAN}")
    expect(page.locator(".sw-slot").first).to_contain_text("09:00")
    book(clinic, "09:00", appointment_type_id=SCAN, patient_ref="Ada")
    page.locator(".sw-slot").first.click()
    expect(page.get_by_text("the provider has another appointment")).to_be_visible()
    expect(page.locator(".sw-slot").first).not_to_contain_text("09:00")


def test_a_patient_at_two_places_is_asked_about(clinic: httpx.Client, open_page: Opener) -> None:
    book(clinic, "09:00", provider_id=LINN, patient_ref="Ada")
    page = open_page(f"/find?date={MONDAY}&type={VISIT}")
    page.locator(".sw-slot", has_text="Dr. Vega").filter(has_text="09:00").click()
    page.get_by_label("Patient").fill("Ada")
    page.get_by_label("Patient").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("overlap")
    page.get_by_role("checkbox", name="Book it all the same").click()
    page.get_by_role("button", name="Book", exact=True).click()
    expect(page.get_by_text("Booked: Ada")).to_be_visible()


@pytest.mark.parametrize("by", ["provider", "room"])
def test_a_booking_moves_by_less_than_its_length(
    clinic: httpx.Client, open_page: Opener, by: str
) -> None:
    key = book(clinic, "09:00", patient_ref="Ada")["id"]
    page = open_page(f"/?date={MONDAY}&by={by}")
    booking(page, "Ada").click()
    page.get_by_role("button", name="Reschedule").click()
    page.locator(f'.sw-offer[data-start-time="09:15"][data-provider-id="{VEGA}"]').first.click()
    expect(booking(page, "Ada")).to_have_attribute("aria-label", re.compile("09:15, Ada"))
    assert clinic.get(f"/bookings/{key}").json()["start_time"] == "09:15"


def test_a_booking_moves_to_the_next_day_with_a_place(
    clinic: httpx.Client, open_page: Opener
) -> None:
    book(clinic, "09:00", patient_ref="Ada")
    page = open_page(f"/?date={MONDAY}")
    booking(page, "Ada").click()
    page.get_by_role("button", name="Reschedule").click()
    expect(page.locator(".sw-offer").first).to_be_visible()
    page.get_by_label("Go to date").fill((MONDAY + dt.timedelta(days=5)).isoformat())
    expect(page.get_by_text("this day has none")).to_be_visible()
    page.get_by_role("button", name="Next: Monday").click()
    expect(page.locator(".sw-offer").first).to_be_visible()
    page.locator("body").press("Escape")
    expect(page.locator(".sw-offer")).to_have_count(0)


def test_two_browsers_see_each_other(clinic: httpx.Client, open_page: Opener) -> None:
    one, two = (open_page(f"/?date={MONDAY}", timezone_id=z) for z in ("UTC", "Asia/Tokyo"))
    for page in (one, two):
        expect(page.locator(".sw-day")).to_be_visible()
    book(clinic, "09:30", patient_ref="Grace")
    for page in (one, two):
        expect(booking(page, "Grace")).to_have_attribute(
            "aria-label", re.compile("^09:30"), timeout=SECONDS
        )
    booking(one, "Grace").click()
    one.get_by_role("button", name="Check in").click()
    expect(booking(two, "Grace")).to_have_attribute(
        "aria-label", re.compile("checked in"), timeout=SECONDS
    )


def test_the_keyboard(clinic: httpx.Client, open_page: Opener) -> None:
    book(clinic, "10:00", patient_ref="Emmy")
    page = open_page("/")
    today = page.get_by_role("heading", level=1).inner_text()
    page.locator("body").press("ArrowRight")
    expect(page.get_by_role("heading", level=1)).not_to_have_text(today)
    page.locator("body").press("ArrowLeft")
    expect(page.get_by_role("heading", level=1)).to_have_text(today)
    page.locator("body").press("/")
    page.keyboard.type("emm")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Emmy:").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"{MONDAY:%A}")
    expect(page.get_by_text("Provider: Dr. Vega")).to_be_visible()
    there = page.get_by_role("heading", level=1).inner_text()
    page.keyboard.press("ArrowRight")  # is not for what lies below a dialog
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text(there)


def test_the_keys_work_after_a_search(clinic: httpx.Client, open_page: Opener) -> None:
    book(clinic, "10:00", patient_ref="Emmy")
    page = open_page("/")
    page.locator("body").press("/")
    page.keyboard.type("emm")
    page.keyboard.press("Enter")
    found = page.get_by_role("button", name="Emmy:")
    expect(found).to_be_focused()
    expect(found).to_contain_text(re.compile("Mon.*Visit.*Dr. Vega"))
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Reschedule").click()
    expect(page.locator(".sw-offer").first).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Tuesday")
    expect(page.locator(".sw-offer").first).to_be_visible()
    page.get_by_label("Search a patient").focus()
    page.keyboard.press("Escape")
    expect(page.locator(".sw-offer")).to_have_count(0)
    expect(page.get_by_label("Search a patient")).not_to_be_focused()


def test_why_there_is_nothing_and_where_there_is(open_page: Opener) -> None:
    saturday = MONDAY.fromordinal(MONDAY.toordinal() + 5)
    page = open_page(f"/find?date={saturday}")
    choose(page, "Type", "Visit")
    expect(page.get_by_text("Nothing is free on Saturday")).to_be_visible()
    expect(page.get_by_text("are not in then")).to_be_visible()
    page.get_by_role("button", name="Next: Monday").click()
    expect(page.locator(".sw-slot").first).to_be_visible()
