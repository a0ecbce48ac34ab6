"""A day as one piece of HTML: columns of providers or rooms, time downwards.

One element and one listener for the whole day; a thousand elements of the framework's would hold
up the event loop.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import pairwise
from typing import Any, Literal

from solver.clinic import AppointmentType, Booking, Clinic, Provider, Room, Span
from solver.timeline import (
    Windows,
    format_time,
    parse_time,
    provider_busy_span,
    room_busy_span,
)

type By = Literal["provider", "room"]

PIXELS_A_MINUTE = 1.6
DEFAULT_HOURS: Span = (480, 1080)
ROOMY_MINUTES = 20
"""Shorter appointments have room for one line."""
GOLDEN_ANGLE = 137.508
SIGNS = {"held": "⏳", "booked": "", "checked_in": "✓", "completed": "✓✓", "no_show": "✗"}
STATUS_WORDS = {
    "held": "held",
    "booked": "booked",
    "checked_in": "checked in",
    "completed": "completed",
    "cancelled": "cancelled",
    "no_show": "did not come",
}


@dataclass(frozen=True)
class Drawing:
    """What to draw: a date of a clinic, by whom, and what is offered on top."""

    clinic: Clinic
    day: dt.date
    by: By
    now: dt.datetime
    write_time: Callable[[str], str]
    offered: Sequence[Mapping[str, Any]] = ()
    """Slots to pick from, as ``GET /slots`` lists them."""
    marked: str | None = None
    """The booking that is being moved."""

    def html(self) -> str:
        """Return the day."""
        first, last = self._hours
        height = (last - first) * PIXELS_A_MINUTE
        columns = self._columns()
        heads = "".join(f'<div class="sw-head">{escape(row.name)}</div>' for row in columns)
        bodies = "".join(self._column(row) for row in columns)
        return (
            f'<div class="sw-day" style="--columns:{len(columns)};--height:{height:.0f}px;'
            f'--hour:{60 * PIXELS_A_MINUTE:.0f}px">'
            f'<div class="sw-head sw-corner"></div>{heads}'
            f'<div class="sw-axis">{self._axis()}</div>{bodies}{self._now_line()}</div>'
        )

    def legend(self) -> str:
        """Return the types' colours and what the signs mean."""
        rest = (
            '<span class="sw-swatch sw-hatched"></span>buffer',
            '<span class="sw-swatch sw-is-held"></span>held',
            '<span class="sw-swatch sw-is-over"></span>overbooked',
        )
        return type_colours(self.clinic) + "".join(f"<span>{item}</span>" for item in rest)

    # Where things are

    @cached_property
    def _hues(self) -> dict[str, int]:
        return hues_of(self.clinic)

    @property
    def _windows(self) -> dict[str, list[Span]]:
        windows = Windows.on(self.clinic, self.day)
        return windows.provider if self.by == "provider" else windows.room

    @property
    def _hours(self) -> Span:
        """The whole hours that hold every provider's windows and every booking of the day."""
        spans = [s for each in Windows.on(self.clinic, self.day).provider.values() for s in each]
        spans += [self._busy(booking) for booking in self._bookings()]
        if not spans:
            return DEFAULT_HOURS
        first = max(0, min(start for start, _ in spans) // 60 * 60)
        return first, min(1440, -(-max(end for _, end in spans) // 60) * 60)

    def _columns(self) -> list[Provider | Room]:
        rows = self.clinic.providers if self.by == "provider" else self.clinic.rooms
        used = {self._owner(booking) for booking in self._bookings()}
        shown = [row for row in rows if row.active or row.id in used]
        return sorted(shown, key=lambda row: row.name.casefold())

    def _bookings(self) -> Iterator[Booking]:
        return (b for b in self.clinic.bookings if b.date == self.day and b.is_live)

    def _owner(self, booking: Booking) -> str:
        return booking.provider_id if self.by == "provider" else booking.room_id

    def _busy(self, booking: Booking) -> Span:
        kind = self._kind(booking)
        if self.by == "provider":
            provider = self.clinic.provider_by_id[booking.provider_id]
            return provider_busy_span(provider, kind, booking.start)
        return room_busy_span(self.clinic.room_by_id[booking.room_id], kind, booking.start)

    def _kind(self, booking: Booking) -> AppointmentType:
        return self.clinic.type_by_id[booking.appointment_type_id]

    def _place(self, start: int, end: int) -> str:
        top = (start - self._hours[0]) * PIXELS_A_MINUTE
        return f"top:{top:.1f}px;height:{(end - start) * PIXELS_A_MINUTE:.1f}px"

    # What is drawn

    def _axis(self) -> str:
        first, last = self._hours
        return "".join(
            f'<span style="top:{(minute - first) * PIXELS_A_MINUTE:.0f}px">'
            f"{escape(self.write_time(format_time(minute)))}</span>"
            for minute in range(first, last, 60)
        )

    def _column(self, row: Provider | Room) -> str:
        first, last = self._hours
        windows = [
            (max(start, first), min(end, last))
            for start, end in self._windows.get(row.id, [])
            if start < last and end > first
        ]
        parts = [
            f'<div class="sw-open" style="{self._place(start, end)};'
            f'--past:{start % 60 * PIXELS_A_MINUTE:.1f}px"></div>'
            for start, end in windows
        ]
        if self.by == "provider":
            parts += [
                f'<div class="sw-break" style="{self._place(end, start)}">Break</div>'
                for (_, end), (start, _) in pairwise(windows)
            ]
        bookings = sorted(
            (b for b in self._bookings() if self._owner(b) == row.id),
            key=lambda booking: (booking.start, booking.id),
        )
        for booking, lane, lanes in _lanes(bookings, self._end):
            parts.append(self._booking(booking, lane, lanes))
        parts += [self._offer(slot) for slot in self.offered if slot[f"{self.by}_id"] == row.id]
        label = escape(f"{row.name}: {len(bookings)} appointments", quote=True)
        return f'<div class="sw-column" role="group" aria-label="{label}">{"".join(parts)}</div>'

    def _end(self, booking: Booking) -> int:
        return booking.start + self._kind(booking).duration_minutes

    def _booking(self, booking: Booking, lane: int, lanes: int) -> str:
        kind = self._kind(booking)
        end = self._end(booking)
        busy_start, busy_end = self._busy(booking)
        across = f"left:{100 * lane / lanes:.1f}%;width:{100 / lanes:.1f}%"
        buffers = "".join(
            f'<div class="sw-buffer" style="{self._place(*span)};{across}"></div>'
            for span in ((busy_start, booking.start), (end, busy_end))
            if span[0] < span[1]
        )
        start_time = self.write_time(format_time(booking.start))
        patient = booking.patient_ref or "–"
        other = (
            self.clinic.room_by_id[booking.room_id].name
            if self.by == "provider"
            else self.clinic.provider_by_id[booking.provider_id].name
        )
        words = [start_time, patient, kind.name, other, STATUS_WORDS[booking.status]]
        classes = ["sw-booking", f"sw-is-{booking.status.replace('_', '-')}"]
        if kind.duration_minutes < ROOMY_MINUTES:
            classes.append("sw-is-short")
        if booking.is_overbooked:
            classes.append("sw-is-over")
            words.append("overbooked")
        if booking.id == self.marked:
            classes.append("sw-is-marked")
        label = escape(", ".join(words), quote=True)
        hue = self._hues[kind.id]
        sign = SIGNS[booking.status]
        return (
            f'{buffers}<button type="button" class="{" ".join(classes)}" '
            f'data-booking="{booking.id}" aria-label="{label}" title="{label}" '
            f'style="--hue:{hue};{self._place(booking.start, end)};{across}">'
            f"<b>{escape(start_time)} {sign}</b> {escape(patient)}"
            f"<small>{escape(kind.name)} · {escape(other)}</small></button>"
        )

    def _offer(self, slot: Mapping[str, Any]) -> str:
        start = parse_time(slot["start_time"])
        span = self._place(start, start + self.clinic.settings.grid_minutes)
        words = (
            f"{self.write_time(slot['start_time'])}, {slot['provider_name']}, {slot['room_name']}, "
            f"score {slot['score']:.2f}" + ", overbooked" * slot["is_overbooked"]
        )
        data = "".join(
            f' data-{name.replace("_", "-")}="{escape(str(slot[name]), quote=True)}"'
            for name in ("provider_id", "room_id", "start_time")
        )
        return (
            f'<button type="button" class="sw-offer" style="{span};--score:{slot["score"]}"'
            f'{data} data-overbooked="{int(slot["is_overbooked"])}" '
            f'aria-label="{escape(words, quote=True)}" title="{escape(words, quote=True)}">'
            f"{escape(self.write_time(slot['start_time']))}</button>"
        )

    def _now_line(self) -> str:
        local = self.now.astimezone(self.clinic.settings.zone)
        minute = local.hour * 60 + local.minute
        first, last = self._hours
        if local.date() != self.day or not first <= minute < last:
            return ""
        top = (minute - first) * PIXELS_A_MINUTE
        return f'<div class="sw-now" style="--top:{top:.0f}px" aria-hidden="true"></div>'


def type_colours(clinic: Clinic) -> str:
    """Return the part of a legend that tells the types by their colours."""
    hues = hues_of(clinic)
    return "".join(
        f'<span><span class="sw-swatch" style="--hue:{hues[kind.id]}"></span>'
        f"{escape(kind.name)}</span>"
        for kind in sorted(clinic.appointment_types, key=_by_name)
        if kind.active
    )


def hues_of(clinic: Clinic) -> dict[str, int]:
    """Return a colour for each type by id, far from those of its neighbours in the alphabet.

    The rows of the database have no order of their own, so by its name a type keeps its colour.
    """
    kinds = sorted(clinic.appointment_types, key=_by_name)
    return {kind.id: round(200 + number * GOLDEN_ANGLE) % 360 for number, kind in enumerate(kinds)}


def _by_name(kind: AppointmentType) -> tuple[str, str]:
    return kind.name.casefold(), kind.id


def _lanes(
    bookings: Sequence[Booking], end_of: Callable[[Booking], int]
) -> Iterator[tuple[Booking, int, int]]:
    """Yield each booking, the lane in which it is drawn, and how many lie side by side there."""
    group: list[tuple[Booking, int]] = []
    ends: list[int] = []
    for booking in bookings:
        if ends and booking.start >= max(ends):
            yield from ((each, lane, len(ends)) for each, lane in group)
            group, ends = [], []
        free = [lane for lane, end in enumerate(ends) if end <= booking.start]
        lane = free[0] if free else len(ends)
        if free:
            ends[lane] = end_of(booking)
        else:
            ends.append(end_of(booking))
        group.append((booking, lane))
    yield from ((each, lane, len(ends)) for each, lane in group)
