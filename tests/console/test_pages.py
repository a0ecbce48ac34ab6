"""What holds for every page: anyone can use it, in the language and the looks of the browser."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from benchmarks.measure import Figure, Ratio, Suite
from benchmarks.report import write
from tests.clinics import coming_monday
from tests.console.conftest import LINN, VEGA, VISIT, Opener
from tests.console.test_front_desk import book, booking

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
