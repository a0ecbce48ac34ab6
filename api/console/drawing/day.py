"""A day as pieces of HTML: a strip for each provider or room, time downwards.

A strip is one element with one listener for the whole day; a thousand elements of the framework's
would hold up the event loop. A strip is drawn anew only where something that it shows has changed,
so that a change costs, and is sent as, one or two strips.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from itertools import pairwise
from typing import Any, Literal

from api.console.drawing.lanes import Shown, lanes_of
from api.console.drawing.sessions import Ground, grounds_of, state_of
from api.console.messages import overridden_in_words
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time, parse_time
from solver.clinic.entities import (
    AppointmentType,
    Booking,
    Provider,
    Room,
    Span,
)
from solver.clinic.sessions.of_day import SessionsOfDay
from solver.clinic.spans import provider_busy_span, room_busy_span, window_around
from solver.clinic.teams.in_roles import busy_in_role, in_roles
from solver.clinic.windows import Windows

type By = Literal["provider", "room"]


type Broken = Mapping[str, str]
"""The rules that bookings break where they stand, in words, by the booking's id."""


PIXELS_A_MINUTE = 1.6


LEAST_OFFER_MINUTES = 5
"""How high a place on offer is drawn at least: where starts are closer, of those that would cover
one another the best is drawn."""


DEFAULT_HOURS: Span = (480, 1080)


ROOMY_MINUTES = 20
"""Shorter appointments have room for one line."""


GOLDEN_ANGLE = 137.508


SIGNS = {"held": "⏳", "booked": "", "checked_in": "✓", "completed": "✓✓", "no_show": "✗"}


AGAINST = "§"
"""The sign of a booking that was made against a rule, on purpose."""


STATUS_WORDS = {
    "held": "held",
    "booked": "booked",
    "checked_in": "checked in",
    "completed": "completed",
    "cancelled": "cancelled",
    "no_show": "did not come",
}


@dataclass(frozen=True)
class Strip:
    """What is drawn of one provider or room."""

    id: str
    html: str
    """Up to the end of its column, which :meth:`content` closes."""
    shows: tuple[object, ...] = field(repr=False)
    """All that it was drawn from, beside what all strips are."""

    def content(self, offers: str = "", marked: str | None = None) -> str:
        """Return the whole strip, with places on offer, and the booking that is moved marked."""
        html = self.html
        if marked is not None:
            html = html.replace(f'data-booking="{marked}"', f'data-moved data-booking="{marked}"')
        return f"{html}{offers}</div>"


@dataclass(frozen=True)
class DrawnDay:
    """A day as it is drawn for everyone who looks at it."""

    clinic: Clinic
    strips: tuple[Strip, ...]
    hours: Span
    axis: str
    hour_names: str
    """The hours as a style sheet writes them, one below the other: paper has them in each strip."""
    legend: str
    broken: Broken
    session_state: int
    """Another one as soon as a session opens or is released."""
    shared: tuple[object, ...] = field(repr=False)
    """All that every strip is drawn from."""

    @property
    def style(self) -> str:
        """The style of what holds the axis and the strips."""
        first, last = self.hours
        return (
            f"--columns:{len(self.strips)};--height:{(last - first) * PIXELS_A_MINUTE:.0f}px;"
            f"--hour:{60 * PIXELS_A_MINUTE:.0f}px;--hours:{self.hour_names}"
            + (";--head:54px" if self.clinic.locations else "")
        )

    def now_line(self, day: dt.date, now: dt.datetime) -> str:
        """Return the line at the present, on the day itself alone."""
        local = now.astimezone(self.clinic.settings.zone)
        minute = local.hour * 60 + local.minute
        first, last = self.hours
        if local.date() != day or not first <= minute < last:
            return ""
        top = (minute - first) * PIXELS_A_MINUTE
        return f'<div class="sw-now" style="--top:{top:.0f}px" aria-hidden="true"></div>'

    def offers(
        self, by: By, slots: Sequence[Mapping[str, Any]], write_time: Callable[[str], str]
    ) -> dict[str, str]:
        """Return the places that a booking may move to, by the strip in which each is drawn.

        Parameters
        ----------
        slots
            As ``GET /slots`` lists them, the best first.
        """
        drawn: defaultdict[str, str] = defaultdict(str)
        minutes = self._offer_minutes(by, slots)
        taken: defaultdict[str, set[int]] = defaultdict(set)
        for slot in slots:
            key, start = slot[f"{by}_id"], parse_time(slot["start_time"])
            covered = range(start - minutes + 1, start + minutes)
            if taken[key].isdisjoint(covered):
                drawn[key] += _offer(slot, self.hours[0], minutes, write_time)
                taken[key].add(start)
        return drawn

    def _offer_minutes(self, by: By, slots: Sequence[Mapping[str, Any]]) -> int:
        """Return how many minutes high an offer is: as the grid, or as the next one lets it."""
        at = sorted({(slot[f"{by}_id"], parse_time(slot["start_time"])) for slot in slots})
        apart = (b[1] - a[1] for a, b in pairwise(at) if a[0] == b[0])
        return max(LEAST_OFFER_MINUTES, min([self.clinic.settings.grid_minutes, *apart]))


