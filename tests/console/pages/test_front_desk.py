"""What a front desk does all day, in a real browser."""

import datetime as dt
import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.console.browser import MONDAY, book, booking, choose
from tests.console.conftest import LINN, SCAN, VEGA, VISIT, Opener
from tests.support.strategies import uid

SECONDS = 2_000
"""Within so many milliseconds one browser sees what another did."""


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
    one.get_by_role("button", name="Check in all the same").click()
    expect(booking(two, "Grace")).to_have_attribute(
        "aria-label", re.compile("checked in"), timeout=SECONDS
    )


def test_what_needs_a_new_place_is_red_counted_and_gets_one(
    clinic: httpx.Client, open_page: Opener
) -> None:
    key = book(clinic, "14:00", patient_ref="Ada")["id"]
    book(clinic, "15:00", patient_ref="Grace", provider_id=LINN)
    page = open_page(f"/?date={MONDAY}")
    expect(booking(page, "Ada")).to_be_visible()
    expect(page.locator(".sw-count")).not_to_be_visible()
    away = {"provider_id": VEGA, "date": str(MONDAY), "kind": "closed"}
    away |= {"start_time": "13:00", "end_time": "16:00"}
    assert clinic.post("/availability", json=away).status_code == 201
    expect(booking(page, "Ada")).to_have_class(re.compile("sw-is-stranded"), timeout=SECONDS)
    expect(booking(page, "Grace")).not_to_have_class(re.compile("sw-is-stranded"))
    expect(booking(page, "Ada")).to_have_attribute("title", re.compile("the provider is not in"))
    booking(page, "Ada").click()
    expect(page.get_by_text("Needs a new place: the provider is not in then")).to_be_visible()

    page.goto(f"{clinic.base_url}/console/statistics")
    page.get_by_role("button", name="1 needs a new place").click()
    row = page.get_by_role("row", name="Ada")
    for words in ("Visit", "14:00", "Dr. Vega", "Room 1", "the provider is not in then"):
        expect(row).to_contain_text(words)
    row.get_by_role("button", name="Reschedule").click()
    expect(page.get_by_text("Pick a new place for Ada")).to_be_visible()
    page.locator(f'.sw-offer[data-start-time="14:00"][data-provider-id="{LINN}"]').click()
    expect(booking(page, "Ada")).not_to_have_class(re.compile("sw-is-stranded"))
    assert clinic.get(f"/bookings/{key}").json()["provider_id"] == LINN
    expect(page.locator(".sw-count")).not_to_be_visible()


def test_every_change_of_status_can_be_taken_back(clinic: httpx.Client, open_page: Opener) -> None:
    key = book(clinic, "09:00", patient_ref="Ada")["id"]
    page = open_page(f"/?date={MONDAY}")

    def status() -> str:
        return str(clinic.get(f"/bookings/{key}").json()["status"])

    def do(*names: str) -> None:
        booking(page, "Ada").click()
        for name in names:
            page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("dialog")).to_have_count(0)

    def undo() -> None:
        page.locator(".sw-toast").get_by_role("button", name="Undo").click()
        expect(page.locator(".sw-toast")).to_contain_text("taken back")

    booking(page, "Ada").click()
    page.get_by_role("button", name="Check in").click()
    expect(page.get_by_text(f"{MONDAY.day} {MONDAY:%B} {MONDAY.year}, not today")).to_be_visible()
    assert status() == "booked", "nothing is done before the answer"
    page.get_by_role("button", name="No", exact=True).click()
    do("Check in", "Check in all the same")
    assert status() == "checked_in"
    undo()
    assert status() == "booked"
    do("Cancel appointment", "Yes, cancel it")
    expect(booking(page, "Ada")).to_have_count(0)
    undo()
    expect(booking(page, "Ada")).to_have_count(1)
    do("Check in", "Check in all the same")
    do("Complete", "Complete all the same")
    assert status() == "completed"
    do("Back to “checked in”")
    assert status() == "checked_in"
    do("Back to “completed”")
    assert status() == "completed"
    do("Back to “checked in”")
    booking(page, "Ada").click()
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Patient", exact=True).fill("Ada Lovelace")
    page.get_by_label("Notes").fill("is late")
    page.get_by_role("button", name="Save").click()
    expect(booking(page, "Ada Lovelace")).to_be_visible()
    assert clinic.get(f"/bookings/{key}").json()["notes"] == "is late"


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
    expect(page.get_by_role("textbox", name="Search a patient")).to_be_visible()
    page.locator("body").press("/")
    page.keyboard.type("emm")
    page.keyboard.press("Enter")
    found = page.get_by_role("button", name="Emmy:")
    expect(found).to_be_focused()
    expect(found).to_contain_text(re.compile("Mon.*Visit.*Dr. Vega"))
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Reschedule").click()
    expect(page.locator(".sw-offer").first).to_be_visible()
    expect(page.locator(".q-dialog")).to_have_count(0)  # while one closes, keys are for it
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


