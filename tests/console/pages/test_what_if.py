"""A what-if from composing to carrying out, in a real browser, with no JSON written."""

import csv
import datetime as dt
import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.console.browser import choose
from tests.console.conftest import SCAN, VEGA, VISIT, Opener
from tests.support.clinics import coming_monday, order
from tests.support.strategies import uid

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

    expect(page.get_by_role("status")).to_contain_text("Done, in", timeout=120_000)
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


def test_kept_hours_are_read_as_is_said(clinic: httpx.Client, open_page: Opener) -> None:
    kept = {"name": "Kept", "date": MONDAY.isoformat(), "appointment_type_ids": []}
    all_day = {"start_time": "00:00", "end_time": "24:00"}
    assert clinic.post("/sessions", json=kept | all_day).status_code == 201
    page = open_page("/what-if")
    page.get_by_label("From", exact=True).fill(MONDAY.isoformat())
    page.get_by_label("Days").fill("1")
    page.get_by_label("Seconds to search").fill("2")
    choose(page, "Kept hours", "all released")
    page.get_by_label("How many").fill("2")
    page.get_by_role("button", name="Add requests").click()
    expect(page.get_by_text("2 requests")).to_be_visible()
    page.get_by_role("button", name="Find the best plans").click()
    expect(page.get_by_role("status")).to_contain_text("Done, in", timeout=120_000)
    run = clinic.get(f"/what-if/{page.url.rsplit('/', 1)[-1]}").json()
    assert [each["kpis"]["placed"] for each in run["scenarios"]] == [2]


def solved_by_http(clinic: httpx.Client, run: dict[str, Any]) -> str:
    answer = clinic.post("/what-if", json=run)
    assert answer.status_code == 202, answer.text
    key: str = answer.json()["id"]
    deadline = time.monotonic() + 120
    while clinic.get(f"/what-if/{key}").json()["status"] != "done":
        assert time.monotonic() < deadline
    return key


def test_who_was_moved_can_be_called(
    clinic: httpx.Client, open_page: Opener, shoot: Callable[[Page, str], None]
) -> None:
    for start, who in (("10:00", "Bo"), ("09:00", "Ada")):
        booked = clinic.post("/bookings", json=order(MONDAY, start, patient_ref=who))
        assert booked.status_code == 201
    out = {"op": "provider_out", "provider_id": VEGA, "date": MONDAY.isoformat()}
    more = {"op": "add_room", "name": "Room 9"}
    key = solved_by_http(
        clinic,
        {
            "name": "Vega is ill",
            "start_date": MONDAY.isoformat(),
            "days": 1,
            "existing": "movable",
            "requests": [{"id": "r", "appointment_type_id": VISIT}],
            "scenarios": [
                {"name": "baseline"},
                {"name": "larger", "changes": [more]},
                {"name": "away", "changes": [out]},
            ],
            "time_limit_seconds": 6,
        },
    )
    page = open_page(f"/what-if/{key}")
    moved = page.locator(".sw-table", has_text="Patient").first
    for words in ("Ada", "Bo", "Visit", "Dr. Vega", "Dr. Linn"):
        expect(moved).to_contain_text(words)
    expect(page.get_by_text("once booked, each waits for a patient")).to_be_visible()
    rows = list(csv.DictReader(io.StringIO(download(page, "CSV").decode("utf-8-sig"))))
    told = {
        (row["patient"], row["type"], row["old provider"], row["provider"])
        for row in rows
        if row["what"] == "moved" and row["scenario"] == "away"
    }
    assert told == {(who, "Visit", "Dr. Vega", "Dr. Linn") for who in ("Ada", "Bo")}
    kept = json.loads(download(page, "JSON"))["scenarios"][2]["moves"]
    assert {(move["patient_ref"], move["to"]["provider_name"]) for move in kept} == {
        ("Ada", "Dr. Linn"),
        ("Bo", "Dr. Linn"),
    }
    report = download(page, "Report").decode()
    assert "<td>Ada</td><td>Visit</td>" in report

    page.get_by_role("tab", name="larger").click()
    expect(page.get_by_role("button", name="Carry out “larger”")).to_be_disabled()
    expect(page.get_by_text("the room Room 9, which the clinic does not have yet")).to_be_visible()
    page.get_by_role("tab", name="away").click()
    page.get_by_role("button", name="Carry out “away”").click()
    expect(page.get_by_role("checkbox", name="And change the clinic:")).to_be_checked()
    expect(page.get_by_role("dialog")).to_contain_text("Dr. Vega is away on")
    shoot(page, "what-if-carry-out")
    page.get_by_role("button", name="Carry it out").click()
    expect(page.get_by_text("Booked 1, moved 2.").first).to_be_visible()
    query = {"date": MONDAY.isoformat(), "appointment_type_id": VISIT, "provider_id": VEGA}
    assert clinic.get("/slots", params=query).json()["total"] == 0

    page.reload()
    expect(page.get_by_text("“away” was carried out on")).to_contain_text("by anonymous")
    expect(page.get_by_role("button", name="Carry out “away”")).to_be_disabled()
    page.get_by_role("link", name="Call list").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Call list: Vega is ill")
    lines = page.locator(".sw-calls tbody tr")
    expect(lines).to_have_count(2)
    assert ["Ada" in lines.nth(0).inner_text(), "Bo" in lines.nth(1).inner_text()] == [True, True]
    called = page.get_by_label("Ada called")
    called.click()
    expect(called).to_be_checked()
    expect(page.get_by_text("1 new appointments wait for a patient")).to_be_visible()
    page.emulate_media(media="print")
    expect(page.locator(".sw-header")).to_be_hidden()
    expect(lines.first).to_be_visible()
    shoot(page, "call-list")


