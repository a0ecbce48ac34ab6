"""The reader of plans: it passes what is legal and finds every planted fault."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
from solver.clinic.request import SlotRequest
from solver.planning.greedy import greedy
from solver.planning.problem import Placement, Plan, Problem, Stage
from solver.rules.checked_book import BookChecker
from solver.rules.checked_slots import SlotChecker
from solver.slots.search import find_slots
from solver.whatif.verify import _Book, _reach, _Reader, read_plan
from tests.support.strategies import uid
from tests.support.what_if import (
    EQUIPPED,
    LINN,
    PLAIN,
    SCAN,
    TUESDAY,
    VEGA,
    VISIT,
    a_plan,
    asked,
    booked,
    changed,
    clinic_of_two,
    planned,
    problems,
    put,
    with_placement,
)

NINE, HALF_PAST, TEN, ELEVEN = 540, 570, 600, 660


OUT = {"op": "provider_out", "provider_id": VEGA, "date": "2027-03-01"}


WEDNESDAY = TUESDAY.replace(day=3)


def details(problem: Problem, plan: Plan) -> set[tuple[str, str]]:
    return {(v.id, v.detail) for v in read_plan(problem, plan).violations}


def test_a_legal_plan_is_passed_with_its_parts_and_totals() -> None:
    problem = changed(
        clinic_of_two(bookings=[booked(0, "10:30")]),
        requests=[
            asked("r1", priority=3, preferred_start="09:00", preferred_end="10:00"),
            asked("r2", priority=2, preferred_start="09:00", preferred_end="09:30"),
        ],
    )
    reading = read_plan(problem, a_plan(put("r1", NINE), put("r2", TEN, room=EQUIPPED)))
    assert reading.violations == ()
    assert {b.id for b in reading.finished} == {uid(5, 0), "r1", "r2"}
    # r1 touches the window's start and leaves 30 minutes, a usable rest, before r2.
    assert reading.parts["r1"] == (1, Fraction(3, 4), 1, 1)
    # r2 is 60 minutes late of 240, beside the usable rest and the booking; a spare scanner.
    assert reading.parts["r2"] == (Fraction(3, 4), Fraction(3, 4), Fraction(1, 2), 1)
    assert reading.objectives["priority"] == 5
    # The booking touches r2 and has an hour, a usable rest, after it.
    existing = Fraction(65, 100) + Fraction(35, 100) * Fraction(3, 4)
    own = Fraction(65, 100) + Fraction(35, 100) * Fraction(3, 4)
    late = Fraction(30, 100) + Fraction(35, 100) * Fraction(3, 4) + Fraction(75, 1000)
    assert reading.objectives["score"] == existing + own + late + Fraction(1, 10)


def test_a_booking_outside_its_providers_hours_has_no_gap_part() -> None:
    problem = changed(clinic_of_two(bookings=[booked(0, "14:00")]), requests=[])
    assert read_plan(problem, a_plan()).objectives["score"] == Fraction(65, 100)


def test_placements_are_read_in_their_order() -> None:
    clinic = clinic_of_two(
        appointment_types=[
            {"id": VISIT, "name": "Visit", "duration_minutes": 30, "required_skills": ["gp"]},
            {"id": SCAN, "name": "Scan", "duration_minutes": 60, "required_skills": ["scan"]},
        ],
        overbooking_rules=[{"id": uid(4, 0), "appointment_type_id": VISIT}],
    )
    problem = changed(clinic, requests=[asked("r1"), asked("r2", appointment_type_id=SCAN)])
    visit, scan = put("r1", HALF_PAST, is_overbooked=True), put("r2", NINE, room=EQUIPPED)
    assert details(problem, a_plan(scan, visit)) == set()
    assert details(problem, a_plan(visit, scan)) == {
        ("r1", "is regular at its turn, not as it says"),
        ("r2", "breaks rule 7: no overbooking rule allows it"),
    }


R1 = asked("r1", provider_id=VEGA, dates=["2027-03-01"])


SCAN_REQUEST = asked("r2", appointment_type_id=SCAN)


@pytest.mark.parametrize(
    ("plan", "found"),
    [
        (a_plan(put("r9", NINE)), ("r9", "is no request")),
        (a_plan(put("r1", NINE), put("r1", TEN)), ("r1", "placed twice")),
        (a_plan(put("r1", NINE, date=TUESDAY)), ("r1", "which it does not allow")),
        (a_plan(put("r1", NINE, LINN)), ("r1", "another provider")),
        (a_plan(put("r3", NINE, date=WEDNESDAY)), ("r3", "outside the horizon")),
        (a_plan(put("r1", NINE, room=uid(2, 9))), ("r1", "in a room or at a time there is not")),
        (a_plan(put("r3", NINE, uid(1, 9))), ("r3", "with a provider, in a room")),
        (a_plan(put("r1", -15)), ("r1", "at a time there is not")),
        (a_plan(put("r1", 1440)), ("r1", "at a time there is not")),
        (a_plan(put("r1", NINE + 5)), ("r1", "breaks rule 0")),
        (a_plan(put("r2", NINE, LINN, EQUIPPED)), ("r2", "breaks rule 1")),
        (a_plan(put("r2", NINE)), ("r2", "breaks rule 1")),
        (a_plan(put("r1", 705)), ("r1", "breaks rule 2")),
        (a_plan(put("r1", NINE), put("r3", NINE, LINN)), ("r3", "breaks rule 3")),
        (a_plan(put("r1", NINE), put("r3", NINE, room=EQUIPPED)), ("r3", "breaks rule 7")),
        (a_plan(put("r1", NINE, is_overbooked=True)), ("r1", "is regular at its turn")),
        (a_plan(put("r4", ELEVEN)), ("r4", f"overlaps {uid(5, 0)} of the same patient")),
        (
            a_plan(put("r4", NINE), put("r5", NINE, LINN, EQUIPPED)),
            ("r5", "overlaps r4 of the same patient"),
        ),
        (a_plan(moves=(put(uid(5, 0), NINE),)), (uid(5, 0), "no booking that may move")),
        (a_plan(lost=(uid(5, 0),)), (uid(5, 0), "is lost though it could have stayed")),
        (
            a_plan(put("r1", NINE), stages=(Stage("priority", Fraction(2), Fraction(9)),)),
            ("priority", "is 1, not 2"),
        ),
        (
            a_plan(put("r1", NINE), stages=(Stage("priority", Fraction(1), Fraction(0)),)),
            ("priority", "from the wrong side"),
        ),
        (
            a_plan(stages=(Stage("moved", Fraction(0), Fraction(1)),)),
            ("moved", "from the wrong side"),
        ),
        (
            a_plan(status="optimal", stages=(Stage("priority", Fraction(0), Fraction(1)),)),
            ("status", "not proved"),
        ),
    ],
)
def test_a_planted_fault_is_found(plan: Plan, found: tuple[str, str]) -> None:
    busy = booked(0, "11:00", provider_id=LINN, room_id=EQUIPPED, patient_ref="P")
    problem = changed(
        clinic_of_two(bookings=[busy]),
        requests=[
            R1,
            SCAN_REQUEST,
            asked("r3"),
            asked("r4", patient_ref="P"),
            asked("r5", patient_ref="P"),
        ],
    )
    told = details(problem, plan)
    assert any(key == found[0] and found[1] in detail for key, detail in told), told


def test_a_daily_cap_is_found() -> None:
    kinds = [{"id": VISIT, "name": "Visit", "duration_minutes": 30, "daily_cap": 1}]
    problem = changed(clinic_of_two(appointment_types=kinds), requests=[asked("r1"), asked("r2")])
    plan = a_plan(put("r1", NINE), put("r2", TEN))
    assert details(problem, plan) == {("r2", "breaks rule 5: the type has reached its daily cap")}
    assert not details(problem, a_plan(put("r1", NINE), put("r2", TEN, date=TUESDAY)))


def test_overbooking_needs_the_runs_leave() -> None:
    clinic = clinic_of_two(overbooking_rules=[{"id": uid(4, 0)}], bookings=[booked(0, "09:00")])
    plan = a_plan(put("r1", NINE + 15, room=EQUIPPED, is_overbooked=True))
    assert not details(changed(clinic, requests=[asked("r1")]), plan)
    strict = changed(clinic, requests=[asked("r1")], allow_overbooking=False)
    assert details(strict, plan) == {("r1", "is overbooked, which the run does not allow")}


# Moves


def displaced(**fields: Any) -> Problem:
    clinic = clinic_of_two(bookings=[booked(0, "09:00"), booked(1, "10:00")])
    return changed(clinic, OUT, existing="movable", requests=[asked("r1")], **fields)


def test_moves_leave_their_places_before_any_is_made() -> None:
    # The one takes the other's room and time with another provider: legal, both have left.
    plan = a_plan(moves=(put(uid(5, 0), TEN, LINN), put(uid(5, 1), NINE, LINN)))
    reading = read_plan(displaced(), plan)
    assert reading.violations == ()
    assert reading.objectives["moved"] == 2
    assert reading.objectives["distance"] == 120
    assert reading.objectives["saved"] == 2


def test_faults_of_moves_are_found() -> None:
    first, second = put(uid(5, 0), NINE, LINN), put(uid(5, 1), TEN, LINN)
    problem = displaced()
    assert details(problem, a_plan(moves=(first,))) == {
        (uid(5, 1), "stays against rule 2: outside the open windows of Dr. Vega")
    }
    assert details(problem, a_plan(moves=(first,), lost=(uid(5, 1),))) == set()
    twice = details(problem, a_plan(moves=(first, second), lost=(uid(5, 1),)))
    assert twice == {(uid(5, 1), "is moved twice, or moved and lost")}
    nowhere = details(problem, a_plan(moves=(first, put(uid(5, 1), NINE, LINN, EQUIPPED))))
    assert nowhere == {(uid(5, 1), "breaks rule 7: no overbooking rule allows it")}
    taken = a_plan(put("r1", NINE, LINN, EQUIPPED), moves=(first, second))
    assert details(problem, taken) == {("r1", "breaks rule 7: no overbooking rule allows it")}


def colliding() -> Problem:
    """Visits at 9 and half past in one room that takes longer now; all of them may move."""
    clinic = clinic_of_two(
        bookings=[booked(0, "09:00"), booked(1, "09:30", provider_id=LINN), booked(2, "11:00")]
    )
    longer = {"op": "set", "entity": "rooms", "id": PLAIN, "field": "turnover_minutes", "value": 15}
    return changed(clinic, longer, existing="movable")


def test_the_finished_book_is_read_whole() -> None:
    problem = colliding()
    assert problem.displaced == {uid(5, 0), uid(5, 1)}
    assert details(problem, a_plan()) == {
        (uid(5, 0), f"stays against rule 3: Room 1 is taken by booking {uid(5, 1)}"),
        (uid(5, 1), f"stays against rule 3: Room 1 is taken by booking {uid(5, 0)}"),
    }
    assert not details(problem, a_plan(moves=(put(uid(5, 1), NINE, LINN, EQUIPPED),)))
    assert not details(problem, a_plan(lost=(uid(5, 1),)))
    there = (uid(5, 0), "is moved to where it was")
    assert there in details(problem, a_plan(moves=(put(uid(5, 0), NINE),)))
    # What may not move, or is left alone, breaks what it breaks.
    fixed = replace(problem, movable=frozenset(), displaced=frozenset())
    assert not details(fixed, a_plan())
    left = replace(problem, displaced=frozenset(), left=problem.displaced)
    assert not details(left, a_plan())


# Beside other dates

ROUND_THE_CLOCK = [
    {"provider_id": who, "weekday": day, "start_time": "00:00", "end_time": "24:00"}
    for who in (VEGA, LINN)
    for day in (1, 2)
]


def test_what_reaches_over_midnight_is_met() -> None:
    clinic = clinic_of_two(
        availability=ROUND_THE_CLOCK,
        rooms=[
            {"id": PLAIN, "name": "Room 1", "turnover_minutes": 45},
            {"id": EQUIPPED, "name": "Room 2"},
        ],
        bookings=[
            booked(0, "23:30"),
            booked(1, "00:15", room_id=EQUIPPED, provider_id=LINN, date=str(TUESDAY)),
        ],
        providers=[
            {"id": VEGA, "name": "Dr. Vega", "skills": ["gp"]},
            {"id": LINN, "name": "Dr. Linn", "skills": ["gp"], "buffer_before": 30},
        ],
    )
    problem = changed(clinic, requests=[asked("r1")])
    for placement, faults in (
        (put("r1", 30, date=TUESDAY), {"breaks rule 3: the room is taken"}),
        (put("r1", 45, date=TUESDAY), set()),
        (put("r1", 1410, LINN, EQUIPPED), {"breaks rule 7: no overbooking rule allows it"}),
        (put("r1", 1395, LINN, EQUIPPED), set()),
    ):
        assert details(problem, a_plan(placement)) == {("r1", fault) for fault in faults}


def test_what_lies_far_from_midnight_is_not_read_beside_other_dates() -> None:
    problem = changed(clinic_of_two(), requests=[asked("r1"), asked("r2"), asked("r3")])
    steps = put("r1", NINE), put("r2", NINE, date=TUESDAY), put("r3", TEN)
    reader = _Reader(problem, a_plan(*steps))
    reader._placements()
    first, _, third = reader.book.all
    assert reader.book.beside(VEGA, first) == [third]


# Against others


@given(problems())
@settings(max_examples=50)
def test_the_greedy_plan_is_read_without_fault(problem: Problem) -> None:
    plan = greedy(problem)
    event("overbooked" if any(p.is_overbooked for p in plan.placements) else "regular")
    assert read_plan(problem, plan).violations == ()


@given(problems())
@settings(max_examples=30)
def test_the_last_placements_score_is_that_of_the_slot_query(problem: Problem) -> None:
    """Nothing comes after it, so at its turn it stands as in the finished plan."""
    plan = greedy(problem)
    if not plan.placements or plan.placements[-1].is_overbooked:
        return
    if plan.moves or plan.lost:
        return  # their old places are free for the plan, not for the query
    last = plan.placements[-1]
    request = next(r for r in problem.requests if r.id == last.id)
    clinic = book_before(problem, plan.placements[:-1])
    query = SlotRequest(
        request.appointment_type_id,
        last.date,
        problem.now,
        provider_ids=frozenset({last.provider_id}),
        room_id=last.room_id,
        start=last.start,
        preferred=request.preferred,
        sessions=problem.sessions,
    )
    slot = find_slots(clinic, query).slots[0]
    parts = (slot.parts.preference, slot.parts.gap, slot.parts.room, slot.parts.overbook)
    assert read_plan(problem, plan).parts[last.id] == parts


def book_before(problem: Problem, placements: tuple[Placement, ...]) -> Clinic:
    clinic = problem.clinic
    kinds = {r.id: r.appointment_type_id for r in problem.requests}
    for placement in placements:
        clinic = with_placement(clinic, placement, kinds[placement.id])
    return clinic


@given(problems(), st.data())
@settings(max_examples=50)
def test_the_reader_and_the_checker_agree_on_a_new_appointment(
    problem: Problem, data: st.DataObject
) -> None:
    """They share nothing, so what both say of any place is not one error made twice."""
    clinic, reader = problem.clinic, _Reader(problem, a_plan())
    date = data.draw(st.sampled_from(problem.dates))
    kind = data.draw(st.sampled_from(clinic.appointment_types))
    provider, room = (data.draw(st.sampled_from(r)) for r in (clinic.providers, clinic.rooms))
    for start in range(0, 1440, 5):
        query = SlotRequest(kind.id, date, problem.now)
        plain = SlotChecker(clinic).read(query, provider, room, start)
        new = Booking("new", provider.id, room.id, kind.id, date, start, team=plain.team)
        broken, is_overbooked = reader._broken(reader.rules.appointment(new))
        assert tuple(broken) == plain.broken
        assert broken or is_overbooked == plain.is_overbooked


@given(problems())
@settings(max_examples=50)
def test_the_reader_and_the_checker_agree_on_a_finished_book(problem: Problem) -> None:
    clinic, reader = problem.clinic, _Reader(problem, a_plan())
    known = [a for a in reader.book.all if reader.rules.is_known(a.booking)]
    book = _Book(_reach(clinic))
    for a in known:
        book.add(a, reader.rules.in_roles(a))
    told = [
        (a.booking.id, rule, detail) for a in known for rule, detail in reader._broken_in(book, a)
    ]
    standing = clinic.with_bookings(a.booking for a in known)
    plain = BookChecker(standing, problem.now, problem.sessions).violations()
    assert sorted(told) == sorted((v.booking.id, v.rule, v.detail) for v in plain)


@given(problems(), st.data())
@settings(max_examples=30)
def test_a_plan_that_drops_or_shifts_a_step_is_told_from_the_true_one(
    problem: Problem, data: st.DataObject
) -> None:
    plan = greedy(problem)
    if not plan.placements:
        return
    dropped = data.draw(st.integers(0, len(plan.placements) - 1))
    rest = plan.placements[:dropped] + plan.placements[dropped + 1 :]
    told = {v.id for v in read_plan(problem, replace(plan, placements=rest)).violations}
    assert "priority" in told


def test_the_plain_planner_of_the_tests_is_legal() -> None:
    problem = changed(clinic_of_two(bookings=[booked(0, "10:30")]))
    plan = planned(problem)
    assert len(plan.placements) == 4
    assert not details(problem, plan)
    assert {p.room_id for p in plan.placements} >= {PLAIN, EQUIPPED}
