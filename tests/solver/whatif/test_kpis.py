"""Key figures, worked out by hand."""

from typing import Any

from solver.planning.problem import Plan, Problem
from solver.whatif.kpis import compare, figures
from solver.whatif.verify import read_plan
from tests.support.strategies import uid
from tests.support.what_if import (
    EQUIPPED,
    LINN,
    PLAIN,
    SCAN,
    VEGA,
    VISIT,
    a_plan,
    asked,
    booked,
    changed,
    clinic_of_two,
    put,
)

PROVIDERS = [
    {"id": VEGA, "name": "Dr. Vega", "skills": ["gp", "scan"], "buffer_after": 5},
    {"id": LINN, "name": "Dr. Linn", "skills": ["gp"]},
]


def told(problem: Problem, plan: Plan) -> dict[str, Any]:
    reading = read_plan(problem, plan)
    assert reading.violations == ()
    return figures(problem, plan, reading)


def test_the_figures_of_a_plan() -> None:
    clinic = clinic_of_two(
        providers=PROVIDERS,
        overbooking_rules=[{"id": uid(4, 0)}],
        bookings=[booked(0, "09:00"), booked(1, "14:00", provider_id=LINN, room_id=EQUIPPED)],
    )
    requests = [
        asked("r1", priority=5),
        asked("r2", priority=2, count=2),
        asked("r3", appointment_type_id=SCAN),
    ]
    problem = changed(clinic, requests=requests)
    plan = a_plan(
        put("r1", 600),
        put("r2#1", 615, room=EQUIPPED, is_overbooked=True),
    )
    kpis = told(problem, plan)

    assert kpis["placed"] == 2
    assert kpis["placed_by_priority"] == {"5": 1, "2": 1, "1": 0}
    assert kpis["placed_by_type"] == {VISIT: 2, SCAN: 0}
    assert kpis["unplaced"] == 2
    assert kpis["overbooked"] == 1
    # r1: .40 + .15 + .10 (it meets r2#1: no gap part); r2#1: .40 + .075
    assert kpis["mean_score"] == 0.5625
    assert kpis["mean_score_parts"] == {
        "preference": 1.0,
        "gap": 0.0,
        "room": 0.75,
        "overbook": 0.5,
    }
    # Vega is busy 09:00-09:35 and 10:00-10:50 of 180 minutes; Tuesday and Linn are empty.
    assert kpis["provider_utilisation_by_day"] == {
        "2027-03-01": {VEGA: 0.4722, LINN: 0.0},
        "2027-03-02": {VEGA: 0.0, LINN: 0.0},
    }
    assert kpis["provider_utilisation"] == 0.1181  # 85 of 720
    assert kpis["room_utilisation_by_day"]["2027-03-01"] == {PLAIN: 0.0417, EQUIPPED: 0.0417}
    assert kpis["room_utilisation"] == 0.0208  # 120 of 5760
    # 09:35-10:00 is too short for a visit.
    assert (kpis["idle_fragments"], kpis["idle_fragment_minutes"]) == (1, 25)
    assert kpis["overtime_minutes"] == 30
    assert (kpis["moved"], kpis["lost"]) == (0, 0)


def test_a_provider_who_is_out_works_overtime_if_bookings_stay() -> None:
    out = {"op": "provider_out", "provider_id": VEGA, "date": "2027-03-01", "start_time": "09:20"}
    clinic = clinic_of_two(bookings=[booked(0, "09:00"), booked(1, "10:00")])
    problem = changed(clinic, out, requests=[])
    kpis = told(problem, a_plan())
    assert kpis["overtime_minutes"] == 10 + 30
    assert kpis["provider_utilisation_by_day"]["2027-03-01"][VEGA] == 1.0
    assert kpis["mean_score"] is None


def test_a_row_that_is_not_active_is_never_open() -> None:
    off = {"op": "set", "entity": "providers", "id": VEGA, "field": "active", "value": False}
    problem = changed(clinic_of_two(bookings=[booked(0, "09:00")]), off, requests=[])
    kpis = told(problem, a_plan())
    assert VEGA not in kpis["provider_utilisation_by_day"]["2027-03-01"]
    assert kpis["overtime_minutes"] == 30


def test_busy_minutes_that_cross_midnight_are_of_both_dates() -> None:
    late = [
        {"provider_id": VEGA, "weekday": 1, "start_time": "22:00", "end_time": "24:00"},
        {"provider_id": VEGA, "weekday": 2, "start_time": "00:00", "end_time": "01:00"},
    ]
    rows = [{**row, "kind": "open"} for row in late]
    clinic = clinic_of_two(
        providers=[{**PROVIDERS[0], "buffer_after": 15}, *PROVIDERS[1:]],
        availability=rows,
        bookings=[booked(0, "23:30")],
    )
    kpis = told(changed(clinic, requests=[]), a_plan())
    by_day = kpis["provider_utilisation_by_day"]
    assert by_day["2027-03-01"][VEGA] == 0.25  # 30 of 120
    assert by_day["2027-03-02"][VEGA] == 0.25  # 15 of 60


def test_moves_are_counted_at_their_new_places() -> None:
    out = {"op": "provider_out", "provider_id": VEGA, "date": "2027-03-01"}
    clinic = clinic_of_two(bookings=[booked(0, "09:00"), booked(1, "10:00")])
    problem = changed(clinic, out, existing="movable", requests=[])
    kpis = told(problem, a_plan(moves=(put(uid(5, 0), 540, LINN),), lost=(uid(5, 1),)))
    assert (kpis["moved"], kpis["lost"], kpis["overtime_minutes"]) == (1, 1, 0)
    assert kpis["provider_utilisation_by_day"]["2027-03-01"] == {LINN: 0.1667}


def test_scenarios_are_set_beside_the_baseline() -> None:
    rows = compare(
        {
            "baseline": {"placed": 10, "by": {"a": 0.5, "b": None}},
            "less": {"placed": 7, "by": {"a": 0.25, "b": 1.0}},
            "other": {"placed": 12, "by": {"c": 1}},
        }
    )
    assert rows == [
        {
            "kpi": "placed",
            "values": {"baseline": 10, "less": 7, "other": 12},
            "delta": {"less": -3, "other": 2},
        },
        {
            "kpi": "by.a",
            "values": {"baseline": 0.5, "less": 0.25, "other": None},
            "delta": {"less": -0.25, "other": None},
        },
        {
            "kpi": "by.b",
            "values": {"baseline": None, "less": 1.0, "other": None},
            "delta": {"less": None, "other": None},
        },
        {
            "kpi": "by.c",
            "values": {"baseline": None, "less": None, "other": 1},
            "delta": {"less": None, "other": None},
        },
    ]