def test_whoever_has_no_place_gives_way_once_that_is_ticked(
    clinic: httpx.Client, open_page: Opener
) -> None:
    """Dr. Vega's scan is lost, and a full day of Dr. Linn's visits takes its room."""
    scan = {"appointment_type_id": SCAN, "provider_id": VEGA, "room_id": uid(2, 1)}
    booked = clinic.post("/bookings", json=order(MONDAY, "09:00", patient_ref="Ada", **scan))
    assert booked.status_code == 201, booked.text
    on = {"date": MONDAY.isoformat()}
    changes = [
        {"op": "provider_out", "provider_id": VEGA, **on},
        {"op": "close_room", "room_id": uid(2, 0), **on},
    ]
    key = solved_by_http(
        clinic,
        {
            "name": "Vega is ill",
            "start_date": MONDAY.isoformat(),
            "days": 1,
            "existing": "movable",
            "requests": [{"id": "r", "appointment_type_id": VISIT, "count": 12}],
            "scenarios": [{"name": "baseline"}, {"name": "away", "changes": changes}],
            "time_limit_seconds": 6,
        },
    )
    page = open_page(f"/what-if/{key}")
    page.get_by_role("tab", name="away").click()
    page.get_by_role("button", name="Carry out “away”").click()
    give_way = page.get_by_role("checkbox", name="Cancel appointments that have to give way")
    expect(give_way).to_be_hidden()
    page.get_by_role("button", name="Carry it out").click()
    expect(page.get_by_role("alert")).to_contain_text("An appointment has no place in this plan")
    expect(page.get_by_role("dialog")).to_contain_text("Ada")
    give_way.click()
    expect(give_way).to_be_checked()
    page.get_by_role("button", name="Carry it out").click()
    expect(page.get_by_text("Cancelled 1: call those patients.").first).to_be_visible()
    assert clinic.get(f"/bookings/{booked.json()['id']}").json()["status"] == "cancelled"
    page.reload()
    page.get_by_role("link", name="Call list").click()
    expect(page.get_by_role("heading", name="Cancelled, without a new place: 1")).to_be_visible()
    expect(page.get_by_role("cell", name="Ada", exact=True)).to_be_visible()
    expect(page.get_by_text("to be settled by hand")).to_have_count(0)


def test_nobody_is_called_for_a_plan_that_was_not_carried_out(
    clinic: httpx.Client, open_page: Opener
) -> None:
    run = {
        "name": "Only asked",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "requests": [{"id": "r", "appointment_type_id": VISIT}],
        "time_limit_seconds": 2,
    }
    page = open_page(f"/what-if/{solved_by_http(clinic, run)}/call-list")
    expect(page.get_by_text("so there is nobody to call")).to_be_visible()


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
    expect(page.get_by_role("status")).to_contain_text("Being solved", timeout=60_000)
    page.get_by_role("button", name="Stop and keep the best").click()
    expect(page.get_by_role("status")).to_contain_text("Stopped", timeout=60_000)
    expect(page.locator(".sw-table").first).to_contain_text("Placed")
