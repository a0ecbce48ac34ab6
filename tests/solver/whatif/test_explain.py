"""Why a request has no place: each reason once, and all of them held to what they say."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given, settings

from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
from solver.clinic.request import SlotRequest
from solver.planning.greedy import greedy
from solver.planning.problem import Problem, Request
from solver.rules.checked_slots import SlotChecker
from solver.whatif import explain as reasons
from solver.whatif.explain import Explainer, ExplainParams, Reason
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
    problems,
    put,
)


def explain(problem: Problem, *placements: Any, key: str = "r1") -> Reason:
    plan = a_plan(*placements)
    reading = read_plan(problem, plan)
    assert reading.violations == ()
    explainer = Explainer(problem, reading.finished, frozenset(p.id for p in placements))
    return explainer.explain(next(r for r in problem.requests if r.id == key))


def set_(entity: str, key: str, field: str, value: object) -> dict[str, object]:
    return {"op": "set", "entity": entity, "id": key, "field": field, "value": value}


@pytest.mark.parametrize(
    ("changes", "wish", "code", "named"),
    [
        (
            [set_("appointment_types", VISIT, "active", False)],
            {},
            reasons.TYPE_INACTIVE,
            "Visit",
        ),
        (
            [{"op": "remove", "entity": "providers", "id": LINN}],
            {"provider_id": LINN},
            reasons.PROVIDER_NOT_AVAILABLE,
            "Dr. Linn",
        ),
        (
            [],
            {"provider_id": LINN, "appointment_type_id": SCAN},
            reasons.NO_PROVIDER_WITH_SKILLS,
            "Dr. Linn",
        ),
        (
            [{"op": "remove", "entity": "providers", "id": VEGA}],
            {"appointment_type_id": SCAN},
            reasons.NO_PROVIDER_WITH_SKILLS,
            "scan",
        ),
        (
            [{"op": "remove", "entity": "rooms", "id": EQUIPPED}],
            {"appointment_type_id": SCAN},
            reasons.NO_ROOM_WITH_EQUIPMENT,
            "scanner",
        ),
        (
            [set_("appointment_types", VISIT, "duration_minutes", 240)],
            {},
            reasons.OUTSIDE_ALL_WINDOWS,
            "240 minutes",
        ),
        ([], {"dates": ["2027-03-09"]}, reasons.OUTSIDE_ALL_WINDOWS, "None of its dates"),
        (
            [{"op": "set", "entity": "clinic", "field": "min_notice_minutes", "value": 99_999}],
            {"dates": ["2027-03-01"]},
            reasons.TOO_SOON,
            "99999 minutes before",
        ),
    ],
)
def test_reasons_in_the_rows_and_hours(
    changes: list[dict[str, Any]], wish: dict[str, Any], code: str, named: str
) -> None:
    problem = changed(clinic_of_two(), *changes, requests=[asked("r1", **wish)])
    reason = explain(problem)
    assert reason.code == code
    assert named in reason.detail


def monday_is_full() -> dict[str, Any]:
    """Both providers booked all Monday."""
    return {
        "bookings": [
            booked(n, f"{9 + n % 6 // 2:02d}:{n % 2 * 30:02d}", provider_id=who, room_id=room)
            for n, (who, room) in enumerate([(VEGA, PLAIN)] * 6 + [(LINN, EQUIPPED)] * 6)
        ]
    }


def test_reasons_in_the_book() -> None:
    wish = {"dates": ["2027-03-01"], "patient_ref": "P"}
    full = changed(clinic_of_two(**monday_is_full()), requests=[asked("r1", **wish)])
    assert explain(full).code == reasons.BLOCKED_BY_BOOKINGS

    kinds = [{"id": VISIT, "name": "Visit", "duration_minutes": 30, "daily_cap": 1}]
    capped = clinic_of_two(appointment_types=kinds, bookings=[booked(0, "09:00")])
    assert explain(changed(capped, requests=[asked("r1", **wish)])).code == reasons.DAILY_CAP

    away = booked(0, "09:00", provider_id=LINN, room_id=EQUIPPED, patient_ref="P")
    short = clinic_of_two(
        bookings=[away],
        availability=[
            {"provider_id": VEGA, "weekday": 1, "start_time": "09:00", "end_time": "09:30"}
        ],
    )
    reason = explain(changed(short, requests=[asked("r1", **wish)]))
    assert reason.code == reasons.PATIENT_BUSY
    assert "P has another booking" in reason.detail


def test_what_falls_into_a_clock_change_is_told_as_such() -> None:
    hours = [{"provider_id": VEGA, "weekday": 7, "start_time": "02:00", "end_time": "03:00"}]
    clinic = clinic_of_two(availability=hours)
    run = {"start_date": "2027-03-28", "days": 1}
    reason = explain(changed(clinic, requests=[asked("r1")], **run))
    assert (reason.code, "the clock" in reason.detail) == (reasons.CLOCK_CHANGE, True)
    # A week earlier the same hours will do.
    earlier = changed(clinic, requests=[asked("r1")], start_date="2027-03-21", days=1)
    assert explain(earlier).code == reasons.NOT_REACHED_IN_TIME


def test_contention_is_named() -> None:
    hours = [{"provider_id": VEGA, "weekday": 1, "start_time": "09:00", "end_time": "10:00"}]
    requests = [asked("r1"), asked("r2"), asked("r3")]
    problem = changed(clinic_of_two(availability=hours), requests=requests)
    reason = explain(problem, put("r2", 540), put("r3", 570))
    assert reason.code == reasons.LOST_TO_CONTENTION
    assert (
        reason.detail == "Dr. Vega on 2027-03-01: full, with 2 requests of this run placed there."
    )

    reason = explain(problem, put("r2", 540))
    assert reason.code == reasons.NOT_REACHED_IN_TIME
    assert "at Dr. Vega on 2027-03-01 from 09:30" in reason.detail


def test_rooms_are_named_where_rooms_are_short() -> None:
    one_room = [{"id": PLAIN, "name": "Room 1"}]
    hours = [
        {"provider_id": who, "weekday": 1, "start_time": "09:00", "end_time": "09:30"}
        for who in (VEGA, LINN)
    ]
    clinic = clinic_of_two(rooms=one_room, availability=hours)
    reason = explain(changed(clinic, requests=[asked("r1"), asked("r2")]), put("r2", 540))
    assert reason.code == reasons.LOST_TO_CONTENTION
    assert reason.detail.startswith("No room (Room 1) on 2027-03-01 is free")
    assert "1 request " in reason.detail


def test_a_cap_and_a_patient_are_named_where_they_decide() -> None:
    kinds = [{"id": VISIT, "name": "Visit", "duration_minutes": 30, "daily_cap": 1}]
    wish = {"dates": ["2027-03-01"]}
    capped = clinic_of_two(appointment_types=kinds)
    problem = changed(capped, requests=[asked("r1", **wish), asked("r2", **wish)])
    assert explain(problem, put("r2", 540)).detail == (
        "The daily cap of 1 for Visit on 2027-03-01 went to 1 request."
    )
    hours = [
        {"provider_id": who, "weekday": 1, "start_time": "09:00", "end_time": "09:30"}
        for who in (VEGA, LINN)
    ]
    requests = [asked("r1", patient_ref="P"), asked("r2", patient_ref="P")]
    problem = changed(clinic_of_two(availability=hours), requests=requests)
    reason = explain(problem, put("r2", 540))
    assert reason.code == reasons.LOST_TO_CONTENTION
    assert "overlaps 1 request of P" in reason.detail


def test_what_is_asked_alike_is_explained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [asked(f"r{n}", patient_ref=f"patient {n}") for n in range(30)]
    requests += [asked("scan", appointment_type_id=SCAN), asked("p", patient_ref="P")]
    away = booked(0, "09:00", provider_id=LINN, patient_ref="P")
    problem = changed(clinic_of_two(bookings=[away]), requests=requests)
    explainer = Explainer(problem, problem.clinic.bookings, frozenset())
    built: list[str] = []
    build = reasons.masks_module.build

    def counted(day: Any, query: SlotRequest) -> Any:
        built.append(query.appointment_type_id)
        return build(day, query)

    monkeypatch.setattr(reasons.masks_module, "build", counted)
    told = [explainer.explain(request) for request in problem.requests]
    assert explainer.places_asked(problem.requests) == 2
    assert len({id(reason) for reason in told}) == 3
    assert len(built) == 8  # two dates of two books for two types

    built.clear()
    requests = [replace(r, id=f"{r.id} {n}") for n in range(3) for r in problem.requests]
    of_one_type = ExplainParams(kept_masks=4)
    again = Explainer(problem, problem.clinic.bookings, frozenset(), of_one_type)
    assert again.explain_all(requests) == told * 3
    assert len(built) == 8  # nothing twice: one type after the other

    least = ExplainParams(kept_masks=1)
    forgetful = Explainer(problem, problem.clinic.bookings, frozenset(), least)
    assert [forgetful.explain(request) for request in problem.requests] == told


def test_overbooking_that_the_run_does_not_allow_is_no_place() -> None:
    clinic = clinic_of_two(overbooking_rules=[{"id": uid(4, 0)}], **monday_is_full())
    wish = asked("r1", dates=["2027-03-01"])
    strict = changed(clinic, requests=[wish], allow_overbooking=False)
    assert explain(strict).code == reasons.BLOCKED_BY_BOOKINGS


@given(problems())
@settings(max_examples=40)
def test_every_reason_is_true(problem: Problem) -> None:
    plan = greedy(problem)
    reading = read_plan(problem, plan)
    placed = frozenset(p.id for p in plan.placements)
    explainer = Explainer(problem, reading.finished, placed)
    alone = [b for b in reading.finished if b.id not in placed]
    for request in problem.requests:
        if request.id in placed:
            continue
        code = explainer.explain(request).code
        event(code)
        is_placeable_alone = can_be_placed(problem, request, alone)
        assert is_placeable_alone == (
            code in (reasons.LOST_TO_CONTENTION, reasons.NOT_REACHED_IN_TIME)
        )
        if is_placeable_alone:
            still = can_be_placed(problem, request, list(reading.finished))
            assert still == (code == reasons.NOT_REACHED_IN_TIME)


def can_be_placed(problem: Problem, request: Request, book: list[Booking]) -> bool:
    clinic: Clinic = problem.clinic.with_bookings(book)
    length = clinic.type_by_id[request.appointment_type_id].duration_minutes
    theirs = [b for b in book if request.patient_ref and b.patient_ref == request.patient_ref]
    for date in problem.dates:
        if request.dates is not None and date not in request.dates:
            continue
        query = SlotRequest(
            request.appointment_type_id,
            date,
            problem.now,
            provider_ids=request.provider_id and frozenset({request.provider_id}),
        )
        for slot in SlotChecker(clinic).read_slots(query):
            is_elsewhere = any(
                b.date == date
                and b.start < slot.start + length
                and slot.start < b.start + clinic.kind_of(b).duration_minutes
                for b in theirs
            )
            if not is_elsewhere and (problem.allow_overbooking or not slot.is_overbooked):
                return True
    return False
