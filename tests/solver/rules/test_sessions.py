"""Rule 8: what sessions keep out, open and take, told alike by all readings."""

import datetime as dt
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from solver.clinic.clinic import Clinic
from solver.clinic.entities import Room
from solver.clinic.grammar.sentences import InvalidClinicError
from solver.clinic.request import SlotRequest
from solver.clinic.sessions.instants import moment, opens_at, released_before_it_opens
from solver.clinic.sessions.session import Lead, Session
from solver.rules.checked_book import BookChecker
from solver.rules.checked_slots import SlotChecker
from solver.rules.whole_book_rules import violations
from solver.slots.judge import judge
from solver.slots.oracle import enumerate_placements
from solver.slots.search import find_slots, next_available_date
from tests.support.one_day import NINE, NOON, ROOM, TEN, VEGA, VISIT, booked, clinic
from tests.support.strategies import BEFORE, MONDAY, clinics_with_requests, examples, uid

BERLIN = ZoneInfo("Europe/Berlin")
NOBODY = frozenset[str]()
OWNERS = ({}, {"provider_id": VEGA.id}, {"room_id": ROOM.id})
HOUR_BEFORE = Lead(minutes_before=60)
THAT_DAY = dt.datetime(2027, 3, 1, tzinfo=BERLIN)


def session(number: int = 0, start: int = NINE, end: int = NOON, **fields: Any) -> Session:
    when = {} if "date" in fields else {"weekday": 1}
    return Session(uid(7, number), f"S{number}", start, end, **(when | fields))


def reasons(
    clinic: Clinic, start: int, now: dt.datetime = BEFORE, as_of: dt.datetime | None = None
) -> tuple[str, ...]:
    """Why Dr. Vega cannot have a visit in room 1 at a time, as every reading says it."""
    request = SlotRequest(VISIT.id, MONDAY, now, as_of=as_of)
    asked = replace(request, provider_ids=frozenset({VEGA.id}), room_id=ROOM.id, start=start)
    judged = judge(clinic, asked)
    (room,) = (row for row in clinic.rooms if row.id == ROOM.id)
    plain = SlotChecker(clinic).reasons(request, VEGA, room, start)
    assert set(judged.reasons) == plain
    listed = {(s.room.id, s.start) for s in find_slots(clinic, request, rooms="all").slots}
    modelled = {(room, at) for _, room, at, _ in enumerate_placements(clinic, request)}
    assert listed == modelled
    assert ((ROOM.id, start) in listed) == (not plain)
    return judged.reasons


def with_sessions(*sessions: Session, **fields: Any) -> Clinic:
    return replace(clinic(*fields.pop("bookings", ()), **fields), sessions=sessions)