@dataclass(frozen=True)
class Drawing:
    """What to draw: a date of a clinic, by whom, and what is wrong on it."""

    clinic: Clinic
    day: dt.date
    by: By
    write_time: Callable[[str], str]
    now: dt.datetime
    broken: Broken = field(default_factory=dict)

    def drawn(self, former: DrawnDay | None = None) -> DrawnDay:
        """Return the day; strips that are as they were in a `former` drawing are taken from it."""
        is_alike = former is not None and former.shared == self._shared
        known = {strip.id: strip for strip in former.strips} if former and is_alike else {}
        return DrawnDay(
            self.clinic,
            tuple(self._strip(row, known.get(row.id)) for row in self._rows()),
            self._hours,
            self._axis(),
            '"{}"'.format("\\a ".join(self._hour_names)),
            self._legend(),
            self.broken,
            state_of(self.clinic, self.day, self.now),
            self._shared,
        )

    def _legend(self) -> str:
        rest = [
            '<span class="sw-swatch sw-hatched"></span>buffer',
            '<span class="sw-swatch sw-is-held"></span>held',
            '<span class="sw-swatch sw-is-over"></span>overbooked',
            '<span class="sw-swatch sw-is-stranded"></span>needs a new place',
            f"<b>{AGAINST}</b> against a rule, on purpose",
        ]
        if SessionsOfDay.on(self.clinic, self.day).all:
            rest.append('<span class="sw-swatch sw-session"></span>kept in a session')
        return type_colours(self.clinic) + "".join(f"<span>{item}</span>" for item in rest)

    # Where things are

    @cached_property
    def _hues(self) -> dict[str, int]:
        return hues_of(self.clinic)

    @cached_property
    def _windows(self) -> dict[str, list[Span]]:
        windows = Windows.on(self.clinic, self.day)
        return windows.provider if self.by == "provider" else windows.room

    @cached_property
    def _hours(self) -> Span:
        """The whole hours that hold every provider's windows and every booking of the day."""
        spans = [s for each in Windows.on(self.clinic, self.day).provider.values() for s in each]
        spans += [self._busy(shown) for each in self._bookings.values() for shown in each]
        if not spans:
            return DEFAULT_HOURS
        first = max(0, min(start for start, _ in spans) // 60 * 60)
        return first, min(1440, -(-max(end for _, end in spans) // 60) * 60)

    def _rows(self) -> list[Provider | Room]:
        """Return who or what has a strip, by name; rooms of one place beside one another."""
        rows = self.clinic.providers if self.by == "provider" else self.clinic.rooms
        shown = [row for row in rows if row.active or row.id in self._bookings]
        return sorted(shown, key=lambda r: (self._at(r).casefold(), r.name.casefold(), r.id))

    @cached_property
    def _bookings(self) -> dict[str, list[Shown]]:
        """The day's bookings of each provider, in roles as well, or room that has any, by start."""
        grouped: defaultdict[str, list[Shown]] = defaultdict(list)
        for b in self.clinic.bookings:
            if b.date == self.day and b.is_live:
                owner = b.provider_id if self.by == "provider" else b.room_id
                kind = self._kind(b)
                grouped[owner].append(Shown(b, (b.start, b.start + kind.duration_minutes)))
                for each in in_roles(kind, b) if self.by == "provider" else ():
                    grouped[each.provider_id].append(Shown(b, each.span, each.key))
        for of_one in grouped.values():
            of_one.sort(key=lambda shown: (shown.span[0], shown.booking.id))
        return dict(grouped)

    @cached_property
    def _shared(self) -> tuple[object, ...]:
        clinic = self.clinic
        rows = (clinic.appointment_types, clinic.providers, clinic.rooms, clinic.locations)
        return (self.day, self.by, self._hours, *rows)

    def _busy(self, shown: Shown) -> Span:
        booking, span, role = shown
        kind = self._kind(booking)
        if role is not None:
            return busy_in_role(self.clinic.provider_by_id.get(dict(booking.team)[role]), span)
        if self.by == "provider":
            provider = self.clinic.provider_by_id[booking.provider_id]
            return provider_busy_span(provider, kind, booking.start)
        return room_busy_span(self.clinic.room_by_id[booking.room_id], kind, booking.start)

    def _kind(self, booking: Booking) -> AppointmentType:
        return self.clinic.kind_of(booking)

    def _place(self, start: int, end: int) -> str:
        return _place(start, end, self._hours[0])

    # What is drawn

    @cached_property
    def _hour_names(self) -> list[str]:
        return [self.write_time(format_time(minute)) for minute in range(*self._hours, 60)]

    def _axis(self) -> str:
        hours = "".join(
            f'<span style="top:{number * 60 * PIXELS_A_MINUTE:.0f}px">{escape(name)}</span>'
            for number, name in enumerate(self._hour_names)
        )
        return f'<div class="sw-head sw-corner"></div><div class="sw-axis">{hours}</div>'

    def _strip(self, row: Provider | Room, former: Strip | None) -> Strip:
        first, last = self._hours
        windows = [
            (max(start, first), min(end, last))
            for start, end in self._windows.get(row.id, [])
            if start < last and end > first
        ]
        there, places = self._places_of(row, windows)
        bookings = self._bookings.get(row.id, [])
        wrong = [self.broken.get(shown.booking.id) for shown in bookings]
        grounds = self._grounds(row)
        shows = (windows, there, places, bookings, wrong, grounds)
        if former is not None and former.shows == shows:
            return former
        parts = [
            f'<div class="sw-open" style="{self._place(start, end)};'
            f'--past:{start % 60 * PIXELS_A_MINUTE:.1f}px">{_small(at)}</div>'
            for (start, end), at in zip(windows, places, strict=True)
        ]
        parts += [
            ground.drawn(self._place(max(ground.start, first), min(ground.end, last)))
            for ground in grounds
            if ground.start < last and ground.end > first
        ]
        if self.by == "provider":
            parts += [
                f'<div class="sw-break" style="{self._place(end, start)}">Break</div>'
                for (_, end), (start, _) in pairwise(windows)
            ]
        for shown, lane, lanes in lanes_of(bookings):
            parts.append(self._booking(shown, lane, lanes, there))
        name = escape(f"{row.name}, {there}" if there else row.name, quote=True)
        html = (
            f'<div class="sw-head" title="{name}">{escape(row.name)}{_small(there)}</div>'
            f'<div class="sw-column" role="group" aria-label="{name}: {len(bookings)} '
            f'{"appointment" if len(bookings) == 1 else "appointments"}">{"".join(parts)}'
        )
        return Strip(row.id, html, shows)

    def _at(self, row: Provider | Room) -> str:
        """Return the name of the place that a room is at; empty where none is told."""
        key = row.location_id if isinstance(row, Room) else None
        return "" if key is None else self.clinic.location_by_id[key].name

    def _places_of(self, row: Provider | Room, windows: Sequence[Span]) -> tuple[str, list[str]]:
        """Return where a room or a provider is all day, and at which place in each window.

        A provider's windows tell theirs only where these differ; "" stands for any place.
        """
        if isinstance(row, Room):
            return self._at(row), [""] * len(windows)
        open_at = Windows.on(self.clinic, self.day).at_location
        places = []
        for window in windows:
            there = [key for key, of in open_at.items() if window_around(of[row.id], *window)]
            is_one = len(there) == 1 < len(open_at)
            places.append(self.clinic.location_by_id[there[0]].name if is_one else "")
        all_day = places[0] if len(set(places)) == 1 else ""
        return all_day, [""] * len(places) if all_day else places

    def _grounds(self, row: Provider | Room) -> list[Ground]:
        return grounds_of(self.clinic, self.day, row, self.now, self._hues, self.write_time)

    def _booking(self, shown: Shown, lane: int, lanes: int, there: str) -> str:
        """Return one booking; it does not repeat the place that its strip is at, `there`."""
        booking, (start, end), role = shown
        kind = self._kind(booking)
        busy_start, busy_end = self._busy(shown)
        across = f"left:{100 * lane / lanes:.1f}%;width:{100 / lanes:.1f}%"
        buffers = "".join(
            f'<div class="sw-buffer" style="{self._place(*span)};{across}"></div>'
            for span in ((busy_start, start), (end, busy_end))
            if span[0] < span[1]
        )
        start_time = self.write_time(format_time(start))
        patient = booking.patient_ref or "–"
        other = self._beside(booking, role, there)
        pools = (pool.name for pool in self.clinic.pools_of(kind))
        named = [kind.name, *filter(None, other), *pools]
        words = [start_time, patient, *named, STATUS_WORDS[booking.status]]
        classes = ["sw-booking", f"sw-is-{booking.status.replace('_', '-')}"]
        if end - start < ROOMY_MINUTES:
            classes.append("sw-is-short")
        if booking.is_overbooked:
            classes.append("sw-is-over")
            words.append("overbooked")
        sign = SIGNS[booking.status]
        if against := overridden_in_words(booking.overrides):
            sign += f" {AGAINST}"
            words.append(f"on purpose {against}")
        if wrong := self.broken.get(booking.id):
            classes.append("sw-is-stranded")
            words.append(f"needs a new place: {wrong}")
        label = escape(", ".join(words), quote=True)
        hue = self._hues[kind.id]
        return (
            f'{buffers}<button type="button" class="{" ".join(classes)}" '
            f'data-booking="{booking.id}" aria-label="{label}" title="{label}" '
            f'style="--hue:{hue};{self._place(start, end)};{across}">'
            f"<b>{escape(start_time)} {sign}</b> {escape(patient)}"
            f"<small>{escape(' · '.join(named))}</small></button>"
        )

    def _beside(self, booking: Booking, role: str | None, there: str) -> list[str]:
        """Return what a strip tells of a booking besides its type: in which role, where, with whom.

        What is empty is not to be told.
        """
        room = self.clinic.room_by_id[booking.room_id]
        at = "" if self._at(room) == there else self._at(room)
        provider = self.clinic.provider_by_id[booking.provider_id].name
        if role is not None:
            return [f"as {role}", room.name, at, provider]
        people = (self.clinic.provider_by_id.get(key) for _, key in booking.team)
        team = [who.name for who in people if who is not None]
        return [*([room.name, at] if self.by == "provider" else [provider]), *team]


def _small(words: str) -> str:
    return f"<small>{escape(words)}</small>" if words else ""


def _place(start: int, end: int, first: int) -> str:
    """Return where a span of minutes is in a column that begins at the minute `first`."""
    top = (start - first) * PIXELS_A_MINUTE
    return f"top:{top:.1f}px;height:{(end - start) * PIXELS_A_MINUTE:.1f}px"


def _offer(
    slot: Mapping[str, Any], first: int, minutes: int, write_time: Callable[[str], str]
) -> str:
    start = parse_time(slot["start_time"])
    time = write_time(slot["start_time"])
    words = (
        f"{time}, {slot['provider_name']}, {slot['room_name']}, "
        f"score {slot['score']:.2f}" + ", overbooked" * slot["is_overbooked"]
    )
    data = "".join(
        f' data-{name.replace("_", "-")}="{escape(str(slot[name]), quote=True)}"'
        for name in ("provider_id", "room_id", "start_time")
    )
    return (
        f'<button type="button" class="sw-offer" style="{_place(start, start + minutes, first)};'
        f'--score:{slot["score"]}"{data} data-overbooked="{int(slot["is_overbooked"])}" '
        f'aria-label="{escape(words, quote=True)}" title="{escape(words, quote=True)}">'
        f"{escape(time)}</button>"
    )


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
