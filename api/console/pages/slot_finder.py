"""The slot finder: a wish in, ranked slots out, one held while the patient's name is typed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, Literal
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from nicegui import events, ui

from api.console.backend import Backend, RefusedError, Visit, read_date
from api.console.layout import date_field, show, telling
from api.console.messages import overridden_in_words, refusal, why_blocked
from api.console.pages.override import PlaceByHand, insist, may_override
from solver.scoring.parts import Weights

MOST_SHOWN = 200


HOLD_MINUTES = 5


PARTS = (
    ("preference", "near the preferred time", "#2f6fbb"),
    ("gap", "leaves no gap", "#2b8a3e"),
    ("room", "room no larger than needed", "#b35c00"),
    ("overbook", "not overbooked", "#7048a8"),
)


ON_CLICK = """(event) => {
  const hit = event.target.closest("[data-number]");
  if (hit) emit(Number(hit.dataset.number));
}"""


type Grouping = Literal["rank", "provider", "time"]


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/find")
    async def page(
        request: Request,
        date: str | None = None,
        type: str | None = None,  # noqa: A002
    ) -> Response | None:
        return await show(
            backend, request, "Find a slot", lambda visit: _Finder(visit).start(date, type)
        )


@dataclass(frozen=True)
class _Known:
    """The names of the rows that can be chosen from, and of sessions, by their ids."""

    kinds: dict[str, str]
    providers: dict[str, str]
    rooms: dict[str, str]
    places: dict[str, str]
    sessions: dict[str, str]
    at: dict[str, str | None]
    """The name of each room's place."""

    @classmethod
    async def read(cls, visit: Visit) -> _Known:
        """Read the rows; those that are no longer active cannot be chosen."""
        paths = ("/appointment-types", "/providers", "/rooms", "/locations", "/sessions")
        rows = [await visit.get(path) for path in paths]
        *chosen, sessions = rows
        kinds, providers, rooms, places = (
            {row["id"]: row["name"] for row in of_kind if row["active"]} for of_kind in chosen
        )
        at = {room["id"]: places.get(room["location_id"]) for room in rows[2]}
        names = {row["id"]: row["name"] for row in sessions}
        return cls(kinds, providers, rooms, places, names, at)

    def of(self, place: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """Return the names of a place's provider and room."""
        return self.providers.get(place["provider_id"]), self.rooms.get(place["room_id"])

    def in_team(self, place: Mapping[str, Any]) -> list[str]:
        """Return who is in which role of a place, in words."""
        return [f"{key}: {self.providers.get(who, '–')}" for key, who in place["team"].items()]


class _Finder:
    """One open slot finder."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._slots: list[dict[str, Any]] = []
        self._asked = 0
        self._held: str | None = None
        self._weights = visit.backend.context.settings.weights

    async def start(self, date: str | None, kind: str | None) -> None:
        """Draw the page."""
        self._page = ui.context.client.content
        settings = await self._visit.get("/clinic")
        known = self._known = await _Known.read(self._visit)
        today = dt.datetime.now(ZoneInfo(settings["timezone"])).date()
        ui.context.client.on_delete(self._let_go)
        ui.label("Find a slot").classes("text-xl").props("role=heading aria-level=1")
        with ui.element("div").classes("sw-bar"):
            self._kind = (
                ui.select(known.kinds, label="Type", value=kind if kind in known.kinds else None)
                .props("dense outlined options-dense")
                .classes("w-56")
            )
            self._date = date_field("Date", read_date(date) or today)
            self._from = ui.input("Preferred from").props("dense outlined type=time stack-label")
            self._until = ui.input("until").props("dense outlined type=time stack-label")
            self._providers = (
                ui.select(
                    known.providers,
                    label="Provider",
                    multiple=True,
                    clearable=True,
                )
                .props("dense outlined options-dense")
                .classes("w-56")
            )
            self._places = (
                ui.select(known.places, label="Place", multiple=True, clearable=True)
                .props("dense outlined options-dense")
                .classes("w-44")
            )
            self._places.set_visibility(bool(known.places))
            self._grouping = ui.toggle(
                {"rank": "Best first", "provider": "By provider", "time": "By time"},
                value="rank",
                on_change=self._draw,
            ).props('dense no-caps aria-label="Order"')
            if may_override(self._visit):
                ui.button("Another time", on_click=self._by_hand).props("outline no-caps")
        asked = (self._kind, self._date, self._from, self._until, self._providers, self._places)
        for field in asked:
            field.on_value_change(self._find)
        self._summary = ui.element("div").props("role=status")
        self._key = ui.html(_score_key(self._weights), sanitize=False).classes("sw-key sw-quiet")
        self._list = ui.html("", sanitize=False).classes("sw-slots w-full")
        self._list.on("click", self._clicked, js_handler=ON_CLICK)
        await self._find()

    # Finding

    async def _find(self) -> None:
        day = read_date(self._date.value)
        if self._kind.value is None or day is None:
            return
        self._asked += 1
        mine = self._asked
        self._slots = []
        async with telling():
            found = await self._visit.get(
                "/slots",
                appointment_type_id=self._kind.value,
                date=day.isoformat(),
                provider_id=self._providers.value or None,
                location_id=self._places.value or None,
                preferred_start=self._from.value or None,
                preferred_end=self._until.value or None,
                limit=MOST_SHOWN,
            )
            if mine != self._asked:  # something else has been asked for meanwhile
                return
            self._slots = found["slots"]
            self._summary.clear()
            with self._summary:
                if self._slots:
                    ui.label(self._in_short(day, found["total"]))
                else:
                    self._explain(day, found)
                if words := _openings_in_words(self._visit, found["opens_later"]):
                    ui.label(words).classes("sw-quiet")
        self._draw()

    def _in_short(self, day: dt.date, total: int) -> str:
        shown = len(self._slots)
        most = "The best " if shown == MOST_SHOWN else ""
        words = f"{most}{shown} {'time' if shown == 1 else 'times'} on {self._visit.day(day)}"
        if shown < total:
            words += f", each in its best room ({total} counting every room)"
        return words

    def _explain(self, day: dt.date, found: Mapping[str, Any]) -> None:
        """Say in words why there is nothing, most frequent first, and where there is something."""
        ui.label(f"Nothing is free on {self._visit.day(day)}.").classes("text-lg")
        reasons = "".join(f"<li>{escape(why)}</li>" for why in why_blocked(found["blocked_by"]))
        ui.html(f'<ul class="sw-why">{reasons}</ul>', sanitize=False)
        following = found["next_available_date"]
        if following is None:
            ui.label("There is nothing in the two weeks after it either.")
            return
        ui.button(
            f"Next: {self._visit.day(following)}",
            on_click=lambda: self._date.set_value(following),
        ).props("no-caps outline")

    def _draw(self) -> None:
        self._key.set_visibility(bool(self._slots))
        grouping: Grouping = self._grouping.value
        numbered = list(enumerate(self._slots))
        if grouping == "rank":
            self._list.set_content("".join(self._drawn(*each) for each in numbered))
            return
        names = {"provider": "provider_name", "time": "start_time"}
        name = names[grouping]
        numbered.sort(key=lambda each: each[1][name])
        parts = []
        for value, group in groupby(numbered, lambda each: each[1][name]):
            title = self._visit.time(value) if grouping == "time" else value
            parts.append(f"<h2>{escape(title)}</h2>")
            parts += [self._drawn(*each) for each in group]
        self._list.set_content("".join(parts))

    def _drawn(self, number: int, slot: Mapping[str, Any]) -> str:
        sessions = self._known.sessions
        names = [sessions[key] for key in slot["session_ids"] if key in sessions]
        where = ", ".join(filter(None, [slot["room_name"], self._known.at.get(slot["room_id"])]))
        beside = [*names, *self._known.in_team(slot)]
        return _as_button(number, {**slot, "room_name": where}, self._visit, self._weights, beside)

    # Holding and booking

    async def _clicked(self, event: events.GenericEventArguments) -> None:
        if self._held is not None or event.args >= len(self._slots):
            return
        slot = self._slots[event.args]
        kind, names = self._kind.value, ("provider_id", "room_id", "date", "start_time")
        place = {name: slot[name] for name in names}
        place["accept_overbooked"] = slot["is_overbooked"]

        async def take(**more: Any) -> None:
            await self._hold(appointment_type_id=kind, **(place | more))

        try:
            await take()
        except RefusedError as error:  # most likely somebody else was faster
            if not insist(self._visit, error, take, self._page):
                ui.notify(refusal(error), type="negative", multi_line=True, timeout=8000)
            await self._find()

    async def _hold(self, **place: Any) -> None:
        """Hold a place, and ask who it is for.

        Raises
        ------
        RefusedError
            When it cannot be held.
        """
        hold = await self._visit.post("/holds", minutes=HOLD_MINUTES, **place)
        self._held = hold["id"]
        with self._page:
            self._ask_for_patient(hold)

    def _by_hand(self) -> None:
        """Ask for a place, on offer or not."""
        kind, day = self._kind.value, read_date(self._date.value)
        if kind is None or day is None:
            ui.notify("Choose the type and the date first.", type="negative")
            return

        async def take(**place: Any) -> None:
            await self._hold(appointment_type_id=kind, date=day.isoformat(), **place)

        with self._page:
            PlaceByHand(self._visit, self._known.providers, self._known.rooms, take)

    async def _let_go(self) -> None:
        """Give a held place back, also when its page is closed or left."""
        if self._held is None:
            return
        held, self._held = self._held, None
        with suppress(RefusedError):  # run out by itself, or the key is no longer good
            await self._visit.post(f"/bookings/{held}/cancel")

    def _ask_for_patient(self, hold: Mapping[str, Any]) -> None:
        until = dt.datetime.fromisoformat(hold["expires_at"])
        when = f"{self._visit.day(hold['date'])}, {self._visit.time(hold['start_time'])}"
        names = self._known.of(hold)
        with ui.dialog(value=True).props("persistent") as dialog, ui.card().classes("min-w-80"):
            dialog.on("hide", dialog.delete)
            _tell_place(when, [*filter(None, names), *self._known.in_team(hold)], hold)
            patient = ui.input("Patient").props("outlined autofocus").classes("w-full")
            notes = ui.input("Notes").props("outlined").classes("w-full")
            left = ui.label().classes("sw-quiet").props("role=timer")
            refused = ui.label().classes("sw-alert max-w-80").props("role=alert")
            overlap = ui.checkbox("Book it all the same")
            overlap.set_visibility(False)

            def count_down() -> None:
                seconds = int((until - dt.datetime.now(dt.UTC)).total_seconds())
                if seconds > 0:
                    left.set_text(f"Held for you for {seconds // 60}:{seconds % 60:02}")
                    return
                left.set_text("The hold has run out; pick a slot again.")
                self._held = None
                book.disable()
                ticking.cancel()

            async def confirm() -> None:
                who = (patient.value or "").strip()
                if not who:
                    refused.set_text("Who is it for?")
                    return
                try:
                    await self._visit.post(
                        f"/holds/{hold['id']}/confirm",
                        patient_ref=who,
                        notes=notes.value or None,
                        allow_patient_overlap=overlap.value,
                    )
                except RefusedError as error:
                    refused.set_text(refusal(error))
                    overlap.set_visibility(error.code == "PATIENT_CONFLICT")
                    return
                self._held = None
                ui.notify(f"Booked: {who}, {when}.", type="positive")
                await close()

            async def give_up() -> None:
                await self._let_go()
                await close()

            async def close() -> None:
                ticking.cancel()
                dialog.close()
                await self._find()

            patient.on("keydown.enter", confirm)
            with ui.element("div").classes("sw-bar"):
                book = ui.button("Book", on_click=confirm).props("no-caps")
                ui.button("Give it back", on_click=give_up).props("no-caps flat")
            ticking = ui.timer(1.0, count_down)


def _as_button(
    number: int,
    slot: Mapping[str, Any],
    visit: Visit,
    weights: Weights,
    beside: Sequence[str],
) -> str:
    bars = "".join(
        f'<i style="flex:{float(getattr(weights, name))};--colour:{colour};'
        f'--part:{slot["score_parts"][name]}"></i>'
        for name, _, colour in PARTS
    )
    told = ", ".join(f"{name} {slot['score_parts'][name]:.2f}" for name, _, _ in PARTS)
    time = f"{visit.time(slot['start_time'])} – {visit.time(slot['end_time'])}"
    off = "" if visit.caller.may("scheduler") else " disabled"
    over = ' · <span class="sw-alert">overbooked</span>' * slot["is_overbooked"]
    within = f"<small>{escape(', '.join(beside))}</small>" if beside else ""
    return (
        f'<button type="button" class="sw-slot" data-number="{number}" title="{told}"{off}>'
        f"<b>{escape(time)}</b><span>{slot['score']:.4f}</span>"
        f"<small>{escape(slot['provider_name'])} · {escape(slot['room_name'])}{over}</small>"
        f"{within}"
        f'<span class="sw-parts" role="img" aria-label="{told}">{bars}</span></button>'
    )


def _openings_in_words(visit: Visit, openings: Sequence[Mapping[str, Any]]) -> str:
    """Return from when on sessions let how much more be booked, of the next three moments."""
    told = [
        f"{each['count']} from {visit.day(each['at'][:10])}, {visit.time(each['at'][11:16])} on"
        for each in openings
        if each["count"] > 0
    ]
    if not told:
        return ""
    return f"Kept by sessions until later, counting every room: {'; '.join(told[:3])}."


def _score_key(weights: Weights) -> str:
    return "".join(
        f'<span><i style="--colour:{colour}"></i>{words} '
        f"({float(getattr(weights, name)):.0%})</span>"
        for name, words, colour in PARTS
    )


def _tell_place(when: str, names: list[str], hold: Mapping[str, Any]) -> None:
    ui.label(when).classes("text-lg").props("role=heading aria-level=2")
    ui.label(", ".join(names))
    if against := overridden_in_words(hold["overrides"]):
        ui.label(f"On purpose {against}.").classes("sw-alert")
    elif hold["is_overbooked"]:
        ui.label("This is over the provider's regular capacity.").classes("sw-alert")
