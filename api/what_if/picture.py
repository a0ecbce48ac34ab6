"""What a picture of a run shows, whoever draws it: the rows' names, the plans' bars, the hours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time, parse_time
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.windows import Windows
from solver.whatif.changes import AddPool, AddProvider, AddRoom
from solver.whatif.run import Run
from solver.whatif.run_result import PlacementResult, PlaceResult, ScenarioResult

DEFAULT_HOURS = (480, 1080)
"""The minutes of a day that are shown where nobody is open and nothing is booked."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One appointment in the picture of a plan.

    `title` is the patient of a booking, the request of a placement; `placement` is None for what
    was booked before. The type of a booking that moves is not shown.
    """

    kind: Literal["booked", "moved", "placed"]
    place: PlaceResult
    title: str = ""
    appointment_type_id: str | None = None
    is_overbooked: bool = False
    placement: PlacementResult | None = None

    @property
    def span(self) -> Span:
        """Its minutes of the day."""
        return parse_time(self.place["start_time"]), parse_time(self.place["end_time"])

    @property
    def date(self) -> dt.date:
        """Its date."""
        return dt.date.fromisoformat(self.place["date"])


def names_of(run: Run, clinic: Clinic) -> dict[str, str]:
    """Return the names of providers, rooms, types and pools, those that scenarios add last."""
    rows: list[Any] = [
        *clinic.providers,
        *clinic.rooms,
        *clinic.appointment_types,
        *clinic.equipment_pools,
    ]
    for scenario in run.scenarios:
        for change in scenario.changes:
            match change:
                case AddProvider(provider=row) | AddRoom(room=row) | AddPool(pool=row):
                    rows.append(row)
    return {row.id: row.name for row in rows}


def booked_before(
    clinic: Clinic, dates: Iterable[dt.date], *, but: Collection[str] = ()
) -> Iterator[Bar]:
    """Yield the live bookings of some dates where they are, but for those of some ids."""
    shown = frozenset(dates)
    for b in clinic.bookings:
        if b.id in but or not b.is_live or b.date not in shown:
            continue
        kind = clinic.kind_of(b)
        place: PlaceResult = {
            "provider_id": b.provider_id,
            "room_id": b.room_id,
            "date": b.date.isoformat(),
            "start_time": format_time(b.start),
            "end_time": format_time(min(DAY_MINUTES, b.start + kind.duration_minutes)),
        }
        yield Bar("booked", place, b.patient_ref or "", kind.id)


def booked_after(
    scenario: ScenarioResult, clinic: Clinic, dates: Iterable[dt.date]
) -> Iterator[Bar]:
    """Yield what a scenario's plan leaves: bookings that stay, those that move, placements."""
    yield from booked_before(clinic, dates, but={move["booking_id"] for move in scenario["moves"]})
    for move in scenario["moves"]:
        if (place := move["to"]) is not None:
            yield Bar("moved", place, "moved", is_overbooked=place.get("is_overbooked", False))
    for row in scenario["placements"]:
        kind = row["appointment_type_id"]
        yield Bar("placed", row, row["request_id"], kind, row["is_overbooked"], row)


def hours_of(clinic: Clinic, dates: Sequence[dt.date], bars: Iterable[Bar]) -> Span:
    """Return the first and the last minute of a day that a picture of some bars has to show."""
    spans = [
        span
        for day in dates
        for windows in Windows.on(clinic, day).provider.values()
        for span in windows
    ]
    spans += [bar.span for bar in bars]
    if not spans:
        return DEFAULT_HOURS
    return min(start for start, _ in spans), max(end for _, end in spans)
