"""Every change of a scenario: what it does to the clinic and to the demand."""

import datetime as dt
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.files.run_file import InvalidRunFileError
from solver.clinic.clinic import Clinic
from solver.clinic.sessions.session import Lead
from solver.clinic.windows import Windows
from solver.planning.problem import Problem, Request
from solver.whatif.apply import apply
from solver.whatif.changes import ScaleDemand
from solver.whatif.run import Demand, Run, Scenario
from tests.support.strategies import BEFORE, MONDAY, uid
from tests.support.what_if import (
    EQUIPPED,
    LINN,
    PLAIN,
    SCAN,
    TUESDAY,
    VEGA,
    VISIT,
    a_run,
    asked,
    booked,
    changed,
    clinic_of_two,
)

MORNING = (540, 720)


def hours(problem: Problem, owner: str, day: dt.date = MONDAY) -> list[tuple[int, int]]:
    windows = Windows.on(problem.clinic, day)
    return (windows.provider | windows.room)[owner]


def test_a_provider_is_out_for_a_day_or_some_hours() -> None:
    out = {"op": "provider_out", "provider_id": VEGA, "date": "2027-03-01"}
    problem = changed(clinic_of_two(), out)
    assert hours(problem, VEGA) == []
    assert hours(problem, VEGA, TUESDAY) == [MORNING]
    assert hours(problem, LINN) == [MORNING]
    partly = changed(clinic_of_two(), out | {"start_time": "10:00", "end_time": "11:00"})
    assert hours(partly, VEGA) == [(540, 600), (660, 720)]
    assert hours(changed(clinic_of_two(), out | {"start_time": "10:00"}), VEGA) == [(540, 600)]


def test_a_room_closes() -> None:
    close = {"op": "close_room", "room_id": PLAIN, "date": "2027-03-01", "end_time": "12:00"}
    problem = changed(clinic_of_two(), close)
    assert hours(problem, PLAIN) == [(720, 1440)]
    assert hours(problem, PLAIN, TUESDAY) == [(0, 1440)]


def test_hours_on_a_date_keep_what_was_open() -> None:
    open_ = {"op": "open_hours", "start_time": "14:00", "end_time": "16:00"}
    monday = {"date": "2027-03-01", "provider_id": VEGA}
    problem = changed(clinic_of_two(), open_ | monday)
    assert hours(problem, VEGA) == [MORNING, (840, 960)]
    assert hours(problem, VEGA, TUESDAY) == [MORNING]
    twice = changed(clinic_of_two(), open_ | monday, open_ | monday | {"end_time": "17:00"})
    assert hours(twice, VEGA) == [MORNING, (840, 1020)]


