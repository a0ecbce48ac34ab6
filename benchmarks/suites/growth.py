"""What each part of an answer costs against the size of the clinic, and where its curve bends."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import text

from benchmarks.measure.figures import Figure, Suite
from benchmarks.measure.meter import Meter
from benchmarks.suites.slots import requests
from benchmarks.support.clinics import make_clinic
from benchmarks.support.service import coming_monday, fill
from data.clinic.snapshot import Snapshots
from data.database.engine import create_engine
from solver.clinic.clinic import Clinic
from solver.clinic.day import Day
from solver.clinic.request import SlotRequest
from solver.rules import masks
from solver.scoring.parts import DEFAULT_WEIGHTS
from solver.scoring.scores import Scores
from solver.slots.ranking import Ranking
from solver.slots.search import find_slots

SIZES = ((5, 8), (16, 30), (50, 100), (160, 300), (500, 1000))


LIMIT = 50


CHANGE = """
    UPDATE bookings SET (patient_ref, patient_key) =
        (SELECT name, name FROM (SELECT 'patient ' || gen_random_uuid() AS name) AS another)
    WHERE id = (SELECT max(id::text)::uuid FROM bookings WHERE status <> 'cancelled')
"""


BEND = 0.5
"""Growth as a power of the number of providers from which a curve counts as bent."""


def run(meter: Meter) -> Suite:
    """Return the figures of the suite."""
    sizes = SIZES[::2] if meter.quick else SIZES
    figures: list[Figure] = []
    for providers, rooms in sizes:
        clinic = make_clinic(providers, rooms)
        figures += _parts(meter, clinic, f"{providers} × {rooms}", 25 if meter.quick else 100)
    monday = coming_monday()
    url = meter.new_database()
    for providers, rooms in sizes[:1] if meter.quick else SIZES[::2]:
        clinic = make_clinic(providers, rooms)
        fill(url, clinic, monday)
        meter.look(10)
        first, changed, again = asyncio.run(_loads(url, 30 if meter.quick else 60))
        label = f"{providers} × {rooms}"
        size = float(providers)
        figures += [
            Figure("snapshot, all rows", label, "ms", tuple(first), size=size),
            Figure("snapshot, rows kept", label, "ms", tuple(changed), size=size),
            Figure("snapshot, book unchanged", label, "ms", tuple(again), size=size),
        ]
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(figure.group, []).append(figure)
    return Suite(
        figures,
        notes=[
            "Sizes are providers × rooms. Growth is the power of the number of providers with "
            f"which a part grows from one size to the next; a curve bends where it exceeds {BEND}."
        ],
        tables={"Growth by part": [_growth(name, each) for name, each in groups.items()]},
        curves={
            "Milliseconds by providers": {
                name: [[figure.size or 0.0, figure.median] for figure in each]
                for name, each in groups.items()
            }
        },
    )


def _parts(meter: Meter, clinic: Clinic, label: str, repeats: int) -> Iterator[Figure]:
    """Time the parts of queries one after the other; the model's is what is left of the whole."""
    samples: dict[str, list[float]] = {}
    for number, request in enumerate(requests(clinic, repeats + 5)):
        if number % 20 == 0:
            meter.look(1)
        for name, ms in _timed(clinic, request):
            if number >= 5:
                samples.setdefault(name, []).append(ms)
    for name, values in samples.items():
        yield Figure(name, label, "ms", tuple(values), size=float(len(clinic.providers)))


def _timed(clinic: Clinic, request: SlotRequest) -> Iterator[tuple[str, float]]:
    anew, whole = (clinic.with_bookings(clinic.bookings) for _ in range(2))
    moments = [time.perf_counter()]
    day = Day.of(anew, request.date)
    moments.append(time.perf_counter())
    (passed,) = masks.build(day, request)
    moments.append(time.perf_counter())
    ranking = Ranking(passed, Scores.of(passed, request, DEFAULT_WEIGHTS))
    moments.append(time.perf_counter())
    next(ranking.growing(LIMIT, "best"))
    moments.append(time.perf_counter())
    find_slots(whole, request, limit=LIMIT)
    moments.append(time.perf_counter())
    spent = [1000 * (after - before) for before, after in pairwise(moments)]
    yield from zip(("laying out", "masks", "scores", "ranking"), spent, strict=False)
    yield "model and list", max(0.0, spent[-1] - sum(spent[:-1]))
    yield "whole query", spent[-1]


async def _loads(url: str, repeats: int) -> tuple[list[float], list[float], list[float]]:
    """Return the milliseconds of reading all rows, and of the book alone, changed and not."""
    engine = create_engine(url)
    monday = coming_monday()
    first: list[float] = []
    changed: list[float] = []
    again: list[float] = []
    for _ in range(max(5, repeats // 6) + 1):
        begin = time.perf_counter()
        snapshots = Snapshots(engine)
        await snapshots.load(monday, monday)
        first.append(1000 * (time.perf_counter() - begin))
    for _ in range(repeats):
        async with engine.begin() as connection:
            await connection.execute(text(CHANGE))
        for samples in (changed, again):
            begin = time.perf_counter()
            await snapshots.load(monday, monday)
            samples.append(1000 * (time.perf_counter() - begin))
    await engine.dispose()
    return first[1:], changed, again


def _growth(name: str, figures: Sequence[Figure]) -> dict[str, Any]:
    row: dict[str, Any] = {"part": name}
    bends = None
    for before, after in pairwise(figures):
        assert before.size is not None
        assert after.size is not None
        power = math.log(max(after.median, 1e-3) / max(before.median, 1e-3))
        power /= math.log(after.size / before.size)
        row[f"{before.size:g} to {after.size:g}"] = round(power, 2)
        if bends is None and power > BEND:
            bends = f"{before.size:g}"
    return row | {"bends from": bends or "nowhere"}