@pytest.mark.parametrize("owner", OWNERS)
class TestOfEachOwner:
    def test_it_keeps_others_out_until_it_is_released(self, owner: dict[str, str]) -> None:
        kept = with_sessions(
            session(appointment_type_ids=NOBODY, end=TEN, releases=HOUR_BEFORE, **owner)
        )
        assert reasons(kept, NINE) == ("RESERVED",)
        assert reasons(kept, TEN - 15) == ("RESERVED",)  # it would begin in it
        assert reasons(kept, TEN) == ()
        at_eight = THAT_DAY.replace(hour=8)
        assert reasons(kept, NINE, at_eight - dt.timedelta(seconds=1)) == ("RESERVED",)
        assert reasons(kept, NINE, at_eight) == ()
        assert reasons(kept, NINE, BEFORE, at_eight) == ()

    def test_whom_it_admits_waits_until_it_opens(self, owner: dict[str, str]) -> None:
        for types in (None, frozenset({VISIT.id})):
            opening = with_sessions(
                session(appointment_type_ids=types, opens=Lead(days_before=3, at=480), **owner)
            )
            at = dt.datetime(2027, 2, 26, 8, tzinfo=BERLIN)
            assert reasons(opening, NINE, at - dt.timedelta(seconds=1)) == ("NOT_YET_OPEN",)
            assert reasons(opening, NINE, at) == ()

    def test_it_takes_so_many_released_or_not(self, owner: dict[str, str]) -> None:
        two = session(max_bookings=2, end=TEN + 30, releases=Lead(days_before=366, at=0), **owner)
        first, second = booked(NINE, room_id=ROOM.id), booked(NINE + 30, 1, room_id=ROOM.id)
        assert reasons(with_sessions(two, bookings=(first,)), TEN) == ()
        full = with_sessions(two, bookings=(first, second))
        assert reasons(full, TEN) == ("SESSION_FULL",)
        assert reasons(full, TEN + 30) == ()  # it begins when the session is over
        later = with_sessions(two, bookings=(first, replace(second, start=TEN + 30)))
        assert reasons(later, TEN) == ()
        cancelled = with_sessions(two, bookings=(first, replace(second, status="cancelled")))
        assert reasons(cancelled, TEN) == ()

    def test_standing_bookings(self, owner: dict[str, str]) -> None:
        kept = session(appointment_type_ids=NOBODY, releases=HOUR_BEFORE, **owner)
        closed = session(1, opens=HOUR_BEFORE, **owner)
        one = session(2, max_bookings=1, **owner)
        b, c = booked(NINE, room_id=ROOM.id), booked(TEN, 1, room_id=ROOM.id)

        def told(clinic: Clinic, now: dt.datetime = BEFORE) -> list[tuple[str, str]]:
            plain = list(BookChecker(clinic, now).violations())
            assert violations(clinic, now=now) == plain
            assert all(v.rule == 8 for v in plain)
            return [(v.booking.id, v.code) for v in plain]

        assert told(with_sessions(kept, bookings=(b,))) == [(b.id, "RESERVED")]
        assert told(with_sessions(kept, bookings=(b,)), THAT_DAY.replace(hour=8)) == []
        assert told(with_sessions(closed, bookings=(b,))) == []
        assert told(with_sessions(one, bookings=(b, c))) == [
            (b.id, "SESSION_FULL"),
            (c.id, "SESSION_FULL"),
        ]
        over = replace(c, overrides=frozenset({"SESSION_FULL"}))
        assert told(with_sessions(one, bookings=(b, over))) == []
        kept_all_the_same = replace(b, overrides=frozenset({"RESERVED"}))
        assert told(with_sessions(kept, bookings=(kept_all_the_same,))) == []


def test_of_another_owner_it_says_nothing() -> None:
    other = Room(uid(2, 1), "Room 2", equipment=ROOM.equipment)
    two = replace(clinic(), rooms=(ROOM, other))
    kept = replace(two, sessions=(session(appointment_type_ids=NOBODY, room_id=other.id),))
    assert reasons(kept, NINE) == ()
    full = replace(two, sessions=(session(max_bookings=0, room_id=other.id),))
    assert reasons(full, NINE) == ()


def test_those_of_the_date_govern_in_place_of_the_weekly_ones() -> None:
    weekly = session(appointment_type_ids=NOBODY)
    dated = session(1, TEN, TEN + 60, date=MONDAY, appointment_type_ids=None)
    both = with_sessions(weekly, dated)
    assert reasons(both, NINE) == ("RESERVED",)
    assert reasons(both, TEN) == ()
    assert reasons(both, TEN + 45) == ("RESERVED",)
    of_vega = replace(dated, provider_id=VEGA.id)  # of another owner, it governs beside
    assert reasons(with_sessions(weekly, of_vega), TEN) == ("RESERVED",)
    off = replace(dated, active=False)
    assert reasons(with_sessions(weekly, off), TEN) == ("RESERVED",)


def test_one_may_cross_from_one_session_into_another_where_both_admit_it() -> None:
    first = session(0, NINE, TEN, appointment_type_ids=frozenset({VISIT.id}))
    second = session(1, TEN, NOON, appointment_type_ids=None)
    assert reasons(with_sessions(first, second), TEN - 15) == ()
    kept = replace(second, appointment_type_ids=NOBODY)
    assert reasons(with_sessions(first, kept), TEN - 15) == ("RESERVED",)
    beside = replace(kept, start=NINE)  # where two govern, one that admits it is enough
    assert reasons(with_sessions(first, beside), NINE) == ()


def test_the_codes_of_three_owners_are_united_in_their_order() -> None:
    sessions = (
        session(appointment_type_ids=NOBODY, provider_id=VEGA.id),
        session(1, opens=HOUR_BEFORE, room_id=ROOM.id),
        session(2, max_bookings=0),
    )
    codes = ("NOT_YET_OPEN", "RESERVED", "SESSION_FULL")
    assert reasons(with_sessions(*sessions), NINE) == codes
    alone = session(appointment_type_ids=NOBODY, opens=HOUR_BEFORE, max_bookings=0)
    assert reasons(with_sessions(alone), NINE) == ("RESERVED",)