@pytest.mark.parametrize("weeks", [1, 2])
def test_hours_on_a_date_keep_what_is_open_in_its_week_alone(weeks: int) -> None:
    row = {"provider_id": VEGA, "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
    row |= {"valid_from": "2027-02-26", "every_weeks": weeks}  # a Friday of the week before
    monday = {"date": "2027-03-01", "start_time": "14:00", "end_time": "16:00"}
    problem = changed(
        clinic_of_two(availability=[row]), {"op": "open_hours", "provider_id": VEGA, **monday}
    )
    assert hours(problem, VEGA) == [(540, 720)] * (weeks == 1) + [(840, 960)]


def test_hours_on_a_weekday_come_on_top() -> None:
    open_ = {"op": "open_hours", "weekday": 2, "start_time": "14:00", "end_time": "16:00"}
    problem = changed(clinic_of_two(), open_ | {"provider_id": LINN})
    assert hours(problem, LINN) == [MORNING]
    assert hours(problem, LINN, TUESDAY) == [MORNING, (840, 960)]


def test_a_room_that_is_always_open_stays_so() -> None:
    open_ = {"op": "open_hours", "weekday": 2, "start_time": "14:00", "end_time": "16:00"}
    problem = changed(clinic_of_two(), open_ | {"room_id": PLAIN})
    assert hours(problem, PLAIN) == hours(problem, PLAIN, TUESDAY) == [(0, 1440)]


def test_rows_are_added() -> None:
    problem = changed(
        clinic_of_two(),
        {"op": "add_provider", "name": "Dr. New", "skills": ["gp"]},
        {"op": "add_provider", "id": uid(1, 9), "name": "Dr. Known", "daily_cap": 3},
        {"op": "open_hours", "provider_id": uid(1, 9), "weekday": 1}
        | {"start_time": "08:00", "end_time": "09:00"},
        {"op": "add_room", "room": {"name": "Room 3", "equipment": ["scanner"]}},
        {"op": "add_room", "room": {"name": "Room 3", "equipment": ["scanner"]}},
        {"op": "add_overbooking_rule", "provider_id": uid(1, 9), "max_per_day": 4},
    )
    clinic = problem.clinic
    assert [p.name for p in clinic.providers[2:]] == ["Dr. New", "Dr. Known"]
    assert hours(problem, clinic.providers[2].id) == []
    assert hours(problem, uid(1, 9)) == [(480, 540)]
    assert [r.name for r in clinic.rooms[2:]] == ["Room 3", "Room 3"]
    assert clinic.overbooking_rules[0].max_per_day == 4


def test_any_field_is_set() -> None:
    clinic = clinic_of_two(
        overbooking_rules=[{"id": uid(4, 0), "start_time": "09:00", "end_time": "10:00"}],
        bookings=[booked(0, "09:00")],
    )

    def set_(entity: str, key: str | None, field: str, value: object) -> dict[str, object]:
        change = {"op": "set", "entity": entity, "field": field, "value": value}
        return change if key is None else change | {"id": key}

    changed_clinic = changed(
        clinic,
        set_("provider", VEGA, "skills", ["gp", "laser"]),
        set_("rooms", PLAIN, "turnover_minutes", 10),
        set_("appointment_type", VISIT, "duration_minutes", 45),
        set_("appointment-types", SCAN, "daily_cap", 2),
        set_("overbooking_rules", uid(4, 0), "end_time", "11:00"),
        set_("booking", uid(5, 0), "provider_id", LINN),
        set_("clinic", None, "grid_minutes", 5),
    ).clinic
    assert changed_clinic.provider_by_id[VEGA].skills == {"gp", "laser"}
    assert changed_clinic.room_by_id[PLAIN].turnover_minutes == 10
    assert changed_clinic.type_by_id[VISIT].duration_minutes == 45
    assert changed_clinic.type_by_id[SCAN].daily_cap == 2
    assert changed_clinic.overbooking_rules[0].hours == (540, 660)
    assert changed_clinic.bookings[0].provider_id == LINN
    assert changed_clinic.settings.grid_minutes == 5


def test_what_is_removed_is_gone_unless_it_is_referred_to() -> None:
    clinic = clinic_of_two(
        overbooking_rules=[{"id": uid(4, 0), "provider_id": VEGA}, {"id": uid(4, 1)}],
        bookings=[booked(0, "09:00")],
    )
    remove = {"op": "remove", "entity": "provider"}
    problem = changed(clinic, remove | {"id": VEGA}, remove | {"id": LINN})
    assert [(p.id, p.active) for p in problem.clinic.providers] == [(VEGA, False)]
    assert problem.clinic.availability == ()
    assert [rule.id for rule in problem.clinic.overbooking_rules] == [uid(4, 1)]

    rooms = changed(clinic, {"op": "remove", "entity": "rooms", "id": EQUIPPED}).clinic.rooms
    assert [r.id for r in rooms] == [PLAIN]
    types = changed(clinic, {"op": "remove", "entity": "appointment_types", "id": SCAN})
    assert not types.clinic.type_by_id[SCAN].active  # a request asks for it
    freed = changed(clinic, {"op": "remove", "entity": "bookings", "id": uid(5, 0)})
    assert freed.clinic.bookings == ()


def test_a_removed_provider_who_is_asked_for_stays_inactive() -> None:
    requests = [asked("r1", provider_id=LINN)]
    remove = {"op": "remove", "entity": "provider", "id": LINN}
    problem = changed(clinic_of_two(), remove, requests=requests)
    assert not problem.clinic.provider_by_id[LINN].active


def test_changes_build_on_one_another_and_leave_the_clinic_alone() -> None:
    clinic = clinic_of_two()
    run = a_run(
        clinic,
        {"op": "remove", "entity": "rooms", "id": EQUIPPED},
        {"op": "add_room", "id": EQUIPPED, "name": "Room 2 again"},
        {"op": "set", "entity": "rooms", "id": EQUIPPED, "field": "name", "value": "Third"},
    )
    assert apply(clinic, run, run.scenarios[1], BEFORE).clinic.rooms[-1].name == "Third"
    assert apply(clinic, run, run.scenarios[0], BEFORE).clinic == clinic == clinic_of_two()


# Demand


def test_a_count_is_numbered() -> None:
    assert [r.id for r in changed(clinic_of_two()).requests] == ["r1", "r2#1", "r2#2", "r3"]


def test_demand_is_scaled_for_a_type_or_for_all() -> None:
    clinic = clinic_of_two()
    double = changed(clinic, {"op": "scale_demand", "factor": 2})
    assert [r.id for r in double.requests] == [
        *("r1", "r1#2"),
        *("r2#1", "r2#2", "r2#3", "r2#4"),
        *("r3", "r3#2"),
    ]
    scans = changed(clinic, {"op": "scale_demand", "factor": 2, "appointment_type_id": SCAN})
    assert [r.id for r in scans.requests] == ["r1", "r2#1", "r2#2", "r3", "r3#2"]
    none = changed(clinic, {"op": "scale_demand", "factor": 0})
    assert none.requests == ()


@given(
    st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=30),
    st.fractions(0, 3, max_denominator=100),
)
def test_scaled_demand_is_exact_and_even(lines: list[tuple[int, bool]], factor: Fraction) -> None:
    clinic = clinic_of_two()
    demands = tuple(
        Demand.of(Request(f"r{n}", SCAN if is_scan else VISIT), count)
        for n, (count, is_scan) in enumerate(lines)
    )
    scenario = Scenario("more", (ScaleDemand(factor, VISIT),))
    run = Run("Test", MONDAY, 1, demands, scenarios=(Scenario("baseline"), scenario))
    problem = apply(clinic, run, scenario, BEFORE)

    made = Counter(r.id.split("#")[0] for r in problem.requests)
    assert len({r.id for r in problem.requests}) == len(problem.requests)
    visits = 0
    for n, (count, is_scan) in enumerate(lines):
        if is_scan:
            assert made[f"r{n}"] == count
        else:
            visits += count
            assert abs(made[f"r{n}"] - factor * count) < 1
    total = sum(made[f"r{n}"] for n, (_, is_scan) in enumerate(lines) if not is_scan)
    assert total == (factor * visits + Fraction(1, 2)).__floor__()


