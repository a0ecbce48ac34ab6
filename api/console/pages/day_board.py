"""The day board: a day at a glance, and what is done to one booking."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from nicegui import events, ui
from sqlalchemy import or_

from api.console.backend import Backend, RefusedError, Visit, read_date
from api.console.drawing.day import STATUS_WORDS, By, DrawnDay
from api.console.layout import date_field, show, telling, toast
from api.console.messages import overridden_in_words
from api.console.pages.booking_actions import BookingActions, former_status, why_overridden
from api.console.pages.override import PlaceByHand, insist, may_override
from api.slots import service as slots
from api.slots.schemas import MAX_LIMIT
from data.bookings import reading
from models.tables import BOOKINGS
from solver.clinic.clock import DateOutOfRangeError, format_time
from solver.clinic.request import SlotRequest

LOOK_SECONDS = 1.0
"""How often a page asks whether anything has changed."""


MOST_FOUND = 20


TO_NOW = """
const line = document.querySelector(".sw-now"), box = line?.closest(".sw-scroll");
if (box) box.scrollTop = line.offsetTop - box.clientHeight / 3;
"""


ON_ENTER = "(event) => { event.target.blur(); emit(); }"
"""Keys are the page's again, once what was searched has been found and looked at."""


ON_CLICK = """(event) => {
  const hit = event.target.closest("[data-booking], [data-start-time]");
  if (hit) emit({...hit.dataset});
}"""


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/")
    async def page(
        request: Request,
        date: str | None = None,
        by: Literal["provider", "room"] = "provider",
        move: str | None = None,
    ) -> Response | None:
        return await show(
            backend, request, "Day board", lambda visit: _Board(visit, by).start(date, move)
        )


