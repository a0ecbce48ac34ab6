"""Slot queries in process: by size and load of the clinic, and against the plain reading."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.flame import profiled
from benchmarks.measure.meter import Meter
from benchmarks.suites import masks
from benchmarks.support.clinics import MONDAY, make_clinic
from solver.clinic.clinic import Clinic
from solver.clinic.request import SlotRequest
from solver.rules.checked_slots import SlotChecker
from solver.slots.oracle import best_slot
from solver.slots.ranking import Rooms
from solver.slots.search import SlotPage, find_slots

SIZES = ((5, 8), (50, 100), (500, 1000))


NOW = dt.datetime(2027, 2, 1, tzinfo=dt.UTC)


LOADS = {"empty": 0.02, "half full": 0.5, "nearly full": 0.9}


ASKED = {"all providers": False, "one provider": True}


ROOMS: tuple[Rooms, ...] = ("best", "all")


BY_SIZE = "One query, 50 best slots"


ALL = "One query, up to 5000 slots over all rooms"


ENDS = "Ways to an answer, 5 × 8"


def run(meter: Meter) -> Suite:
    """Return the figures of the suite."""
    repeats = 40 if meter.quick else 200
    figures = []
    for providers, rooms in SIZES:
        clinic, label = make_clinic(providers, rooms), f"{providers} × {rooms}"
        samples = meter.times(queries(clinic, repeats))
        figures.append(Figure(BY_SIZE, label, "ms", samples, size=providers * rooms))
    for providers, rooms in SIZES[:1] if meter.quick else SIZES:
        for name, load in list(LOADS.items())[: 1 if meter.quick else None]:
            clinic = make_clinic(providers, rooms, load=load)
            figures += _every_way(meter, clinic, f"{providers} × {rooms}", name)
    small = make_clinic(5, 8)
    best = [partial(best_slot, small, each) for each in requests(small, max(20, repeats // 10))]
    plain = [
        partial(SlotChecker(small).read_slots, each)
        for each in requests(small, max(8, repeats // 20))
    ]
    figures += [
        Figure(ENDS, "the best one, proved", "ms", meter.times(best, warm_up=2)),
        Figure(ENDS, "every slot, read plainly", "ms", meter.times(plain, warm_up=1)),
    ]
    of = {(figure.group, figure.label): figure.median for figure in figures}
    first = of[BY_SIZE, "5 × 8"]
    middle = make_clinic(50, 100)
    tree = profiled(lambda: [call() for call in queries(middle, max(20, repeats // 3))])
    alone = masks.run(meter)
    return Suite(
        [*figures, *alone.figures],
        ratios=[
            Ratio("slot query, 50 × 100 to 5 × 8", of[BY_SIZE, "50 × 100"] / first),
            Ratio("slot query, 500 × 1000 to 5 × 8", of[BY_SIZE, "500 × 1000"] / first, at_most=5),
            Ratio("plain reading to ours, 5 × 8", of[ENDS, "every slot, read plainly"] / first),
            *alone.ratios,
        ],
        notes=[
            "The plain reading is what the rules' text says, loop by loop, without numpy.",
            *alone.notes,
        ],
        tables=alone.tables,
        profiles={} if tree is None else {"Slot queries in process, 50 × 100": tree},
    )


def _every_way(meter: Meter, clinic: Clinic, size: str, load: str) -> Iterator[Figure]:
    """Time each way of asking: of all or of one, with the best room or with all."""
    count = 20 if meter.quick else 50
    for (asked, one_provider), rooms in product(ASKED.items(), ROOMS):
        calls = queries(clinic, count, rooms=rooms, one_provider=one_provider)
        words = "the best room" if rooms == "best" else "all rooms"
        label = f"{load}, {asked}, {words}"
        yield Figure(f"One query, {size}", label, "ms", meter.times(calls))
    if len(clinic.rooms) == SIZES[0][1]:
        calls = queries(clinic, 20, limit=5000, rooms="all")
        yield Figure(ALL, f"{size}, {load}", "ms", meter.times(calls, warm_up=2))


def requests(clinic: Clinic, count: int, *, one_provider: bool = False) -> Iterator[SlotRequest]:
    """Yield seeded requests for the clinic's Monday."""
    chance = random.Random(count)
    for _ in range(count):
        wish = chance.randrange(480, 960, 15)
        kind = chance.choice(clinic.appointment_types)
        provider = frozenset({chance.choice(clinic.providers).id}) if one_provider else None
        yield SlotRequest(kind.id, MONDAY, NOW, preferred=(wish, wish + 120), provider_ids=provider)


def queries(
    clinic: Clinic,
    count: int,
    *,
    limit: int = 50,
    rooms: Rooms = "best",
    one_provider: bool = False,
) -> list[Callable[[], object]]:
    """Return calls that each answer a request; the first few are to warm up."""
    return [
        partial(_answer, clinic, request, limit=limit, rooms=rooms)
        for request in requests(clinic, count + 5, one_provider=one_provider)
    ]


def _answer(clinic: Clinic, request: SlotRequest, *, limit: int, rooms: Rooms) -> SlotPage:
    """Answer as a query does when the book has changed since the last: it lays its day out."""
    anew = clinic.with_bookings(clinic.bookings)
    return find_slots(anew, request, limit=limit, rooms=rooms)
