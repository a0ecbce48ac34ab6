"""One scenario's part of a run's result, made of its plan."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TypedDict

from solver.clinic.clock import format_time
from solver.clinic.entities import AppointmentType, Booking
from solver.planning.problem import Placement, Plan, Problem, Progress, Request, Stage, relative_gap
from solver.whatif.explain import Explainer
from solver.whatif.kpis import PARTS, decimal, figures
from solver.whatif.run_result import (
    MoveResult,
    PlacementResult,
    PlaceResult,
    ProgressResult,
    ScenarioResult,
    StageResult,
    UnplacedResult,
)
from solver.whatif.verify import PlanReading


class ResultWriter:
    """Writes the result of one plan, as the reader of plans has read it."""

    def __init__(self, problem: Problem, plan: Plan, reading: PlanReading) -> None:
        self._problem, self._plan, self._reading = problem, plan, reading
        self._bookings = {b.id: b for b in problem.clinic.bookings}
        self._requests = {r.id: r for r in problem.requests}
        self.explainer = Explainer(
            problem, reading.finished, frozenset(p.id for p in plan.placements)
        )

    def write(self, name: str, seen: list[Progress]) -> ScenarioResult:
        """Return the result of the scenario of that name; `seen` is the progress of its solve."""
        plan = self._plan
        first = next((stage for stage in plan.stages if stage.name == "priority"), None)
        return {
            "name": name,
            "status": plan.status,
            "objective": number(first.objective) if first else 0,
            "bound": number(first.bound) if first else 0,
            "gap": decimal(relative_gap(first.objective, first.bound)) if first else 0.0,
            "seconds": round(plan.seconds, 3),
            "stages": [_stage(stage) for stage in plan.stages],
            "placements": [self.placement(placement) for placement in plan.placements],
            "unplaced": list(self._unplaced()),
            "moves": [*map(self._move, plan.moves), *map(self._lost, plan.lost)],
            "model": {"variables": plan.variables, "constraints": plan.constraints},
            "kpis": figures(self._problem, plan, self._reading),
            "progress": [_progress(progress) for progress in seen],
        }

    def placement(self, placement: Placement) -> PlacementResult:
        """Return the result of a request that was placed."""
        request = self._requests[placement.id]
        kind = request.appointment_type_id
        parts = self._reading.parts[placement.id]
        weights = self._problem.weights
        score = sum(
            (getattr(weights, name) * part for name, part in zip(PARTS, parts, strict=True)),
            Fraction(0),
        )
        return {
            "request_id": placement.id,
            "appointment_type_id": kind,
            **_patient(request),
            **_place(placement, self._problem.clinic.kind_at(kind, placement.provider_id)),
            "score": decimal(score),
            "score_parts": {name: decimal(part) for name, part in zip(PARTS, parts, strict=True)},
            "is_overbooked": placement.is_overbooked,
        }

    def _unplaced(self) -> Iterator[UnplacedResult]:
        placed = {placement.id for placement in self._plan.placements}
        waiting = [request for request in self._problem.requests if request.id not in placed]
        for request, reason in zip(waiting, self.explainer.explain_all(waiting), strict=True):
            yield {
                "request_id": request.id,
                "appointment_type_id": request.appointment_type_id,
                **_patient(request),
                "reason": reason.code,
                "detail": reason.detail,
            }

    def _move(self, move: Placement) -> MoveResult:
        clinic, before = self._problem.clinic, self._bookings[move.id]
        present = clinic.kind_at(before.appointment_type_id, move.provider_id)
        return {
            "booking_id": move.id,
            "patient_ref": before.patient_ref,
            "appointment_type_id": present.id,
            "from": _place(before, clinic.kind_of(before)),
            "to": {**_place(move, present), "is_overbooked": move.is_overbooked},
        }

    def _lost(self, key: str) -> MoveResult:
        before = self._bookings[key]
        kind = before.appointment_type_id
        reason = self.explainer.explain(Request(key, kind, patient_ref=before.patient_ref))
        return {
            "booking_id": key,
            "patient_ref": before.patient_ref,
            "appointment_type_id": kind,
            "from": _place(before, self._problem.clinic.kind_of(before)),
            "to": None,
            "reason": reason.code,
            "detail": reason.detail,
        }


class _Patient(TypedDict, total=False):
    patient_ref: str


def _place(place: Placement | Booking, kind: AppointmentType) -> PlaceResult:
    told: PlaceResult = {
        "provider_id": place.provider_id,
        "room_id": place.room_id,
        "date": place.date.isoformat(),
        "start_time": format_time(place.start),
        "end_time": format_time(place.start + kind.duration_minutes),
    }
    return told | {"team": dict(place.team)} if place.team else told


def _patient(request: Request) -> _Patient:
    """Return the patient of a request, nothing for one that has none."""
    return {} if request.patient_ref is None else {"patient_ref": request.patient_ref}


def _stage(stage: Stage) -> StageResult:
    return {
        "name": stage.name,
        "objective": number(stage.objective),
        "bound": number(stage.bound),
    }


def _progress(progress: Progress) -> ProgressResult:
    return {
        "seconds": round(progress.seconds, 3),
        "stage": progress.stage,
        "objective": round(progress.objective, 4) + 0,  # never -0.0
        "bound": round(progress.bound, 4) + 0,
        "placed": progress.placed,
    }


def number(value: Fraction) -> int | float:
    """Return a whole number as one, any other to four decimals."""
    return value.numerator if value.denominator == 1 else decimal(value)
