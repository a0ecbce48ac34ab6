"""What one service carries: by the size of its clinic, and by the number of its processes."""

from __future__ import annotations

import asyncio

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.meter import Meter
from benchmarks.suites.growth import SIZES
from benchmarks.suites.http import ask, queries_to
from benchmarks.support.clinics import make_clinic
from benchmarks.support.service import Service, coming_monday, fill, service

PROCESSES = (1, 2, 3, 4)


AT_ONCE = 8


ALONE = "One query after the other, by providers"


RATE_BY_SIZE = "Queries a second of one process, by providers"


RATE_BY_PROCESSES = "Queries a second, 5 × 8, by processes"


def run(meter: Meter) -> Suite:
    """Return the figures of the suite."""
    monday, url = coming_monday(), meter.new_database()
    figures: list[Figure] = []
    for providers, rooms in SIZES[::2] if meter.quick else SIZES:
        clinic, label = make_clinic(providers, rooms), f"{providers} × {rooms}"
        fill(url, clinic, monday)
        paths = queries_to(clinic, monday)
        with service(url) as running:
            alone, _ = asyncio.run(ask(running, paths, at_once=1, count=30 if meter.quick else 120))
            rates = _rates(meter, running, paths)
        size = float(providers)
        figures += [
            Figure(ALONE, label, "ms", tuple(alone[20:]), size=size),
            Figure(RATE_BY_SIZE, label, "a second", rates, size=size, more_is_better=True),
        ]
    clinic = make_clinic(*SIZES[0])
    fill(url, clinic, monday)
    paths = queries_to(clinic, monday)
    for count in PROCESSES[:2] if meter.quick else PROCESSES:
        with service(url, count) as running:
            rates = _rates(meter, running, paths)
        label = f"{count} {'process' if count == 1 else 'processes'}"
        figures.append(
            Figure(
                RATE_BY_PROCESSES, label, "a second", rates, size=float(count), more_is_better=True
            )
        )
    curves: dict[str, dict[str, list[list[float]]]] = {}
    for figure in figures:
        lines = curves.setdefault(figure.group, {figure.unit: []})
        lines[figure.unit].append([figure.size or 0.0, figure.median])
    most = [figure.median for figure in figures if figure.group == RATE_BY_PROCESSES]
    return Suite(
        figures,
        ratios=[Ratio(f"queries a second, {len(most)} processes to one", most[-1] / most[0])],
        notes=[
            "The client and the database run on the same cores, so more processes than cores "
            "add nothing."
        ],
        curves=curves,
    )


def _rates(meter: Meter, running: Service, paths: list[str]) -> tuple[float, ...]:
    """Return queries a second, round by round, with as many asking as keep a process busy."""
    seconds, rounds = (0.5, 2) if meter.quick else (1.0, 5)
    rates = []
    for number in range(rounds + 1):
        meter.look(3)
        samples, elapsed = asyncio.run(ask(running, paths, at_once=AT_ONCE, seconds=seconds))
        if number:
            rates.append(len(samples) / elapsed)
    return tuple(rates)
