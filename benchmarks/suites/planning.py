"""Contended weeks planned by ours and by peers, and what planning does to those who ask for slots.

Every planner runs in a process of its own, alone on the machine, on the instance files, and every
plan is read again by the reader that shares no code with the model. Peers are asked for the sizes
that they can hold: written down whole, the rows of an L or an XL take gigabytes.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import numpy as np
import orjson

from api.service.settings import read_settings
from api.what_if.executors import solve
from api.what_if.progress_channel import ProgressServer
from benchmarks.instances import library
from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.flame import profiled
from benchmarks.measure.meter import Meter
from benchmarks.planners.answer import Answer
from benchmarks.suites.http import ask, queries_to
from benchmarks.support.clinics import make_clinic
from benchmarks.support.service import Service, coming_monday, fill, service
from data.files.clinic_file import read_clinic_file
from data.files.run_file import read_run_file
from solver.clinic.clinic import Clinic
from solver.planning.problem import relative_gap
from solver.planning.search.solve import solve as plan_here
from solver.whatif.changes import ProviderOut
from solver.whatif.run import Scenario
from solver.whatif.run_result import ScenarioResult

PEERS = ("ours, regular only", "HiGHS", "PyJobShop")


GRACE_SECONDS = 120
"""Beyond its limit, for a planner to write its model down and to read its plan again."""


LARGE_GRACE_SECONDS = 900


PLACED = "Priority placed"


MEMORY = "Peak memory"


@dataclass(frozen=True)
class Size:
    """Instances of one size, their time limit, what the gap may be by then, and who is asked."""

    names: tuple[str, ...]
    seconds: float
    gap: float
    peers: tuple[str, ...] = ()


SIZES = (
    Size(("s0",), 5, 0.0, PEERS),
    Size(("s1", "s2"), 5, 0.0, ("HiGHS",)),
    Size(("m0",), 15, 0.004, PEERS),
    Size(("l0",), 60, 0.012),
    Size(("xl0",), 60, 0.025),
)


QUICK = (Size(("s0",), 5, 0.0),)


LARGE = (Size(("l0",), 60, 0.012, ("HiGHS",)), Size(("xl0",), 60, 0.025, ("HiGHS",)))


REAL = (
    Size(("r-s0",), 5, 0.0, ("HiGHS",)),
    Size(("r-m0",), 15, 0.02, ("HiGHS",)),
    Size(("r-l0",), 60, 0.04),
)
"""The weeks with a real clinic's rules."""


NOTES = (
    "Seconds are those of the search; what a peer needs to write its model down is told apart and "
    "does not count against its limit.",
    "PyJobShop knows no overbooking: it is to be held against ours, regular only.",
    "A mean score as high as greedy's is not asked for where it is proved that no plan of the "
    "greatest priority has it (s1): who places more of what matters may place it less well.",
)


def run(meter: Meter) -> Suite:
    """Return the figures of the suite."""
    found = [_solved(meter, QUICK if meter.quick else SIZES)]
    if not meter.quick:
        found += [_side_by_side(6.0), _slots_meanwhile(meter.new_database())]
    tree = None
    if not meter.quick:
        problem = library.load("m0")
        tree = profiled(lambda: plan_here(problem, time_limit=5, workers=1))
    return Suite(
        [figure for each in found for figure in each.figures],
        [ratio for each in found for ratio in each.ratios],
        notes=NOTES,
        tables=found[0].tables,
        curves=found[0].curves,
        profiles={} if tree is None else {"A plan of m0, five seconds in one process": tree},
    )


def run_large(meter: Meter) -> Suite:
    """Return the figures of the sizes whose rows a peer can hardly hold, with that peer."""
    found = _solved(meter, LARGE[:1] if meter.quick else LARGE, LARGE_GRACE_SECONDS)
    return replace(found, notes=NOTES)


def run_real(meter: Meter) -> Suite:
    """Return the figures of weeks with a real clinic's rules."""
    found = _solved(meter, REAL[:1] if meter.quick else REAL, LARGE_GRACE_SECONDS)
    return replace(found, notes=NOTES)