class _Board:
    """One open day board."""

    def __init__(self, visit: Visit, by: By) -> None:
        self._visit = visit
        self._by: By = by
        self._day = dt.date.min
        self._drawn: DrawnDay | None = None
        self._is_stale = False
        self._strips: dict[str, ui.html] = {}
        self._moving: dict[str, Any] | None = None
        self._offered: list[dict[str, Any]] = []

    async def start(self, date: str | None, moved: str | None) -> None:
        """Draw the page, with places for a booking that is to be moved."""
        self._place = ui.context.client.content
        """Where dialogs are: what leads from one to the next is gone with the one."""
        settings = await self._visit.get("/clinic")
        self._zone = ZoneInfo(settings["timezone"])
        self._day = read_date(date) or dt.datetime.now(self._zone).date()
        with ui.element("div").classes("sw-bar"):
            with ui.element("div").classes("sw-day-title"):
                ui.button(icon="chevron_left", on_click=lambda: self._go(-1)).props(
                    'flat round dense aria-label="Day before" data-key=ArrowLeft'
                ).tooltip("Day before ( ← )")
                self._title = ui.label().classes("sw-title").props("role=heading aria-level=1")
                ui.button(icon="chevron_right", on_click=lambda: self._go(1)).props(
                    'flat round dense aria-label="Day after" data-key=ArrowRight'
                ).tooltip("Day after ( → )")
            ui.button("Today", on_click=lambda: self._go(0)).props("flat dense no-caps")
            self._picker = date_field("Go to date", self._day).on_value_change(self._picked)
            ui.toggle(
                {"provider": "Providers", "room": "Rooms"},
                value=self._by,
                on_change=self._turn,
            ).props('dense no-caps aria-label="Columns"')
            self._search = (
                ui.input(placeholder="Patient  ( / )")
                .props('dense outlined clearable aria-label="Search a patient"')
                .classes("sw-search w-48")
                .on("keydown.enter", self._find_patient, js_handler=ON_ENTER)
            )
            if self._visit.caller.may("scheduler"):
                ui.button(
                    "Find a slot",
                    icon="add",
                    on_click=lambda: ui.navigate.to(f"/find?date={self._day}"),
                ).props("outline no-caps")
        self._banner = ui.element("div").classes("sw-bar").props("role=status")
        with ui.element("div").classes("sw-scroll").props("tabindex=0 role=region") as box:
            self._grid = ui.element("div").classes("sw-day")
        box.props('aria-label="Appointments of the day"')
        self._grid.on("click", self._clicked, js_handler=ON_CLICK)
        with self._grid:
            self._axis = ui.html("", sanitize=False).classes("sw-hours")
            self._present = ui.html("", sanitize=False).classes("sw-present")
        self._legend = ui.html("", sanitize=False).classes("sw-legend")
        await self._look_now()
        ui.run_javascript(TO_NOW)
        if moved is not None and self._visit.caller.may("scheduler"):
            async with telling():
                await self.start_moving(await self._visit.get(f"/bookings/{moved}"))
        ui.timer(LOOK_SECONDS, self._look)

    # What is shown

    @property
    def _moved_id(self) -> str | None:
        return None if self._moving is None else str(self._moving["id"])

    async def _look(self, *, at_once: bool = False) -> None:
        """Draw what has changed of the day."""
        async with telling():
            await self._visit.service()
            day, by, visit = self._day, self._by, self._visit
            drawn = await visit.backend.boards.look(
                day, by, visit.locale, visit.time, at_once=at_once
            )
            if (day, by) == (self._day, self._by):  # nobody has gone on to another day meanwhile
                self._show_drawn(drawn)

    def _show_drawn(self, drawn: DrawnDay) -> None:
        """Send the strips that are not as they were."""
        line = drawn.now_line(self._day, dt.datetime.now(dt.UTC))
        self._present.set_content(line)
        if drawn is self._drawn and not self._is_stale:
            return
        self._drawn, self._is_stale = drawn, False
        self._title.set_text(self._visit.day(self._day))
        self._grid.style(replace=drawn.style)
        self._axis.set_content(drawn.axis)
        self._legend.set_content(drawn.legend)
        if [strip.id for strip in drawn.strips] != list(self._strips):
            for former in self._strips.values():
                former.delete()
            with self._grid:
                self._strips = {
                    strip.id: ui.html("", sanitize=False).classes("sw-strip")
                    for strip in drawn.strips
                }
        offers = drawn.offers(self._by, self._offered, self._visit.time)
        for strip in drawn.strips:
            content = strip.content(offers.get(strip.id, ""), self._moved_id)
            self._strips[strip.id].set_content(content)

    async def _show(self, day: dt.date) -> None:
        self._day, self._is_stale = day, True
        self._picker.set_value(day.isoformat())
        ui.navigate.history.replace(f"?date={day}&by={self._by}")
        await self._offer()
        await self._look()

    async def _go(self, days: int) -> None:
        if days:
            await self._show(self._day + dt.timedelta(days=days))
        else:
            await self._show(dt.datetime.now(self._zone).date())
            ui.run_javascript(TO_NOW)

    async def _picked(self, event: events.ValueChangeEventArguments[str | None]) -> None:
        day = read_date(event.value)
        if day is not None and day != self._day:
            await self._show(day)

    async def _turn(self, event: events.ValueChangeEventArguments[By]) -> None:
        self._by = event.value
        await self._show(self._day)

    async def _find_patient(self) -> None:
        wanted = (self._search.value or "").strip()
        if not wanted:
            return
        async with telling():
            self._show_found(wanted, await self._appointments_of(wanted))

    async def _appointments_of(self, wanted: str) -> list[reading.BookingRecord]:
        since = dt.datetime.now(self._zone).date() - dt.timedelta(days=30)
        return await reading.find(
            (await self._visit.service()).engine,
            [
                BOOKINGS.c.patient_ref.icontains(wanted, autoescape=True),
                or_(BOOKINGS.c.date >= since, BOOKINGS.c.date == self._day),
                BOOKINGS.c.status != "cancelled",
            ],
            limit=MOST_FOUND + 1,
        )

    def _show_found(self, wanted: str, found: list[reading.BookingRecord]) -> None:
        assert self._drawn is not None
        clinic = self._drawn.clinic
        with ui.dialog(value=True) as dialog, ui.card():
            dialog.on("hide", dialog.delete)
            ui.label(f"Appointments of “{wanted}”").classes("text-lg")
            if not found:
                ui.label("None from 30 days ago on.")
            for number, (row, _) in enumerate(found[:MOST_FOUND]):
                start = self._visit.time(format_time(row.start_minute))
                kind = clinic.type_by_id.get(str(row.appointment_type_id))
                provider = clinic.provider_by_id.get(str(row.provider_id))
                names = [each.name for each in (kind, provider) if each is not None]
                when = f"{self._visit.short_day(row.date)} {row.date.year}, {start}"
                words = " · ".join([f"{row.patient_ref}: {when}", *names])

                async def go(day: dt.date = row.date, key: str = str(row.id)) -> None:
                    dialog.close()
                    await self._show(day)
                    await self._details(key)

                ui.button(words, on_click=go).props(
                    "flat no-caps align=left" + " autofocus" * (number == 0)
                )
            if len(found) > MOST_FOUND:
                ui.label("and more; type more of the name").classes("sw-quiet")

    # What is done to a booking

    async def _clicked(self, event: events.GenericEventArguments) -> None:
        if key := event.args.get("booking"):
            await self._details(key)
        elif self._moving is not None:
            await self._move_to(event.args)

    async def _details(self, key: str) -> None:
        async with telling():
            booking = await self._visit.get(f"/bookings/{key}")
            history = await self._visit.get(f"/bookings/{key}/history")
            self._show_details(booking, history)

    def _show_details(self, booking: dict[str, Any], history: list[dict[str, Any]]) -> None:
        """Show a booking, and what may be done to it."""
        assert self._drawn is not None
        clinic = self._drawn.clinic
        kind = clinic.type_by_id[booking["appointment_type_id"]]
        time = self._visit.time
        facts = {
            "When": f"{self._visit.day(booking['date'])}, "
            f"{time(booking['start_time'])} – {time(booking['end_time'])}",
            "Provider": clinic.provider_by_id[booking["provider_id"]].name,
            "Room": clinic.room_by_id[booking["room_id"]].name,
            "Team": ", ".join(
                f"{key}: {clinic.provider_by_id[who].name}"
                for key, who in booking["team"].items()
                if who in clinic.provider_by_id
            ),
            "Status": STATUS_WORDS[booking["status"]]
            + ", overbooked" * bool(booking["is_overbooked"]),
            "On purpose": overridden_in_words(booking["overrides"]),
            "Why": booking["overrides"] and why_overridden(history),
            "Notes": booking["notes"],
        }
        with self._place, ui.dialog(value=True) as dialog, ui.card().classes("min-w-72"):
            dialog.on("hide", dialog.delete)
            title = f"{booking['patient_ref'] or 'No patient yet'} · {kind.name}"
            ui.label(title).classes("text-lg").props("role=heading aria-level=2")
            if wrong := self._drawn.broken.get(booking["id"]):
                ui.label(f"Needs a new place: {wrong}").classes("sw-alert")
            for name, value in facts.items():
                if value:
                    ui.label(f"{name}: {value}")
            with ui.element("div").classes("sw-bar") as actions:
                if self._visit.caller.may("scheduler"):
                    BookingActions(self, booking, former_status(history), dialog, actions).draw()
                ui.button("Close", on_click=dialog.close).props("no-caps flat")

    async def change(
        self, booking: dict[str, Any], path: str, told: str | None = None, **more: Any
    ) -> None:
        """Change a booking's status, and offer to take that back.

        Raises
        ------
        RefusedError
            When it cannot be changed.
        """
        changed = await self._visit.post(
            f"/bookings/{booking['id']}/{path}", version=booking["version"], **more
        )

        async def undo() -> None:
            async with telling():
                await self.change(changed, "undo")

        whose = booking["patient_ref"] or "The place"
        await self._look_now()
        if told is None:
            toast(self._place, f"{whose}: taken back, {STATUS_WORDS[changed['status']]} again.")
        else:
            toast(self._place, f"{whose}: {told}.", undo)

    async def amend(self, booking: dict[str, Any], **changes: Any) -> None:
        """Change whose a booking is, or its notes.

        Raises
        ------
        RefusedError
            When it cannot be changed.
        """
        body = changes | {"version": booking["version"]}
        await self._visit.send("PATCH", f"/bookings/{booking['id']}", json=body)
        await self._look_now()
        toast(self._place, f"{changes.get('patient_ref') or booking['patient_ref']}: kept.")

    def is_today(self, booking: dict[str, Any]) -> bool:
        """Whether a booking is of the clinic's present date."""
        today = dt.datetime.now(self._zone).date()
        return today == dt.date.fromisoformat(booking["date"])

    def in_full(self, day: str) -> str:
        """Write a date with its weekday."""
        return self._visit.day(day)

    async def _look_now(self) -> None:
        await self._look(at_once=True)

    async def start_moving(self, booking: dict[str, Any]) -> None:
        """Offer the places where a booking may go."""
        self._moving = booking
        await self._offer()
        await self._look()

    async def _stop_moving(self) -> None:
        self._moving = None
        await self._offer()
        await self._look()

    async def _offer(self) -> None:
        """Look for the places where the booking that is being moved may go on this day."""
        self._offered, self._is_stale = [], True
        self._banner.clear()
        if self._moving is None:
            return
        asked = moving, day, by = self._moving, self._day, self._by
        request = SlotRequest(moving["appointment_type_id"], day, dt.datetime.now(dt.UTC))
        rooms: Literal["best", "all"] = "best" if by == "provider" else "all"
        context = await self._visit.service()
        who = self._visit.caller.id
        clinic = await slots.read(context, day, who)
        try:
            found = await slots.answer(
                context,
                clinic,
                request,
                who,
                limit=MAX_LIMIT,
                rooms=rooms,
                without=moving["id"],
            )
        except DateOutOfRangeError:
            found = {"slots": [], "next_available_date": None}
        if asked != (self._moving, self._day, self._by):  # gone on to another day meanwhile
            return
        places: dict[tuple[str, str], dict[str, Any]] = {}
        for slot in found["slots"]:  # one to a place on the board, the best
            places.setdefault((slot[f"{by}_id"], slot["start_time"]), slot)
        self._offered, self._is_stale = list(places.values()), True
        self._banner.clear()
        with self._banner:
            words = f"Pick a new place for {self._moving['patient_ref']}"
            if not self._offered:
                words += "; this day has none"
            ui.label(f"{words}.").classes("text-lg")
            following = found["next_available_date"]
            if following is not None:
                ui.button(
                    f"Next: {self._visit.day(following)}",
                    on_click=lambda: self._show(dt.date.fromisoformat(following)),
                ).props("no-caps outline")
            if may_override(self._visit):
                ui.button("Another time", on_click=self._by_hand).props("no-caps outline")
            ui.button("Keep it where it is", on_click=self._stop_moving).props(
                "flat no-caps data-key=Escape"
            )

    async def _move_to(self, slot: dict[str, str]) -> None:
        place: dict[str, Any] = {
            "start_time": slot["startTime"],
            "provider_id": slot["providerId"],
            "room_id": slot["roomId"],
            "accept_overbooked": slot["overbooked"] == "1",
        }

        async def take(**more: Any) -> None:
            await self._reschedule(**(place | more))

        async with telling():
            try:
                await take()
            except RefusedError as error:
                if insist(self._visit, error, take, self._place):
                    return
                await self._stop_moving()
                raise

    async def _reschedule(self, *, start_time: str, **place: Any) -> None:
        """Move the booking that is being moved to a place of this day.

        Raises
        ------
        RefusedError
            When it cannot be there.
        """
        booking = self._moving
        assert booking is not None
        moved = await self._visit.post(
            f"/bookings/{booking['id']}/reschedule",
            date=self._day.isoformat(),
            start_time=start_time,
            version=booking["version"],
            **place,
        )
        when = f"{self._visit.day(self._day)}, {self._visit.time(start_time)}"
        over = ", overbooked" * moved["is_overbooked"]
        toast(self._place, f"{booking['patient_ref']}: moved to {when}{over}.")
        await self._stop_moving()

    def _by_hand(self) -> None:
        """Ask for a place for the booking that is being moved, on offer or not."""
        assert self._drawn is not None
        assert self._moving is not None
        clinic = self._drawn.clinic
        providers = {row.id: row.name for row in clinic.providers if row.active}
        rooms = {row.id: row.name for row in clinic.rooms if row.active}
        with self._place:
            PlaceByHand(
                self._visit, providers, rooms, self._reschedule, self._moving["provider_id"]
            )
