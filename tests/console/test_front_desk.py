"""What a front desk does all day, in a real browser."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.clinics import coming_monday, order
from tests.console.conftest import LINN, VEGA, VISIT, Opener

MONDAY = coming_monday()
PAGES = {
    "board": (f"/?date={MONDAY}", ".sw-booking"),
    "rooms": (f"/?date={MONDAY}&by=room", ".sw-booking"),
    "finder": (f"/find?date={MONDAY}&type={VISIT}", ".sw-slot"),
    "composer": ("/what-if", "text=Add a scenario"),
    "clinic": ("/clinic", "[data-row]"),
    "statistics": ("/statistics", ".sw-table"),
    "benchmarks": ("/benchmarks", "text=slotwright bench"),
    "sign-in": ("/sign-in", "input#key"),
}
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
    expect(page.get_by_text("places on")).to_contain_text(f"{MONDAY:%A}")
    shoot(page, "slot-finder")
    page.locator(".sw-slot", has_text="Dr. Vega").first.click()
    expect(page.get_by_role("timer")).to_contain_text("Held for you")
    (held,) = clinic.get("/bookings", params={"status": "held"}).json()
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
    expect(booking(page, "Ada")).to_have_count(0)
    assert clinic.get(f"/bookings/{held['id']}").json()["status"] == "cancelled"


def test_a_hold_given_back_is_free(clinic: httpx.Client, open_page: Opener) -> None:
    page = open_page(f"/find?date={MONDAY}")
    choose(page, "Type", "Scan")
    page.locator(".sw-slot").first.click()
    page.get_by_role("button", name="Give it back").click()
    expect(page.get_by_role("timer")).to_have_count(0)
    assert clinic.get("/bookings", params={"status": "held"}).json() == []


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


def test_why_there_is_nothing_and_where_there_is(open_page: Opener) -> None:
    saturday = MONDAY.fromordinal(MONDAY.toordinal() + 5)
    page = open_page(f"/find?date={saturday}")
    choose(page, "Type", "Visit")
    expect(page.get_by_text("Nothing is free on Saturday")).to_be_visible()
    expect(page.get_by_text("are not in then")).to_be_visible()
    page.get_by_role("button", name="Next: Monday").click()
    expect(page.locator(".sw-slot").first).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 375)])
def test_everyone_can_use_it(
    clinic: httpx.Client,
    open_page: Opener,
    shoot: Callable[[Page, str], None],
    scheme: str,
    width: int,
) -> None:
    for start, who in (("09:00", VEGA), ("10:00", LINN)):
        book(clinic, start, provider_id=who, patient_ref=f"patient at {start}")
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    for name, (path, ready) in PAGES.items():
        page = open_page(path, **options)
        expect(page.locator(ready).first).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is wider than the screen"
        results = Axe().run(page)
        shoot(page, f"{name}-{scheme}-{width}")
        assert results.violations_count == 0, f"{name}: {results.generate_report()}"
        page.context.close()