def tick_and_say(page: Page, *rules: str) -> None:
    for rule in rules:
        page.get_by_role("checkbox", name=rule).click()
    page.get_by_label("Why all the same?").fill("Her train is late.")
    page.get_by_role("button", name="Book all the same").click()


def test_a_manager_books_and_moves_against_the_rules_with_a_reason(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page(f"/find?date={MONDAY}&type={VISIT}")
    page.get_by_role("button", name="Another time").click()
    page.get_by_role("button", name="Take it").click()
    expect(page.get_by_role("alert")).to_have_text("With whom, and at what time?")
    choose(page, "With", "Dr. Vega")
    page.get_by_label("At", exact=True).fill("16:00")
    page.get_by_role("button", name="Take it").click()
    expect(page.get_by_text("The provider is not in then")).to_be_visible()
    page.get_by_role("button", name="Book all the same").click()
    expect(page.get_by_text("Tick each rule that is to be broken.")).to_be_visible()
    assert clinic.get("/bookings").json() == []
    tick_and_say(page, "The provider is not in then")
    expect(page.get_by_text("On purpose outside the provider's hours.")).to_be_visible()
    page.get_by_label("Patient").fill("Ada")
    page.get_by_role("button", name="Book", exact=True).click()
    expect(page.get_by_text("Booked: Ada")).to_be_visible()
    (made,) = clinic.get("/bookings").json()
    assert (made["overrides"], made["status"]) == (["OUTSIDE_PROVIDER_HOURS"], "booked")

    page.goto(f"{clinic.base_url}/console/?date={MONDAY}")
    expect(booking(page, "Ada")).to_contain_text("§")
    words = re.compile("on purpose outside the provider's hours")
    expect(booking(page, "Ada")).to_have_attribute("aria-label", words)
    booking(page, "Ada").click()
    expect(page.get_by_text("Why: Her train is late.")).to_be_visible()
    page.get_by_role("button", name="Reschedule").click()
    page.get_by_role("button", name="Another time").click()
    page.get_by_label("At", exact=True).fill("17:00")
    page.get_by_role("button", name="Take it").click()
    tick_and_say(page, "The provider is not in then")
    expect(booking(page, "Ada")).to_have_attribute("aria-label", re.compile("^17:00, Ada"))
    history = clinic.get(f"/bookings/{made['id']}/history").json()
    assert history[-1]["override_reason"] == "Her train is late."


def test_a_place_that_is_gone_can_be_had_all_the_same(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page(f"/find?date={MONDAY}&type={VISIT}")
    offered = page.locator(".sw-slot", has_text="Dr. Linn").filter(has_text="09:15")
    expect(offered).to_be_visible()
    book(clinic, "09:00", provider_id=LINN, room_id=uid(2, 1), patient_ref="Grace")
    offered.click()
    tick_and_say(page, "The provider has another appointment")
    expect(page.get_by_role("timer")).to_contain_text("Held for you")
    (held,) = clinic.get("/bookings", params={"status": "held"}).json()
    assert (held["overrides"], held["is_overbooked"]) == (["PROVIDER_BUSY"], True)


def test_sessions_are_the_ground_of_the_day_and_the_finder_tells_when_they_let_more_in(
    clinic: httpx.Client, open_page: Opener
) -> None:
    row = {"name": "Scans", "provider_id": VEGA, "weekday": 1, "appointment_type_ids": [SCAN]}
    row |= {"start_time": "09:00", "end_time": "10:00"}
    kept = row | {"releases": {"days_before": 0, "at": "08:00"}}
    assert clinic.post("/sessions", json=kept).status_code == 201
    page = open_page(f"/?date={MONDAY}")
    ground = page.get_by_role("note", name="Scans, kept for Scan, kept until")
    expect(ground).to_have_count(1)
    page.goto(page.url.partition("/console")[0] + f"/console/find?date={MONDAY}&type={VISIT}")
    expect(page.get_by_text("Kept by sessions until later")).to_contain_text("8 from")
    page.goto(page.url.partition("/console")[0] + f"/console/find?date={MONDAY}&type={SCAN}")
    early = page.locator(".sw-slot", has_text="Scans").first
    expect(early).to_be_visible()
    expect(page.get_by_text("Kept by sessions until later")).to_have_count(0)
