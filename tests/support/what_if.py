"""What-ifs for tests: a clinic of two, runs against it, and a plain planner."""

import datetime as dt
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from data.files.clinic_file import ClinicFile
from data.files.run_file import parse_run
from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
from solver.clinic.request import SlotRequest
from solver.planning.problem import Placement, Plan, Problem, Request
from solver.rules.checked_slots import SlotChecker
from solver.whatif.apply import apply, outside_the_rules
from solver.whatif.run import Run
from solver.whatif.verify import read_plan
from tests.support.strategies import BEFORE, MONDAY, clinics, rare, spans, uid

VEGA, LINN = uid(1, 0), uid(1, 1)


PLAIN, EQUIPPED = uid(2, 0), uid(2, 1)


VISIT, SCAN = uid(3, 0), uid(3, 1)


TUESDAY = MONDAY + dt.timedelta(days=1)


def clinic_of_two(**changes: Any) -> Clinic:
    """Dr. Vega sees and scans, Dr. Linn sees; 9 to 12 on Mondays and Tuesdays; two rooms."""
    document: dict[str, Any] = {
        "clinic": {"name": "Two", "timezone": "Europe/Berlin"},
        "providers": [
            {"id": VEGA, "name": "Dr. Vega", "skills": ["gp", "scan"]},
            {"id": LINN, "name": "Dr. Linn", "skills": ["gp"]},
        ],
        "rooms": [
            {"id": PLAIN, "name": "Room 1"},
            {"id": EQUIPPED, "name": "Room 2", "equipment": ["scanner"]},
        ],
        "appointment_types": [
            {"id": VISIT, "name": "Visit", "duration_minutes": 30, "required_skills": ["gp"]},
            {
                "id": SCAN,
                "name": "Scan",
                "duration_minutes": 60,
                "required_skills": ["scan"],
                "required_equipment": ["scanner"],
            },
        ],
        "availability": [
            {"provider_id": who, "weekday": day, "start_time": "09:00", "end_time": "12:00"}
            for who in (VEGA, LINN)
            for day in (1, 2)
        ],
    }
    return ClinicFile.model_validate(document | changes).to_clinic(BEFORE)


def booked(number: int, start: str, **changes: Any) -> dict[str, Any]:
    """A visit booked with Dr. Vega on Monday."""
    return {
        "id": uid(5, number),
        "provider_id": VEGA,
        "room_id": PLAIN,
        "appointment_type_id": VISIT,
        "date": MONDAY.isoformat(),
        "start_time": start,
    } | changes


def asked(key: str, **changes: Any) -> dict[str, Any]:
    """A visit asked for."""
    return {"id": key, "appointment_type_id": VISIT} | changes


def run_document(*changes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A run over Monday and Tuesday; with changes, in a second scenario."""
    scenarios: list[dict[str, Any]] = [{"name": "baseline"}]
    if changes:
        scenarios.append({"name": "changed", "changes": list(changes)})
    return {
        "name": "Test",
        "start_date": MONDAY.isoformat(),
        "days": 2,
        "requests": [asked("r1"), asked("r2", count=2), asked("r3", appointment_type_id=SCAN)],
        "scenarios": scenarios,
        "time_limit_seconds": 5,
    } | fields


def a_run(clinic: Clinic, *changes: dict[str, Any], **fields: Any) -> Run:
    return parse_run(run_document(*changes, **fields), clinic, BEFORE)


def changed(clinic: Clinic, *changes: dict[str, Any], **fields: Any) -> Problem:
    """The problem that a run's last scenario poses."""
    run = a_run(clinic, *changes, **fields)
    return apply(clinic, run, run.scenarios[-1], BEFORE)


def planned(problem: Problem) -> Plan:
    """The requests, one after another, each at the first best place that the checker reads."""
    clinic, placements = problem.clinic, list[Placement]()
    for request in problem.requests:
        found = [
            (date, slot)
            for date in problem.dates
            if request.dates is None or date in request.dates
            for slot in SlotChecker(clinic).read_slots(
                SlotRequest(
                    request.appointment_type_id,
                    date,
                    problem.now,
                    provider_ids=request.provider_id and frozenset({request.provider_id}),
                    preferred=request.preferred,
                )
            )
        ]
        for date, slot in found:
            placement = Placement(
                request.id,
                slot.provider_id,
                slot.room_id,
                date,
                slot.start,
                slot.is_overbooked,
                slot.team,
            )
            plan = a_plan(*placements, placement)
            if not read_plan(problem, plan).violations:
                placements.append(placement)
                clinic = with_placement(clinic, placement, request.appointment_type_id)
                break
    return a_plan(*placements)


def with_placement(clinic: Clinic, placement: Placement, kind: str) -> Clinic:
    booking = Booking(
        placement.id,
        placement.provider_id,
        placement.room_id,
        kind,
        placement.date,
        placement.start,
        is_overbooked=placement.is_overbooked,
        team=placement.team,
    )
    return clinic.with_bookings([*clinic.bookings, booking])


def a_plan(*placements: Placement, **fields: Any) -> Plan:
    plan = Plan("feasible", (), placements, (), (), 0.0, 0, 0)
    return replace(plan, **fields)


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    """The result without what differs from one solve to the next."""
    scenarios = [
        {key: value for key, value in scenario.items() if key not in ("seconds", "progress")}
        for scenario in result["scenarios"]
    ]
    return {**result, "seconds": 0, "scenarios": scenarios}


def put(
    key: str,
    start: int,
    provider: str = VEGA,
    room: str = PLAIN,
    date: dt.date = MONDAY,
    *,
    is_overbooked: bool = False,
) -> Placement:
    return Placement(key, provider, room, date, start, is_overbooked)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """A day or two of a random clinic, with up to six requests."""
    clinic = draw(clinics())
    drawn = [
        Request(
            f"r{number}",
            draw(st.sampled_from(clinic.appointment_types)).id,
            priority=draw(st.integers(1, 9)),
            provider_id=draw(rare(st.just(clinic.providers[0].id))),
            preferred=draw(rare(spans(0, 1440))),
            patient_ref=draw(rare(st.just("P"))),
        )
        for number in range(draw(st.integers(0, 6)))
    ]
    movable = {b.id for b in clinic.bookings if b.status == "booked" and b.date == MONDAY}
    movable = movable if draw(st.booleans()) else set()
    outside = outside_the_rules(clinic, movable, BEFORE)
    is_left = draw(st.booleans())
    return Problem(
        clinic,
        MONDAY,
        draw(st.integers(1, 2)),
        tuple(drawn),
        BEFORE,
        movable=frozenset(movable),
        displaced=frozenset() if is_left else outside,
        left=outside if is_left else frozenset(),
        allow_overbooking=draw(st.booleans()),
    )
