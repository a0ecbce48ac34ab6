"""Sessions as coloured ground of a day: whose time is kept for what, and until when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from zoneinfo import ZoneInfo

from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.clinic.day import Day
from solver.clinic.entities import Provider, Room
from solver.clinic.sessions.at_starts import bookings_in
from solver.clinic.sessions.of_day import EVERYBODY, DatedSession, SessionsOfDay


@dataclass(frozen=True)
class Ground:
    """What is drawn of one session in one strip."""

    start: int
    end: int
    name: str
    """What is read on it: what it is called, and whether it is released or has yet to open."""
    words: str
    hue: int | None
    """That of the one type that it is kept for; None where it is for several, or for all."""
    is_closed: bool
    """Whether it is not open for booking yet."""
    is_released: bool

    def drawn(self, place: str) -> str:
        """Return it as a piece of HTML at a place."""
        classes = ["sw-session"]
        classes += ["sw-is-closed"] * self.is_closed + ["sw-is-released"] * self.is_released
        hue = "" if self.hue is None else f";--hue:{self.hue}"
        words = escape(self.words, quote=True)
        return (
            f'<div class="{" ".join(classes)}" style="{place}{hue}" role="note" '
            f'aria-label="{words}" title="{words}"><small>{escape(self.name)}</small></div>'
        )


def state_of(clinic: Clinic, day: dt.date, now: dt.datetime) -> int:
    """Return a number that is another one as soon as a session of the day opens or is released."""
    return SessionsOfDay.on(clinic, day).state_at(now)


def grounds_of(
    clinic: Clinic,
    day: dt.date,
    row: Provider | Room,
    now: dt.datetime,
    hues: Mapping[str, int],
    write_time: Callable[[str], str],
) -> list[Ground]:
    """Return the sessions of a provider or a room and those of everybody, the longest first."""
    owners = (row.id, None) if isinstance(row, Provider) else (None, row.id)
    by_owner = SessionsOfDay.on(clinic, day).by_owner
    found = [s for owner in (EVERYBODY, owners) for s in by_owner.get(owner, ())]
    found.sort(key=lambda s: (s.row.start - s.row.end, s.row.id))
    in_words = _Words(clinic, day, now, write_time)
    return [in_words.ground(session, hues) for session in found]


@dataclass(frozen=True)
class _Words:
    clinic: Clinic
    day: dt.date
    now: dt.datetime
    write_time: Callable[[str], str]

    def ground(self, session: DatedSession, hues: Mapping[str, int]) -> Ground:
        row = session.row
        kinds = row.appointment_type_ids
        is_released = session.is_released(self.now)
        is_closed = not is_released and not session.is_open(self.now)
        told = [row.name, self._kept_for(session)]
        if row.max_bookings is not None:
            count = bookings_in(Day.of(self.clinic, self.day), row)
            told.append(f"{count} of {row.max_bookings} booked")
        if is_released:
            told.append("released: open to everything")
        elif is_closed:
            told.append(f"can be booked from {self._moment(session.opens)}")
        if not is_released and session.releases is not None:
            told.append(f"kept until {self._moment(session.releases)}")
        hue = hues.get(next(iter(kinds))) if kinds is not None and len(kinds) == 1 else None
        state = " (released)" if is_released else " (not open yet)" if is_closed else ""
        words = ", ".join(told)
        return Ground(row.start, row.end, row.name + state, words, hue, is_closed, is_released)

    def _kept_for(self, session: DatedSession) -> str:
        kinds = session.row.appointment_type_ids
        if kinds is None:
            return "for everything"
        names = sorted(self.clinic.type_by_id[key].name for key in kinds)
        return f"kept for {', '.join(names) or 'nobody'}"

    def _moment(self, moment: dt.datetime | None) -> str:
        """Write a moment, its date only where that is not the day's own."""
        assert moment is not None
        local = moment.astimezone(ZoneInfo(self.clinic.settings.timezone))
        time = self.write_time(format_time(local.hour * 60 + local.minute))
        date = local.date()
        return time if date == self.day else f"{date:%a} {date.day} {date:%b}, {time}"