# Bookings


def movable_clinic() -> Clinic:
    return clinic_of_two(
        bookings=[
            booked(0, "09:00"),
            booked(1, "10:00", status="held"),
            booked(2, "11:00", status="checked_in"),
            booked(3, "09:30", date=TUESDAY.isoformat()),
            booked(4, "09:00", date="2027-03-08"),
            booked(5, "14:00"),
            booked(6, "11:30", status="cancelled"),
        ]
    )


def test_bookings_move_only_where_the_run_lets_them() -> None:
    out = {"op": "provider_out", "provider_id": VEGA, "date": "2027-03-01"}
    fixed = changed(movable_clinic(), out)
    assert (fixed.movable, fixed.displaced) == (frozenset(), frozenset())
    assert {b.id for b in fixed.clinic.bookings} == {uid(5, n) for n in (0, 1, 2, 3, 5)}

    movable = changed(movable_clinic(), out, existing="movable")
    assert movable.movable == {uid(5, n) for n in (0, 3, 5)}  # a hold stays where it is
    assert movable.displaced == {uid(5, 0), uid(5, 5)}
    assert not movable.left
    leave = changed(movable_clinic(), out, existing="movable", stranded="leave")
    assert leave.displaced == {uid(5, 0)}
    assert leave.left == {uid(5, 5)}  # it was outside the hours before
    untouched = changed(movable_clinic(), existing="movable")
    assert untouched.displaced == {uid(5, 5)}
    assert not changed(movable_clinic(), existing="movable", stranded="leave").displaced


def test_what_has_begun_does_not_move() -> None:
    clinic = movable_clinic()
    run = a_run(clinic, existing="movable")
    ten = dt.datetime(2027, 3, 1, 10, 0, tzinfo=clinic.settings.zone)
    assert apply(clinic, run, run.scenarios[0], ten).movable == {uid(5, n) for n in (3, 5)}


def test_a_booking_in_a_row_that_is_gone_is_displaced() -> None:
    clinic = clinic_of_two(bookings=[booked(0, "09:00")])
    for change in (
        {"op": "remove", "entity": "rooms", "id": PLAIN},
        {"op": "set", "entity": "rooms", "id": PLAIN, "field": "active", "value": False},
        {"op": "set", "entity": "providers", "id": VEGA, "field": "skills", "value": ["scan"]},
        {"op": "close_room", "room_id": PLAIN, "date": "2027-03-01"},
    ):
        problem = changed(clinic, change, existing="movable")
        assert problem.displaced == {uid(5, 0)}, change


