"""The masks alone, at the sizes at which other systems' slot code was timed.

Others list a provider's free starts without rooms; our masks decide on providers, rooms and every
rule. Their code is JavaScript and PHP and does not run here, so their times are constants, measured
on two cores of the same kind of machine, and the ratios to them move with the machine.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, product
from typing import Any

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.meter import Meter
from benchmarks.support.clinics import MONDAY, make_clinic, uid
from solver.clinic.clinic import Clinic
from solver.clinic.day import Day
from solver.clinic.entities import Booking
from solver.clinic.request import SlotRequest
from solver.rules import masks

NOW = dt.datetime(2027, 2, 1, tzinfo=dt.UTC)


PROVIDERS = (1, 5, 50)


ROOMS = (8, 100)


BOOKINGS = 20


PEERS = {
    "Medplum": (0.08, 0.42, 5.7),
    "Easy!Appointments": (0.63, 3.4, 41.0),
    "cal.com": (4.0, 10.6, 70.0),
}
"""Milliseconds of their slot code with `PROVIDERS`, 20 bookings each, a grid of 15 minutes."""


AIMED_AT = "Medplum"


AIMS = {5: 1.0, 50: 0.5}
"""Ours to the one aimed at, at most, by providers."""


ALONE = "Masks of a day, 20 bookings each"


WITH_DAY = "Masks of a day, with laying the day out from rows"


def run(meter: Meter) -> Suite:
    """Return the figures of the suite's part."""
    repeats = 60 if meter.quick else 300
    figures = []
    for providers, rooms in product(PROVIDERS, ROOMS):
        clinic, label = booked(providers, rooms), f"{providers} × {rooms}"
        for group, calls in _calls(clinic, repeats).items():
            figures.append(Figure(group, label, "ms", meter.times(calls, at_most=1.0)))
    of = {(figure.group, figure.label): figure.median for figure in figures}
    theirs = dict(zip(PROVIDERS, PEERS[AIMED_AT], strict=True))
    rows: list[dict[str, Any]] = [
        {"system": name, **_columns(times)} for name, times in PEERS.items()
    ]
    for group, words in ((ALONE, "our masks"), (WITH_DAY, "our masks and the day's layout")):
        for rooms in ROOMS:
            times = [round(of[group, f"{providers} × {rooms}"], 3) for providers in PROVIDERS]
            rows.append({"system": f"{words}, {rooms} rooms", **_columns(times)})
    return Suite(
        figures,
        ratios=[
            Ratio(
                f"masks to {AIMED_AT}, {providers} providers, {rooms} rooms",
                of[ALONE, f"{providers} × {rooms}"] / theirs[providers],
                at_most=aim,
            )
            for (providers, aim), rooms in product(AIMS.items(), ROOMS)
        ],
        notes=[
            "The times of other systems' slot code, which knows no rooms, are constants from a "
            "machine of two cores."
        ],
        tables={"Milliseconds, 20 bookings each, a grid of 15 minutes": rows},
    )


def _columns(times: Sequence[float]) -> dict[str, float]:
    return {f"{p} providers": ms for p, ms in zip(PROVIDERS, times, strict=True)}


def booked(providers: int, rooms: int) -> Clinic:
    """Return a clinic whose providers have twenty bookings each, every half hour from 8:00.

    Where there are fewer rooms than providers, bookings share rooms, which masks do not mind.
    """
    clinic = make_clinic(providers, rooms)
    kind = min(clinic.appointment_types, key=lambda row: row.duration_minutes)
    return clinic.with_bookings(
        Booking(
            uid(5, number * BOOKINGS + turn),
            provider.id,
            clinic.rooms[number % rooms].id,
            kind.id,
            MONDAY,
            480 + 30 * turn,
            f"patient {number * BOOKINGS + turn}",
        )
        for number, provider in enumerate(clinic.providers)
        for turn in range(BOOKINGS)
    )


def _calls(clinic: Clinic, count: int) -> dict[str, list[Callable[[], object]]]:
    """Return calls that build the masks, type after type, on a day laid out before or anew."""
    day = Day.of(clinic, MONDAY)
    asked = [
        SlotRequest(kind.id, MONDAY, NOW)
        for kind, _ in zip(cycle(clinic.appointment_types), range(count + 5), strict=False)
    ]
    return {
        ALONE: [partial(masks.build, day, request) for request in asked],
        WITH_DAY: [partial(_laid_out, clinic, request) for request in asked],
    }


def _laid_out(clinic: Clinic, request: SlotRequest) -> tuple[masks.Masks, ...]:
    return masks.build(Day.of(clinic.with_bookings(clinic.bookings), request.date), request)
