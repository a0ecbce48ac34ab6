"""The console speaks as the desk does: nowhere names of fields, nowhere codes."""

import asyncio
import datetime as dt
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import FastAPI
from playwright.sync_api import Page, expect

from api.console import error_pages as refusals
from api.console.backend import RefusedError
from api.console.messages import refusal
from api.console.pages.clinic_editor import TABS
from data.errors import BusyError
from tests.console.conftest import VEGA, VISIT, Opener
from tests.support.clinics import coming_monday, order

MONDAY = coming_monday()


API_WORD = re.compile(r"[a-z]+_[a-z_]+|[A-Z]{2,}_[A-Z_]+")


SHOWN = """() => {
  const words = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const holder = walk.currentNode.parentElement;
    if (holder.closest("script, style, template, .q-icon, .font-mono")) continue;
    if (holder.checkVisibility()) words.push(walk.currentNode.textContent);
  }
  for (const each of document.querySelectorAll("[title], [aria-label], [placeholder]"))
    for (const name of ["title", "aria-label", "placeholder"])
      words.push(each.getAttribute(name) ?? "");
  return words;
}"""
"""All text that can be seen or heard; icons are drawn, and a command is written as it is typed."""


def assert_plain(page: Page) -> None:
    shown = page.evaluate(SHOWN)
    assert len(shown) > 5
    assert not [words for words in shown if API_WORD.search(words)]


def test_no_page_dialog_or_toast_has_a_word_of_the_interface(
    clinic: httpx.Client, open_page: Opener
) -> None:
    body = order(MONDAY, "14:00", provider_id=VEGA, patient_ref="Ada")
    assert clinic.post("/bookings", json=body).status_code == 201
    away = {"provider_id": VEGA, "date": str(MONDAY), "kind": "closed"}
    away |= {"start_time": "13:00", "end_time": "16:00"}
    assert clinic.post("/availability", json=away).status_code == 201
    page = open_page("/statistics")
    expect(page.locator(".sw-table")).to_be_visible()
    page.get_by_role("button", name="1 needs a new place").click()
    expect(page.get_by_role("row", name="Ada")).to_be_visible()
    assert_plain(page)

    def go(path: str, ready: str) -> None:
        page.goto(f"{clinic.base_url}/console{path}")
        expect(page.locator(ready).first).to_be_visible()
        assert_plain(page)

    go("/benchmarks", "h1, [role=heading]")
    go("/what-if", "text=Add a scenario")
    go(f"/?date={MONDAY}&by=room", ".sw-booking")
    go(f"/?date={MONDAY}", ".sw-booking")
    ada = page.locator(".sw-booking", has_text="Ada")
    for name in ("Check in", "Cancel appointment", "Edit"):
        ada.click()
        page.get_by_role("button", name=name).click()
        assert_plain(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    ada.click()
    page.get_by_role("button", name="Did not come").click()  # it is not over yet
    page.get_by_role("button", name="Reschedule").click()
    expect(page.locator(".sw-offer").first).to_be_visible()
    assert_plain(page)

    go(f"/find?date={MONDAY + dt.timedelta(days=5)}&type={VISIT}", "text=Nothing is free")
    go(f"/find?date={MONDAY}&type={VISIT}", ".sw-slot")
    clinic.patch(f"/availability/{_id_of_absence(clinic)}", json={"start_time": "15:30"})
    page.reload()
    page.locator(".sw-slot", has_text="Dr. Linn").filter(has_text="14:00 –").click()
    page.get_by_label("Patient").fill("ada ")
    page.get_by_role("button", name="Book", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("overlaps")
    assert_plain(page)
    page.get_by_role("button", name="Give it back").click()

    go("/clinic", "[data-row]")
    nouns = (
        "provider",
        "room",
        "place",
        "way",
        "equipment pool",
        "appointment type",
        "provider type",
        "availability",
        "session",
        "overbooking rule",
    )
    for tab, noun in zip(TABS.values(), nouns, strict=True):
        page.get_by_role("tab", name=tab).click()
        page.get_by_role("button", name=f"New {noun}", exact=True).click()
        expect(page.get_by_role("button", name="Close")).to_be_visible()
        if noun != "overbooking rule":  # which may well be empty
            page.get_by_role("button", name="Save").click()
            expect(page.locator(".q-notification")).not_to_have_count(0)
        assert_plain(page)
        page.get_by_role("button", name="Close").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Timezone").fill("Middle/Earth")
    expect(page.locator(".sw-form .sw-alert")).to_be_visible()
    assert_plain(page)


def test_an_address_without_a_page_leads_back_to_the_board(open_page: Opener) -> None:
    page = open_page("/nowhere")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    shown = " ".join(page.evaluate(SHOWN))
    assert not re.search(rf"Exception|Error|404|{API_WORD.pattern}", shown)
    page.get_by_role("link", name="To the day board").click()
    expect(page.locator(".sw-day")).to_be_visible()


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (RefusedError(403, {"code": "FORBIDDEN"}), 403, "Your key does not allow that."),
        (BusyError("the pool is_empty"), 503, "Please try again in a moment."),
        (ConnectionRefusedError(111, "no_one"), 503, "Please try again in a moment."),
        (KeyError("patient_ref"), 500, "Something went wrong. It has been logged."),
    ],
)
def test_a_page_that_cannot_be_drawn_says_so_in_plain_words(
    error: Exception, status: int, words: str
) -> None:
    app = FastAPI()
    refusals.install(app)

    @app.get("/page")
    async def page() -> None:
        raise error

    async def opened() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.get("/page")

    with ThreadPoolExecutor(1) as thread:  # wherever a browser's event loop may be running
        answer = thread.submit(asyncio.run, opened()).result()
    body = answer.text.partition("<body>")[2]
    assert (answer.status_code, words in body) == (status, True)
    assert not re.search(rf"Exception|Error|{API_WORD.pattern}", body)


def _id_of_absence(clinic: httpx.Client) -> str:
    rows = clinic.get("/availability").json()
    return next(str(row["id"]) for row in rows if row["kind"] == "closed")


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (
            {
                "code": "PATIENT_CONFLICT",
                "detail": "send allow_patient_overlap to book all the same",
            },
            "The patient has another appointment that overlaps in time, or that leaves none for "
            "the way.",
        ),
        (
            {"code": "SLOT_UNAVAILABLE", "detail": "…", "reasons": ["ROOM_BUSY", "NEW_RULE"]},
            "That place cannot be given: the room is taken, the clinic's rules do not allow it.",
        ),
        (
            {
                "code": "VALIDATION_ERROR",
                "detail": "start_time: Field required",
                "errors": [
                    {"field": "start_time", "message": "Field required"},
                    {
                        "field": "requests[3].preferred_end",
                        "message": "must be after preferred_start",
                    },
                ],
            },
            "From: Field required; Preferred end: must be after “Preferred start”",
        ),
        (
            {"code": "SOMETHING_NEW", "detail": "send accept_overbooked, or ROOM_BUSY stays"},
            "send “Overbooked”, or the room is taken stays",
        ),
    ],
)
def test_what_the_service_refuses_is_told_in_plain_words(
    problem: dict[str, object], words: str
) -> None:
    told = refusal(RefusedError(409, problem))
    assert told == words
    assert not API_WORD.search(told)
