"""The days that the open boards of a process show, each drawn once for all of them."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio.to_thread
from anyio import CapacityLimiter
from cachetools import LRUCache

from api.console.drawing.day import Broken, By, Drawing, DrawnDay
from api.console.drawing.sessions import state_of
from api.console.messages import reasons_in_words
from solver.clinic.clinic import Clinic
from solver.rules.whole_book_rules import violations

if TYPE_CHECKING:
    from api.console.backend import Backend


MOST_DAYS = 16
"""Days, by whom and in which language, that are kept as they were drawn last."""


STRANDABLE = ("held", "booked", "checked_in")
"""What a booking must be to need a new place: what is over needs none."""


@dataclass(slots=True)
class _Kept:
    """One day as it was drawn last, and of which state of the database."""

    drawn: DrawnDay | None = None
    seen: tuple[str, dt.datetime] | None = None
    drawing: asyncio.Lock = field(default_factory=asyncio.Lock)


class DayBoards:
    """Draws days, in a thread and one at a time, however many browsers look at them.

    A day is drawn anew when anything has been written to the database since, which is asked at most
    every :data:`api.console.backend.MARK_SECONDS`, and each minute, as holds run out. Of the former
    drawing all strips are kept that show the same as before.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._kept: LRUCache[object, _Kept] = LRUCache(MOST_DAYS)
        self._one_at_a_time = CapacityLimiter(1)
        self.drawings = 0
        """How many days have been drawn so far."""

    async def look(
        self,
        day: dt.date,
        by: By,
        language: object,
        write_time: Callable[[str], str],
        *,
        at_once: bool = False,
    ) -> DrawnDay:
        """Return the day as it is drawn for everyone; the same object as long as nothing changes.

        Parameters
        ----------
        language
            Tells apart those for whom `write_time` writes differently.
        at_once
            Whether it has to be as things are now: for who has just changed something.
        """
        kept = self._kept.setdefault((day, by, language), _Kept())
        async with kept.drawing:
            now = dt.datetime.now(dt.UTC)
            mark = await self._backend.mark(now=at_once)
            seen = (mark, now.replace(second=0, microsecond=0))
            if kept.drawn is None or kept.seen != seen:
                clinic = await self._backend.context.snapshots.load(day, day)
                kept.drawn = await anyio.to_thread.run_sync(
                    _draw, clinic, day, by, now, write_time, kept.drawn, limiter=self._one_at_a_time
                )
                kept.seen = seen
                self.drawings += 1
            return kept.drawn


def _draw(
    clinic: Clinic,
    day: dt.date,
    by: By,
    now: dt.datetime,
    write_time: Callable[[str], str],
    former: DrawnDay | None,
) -> DrawnDay:
    state = state_of(clinic, day, now)
    if former is not None and former.clinic is clinic and former.session_state == state:
        return former
    return Drawing(clinic, day, by, write_time, now, _broken(clinic, day, now)).drawn(former)


def _broken(clinic: Clinic, day: dt.date, now: dt.datetime) -> Broken:
    """Return the rules that bookings of the day break, in words; none of days that are over."""
    if day < now.astimezone(clinic.settings.zone).date():
        return {}
    broken: defaultdict[str, list[str]] = defaultdict(list)
    for violation in violations(clinic, since=day, now=now):
        booking = violation.booking
        if booking.date == day and booking.status in STRANDABLE:
            broken[booking.id].append(violation.code)
    return {key: reasons_in_words(codes) for key, codes in broken.items()}
