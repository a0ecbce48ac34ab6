"""The bookings that need a new place: how many, on every page, and which."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from api.console.drawing.day_cache import STRANDABLE
from api.console.drawing.run import table
from api.console.messages import reasons_in_words

if TYPE_CHECKING:
    from api.console.backend import Backend, Visit


REST = 20.0
"""Reading them takes at most one part in so many of the time, however large the book is."""


MOST_SECONDS = 60.0
"""After so long they are read again in any case: bookings end, and holds run out."""


MOST_LISTED = 200


type Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Found:
    """Those that need a new place, the earliest first, and how many there are in all."""

    rows: Rows = field(default_factory=list)
    count: int = 0


class Stranded:
    """Reads them once for all open pages of a process, and only when something has changed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._found = Found()
        self._mark = ""
        self._read_at = float("-inf")
        self._took = 0.0
        self._reading = asyncio.Lock()

    async def look(self, visit: Visit) -> Found:
        """Return them as they were read last, which is no longer ago than reading is cheap.

        Raises
        ------
        RefusedError
            When the visitor may not read any more, or the service is busy.
        """
        await visit.service()
        mark = await self._backend.mark()
        age = time.monotonic() - self._read_at
        is_due = mark != self._mark and age >= REST * self._took
        if (is_due or age >= MOST_SECONDS) and not self._reading.locked():
            async with self._reading:
                begun = time.monotonic()
                self._found = await _read(visit)
                self._mark, self._read_at = mark, time.monotonic()
                self._took = self._read_at - begun
        return self._found


async def _read(visit: Visit) -> Found:
    answer = await visit.send("GET", "/bookings/conflicts", params={"limit": MOST_LISTED})
    listed: Rows = answer.json()
    total = int(answer.headers.get("x-total-count", len(listed)))
    rows = [row for row in listed if row["status"] in STRANDABLE]
    return Found(rows, len(rows) + max(0, total - len(listed)))


def booking_table(
    visit: Visit, rows: Iterable[Mapping[str, Any]], *, may_move: bool = False
) -> str:
    """Return bookings outside the rules as a table: whose, what, when, where and why.

    Parameters
    ----------
    rows
        As ``GET /bookings/conflicts`` lists them.
    may_move
        Whether to offer to look for a new place, by a button with the booking's id and date; else
        the date is a link to its day.
    """
    may_move = may_move and visit.caller.may("scheduler")

    def cells(row: Mapping[str, Any]) -> str:
        when = escape(f"{visit.short_day(row['date'])}, {visit.time(row['start_time'])}")
        if may_move:
            shown = (
                f'<button type="button" class="sw-link" data-date="{row["date"]}">{when}</button>'
            )
        else:
            shown = f'<a class="sw-link" target="_blank" href="./?date={row["date"]}">{when}</a>'
        texts = [
            escape(row["patient_ref"] or "–"),
            escape(row["appointment_type_name"]),
            shown,
            escape(row["provider_name"]),
            escape(row["room_name"]),
            escape(reasons_in_words(rule["code"] for rule in row["rules"])),
        ]
        if may_move:
            move = f'data-date="{row["date"]}" data-move="{row["id"]}"'
            texts.append(
                f'<button type="button" class="sw-link" {move}>Reschedule</button>'
                if row["status"] == "booked"
                else ""
            )
        return "".join(f"<td>{text}</td>" for text in texts)

    heads = ["Patient", "Type", "When", "Provider", "Room", "Why"]
    head = "".join(f'<th scope="col">{words}</th>' for words in heads)
    head += "<td></td>" * may_move
    return table(head, map(cells, rows))