def _solved(meter: Meter, sizes: Sequence[Size], grace: float = GRACE_SECONDS) -> Suite:
    """Have every planner asked for solve every instance."""
    meter.look(20)
    rows: list[dict[str, Any]] = []
    curves: dict[str, dict[str, list[list[float]]]] = {}
    figures: list[Figure] = []
    ratios: list[Ratio] = []
    for size in sizes:
        for name in size.names:
            planners = ("greedy", "ours", *size.peers)
            answers = {each: planned(each, name, size.seconds, grace) for each in planners}
            rows += [_row(name, each, answer) for each, answer in answers.items()]
            curves |= _curves(name, answers)
            figures += _figures(name, answers)
            ratios += _ratios(name, answers, size.gap)
        meter.look(20)
    return Suite(figures, ratios, tables={"Plans": rows}, curves=curves)


def planned(planner: str, instance: str, seconds: float, grace: float) -> Answer | str:
    """Return a planner's answer, or in a few words why there is none."""
    command = [sys.executable, "-m", "benchmarks.planners", planner, instance, f"{seconds}"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, errors = process.communicate(timeout=seconds + grace)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # those too whom it has started
            return "did not end"
    if process.returncode:
        last = (errors.strip().splitlines() or [f"ended with {process.returncode}"])[-1]
        return "not installed" if last.startswith("ModuleNotFoundError") else last
    return Answer.from_json(orjson.loads(out.splitlines()[-1]))


def _row(instance: str, planner: str, answer: Answer | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"instance": instance, "planner": planner, "status": answer}
    return {
        "instance": instance,
        "planner": planner,
        "status": answer.status,
        "priority": answer.priority,
        "bound": answer.bound,
        "gap %": round(100 * answer.gap, 2),
        "best known": library.best_known()[instance]["priority"]["objective"],
        "score": answer.score,
        "score bound": answer.score_bound,
        "mean score": answer.mean,
        "placed": answer.placed,
        "seconds": round(answer.seconds, 1),
        "to the first": None if answer.first is None else round(answer.first, 2),
        "to within 1 %": None if answer.near is None else round(answer.near, 2),
        "to the proof": None if answer.proved is None else round(answer.proved, 2),
        "building": round(answer.building, 1),
        "MiB": round(answer.mib),
        "faults": len(answer.faults),
    }


def _curves(
    instance: str, answers: dict[str, Answer | str]
) -> dict[str, dict[str, list[list[float]]]]:
    """Return the lines of an instance's charts: plans and bounds over time, and their gap."""
    lines: dict[str, list[list[float]]] = {}
    gaps: dict[str, list[list[float]]] = {}
    for planner, answer in answers.items():
        if isinstance(answer, str) or planner == "ours, regular only":
            continue
        lines[planner] = [[m.seconds, m.priority] for m in answer.history if m.priority is not None]
        if planner != "greedy":
            lines[f"{planner}, bound"] = [[m.seconds, m.bound] for m in answer.history]
            gaps[planner] = [
                [m.seconds, 100 * relative_gap(m.priority, m.bound)]
                for m in answer.history
                if m.priority is not None
            ]
    return {
        f"{instance}: priority placed and proved bound by seconds": lines,
        f"{instance}: gap in per cent by seconds": gaps,
    }


def _figures(instance: str, answers: dict[str, Answer | str]) -> Iterator[Figure]:
    ours = answers["ours"]
    if isinstance(ours, Answer):
        yield Figure(PLACED, instance, "", (ours.priority,), more_is_better=True, tolerance=0.01)
        yield Figure(MEMORY, instance, "MiB", (ours.mib,), tolerance=0.2)


def _ratios(instance: str, answers: dict[str, Answer | str], gap: float) -> Iterator[Ratio]:
    ours = answers["ours"]
    if isinstance(ours, str):
        return
    yield Ratio(f"{instance}: gap of ours", ours.gap, at_most=gap)
    against = {
        "greedy": ("ours to greedy", ours),
        "HiGHS": ("ours to HiGHS", ours),
        "PyJobShop": ("ours, regular only, to PyJobShop", answers.get("ours, regular only")),
    }
    for peer, (words, mine) in against.items():
        theirs = answers.get(peer)
        if isinstance(theirs, Answer) and isinstance(mine, Answer):
            value = mine.priority / theirs.priority if theirs.priority else math.inf
            if math.isfinite(value):
                yield Ratio(f"{instance}: priority, {words}", value, at_least=1)
    greedy = answers.get("greedy")
    if isinstance(greedy, Answer) and greedy.mean:
        mean = library.best_known()[instance].get("mean", {})
        least = None if mean.get("is_possible") is False else 1
        name = f"{instance}: mean score, ours to greedy"
        yield Ratio(name, ours.mean / greedy.mean, at_least=least)
    faults = sum(len(a.faults) for a in answers.values() if isinstance(a, Answer))
    yield Ratio(f"{instance}: faults found by the reader", faults, at_most=0)


# Five scenarios


def _side_by_side(seconds: float) -> Suite:
    """Solve five scenarios of an M together, each with the time that one alone was given.

    Where there are two cores; with more, more are solved at once and each has more of the time.
    """
    clinic = read_clinic_file(library.clinic_path("m0")).to_clinic(library.NOW)
    run = read_run_file(library.run_path("m0"), clinic, library.NOW)
    absences = [
        Scenario(f"{provider.name} out", (ProviderOut(provider.id, run.start_date),))
        for provider in clinic.providers[:4]
    ]
    settings = read_settings()

    def solved(scenarios: tuple[Scenario, ...], limit: float) -> tuple[float, ScenarioResult]:
        asked = replace(run, scenarios=scenarios, time_limit_seconds=limit)
        begin = time.perf_counter()
        with ProgressServer(lambda _name, _progress: None) as server:
            result = solve(asked, clinic, library.NOW, server, weights=settings.weights)
        return time.perf_counter() - begin, result["scenarios"][0]

    alone, first = solved(run.scenarios[:1], seconds)
    together, among = solved((run.scenarios[0], *absences), 3 * seconds)
    return Suite(
        figures=[],
        ratios=[
            Ratio("five scenarios of m0 to one, time", together / alone, at_most=3),
            Ratio(
                "the baseline among five to alone, priority",
                among["objective"] / first["objective"],
                at_least=0.99,
            ),
        ],
    )


# Slots meanwhile


def _slots_meanwhile(url: str) -> Suite:
    """Ask for slots of a service that solves a run and of one that does not."""
    monday = coming_monday()
    clinic = make_clinic(5, 8)
    count = 400
    paths = queries_to(clinic, monday)
    fill(url, clinic, monday)
    with service(url) as running:
        asyncio.run(ask(running, paths, at_once=1, count=50))
        quiet, _ = asyncio.run(ask(running, paths, at_once=1, count=count))
        with _a_run(running, clinic, monday):
            busy, _ = asyncio.run(ask(running, paths, at_once=1, count=count))
    group = "A slot query, 5 × 8, over HTTP"
    times = {
        name: Figure(group, name, "ms", tuple(samples), tolerance=None)
        for name, samples in (("quiet", quiet), ("while a run is solved", busy))
    }
    p99 = [figure.quantile(0.99) for figure in times.values()]
    return Suite(
        figures=list(times.values()),
        ratios=[
            Ratio("slot query's p99 while a run is solved, to quiet", p99[1] / p99[0], at_most=3)
        ],
    )


@contextmanager
def _a_run(running: Service, clinic: Clinic, monday: dt.date) -> Iterator[None]:
    """Have the service solve a run of an M's size meanwhile."""
    chance = np.random.default_rng(0)
    document = {
        "name": "In the background",
        "start_date": monday.isoformat(),
        "days": 5,
        "requests": [
            {
                "id": f"r{number}",
                "appointment_type_id": chance.choice([t.id for t in clinic.appointment_types]),
                "priority": int(chance.integers(1, 10)),
            }
            for number in range(300)
        ],
        "scenarios": [{"name": "baseline"}],
        "time_limit_seconds": 120,
    }
    with httpx.Client(base_url=running.base, timeout=30) as client:
        submitted = client.post("/what-if", json=document).raise_for_status().json()
        path = f"/what-if/{submitted['id']}"
        while not client.get(path).json().get("progress"):
            time.sleep(0.1)
        yield
        state = client.get(path).json()["status"]
        client.delete(path).raise_for_status()
        if state != "running":
            raise RuntimeError(f"the run was {state} before the queries had been answered")
