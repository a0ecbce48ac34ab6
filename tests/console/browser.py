"""What a visitor of the console does, and sees."""

from typing import Any

import httpx
from playwright.sync_api import Page

from tests.support.clinics import coming_monday, order

MONDAY = coming_monday()


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