def test_a_limit_counts_by_its_hours_and_binds_where_it_governs() -> None:
    weekly = session(max_bookings=1)
    dated = session(1, TEN, NOON, date=MONDAY)
    at_ten = booked(TEN, room_id=ROOM.id)
    both = with_sessions(weekly, dated, bookings=(at_ten,))
    assert reasons(both, NINE) == ("SESSION_FULL",)
    assert reasons(both, TEN + 30) == ()
    # Both made, the one at ten may have come later: neither is told of.
    made = with_sessions(weekly, dated, bookings=(at_ten, booked(NINE, 1, room_id=ROOM.id)))
    assert violations(made) == list(BookChecker(made).violations()) == []


def test_of_whom_it_does_not_admit_it_counts_nobody() -> None:
    other = replace(VISIT, id=uid(3, 1), name="Other")
    one = session(max_bookings=1, appointment_type_ids=frozenset({VISIT.id}), releases=HOUR_BEFORE)
    theirs = replace(booked(TEN, room_id=ROOM.id), appointment_type_id=other.id)
    mixed = replace(clinic(), appointment_types=(VISIT, other), sessions=(one,))
    mixed = mixed.with_bookings((theirs,))
    assert reasons(mixed, NINE) == ()


class TestWhatOpensLater:
    def test_counts_change_at_moments_and_may_fall(self) -> None:
        admits = session(end=NINE + 30, releases=Lead(minutes_before=120))
        kept = session(1, end=NINE + 30, appointment_type_ids=NOBODY, opens=None)
        closed = session(2, NINE + 30, TEN, opens=Lead(days_before=1, at=480))
        both = with_sessions(replace(admits, opens=Lead(minutes_before=180)), kept, closed)
        page = find_slots(both, SlotRequest(VISIT.id, MONDAY, BEFORE))
        told = [(each.at.astimezone(BERLIN), each.count) for each in page.opens_later]
        assert told == [
            (dt.datetime(2027, 2, 28, 8, tzinfo=BERLIN), 2),  # 09:30 and 09:45
            (THAT_DAY.replace(hour=6), 4),  # 09:00 and 09:15 as well
            (THAT_DAY.replace(hour=7), 2),
        ]

    def test_what_is_too_soon_by_then_is_not_counted(self) -> None:
        kept = with_sessions(
            session(appointment_type_ids=NOBODY, releases=Lead(days_before=0, at=TEN))
        )
        page = find_slots(kept, SlotRequest(VISIT.id, MONDAY, BEFORE))
        assert [each.count for each in page.opens_later] == [7]  # from 10:00 to 11:30
        after = find_slots(kept, SlotRequest(VISIT.id, MONDAY, THAT_DAY.replace(hour=10)))
        assert (after.total, after.opens_later) == (7, ())

    def test_the_next_date_is_as_of_a_moment(self) -> None:
        kept = with_sessions(
            session(appointment_type_ids=NOBODY, releases=Lead(days_before=7, at=480))
        )
        request = SlotRequest(VISIT.id, MONDAY, BEFORE)
        assert next_available_date(kept, request) is None
        week = MONDAY + dt.timedelta(days=7)
        later = replace(request, as_of=dt.datetime(2027, 3, 1, 8, tzinfo=BERLIN))
        assert next_available_date(kept, later) == week

    @given(clinics_with_requests())
    @examples(40)
    def test_by_the_plain_checker(self, case: tuple[Clinic, SlotRequest]) -> None:
        """What is listed as of a moment and not now, though it is without sessions."""
        clinic, request = case
        checker, free = SlotChecker(clinic), SlotChecker(replace(clinic, sessions=()))

        def places(checker: SlotChecker, request: SlotRequest) -> set[tuple[str, str, int]]:
            found = checker.read_slots(request)
            return {(each.provider_id, each.room_id, each.start) for each in found}

        page = find_slots(clinic, request, limit=1)
        excluded = places(free, request) - places(checker, request)
        event("some open later" if page.opens_later else "none do")
        before = 0
        for opening in page.opens_later:
            then = places(checker, replace(request, as_of=opening.at))
            assert len(excluded & then) == opening.count != before
            before = opening.count