def test_what_overrides_its_hours_is_displaced_by_absences_alone() -> None:
    clinic = clinic_of_two(
        bookings=[booked(0, "14:00", overrides=["OUTSIDE_PROVIDER_HOURS", "OUTSIDE_ROOM_HOURS"])]
    )

    def displaced(*changes: dict[str, str]) -> set[str]:
        return set(changed(clinic, *changes, existing="movable").displaced)

    monday = {"date": "2027-03-01"}
    out = {"op": "provider_out", "provider_id": VEGA} | monday
    shut = {"op": "close_room", "room_id": PLAIN} | monday
    assert displaced() == set()
    assert displaced({"op": "open_hours", "provider_id": VEGA, "start_time": "09:00"}
                     | {"end_time": "10:00"} | monday) == set()  # fmt: skip
    assert displaced(out) == displaced(shut) == {uid(5, 0)}
    assert displaced(out | {"start_time": "14:15"}) == {uid(5, 0)}
    assert displaced(out | {"end_time": "14:00"}) == displaced(out | {"start_time": "14:30"})
    assert displaced(out | {"end_time": "14:00"}) == set()
    assert displaced(out | {"provider_id": LINN}) == displaced(shut | {"room_id": EQUIPPED})
    assert displaced(out | {"provider_id": LINN}) == set()
    assert displaced(out | {"date": "2027-03-02"}) == set()


# Sessions


KEPT = {
    "id": uid(7, 0),
    "name": "Scans",
    "provider_id": VEGA,
    "weekday": 1,
    "start_time": "09:00",
    "end_time": "10:00",
    "appointment_type_ids": [SCAN, VISIT],
}


def sessions_after(*changes: dict[str, Any]) -> list[tuple[str, Any]]:
    problem = changed(clinic_of_two(sessions=[KEPT]), *changes)
    return [(row.name, row.appointment_type_ids) for row in problem.clinic.sessions]


def test_sessions_are_added_changed_and_taken_away() -> None:
    scans = {"entity": "session", "id": KEPT["id"]}
    leads = {"field": "releases", "value": {"days_before": 0, "at": "08:00"}}
    (row,) = changed(
        clinic_of_two(sessions=[KEPT]), {"op": "set", **scans, **leads}
    ).clinic.sessions
    assert row.releases == Lead(days_before=0, at=480)
    added = {name: value for name, value in KEPT.items() if name != "id"} | {"name": "More"}
    assert sessions_after({"op": "add_session", **added}, {"op": "remove", **scans}) == [
        ("More", {SCAN, VISIT})
    ]
    assert sessions_after({"op": "remove", "entity": "providers", "id": VEGA}) == []
    gone = {"op": "remove", "entity": "appointment_types", "id": VISIT}
    assert sessions_after(gone) == [("Scans", {SCAN, VISIT})], "requests still name it"
    other = {"id": uid(3, 5), "name": "Tea", "duration_minutes": 5}
    clinic = clinic_of_two(
        sessions=[KEPT | {"appointment_type_ids": [other["id"]]}],
        appointment_types=[
            *({"id": key, "name": "A", "duration_minutes": 30} for key in (VISIT, SCAN)),
            other,
        ],
    )
    (row,) = changed(clinic, gone | {"id": other["id"]}).clinic.sessions
    assert row.appointment_type_ids == frozenset()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"op": "add_session", **KEPT}, "id"),
        ({"op": "add_session", **KEPT, "id": uid(7, 1), "provider_id": uid(1, 9)}, "provider_id"),
        (
            {"op": "add_session", **KEPT, "id": uid(7, 1)} | {"appointment_type_ids": [uid(3, 9)]},
            "appointment_type_ids",
        ),
        (
            {"op": "add_session", **KEPT, "id": uid(7, 1)}
            | {"opens": {"minutes_before": 5}, "releases": {"minutes_before": 5}},
            "releases",
        ),
        (
            {"op": "set", "entity": "sessions", "id": KEPT["id"]}
            | {"field": "releases", "value": {"days_before": 0}},
            "value",
        ),
        ({"op": "remove", "entity": "sessions", "id": uid(7, 9)}, "id"),
    ],
)
def test_a_change_of_sessions_that_cannot_be_is_a_fault(change: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRunFileError) as refused:
        changed(clinic_of_two(sessions=[KEPT]), change)
    assert [fault.path for fault in refused.value.faults] == [f"scenarios[1].changes[0].{path}"]
