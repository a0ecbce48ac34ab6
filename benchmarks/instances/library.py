"""The instances on disk: their names, reading and writing them, and what is known of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from benchmarks.instances.generate import REAL, Week, make_week
from benchmarks.support.clinics import MONDAY, as_document
from data.files.clinic_file import ClinicFile, read_clinic_file
from data.files.run_file import RequestRow, RunFile, read_run_file
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.planning.problem import Problem, Request
from solver.whatif.apply import apply

FOLDER = Path(__file__).parent
WEEKS, REAL_WEEKS = FOLDER / "weeks", FOLDER / "real_weeks"
NAMES = {"s0": ("s", 0), "s1": ("s", 1), "s2": ("s", 2), "m0": ("m", 0), "l0": ("l", 0)} | {
    "xl0": ("xl", 0)
}
NAMES |= {f"{REAL}{size}0": (f"{REAL}{size}", 0) for size in ("s", "m", "l")}
"""Size and seed of each; those that begin with ``r-`` have a real clinic's rules."""
NOW = dt.datetime(2027, 2, 22, 8, tzinfo=ZoneInfo("Europe/Berlin"))
"""The moment for which the instances are asked."""


def clinic_path(name: str) -> Path:
    """Return where an instance's clinic file lies."""
    return _folder(name) / f"{name}.clinic.json"


def run_path(name: str) -> Path:
    """Return where an instance's run file lies."""
    return _folder(name) / f"{name}.run.json"


def _folder(name: str) -> Path:
    return REAL_WEEKS if name.startswith(REAL) else WEEKS


def load(name: str) -> Problem:
    """Return an instance as the problem of its baseline."""
    clinic = read_clinic_file(clinic_path(name)).to_clinic(NOW)
    run = read_run_file(run_path(name), clinic, NOW)
    return apply(clinic, run, run.scenarios[0], NOW)


def best_known() -> dict[str, Any]:
    """Return the best objectives and bounds known, by instance."""
    known: dict[str, Any] = orjson.loads((FOLDER / "best.json").read_bytes())
    return known


def improve(rows: Iterable[dict[str, Any]]) -> None:
    """Note values and bounds that are better than the best known.

    Parameters
    ----------
    rows
        Of the suite's table of plans. The score is that of plans with the best priority.
    """
    known = best_known()
    for row in rows:
        if row.get("faults") != 0 or row["planner"] == "ours, regular only":
            continue
        priority, score = known[row["instance"]]["priority"], known[row["instance"]]["score"]
        if row["priority"] > (priority["objective"] or 0):
            priority["objective"] = row["priority"]
            score |= {"objective": None, "bound": None}
        if row["priority"] == priority["objective"] and row["score bound"] is not None:
            score["objective"] = max(score["objective"] or 0, row["score"])
            score["bound"] = min(score["bound"] or row["score bound"], row["score bound"])
        priority["bound"] = min(priority["bound"] or row["bound"], row["bound"])
    keep(known)


def keep(known: dict[str, Any]) -> None:
    """Write what is known of the instances."""
    lines = [f' "{name}": {orjson.dumps(value).decode()}' for name, value in known.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (FOLDER / "best.json").write_text(text, encoding="utf-8")


def write(name: str) -> None:
    """Generate an instance and write its two files."""
    for path, content in generated(name).items():
        path.write_bytes(content)


def generated(name: str) -> dict[Path, bytes]:
    """Return an instance's two files, a row a line."""
    week = make_week(*NAMES[name])
    return {
        clinic_path(name): _a_row_a_line(_clinic_document(week.clinic)),
        run_path(name): _a_row_a_line(_run_document(name, week)),
    }


def _clinic_document(clinic: Clinic) -> dict[str, Any]:
    file = ClinicFile.model_validate(as_document(clinic))
    return file.model_dump(mode="json", exclude_defaults=True)


def _run_document(name: str, week: Week) -> dict[str, Any]:
    file = RunFile(
        name=f"Contended week {name.upper()}",
        start_date=MONDAY,
        days=week.days,
        requests=[_row(request) for request in week.requests],
        time_limit_seconds=60,
    )
    return file.model_dump(mode="json", exclude_defaults=True)


def _row(request: Request) -> RequestRow:
    start, end = request.preferred or (None, None)
    return RequestRow(
        id=request.id,
        appointment_type_id=request.appointment_type_id,
        priority=request.priority,
        dates=None if request.dates is None else sorted(request.dates),
        provider_id=request.provider_id,
        preferred_start=None if start is None else format_time(start),
        preferred_end=None if end is None else format_time(end),
        patient_ref=request.patient_ref,
    )


def _a_row_a_line(document: dict[str, Any]) -> bytes:
    parts = []
    for key, value in document.items():
        text = orjson.dumps(value).decode()
        if isinstance(value, list) and value:
            rows = ",\n".join("  " + orjson.dumps(row).decode() for row in value)
            text = f"[\n{rows}\n ]"
        parts.append(f' "{key}": {text}')
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()