def test_a_slot_names_the_sessions_that_admit_it() -> None:
    sessions = (
        session(0, NINE, TEN, provider_id=VEGA.id, releases=Lead(days_before=366, at=0)),
        session(1, TEN, NOON, appointment_type_ids=frozenset({VISIT.id})),
        session(2, TEN, NOON, room_id=ROOM.id),
        session(3, TEN, NOON, appointment_type_ids=NOBODY),
    )
    page = find_slots(with_sessions(*sessions), SlotRequest(VISIT.id, MONDAY, BEFORE))
    named = {slot.start: [int(key[-1]) for key in slot.session_ids] for slot in page.slots}
    assert (named[NINE], named[TEN - 15], named[TEN]) == ([0], [0, 1, 2], [1, 2])


class TestInstants:
    NEW_YORK = ZoneInfo("America/New_York")

    def test_minutes_are_real_ones(self) -> None:
        spring = dt.date(2027, 3, 28)  # in Berlin 02:00 becomes 03:00
        early = session(0, 240, 300, date=spring, opens=Lead(minutes_before=120))
        assert opens_at(BERLIN, early, spring) == dt.datetime(2027, 3, 28, 0, tzinfo=dt.UTC)

    def test_a_local_time_that_is_not_there_or_there_twice(self) -> None:
        skipped = moment(BERLIN, dt.date(2027, 3, 28), 150)
        assert skipped == dt.datetime(2027, 3, 28, 1, tzinfo=dt.UTC)
        twice = moment(BERLIN, dt.date(2027, 10, 31), 150)
        assert twice == dt.datetime(2027, 10, 31, 0, 30, tzinfo=dt.UTC)

    @given(
        st.sampled_from([dt.date(2027, 3, 28), dt.date(2027, 10, 31), MONDAY]),
        st.sampled_from([0, 90, 119, 120, 150, 179, 180, 540]),
        st.sampled_from([0, 60, 90, 1440]),
        st.sampled_from([0, 1, 2]),
    )
    @examples(60)
    def test_all_readings_say_the_same(
        self, day: dt.date, start: int, minutes: int, days: int
    ) -> None:
        weekday = {"date": day}
        for lead in (Lead(minutes_before=minutes), Lead(days_before=days, at=start)):
            one = session(0, start, 600, appointment_type_ids=NOBODY, releases=lead, **weekday)
            at = opens_at(BERLIN, replace(one, releases=None, opens=lead), day)
            assert at is not None
            b = booked(570, date=day, room_id=ROOM.id)
            kept = with_sessions(one, rows=(), bookings=(b,))
            for now, is_kept in ((at - dt.timedelta(seconds=1), True), (at, False)):
                told = {v.code for v in BookChecker(kept, now).violations()}
                assert ("RESERVED" in told) == is_kept
                assert violations(kept, now=now) == list(BookChecker(kept, now).violations())

    def test_it_opens_before_it_is_released_on_every_date(self) -> None:
        today = dt.date(2027, 1, 1)
        sound = session(opens=Lead(days_before=2, at=480), releases=Lead(days_before=1, at=480))
        assert released_before_it_opens(BERLIN, sound, today) is None
        at_once = replace(sound, releases=sound.opens)
        assert released_before_it_opens(BERLIN, at_once, today) == dt.date(2027, 1, 4)
        # On the Sunday of the change 270 real minutes before 06:00 it is half past midnight.
        spring = session(
            0, 360, 420, opens=Lead(days_before=0, at=60), releases=Lead(minutes_before=270)
        )
        of_sundays = replace(spring, weekday=7)
        assert released_before_it_opens(BERLIN, of_sundays, today) == dt.date(2027, 3, 28)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"provider_id": VEGA.id, "room_id": ROOM.id}, "room_id"),
        ({"date": MONDAY, "weekday": 1}, "weekday"),
        ({"end": NINE}, "end_time"),
        ({"every_weeks": 2}, "valid_from"),
        ({"max_bookings": -1}, "max_bookings"),
    ],
)
def test_rows_that_break_the_grammar(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidClinicError) as error:
        Session(uid(7, 0), "S", **({"start": NINE, "end": NOON, "weekday": 1} | fields))
    assert error.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "days_before"),
        ({"minutes_before": 527_041}, "minutes_before"),
        ({"minutes_before": 1, "at": 0}, "minutes_before"),
        ({"days_before": 1}, "at"),
        ({"days_before": 367, "at": 0}, "days_before"),
        ({"days_before": 0, "at": 1440}, "at"),
    ],
)
def test_leads_that_break_it(fields: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidClinicError) as error:
        Lead(**fields)
    assert error.value.field == field
