"""Open day boards cost as much as one, and a change as much as what it changes."""

import asyncio

import httpx
from playwright.sync_api import WebSocket, expect
from sqlalchemy.ext.asyncio import AsyncEngine

from api.access.open_until_first_key import KeylessAccess
from api.console.backend import Backend
from api.console.drawing.day import By, DrawnDay
from api.server.app import create_app
from api.service.settings import Settings
from tests.console.conftest import LINN, VEGA, Opener, clinic_of_two
from tests.support.clinics import coming_monday, order

MONDAY = coming_monday()


BROWSERS = 5


async def test_a_day_is_drawn_once_for_all_who_look_at_it(
    engine: AsyncEngine, database_url: str
) -> None:
    app = create_app(Settings(DATABASE_URL=database_url), KeylessAccess(is_open=True))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        await client.post("/clinic/import?replace=true", json=clinic_of_two())
        boards = Backend(app).boards

        async def look(by: By = "provider") -> DrawnDay:
            looks = (boards.look(MONDAY, by, "en", str, at_once=True) for _ in range(BROWSERS))
            first, *others = await asyncio.gather(*looks)
            assert all(other is first for other in others)
            return first

        before = await look()
        assert boards.drawings == 1
        assert await look() is before
        for made, start in enumerate(("09:00", "10:00", "11:00"), start=2):
            body = order(MONDAY, start, provider_id=LINN, patient_ref=start)
            assert (await client.post("/bookings", json=body)).status_code == 201
            after = await look()
            assert boards.drawings == made
            changed = {
                new.id
                for old, new in zip(before.strips, after.strips, strict=True)
                if new is not old
            }
            assert changed == {LINN}
            before = after
        await look("room")
        assert boards.drawings == made + 1


def test_a_change_is_sent_as_the_strip_that_it_changes(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page("/sign-in")
    received: list[str] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: received.append(str(frame)))

    page.on("websocket", listen)
    page.goto(f"{clinic.base_url}/console/?date={MONDAY}")
    expect(page.locator(".sw-strip")).to_have_count(2)
    for who, start in ((LINN, "09:00"), (LINN, "10:00"), (VEGA, "10:30")):
        received.clear()
        body = order(MONDAY, start, provider_id=who, patient_ref=f"Grace at {start}")
        assert clinic.post("/bookings", json=body).status_code == 201
        expect(page.locator(".sw-booking", has_text=f"Grace at {start}")).to_be_visible()
        sent = "".join(received)
        name, other = ("Dr. Linn", "Dr. Vega") if who == LINN else ("Dr. Vega", "Dr. Linn")
        assert f"{name}: " in sent
        assert f"{other}: " not in sent
