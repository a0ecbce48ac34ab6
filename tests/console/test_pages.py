"""What holds for every page: anyone can use it, in the language and the looks of the browser."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.report.page import write
from tests.console.browser import book, booking
from tests.console.conftest import LINN, VEGA, VISIT, Opener, clinic_of_two
from tests.support.clinics import booking as row
from tests.support.clinics import coming_monday
from tests.support.strategies import uid

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
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    for name, (path, ready) in PAGES.items():
        page.goto(f"{clinic.base_url}/console{path}")
        expect(page.locator(ready).first).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is wider than the screen"
        results = Axe().run(page)
        shoot(page, f"{name}-{scheme}-{width}")
        assert results.violations_count == 0, f"{name}: {results.generate_report()}"


def test_long_names_are_clipped_and_told_in_full(clinic: httpx.Client, open_page: Opener) -> None:
    long = "Wolfeschlegelsteinhausenbergerdorff" * 5
    for path, key in (
        ("providers", VEGA),
        ("rooms", uid(2, 0)),
        ("appointment-types", VISIT),
    ):
        assert clinic.patch(f"/{path}/{key}", json={"name": long}).status_code == 200
    book(clinic, "09:00", patient_ref=long)
    page = open_page(viewport={"width": 1280, "height": 800})
    for name, (path, ready) in PAGES.items():
        page.goto(f"{clinic.base_url}/console{path}")
        expect(page.locator(ready).first).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 1280, f"{name} is wider than the screen"
    page.goto(f"{clinic.base_url}/console{PAGES['board'][0]}")
    expect(page.locator(f'.sw-head[title="{long}"]')).to_be_visible()
    across = "(e) => [e.scrollWidth, e.clientWidth]"
    shown, room = page.locator(".sw-scroll").evaluate(across)
    assert shown <= room, "two columns find room on any screen"


def test_a_day_is_printed_whole(clinic: httpx.Client, open_page: Opener) -> None:
    """On paper nothing scrolls: every column is there, in a further row if need be, and no menu."""
    document = clinic_of_two()
    for number in range(2, 14):
        who = uid(1, number)
        document["providers"].append({"id": who, "name": f"Dr. Nr {number}", "skills": ["gp"]})
        document["availability"].append(
            {"provider_id": who, "weekday": 1, "start_time": "09:00", "end_time": "16:00"}
        )
        document["rooms"].append({"id": uid(2, number), "name": f"Room {number}"})
    document["bookings"] = [
        row(number, MONDAY, "15:00", provider_id=uid(1, number), room_id=uid(2, number))
        for number in range(2, 14)
    ]
    assert clinic.post("/clinic/import?replace=true", json=document).status_code == 200
    upright = {"width": 718, "height": 1047}  # A4 without its margins
    page = open_page(f"/?date={MONDAY}", viewport=upright, color_scheme="dark")
    for by in ("Providers", "Rooms"):
        page.emulate_media(media="screen")
        page.get_by_role("button", name=by, exact=True).click()
        expect(booking(page, "patient")).to_have_count(12)
        page.emulate_media(media="print")
        expect(page.get_by_role("navigation")).not_to_be_visible()
        expect(page.get_by_role("button", name="Find a slot")).not_to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        boxes = booking(page, "patient").evaluate_all(
            "(all) => all.map((e) => e.getBoundingClientRect().toJSON())"
        )
        assert all(box["left"] >= 0 and box["right"] <= upright["width"] for box in boxes)
        assert all(box["width"] > 60 for box in boxes), "a name can be read"
        hidden = "(e) => [e.scrollWidth - e.clientWidth, e.scrollHeight - e.clientHeight]"
        assert max(page.locator(".sw-scroll").evaluate(hidden)) <= 0
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize(
    ("locale", "title", "time"),
    [("en-US", f"Monday, {MONDAY:%B} {MONDAY.day}", "2:00\u202fPM"), ("de-DE", "Montag", "14:00")],
)
def test_times_are_the_clinics_in_the_language_of_the_browser(
    clinic: httpx.Client, open_page: Opener, locale: str, title: str, time: str
) -> None:
    book(clinic, "14:00", patient_ref="Ada")
    page = open_page(f"/?date={MONDAY}", locale=locale, timezone_id="America/Los_Angeles")
    expect(page.get_by_role("heading", level=1)).to_contain_text(title)
    expect(booking(page, "Ada").locator("b")).to_contain_text(time)


def test_the_looks_that_are_chosen_stay(open_page: Opener) -> None:
    page = open_page("/statistics", color_scheme="light")
    dark = page.locator("body.body--dark")
    expect(dark).to_have_count(0)
    page.get_by_role("button", name="Light or dark").click()
    expect(dark).to_have_count(1)
    page.get_by_role("link", name="Clinic").click()
    expect(page.get_by_role("tab", name="Rooms")).to_be_visible()
    expect(dark).to_have_count(1)


def test_the_last_benchmarks_are_rendered(
    open_page: Opener, clinic: httpx.Client, data_dir: Path
) -> None:
    suite = Suite([Figure("Queries", "5 × 8", "ms", (4.0, 5.0))], [Ratio("old to new", 1.25)])
    made = {"machine": "bench", "processor": "p", "cores": 2, "system": "s", "python": "3.12"}
    made |= {"commit": None, "versions": {}, "command": "slotwright bench", "seconds": 1}
    made |= {"quick": True, "seeds": "fixed"}
    report = {"made": made, "suites": {"slots": suite.as_json([2.0]) | {"seconds": 1.0}}}
    write(report, None, data_dir / "benchmarks")
    page = open_page("/benchmarks")
    expect(page.get_by_role("row", name="old to new")).to_contain_text("1.25")
    page.get_by_role("link", name="The whole report").click()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
