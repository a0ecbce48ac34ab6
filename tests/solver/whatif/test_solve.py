"""A run answered whole: the result as it is published."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from solver.clinic.clock import parse_time
from solver.planning.greedy import greedy
from solver.planning.problem import Plan, Problem, Progress
from solver.whatif import solve as whatif
from solver.whatif.solve import EstimateParams, PlanRejectedError, solve_run
from solver.whatif.verify import PlanReading, PlanViolation, read_plan
from tests.support.strategies import BEFORE, MONDAY, uid
from tests.support.what_if import (
    EQUIPPED,
    LINN,
    PLAIN,
    VEGA,
    VISIT,
    a_plan,
    a_run,
    asked,
    booked,
    changed,
    clinic_of_two,
    without_times,
)

OUT = {"op": "provider_out", "provider_id": VEGA, "date": "2027-03-01"}


def test_the_result_of_a_run() -> None:
    clinic = clinic_of_two(bookings=[booked(0, "09:00", patient_ref="Anna"), booked(1, "14:00")])
    only = {"dates": ["2027-03-01"], "provider_id": VEGA, "patient_ref": "Berta"}
    requests = [
        asked("r1", priority=9, preferred_start="10:00", **only),
        asked("r2", priority=2, count=2),
    ]
    run = a_run(clinic, OUT, requests=requests, existing="movable", stranded="leave")
    seen: list[tuple[str, Progress]] = []
    result = solve_run(run, clinic, BEFORE, on_progress=lambda *told: seen.append(told))

    baseline, out = result["scenarios"]
    assert result["name"] == "Test"
    assert [s["name"] for s in result["scenarios"]] == ["baseline", "changed"]
    assert (baseline["status"], baseline["objective"], baseline["bound"]) == ("optimal", 13, 13)
    assert baseline["gap"] == 0
    assert (out["status"], out["objective"], out["bound"]) == ("optimal", 4, 4)
    assert [s["name"] for s in out["stages"]] == [
        "saved",
        "priority",
        "moved",
        "distance",
        "score",
    ]
    assert baseline["moves"] == []

    first = next(p for p in baseline["placements"] if p["request_id"] == "r1")
    parts = first["score_parts"]
    weighted = 0.4 * parts["preference"] + 0.35 * parts["gap"] + 0.15 + 0.1
    assert first["score"] == round(weighted, 4)
    whose = {"request_id", "appointment_type_id", "patient_ref"}
    assert set(first) - whose == {
        *("provider_id", "room_id", "date", "start_time", "end_time"),
        *("score", "score_parts", "is_overbooked"),
    }
    assert first["patient_ref"] == "Berta"
    assert all("patient_ref" not in p for p in baseline["placements"] if p is not first)
    assert set(first["score_parts"]) == {"preference", "gap", "room", "overbook"}
    assert (first["appointment_type_id"], first["provider_id"]) == (VISIT, VEGA)

    # The visit at 14:00 was outside Vega's hours before and is left, so only that of 09:00 goes.
    assert out["moves"] == [
        {
            "booking_id": uid(5, 0),
            "patient_ref": "Anna",
            "appointment_type_id": VISIT,
            "from": {
                "provider_id": VEGA,
                "room_id": PLAIN,
                "date": "2027-03-01",
                "start_time": "09:00",
                "end_time": "09:30",
            },
            "to": {
                "provider_id": LINN,
                "room_id": PLAIN,
                "date": "2027-03-01",
                "start_time": "09:00",
                "end_time": "09:30",
                "is_overbooked": False,
            },
        }
    ]
    (unplaced,) = out["unplaced"]
    assert (unplaced["request_id"], unplaced["reason"]) == ("r1", "OUTSIDE_ALL_WINDOWS")
    assert (unplaced["patient_ref"], unplaced["appointment_type_id"]) == ("Berta", VISIT)
    assert out["model"]["variables"] > 0
    placed = next(row for row in result["comparison"] if row["kpi"] == "placed")
    assert placed == {
        "kpi": "placed",
        "values": {"baseline": 3, "changed": 2},
        "delta": {"changed": -1},
    }
    assert {name for name, _ in seen} <= {"baseline", "changed"}


def test_what_cannot_be_saved_is_told_with_its_reason() -> None:
    clinic = clinic_of_two(bookings=[booked(0, "09:00", patient_ref="Anna")])
    everybody = [
        {"op": "provider_out", "provider_id": who, "date": day}
        for who in (VEGA, LINN)
        for day in ("2027-03-01", "2027-03-02")
    ]
    run = a_run(clinic, *everybody, existing="movable", requests=[asked("r1")])
    out = solve_run(run, clinic, BEFORE)["scenarios"][1]
    (lost,) = out["moves"]
    assert (lost["booking_id"], lost["to"], lost["reason"]) == (
        uid(5, 0),
        None,
        "OUTSIDE_ALL_WINDOWS",
    )
    assert (lost["patient_ref"], lost["appointment_type_id"]) == ("Anna", VISIT)
    assert out["status"] == "infeasible"
    assert out["kpis"]["lost"] == 1


def test_bookings_that_come_to_collide_do_not_stay_so() -> None:
    clinic = clinic_of_two(
        bookings=[
            booked(0, "09:00", patient_ref="Anna"),
            booked(1, "09:30", provider_id=LINN, patient_ref="Berta"),
            booked(2, "09:00", provider_id=LINN, room_id=EQUIPPED, status="held"),
        ]
    )
    longer = {"op": "set", "entity": "rooms", "id": PLAIN, "field": "turnover_minutes", "value": 30}
    run = a_run(clinic, longer, existing="movable", requests=[])
    baseline, changed = solve_run(run, clinic, BEFORE)["scenarios"]
    assert baseline["moves"] == []
    assert changed["status"] == "optimal"
    (move,) = changed["moves"]
    assert move["to"]["room_id"] == EQUIPPED
    assert changed["kpis"]["moved"] == 1
    stages = {stage["name"]: (stage["objective"], stage["bound"]) for stage in changed["stages"]}
    assert (stages["saved"], stages["moved"]) == ((2, 2), (1, 1))


def test_a_type_that_takes_longer_displaces_none_and_what_moves_takes_longer() -> None:
    clinic = clinic_of_two(
        bookings=[booked(0, "09:00"), booked(1, "09:30"), booked(2, "11:00", duration_minutes=20)]
    )
    longer = {"op": "set", "entity": "appointment_type", "id": VISIT}
    longer |= {"field": "duration_minutes", "value": 60}
    run = a_run(clinic, longer, existing="movable", requests=[asked("r1", provider_id=VEGA)])
    changed = solve_run(run, clinic, BEFORE)["scenarios"][1]
    (placed,) = changed["placements"]
    assert (changed["status"], changed["moves"]) == ("optimal", [])
    assert parse_time(placed["end_time"]) == parse_time(placed["start_time"]) + 60
    out = {"op": "close_room", "room_id": PLAIN, "date": MONDAY.isoformat()}
    run = a_run(clinic, longer, out | {"start_time": "11:00"}, existing="movable", requests=[])
    (move,) = solve_run(run, clinic, BEFORE)["scenarios"][1]["moves"]
    assert (move["from"]["start_time"], move["from"]["end_time"]) == ("11:00", "11:20")
    assert parse_time(move["to"]["end_time"]) == parse_time(move["to"]["start_time"]) + 60


def test_what_collides_and_may_not_move_is_left_as_it_is() -> None:
    clinic = clinic_of_two(bookings=[booked(0, "09:00"), booked(1, "09:00", provider_id=LINN)])
    run = a_run(clinic, OUT, requests=[asked("r1", provider_id=LINN, priority=2)])
    for scenario in solve_run(run, clinic, BEFORE)["scenarios"]:
        assert scenario["status"] == "optimal"
        assert len(scenario["placements"]) == 1


def test_scenarios_side_by_side_give_the_same_result() -> None:
    clinic = clinic_of_two(bookings=[booked(0, "10:00", room_id=EQUIPPED)])
    run = a_run(clinic, OUT)
    here = solve_run(run, clinic, BEFORE, workers=1)
    with ThreadPoolExecutor(2) as threads:
        assert without_times(
            solve_run(run, clinic, BEFORE, executor=threads, workers=1)
        ) == without_times(here)


def test_what_the_reader_finds_is_told_across_processes() -> None:
    violation = PlanViolation("r1", "breaks rule 7")
    error = pickle.loads(pickle.dumps(PlanRejectedError("baseline", (violation,))))
    assert str(error) == "the plan of 'baseline' is not legal: r1 breaks rule 7"
    assert error.violations == (violation,)


def test_the_time_to_write_is_taken_from_whole_days(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A booking takes the longer to read, the more stand around it."""
    parts: list[Plan] = []

    def read(problem: Problem, plan: Plan) -> PlanReading:
        parts.append(plan)
        return read_plan(problem, plan)

    monkeypatch.setattr(whatif, "read_plan", read)
    problem = changed(clinic_of_two(), requests=[asked(f"r{n}") for n in range(20)])
    placements = sorted(greedy(problem).placements, key=lambda p: (p.start, p.provider_id))
    assert len(placements) == 20
    plan = a_plan(*placements)
    assert whatif._seconds_to_write(problem, plan, EstimateParams(sample=6)) > 0
    (part,) = parts
    (day,) = {(p.provider_id, p.date) for p in part.placements}
    assert part.placements == tuple(p for p in plan.placements if (p.provider_id, p.date) == day)


def test_a_run_of_nothing_is_answered() -> None:
    clinic = clinic_of_two()
    result = solve_run(a_run(clinic, requests=[]), clinic, BEFORE)
    assert result["scenarios"][0]["placements"] == []
    assert result["scenarios"][0]["gap"] == 0
