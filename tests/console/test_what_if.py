"""A what-if from composing to carrying out, in a real browser, with no JSON written."""

import csv
import datetime as dt
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from tests.clinics import coming_monday, order
from tests.console.conftest import Opener
from tests.console.test_front_desk import choose

MONDAY = coming_monday()


def download(page: Page, name: str) -> bytes:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name, exact=True).click()
    return Path(waiting.value.path()).read_bytes()


def test_from_composing_to_carrying_out(
    clinic: httpx.Client, open_page: Opener, shoot: Callable[[Page, str], None]
) -> None:
    booked = clinic.post("/bookings", json=order(MONDAY, "09:00", patient_ref="Ada"))
    assert booked.status_code == 201
    page = open_page("/what-if")
    page.get_by_label("Name").fill("Vega out")
    page.get_by_label("From", exact=True).fill(MONDAY.isoformat())
    page.get_by_label("Days").fill("2")
    page.get_by_label("Seconds to search").fill("6")
    page.get_by_label("How many").fill("6")
    page.get_by_role("button", name="Add requests").click()
    expect(page.get_by_text("6 requests")).to_be_visible()
    page.get_by_role("button", name="Add a scenario").click()
    page.get_by_label("Scenario", exact=True).fill("Vega out on Tuesday")
    choose(page, "What changes", "A provider is out")
    sentence = page.locator(".sw-sentence")
    sentence.get_by_label("Provider").click()
    page.get_by_role("option", name="Dr. Vega").click()
    sentence.get_by_label("Date").fill((MONDAY + dt.timedelta(days=1)).isoformat())
    shoot(page, "what-if-composed")
    page.get_by_role("button", name="Find the best plans").click()

    expect(page.get_by_role("status")).to_contain_text("Done, in", timeout=30_000)
    expect(page.get_by_role("tab", name="Vega out on Tuesday")).to_be_visible()
    expect(page.locator(".sw-table").first).to_contain_text("Placed")
    assert page.locator(".sw-bar-item").count() > 0
    shoot(page, "what-if")

    rows = list(csv.DictReader(io.StringIO(download(page, "CSV").decode("utf-8-sig"))))
    assert {row["scenario"] for row in rows} == {"baseline", "Vega out on Tuesday"}
    assert len(rows) == 12
    with zipfile.ZipFile(io.BytesIO(download(page, "XLSX"))) as workbook:
        assert len([n for n in workbook.namelist() if "worksheets/sheet" in n]) == 4
    assert b"Vega out on Tuesday" in download(page, "Report")

    page.get_by_role("button", name="Carry out “Vega out on Tuesday”").click()
    page.get_by_role("button", name="Carry it out").click()
    expect(page.get_by_text("Booked 6, moved 0.").first).to_be_visible()
    page.get_by_role("link", name="See it on the board").click()
    expect(page.locator(".sw-booking", has_text="Ada")).to_be_visible()
    assert len(clinic.get("/bookings", params={"status": "booked"}).json()) == 7


def test_requests_from_a_file_and_a_run_that_is_stopped(
    clinic: httpx.Client, open_page: Opener, tmp_path: Path
) -> None:
    page = open_page("/what-if")
    wishes = tmp_path / "wishes.csv"
    wishes.write_text("type;count;provider\nNothing;1;\n")
    page.locator("input[type=file]").set_input_files(wishes)
    expect(page.get_by_text("Line 2: there is no type “Nothing”.")).to_be_visible()
    wishes.write_text("type;count;provider;patient\nVisit;40;;\nscan;;Dr. Vega;Ada\n")
    page.locator("input[type=file]").set_input_files(wishes)
    expect(page.get_by_text("41 requests")).to_be_visible()
    expect(page.get_by_text("1 × Scan, with Dr. Vega, for Ada, priority 1")).to_be_visible()
    page.get_by_label("Seconds to search").fill("300")
    page.get_by_role("button", name="Find the best plans").click()
    page.get_by_role("button", name="Stop and keep the best").click()
    expect(page.get_by_role("status")).to_contain_text("in ", timeout=30_000)
    expect(page.locator(".sw-table").first).to_contain_text("Placed")
