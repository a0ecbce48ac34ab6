"""Each rule: one placement it allows and one it forbids, told alike by all three readings."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from solver.clinic.clinic import Clinic
from solver.clinic.clock import first_bookable_minute
from solver.clinic.day import Day
from solver.clinic.entities import (
    Availability,
    Booking,
    ClinicSettings,
    Minutes,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
)
from solver.clinic.equipment.needs import PoolNeed
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.grammar.sentences import InvalidClinicError
from solver.clinic.request import SlotRequest
from solver.rules.checked_book import BookChecker
from solver.rules.checked_slots import SlotChecker
from solver.rules.masks import build
from solver.rules.placement_model import PlacementModel
from solver.rules.presences import Candidates
from solver.rules.solving import certify
from solver.rules.whole_book_rules import violations
from solver.slots.judge import Verdict, judge
from solver.slots.oracle import enumerate_placements
from solver.slots.search import find_slots, next_available_date
from tests.support.one_day import NINE, NOON, OPEN, ROOM, TEN, VEGA, VISIT, booked, clinic
from tests.support.strategies import BEFORE, MONDAY, uid

TUESDAY = MONDAY + dt.timedelta(days=1)


def certified(clinic: Clinic, request: SlotRequest, start: int) -> list[bool]:
    """The kinds (overbooked or not) the model alone certifies, each as though it were alone."""
    settings, both = clinic.settings, np.array([False, True])
    earliest = first_bookable_minute(
        settings.zone, request.date, request.now, settings.min_notice_minutes
    )
    model = PlacementModel(
        Day.of(clinic, request.date),
        clinic.kind_at(request.appointment_type_id, clinic.providers[0].id),
        Candidates(np.zeros(2, np.int64), np.zeros(2, np.int64), np.full(2, start), both),
        earliest=earliest,
        independent=True,
    )
    return both[certify(model)].tolist()


def verdict(clinic: Clinic, start: int, day: dt.date = MONDAY, now: dt.datetime = BEFORE) -> str:
    """'regular', 'overbooked' or 'no' for Dr. Vega in room 1, as every reading says it."""
    request = SlotRequest(VISIT.id, day, now)
    listed = find_slots(clinic, request, limit=500, rooms="all").slots
    fast = [slot for slot in listed if slot.start == start]
    exhaustive = [
        over
        for provider, _, at, over in enumerate_placements(clinic, request)
        if (provider, at) == (VEGA.id, start)
    ]
    asked = replace(request, provider_ids=frozenset({VEGA.id}), room_id=ROOM.id, start=start)
    judged = judge(clinic, asked)
    reading = SlotChecker(clinic).read(request, clinic.providers[0], clinic.rooms[0], start)
    plain = [] if reading.broken else [reading.is_overbooked]
    assert [slot.is_overbooked for slot in fast] == exhaustive == plain
    assert certified(clinic, request, start) == plain
    assert list(judged.slots) == list(judge(clinic, asked, certify=False).slots) == fast
    assert bool(judged.reasons) == (not fast)
    return {(): "no", (False,): "regular", (True,): "overbooked"}[tuple(plain)]


class TestRule1ActiveSkilledEquipped:
    def test_feasible(self) -> None:
        assert verdict(clinic(), NINE) == "regular"

    @pytest.mark.parametrize(
        "changes",
        [
            {"vega": replace(VEGA, active=False)},
            {"vega": replace(VEGA, skills=frozenset({"derma"}))},
            {"room": replace(ROOM, active=False)},
            {"room": replace(ROOM, equipment=frozenset({"laser"}))},
            {"visit": replace(VISIT, active=False)},
        ],
    )
    def test_infeasible(self, changes: Any) -> None:
        assert verdict(clinic(**changes), NINE) == "no"


class TestProviderTypes:
    """What Dr. Vega does otherwise than the type says takes the type's place in every rule."""

    def own(self, **changes: Any) -> tuple[ProviderType, ...]:
        return (ProviderType(uid(6, 0), VEGA.id, VISIT.id, **changes),)

    def test_a_duration(self) -> None:
        longer = self.own(duration_minutes=60)
        assert verdict(clinic(booked(TEN, duration_minutes=30), own=longer), NINE) == "regular"
        assert verdict(clinic(booked(TEN, duration_minutes=30), own=longer), NINE + 15) == "no"
        assert verdict(clinic(own=longer), NOON - 60) == "regular"
        assert verdict(clinic(own=longer), NOON - 45) == "no"
        shorter = self.own(duration_minutes=15)
        assert verdict(clinic(own=shorter), NOON - 15) == "regular"

    def test_buffers(self) -> None:
        wide = self.own(buffer_before=10, buffer_after=15)
        beside = booked(TEN, buffer_before=0, buffer_after=0)
        assert verdict(clinic(beside, own=wide), NINE + 15) == "regular"
        assert verdict(clinic(beside, own=wide), NINE + 30) == "no"
        assert verdict(clinic(beside, own=wide), TEN + 45) == "regular"
        assert verdict(clinic(beside, own=wide), TEN + 30) == "no"
        in_room = replace(beside, provider_id=uid(1, 9), room_id=ROOM.id)
        assert verdict(clinic(in_room, own=wide), NINE + 30) == "no"

    def test_what_is_not_offered(self) -> None:
        assert verdict(clinic(own=self.own(offered=True)), NINE) == "regular"
        assert verdict(clinic(own=self.own(offered=False)), NINE) == "no"

    def test_a_cap_counts_overbooked_ones_and_no_allowance_lifts_it(self) -> None:
        allowance = (OverbookingRule(uid(4, 0), max_overlap=1, max_per_day=5),)
        two, one = self.own(daily_cap=2), self.own(daily_cap=1)
        over = booked(TEN, is_overbooked=True)
        assert verdict(clinic(over, own=two, rules=allowance), NINE) == "regular"
        assert verdict(clinic(over, own=one, rules=allowance), NINE) == "no"
        assert verdict(clinic(booked(TEN), own=one, rules=allowance), TEN + 15) == "no"
        elsewhere = booked(TEN, date=TUESDAY)
        assert verdict(clinic(elsewhere, own=one), NINE) == "regular"

    def test_a_booking_keeps_what_it_was_made_with(self) -> None:
        made = booked(TEN, duration_minutes=45, buffer_before=0, buffer_after=0)
        assert verdict(clinic(made), TEN + 45) == "regular"
        assert verdict(clinic(made), TEN + 30) == "no"
        assert verdict(clinic(made, visit=replace(VISIT, buffer_after=0)), NINE + 30) == "regular"

    def test_each_provider_ends_at_their_own_time_in_one_list(self) -> None:
        linn = replace(VEGA, id=uid(1, 1), name="Dr. Linn")
        one = clinic(own=self.own(duration_minutes=60))
        rows = (*one.availability, replace(OPEN, provider_id=linn.id))
        rooms = (ROOM, replace(ROOM, id=uid(2, 1)))
        two = replace(one, providers=(VEGA, linn), rooms=rooms, availability=rows)
        page = find_slots(two, SlotRequest(VISIT.id, MONDAY, BEFORE), limit=100)
        minutes = {(slot.provider.name, slot.end - slot.start) for slot in page.slots}
        assert minutes == {("Dr. Vega", 60), ("Dr. Linn", 30)}
        assert page.total == 2 * (9 + 11)
        assert page.candidates == 2 * 2 * (1 + (1440 - 30) // 15)
        ranks = [(-slot.points, slot.start, slot.provider.id) for slot in page.slots]
        assert ranks == sorted(ranks)


class TestRule2OpenWindows:
    def test_touching_windows_are_one(self) -> None:
        rows = (
            Availability(NINE, TEN, provider_id=VEGA.id, weekday=1),
            Availability(TEN, NOON, provider_id=VEGA.id, weekday=1),
        )
        assert verdict(clinic(rows=rows), 585) == "regular"

    def test_the_last_start_ends_with_the_window(self) -> None:
        assert verdict(clinic(), NOON - 30) == "regular"
        assert verdict(clinic(), NOON - 15) == "no"

    def test_rows_of_the_date_stand_in_for_the_weekly_ones(self) -> None:
        dated = Availability(840, 900, provider_id=VEGA.id, date=MONDAY)
        assert verdict(clinic(rows=(OPEN, dated)), 840) == "regular"
        assert verdict(clinic(rows=(OPEN, dated)), NINE) == "no"

    def test_a_closure_of_the_clinic_cuts_windows(self) -> None:
        closed = Availability(TEN, 660, date=MONDAY, kind="closed")
        assert verdict(clinic(rows=(OPEN, closed)), TEN - 30) == "regular"
        assert verdict(clinic(rows=(OPEN, closed)), TEN - 15) == "no"

    def test_validity(self) -> None:
        assert verdict(clinic(rows=(replace(OPEN, valid_to=MONDAY),)), NINE) == "regular"
        assert verdict(clinic(rows=(replace(OPEN, valid_from=TUESDAY),)), NINE) == "no"

    def test_a_room_with_hours_is_closed_outside_them(self) -> None:
        hours = Availability(NINE, TEN, room_id=ROOM.id, weekday=1)
        assert verdict(clinic(rows=(OPEN, hours)), NINE) == "regular"
        assert verdict(clinic(rows=(OPEN, hours)), TEN) == "no"

    def test_a_room_with_hours_on_another_day_only_is_closed(self) -> None:
        assert verdict(clinic(rows=(OPEN,)), NINE) == "regular"
        elsewhere = Availability(NINE, TEN, room_id=ROOM.id, date=TUESDAY)
        assert verdict(clinic(rows=(OPEN, elsewhere)), NINE) == "no"

    def test_buffers_reach_past_the_window(self) -> None:
        assert verdict(clinic(vega=replace(VEGA, buffer_before=30)), NINE) == "regular"


class TestRule3Room:
    def in_room(self, start: int) -> Booking:
        return booked(start, provider_id=uid(1, 9), room_id=ROOM.id)

    def test_side_by_side(self) -> None:
        assert verdict(clinic(self.in_room(TEN)), TEN + 30) == "regular"

    def test_turnover(self) -> None:
        slow = replace(ROOM, turnover_minutes=1)
        assert verdict(clinic(self.in_room(TEN), room=slow), TEN + 30) == "no"

    def test_the_longer_of_turnover_and_buffer_counts_not_their_sum(self) -> None:
        slow = replace(ROOM, turnover_minutes=15)
        visit = replace(VISIT, buffer_after=15)
        assert verdict(clinic(self.in_room(TEN), room=slow, visit=visit), TEN + 45) == "regular"
        assert verdict(clinic(self.in_room(TEN), room=slow, visit=visit), TEN + 30) == "no"

    def test_a_room_is_never_overbooked(self) -> None:
        rule = OverbookingRule(uid(4, 0), max_overlap=5, max_per_day=5)
        assert verdict(clinic(self.in_room(TEN), rules=(rule,)), TEN) == "no"

    def test_a_buffer_reaches_over_midnight(self) -> None:
        rows = (Availability(0, NOON, provider_id=VEGA.id, weekday=1),)
        before = replace(self.in_room(1410), date=MONDAY - dt.timedelta(days=1))
        slow = replace(ROOM, turnover_minutes=15)
        assert verdict(clinic(before, room=slow, rows=rows), 15) == "regular"
        assert verdict(clinic(before, room=slow, rows=rows), 0) == "no"


class TestRule4ProviderBusySpan:
    def test_the_longer_buffer_counts_not_the_sum(self) -> None:
        vega = replace(VEGA, buffer_after=15)
        visit = replace(VISIT, buffer_after=10)
        assert verdict(clinic(booked(NINE), vega=vega, visit=visit), 585) == "regular"
        assert verdict(clinic(booked(NINE), vega=vega, visit=visit), 570) == "no"


class TestRule5TypeCap:
    def test_cap(self) -> None:
        elsewhere = booked(TEN, provider_id=uid(1, 9))
        assert verdict(clinic(elsewhere, visit=replace(VISIT, daily_cap=2)), NINE) == "regular"
        assert verdict(clinic(elsewhere, visit=replace(VISIT, daily_cap=1)), NINE) == "no"

    def test_cancelled_bookings_do_not_count(self) -> None:
        gone = booked(TEN, status="cancelled")
        assert verdict(clinic(gone, visit=replace(VISIT, daily_cap=1)), NINE) == "regular"

    def test_other_types_and_other_dates_do_not_count(self) -> None:
        visit, other = replace(VISIT, daily_cap=1), replace(VISIT, id=uid(3, 1))
        book = (
            replace(booked(TEN), appointment_type_id=other.id),
            booked(TEN, 1, date=MONDAY - dt.timedelta(days=1)),
            booked(TEN, 2, date=TUESDAY),
        )
        two = replace(clinic(), appointment_types=(other, visit))
        assert verdict(two.with_bookings(book), NINE) == "regular"
        assert verdict(two.with_bookings([*book, booked(660, 3)]), NINE) == "no"

    def test_a_cap_that_is_overrun_allows_nothing(self) -> None:
        over = (booked(TEN, provider_id=uid(1, 9)), booked(NINE, 1, provider_id=uid(1, 8)))
        assert verdict(clinic(*over, visit=replace(VISIT, daily_cap=1)), NINE) == "no"


class TestRule10Equipment:
    """Scans need a scanner, which is out until ten minutes after the end."""

    def scans(self, *bookings: Booking, each: int = 1, **pool: Any) -> Clinic:
        fields = {"name": "Scanner", "quantity": 2, "return_minutes": 10} | pool
        scan = replace(VISIT, required_pools=(PoolNeed(uid(7, 0), each),))
        return clinic(*bookings, visit=scan, pools=(EquipmentPool(uid(7, 0), **fields),))

    def elsewhere(self, start: int, number: int = 0, **changes: Any) -> Booking:
        return booked(start, number, provider_id=uid(1, 9), **changes)

    def test_feasible(self) -> None:
        assert verdict(self.scans(self.elsewhere(TEN)), TEN) == "regular"
        assert verdict(self.scans(self.elsewhere(NINE), quantity=1), NINE + 45) == "regular"

    def test_infeasible(self) -> None:
        assert verdict(self.scans(self.elsewhere(TEN), quantity=1), TEN) == "no"
        assert verdict(self.scans(self.elsewhere(NINE), quantity=1), NINE + 30) == "no"
        assert verdict(self.scans(self.elsewhere(TEN), quantity=1), TEN - 30) == "no"
        assert verdict(self.scans(each=3), TEN) == "no"
        assert verdict(self.scans(active=False), TEN) == "no"

    def test_what_is_out_at_once_counts_and_not_all_that_overlap(self) -> None:
        around = self.elsewhere(TEN - 30), self.elsewhere(TEN + 45, 1, duration_minutes=60)
        assert verdict(self.scans(*around), TEN) == "regular"
        assert verdict(self.scans(*around, self.elsewhere(TEN, 2)), TEN) == "no"

    def test_no_allowance_lifts_it(self) -> None:
        allowance = OverbookingRule(uid(4, 0), max_overlap=9, max_per_day=9)
        book = [booked(TEN + 15), self.elsewhere(TEN, 1)]
        for quantity, expected in ((3, "overbooked"), (2, "no")):
            some = self.scans(*book, quantity=quantity)
            assert verdict(replace(some, overbooking_rules=(allowance,)), TEN) == expected

    def test_over_midnight(self) -> None:
        late = self.elsewhere(1410, date=MONDAY - dt.timedelta(days=1))
        hours = {"availability": (replace(OPEN, start=0, end=NOON),)}
        for minutes, expected in ((60, "regular"), (61, "no")):
            some = self.scans(late, quantity=1, return_minutes=minutes)
            assert verdict(replace(some, **hours), 60) == expected

    def test_a_book_that_is_over_it_allows_nothing_then_and_something_later(self) -> None:
        over = self.elsewhere(NINE), self.elsewhere(NINE, 1), self.elsewhere(NINE, 2)
        assert verdict(self.scans(*over), NINE) == "no"
        assert verdict(self.scans(*over), NINE + 45) == "regular"
        told = violations(
            self.scans(*(replace(b, provider_id=VEGA.id, room_id=ROOM.id) for b in over))
        )
        details = {v.detail for v in told if v.rule == 10}
        assert details == {"3 of Scanner are out at once, there are 2"}
        assert {v.booking.id for v in told if v.rule == 10} == {b.id for b in over}


class TestRule6Regular:
    def test_beside_a_booking(self) -> None:
        assert verdict(clinic(booked(TEN)), TEN + 30) == "regular"
        assert verdict(clinic(booked(TEN)), TEN + 15) == "no"

    def test_a_booking_on_an_odd_minute(self) -> None:
        assert verdict(clinic(booked(TEN - 29)), TEN + 15) == "regular"
        assert verdict(clinic(booked(TEN - 29)), TEN) == "no"

    def test_daily_cap(self) -> None:
        assert verdict(clinic(booked(TEN), vega=replace(VEGA, daily_cap=2)), NINE) == "regular"
        assert verdict(clinic(booked(TEN), vega=replace(VEGA, daily_cap=1)), NINE) == "no"

    def test_other_dates_do_not_fill_the_cap(self) -> None:
        around = (booked(TEN, date=MONDAY - dt.timedelta(days=1)), booked(TEN, 1, date=TUESDAY))
        assert verdict(clinic(*around, vega=replace(VEGA, daily_cap=1)), NINE) == "regular"

    def test_overbooked_bookings_do_not_fill_the_cap(self) -> None:
        over = booked(TEN, is_overbooked=True)
        assert verdict(clinic(over, vega=replace(VEGA, daily_cap=1)), NINE) == "regular"

    def test_daily_minutes(self) -> None:
        assert verdict(clinic(booked(TEN), vega=replace(VEGA, daily_minutes=60)), NINE) == "regular"
        assert verdict(clinic(booked(TEN), vega=replace(VEGA, daily_minutes=59)), NINE) == "no"
        assert verdict(clinic(vega=replace(VEGA, daily_minutes=29)), NINE) == "no"
        assert verdict(clinic(vega=replace(VEGA, daily_minutes=0)), NINE) == "no"

    def test_minutes_are_without_buffers(self) -> None:
        visit = replace(VISIT, buffer_before=10, buffer_after=10)
        vega = replace(VEGA, daily_minutes=60, buffer_after=20)
        assert verdict(clinic(booked(TEN), vega=vega, visit=visit), NINE) == "regular"

    def test_other_dates_and_overbooked_bookings_take_no_minutes(self) -> None:
        others = (
            booked(TEN, date=MONDAY - dt.timedelta(days=1)),
            booked(TEN, 1, date=TUESDAY),
            booked(TEN, 2, is_overbooked=True),
            booked(TEN + 30, 3, status="cancelled"),
        )
        assert verdict(clinic(*others, vega=replace(VEGA, daily_minutes=30)), NINE) == "regular"


class TestKeptMinutes:
    """Bookings of half an hour once, whatever the type takes now, and the other way round."""

    longer = replace(VISIT, duration_minutes=60, buffer_before=10, buffer_after=10)
    before_that: Mapping[str, int] = {
        "duration_minutes": 30,
        "buffer_before": 0,
        "buffer_after": 0,
    }

    def in_room(self, **kept: int) -> Booking:
        return booked(TEN, provider_id=uid(1, 9), room_id=ROOM.id, **kept)

    def test_of_the_room(self) -> None:
        kept = self.in_room(**self.before_that)
        assert verdict(clinic(kept, visit=self.longer), TEN + 45) == "regular"
        assert verdict(clinic(self.in_room(), visit=self.longer), TEN + 45) == "no"
        buffers = self.in_room(buffer_before=1, buffer_after=1)
        assert verdict(clinic(buffers), TEN - 45) == "regular"
        assert verdict(clinic(buffers), TEN - 30) == "no"
        assert verdict(clinic(buffers), TEN + 30) == "no"

    def test_of_the_provider(self) -> None:
        kept = booked(TEN, **self.before_that)
        assert verdict(clinic(kept, visit=self.longer), TEN + 45) == "regular"
        assert verdict(clinic(booked(TEN), visit=self.longer), TEN + 45) == "no"
        buffers = booked(TEN, buffer_before=16, buffer_after=16)
        assert verdict(clinic(buffers), TEN + 60) == "regular"
        assert verdict(clinic(buffers), TEN + 45) == "no"
        assert verdict(clinic(buffers), TEN - 45) == "no"

    def test_the_providers_buffer_and_the_rooms_turnover_are_the_present_ones(self) -> None:
        kept = replace(self.in_room(**self.before_that), provider_id=VEGA.id)
        slow, busy = replace(ROOM, turnover_minutes=20), replace(VEGA, buffer_after=20)
        assert verdict(clinic(kept), TEN + 45) == "regular"
        assert verdict(clinic(kept, room=slow), TEN + 45) == "no"
        assert verdict(clinic(kept, vega=busy), TEN + 45) == "no"

    def test_over_midnight(self) -> None:
        rows = (Availability(0, NOON, provider_id=VEGA.id, weekday=1),)
        evening = {"date": MONDAY - dt.timedelta(days=1), "duration_minutes": 60}
        assert verdict(clinic(booked(1395, **evening), rows=rows), 15) == "regular"
        assert verdict(clinic(booked(1395, **evening), rows=rows), 0) == "no"

    def test_of_what_an_overbooking_may_meet(self) -> None:
        rule = OverbookingRule(uid(4, 0), max_overlap=1, max_per_day=1)
        first, second = booked(NINE), booked(TEN, 1)
        assert verdict(clinic(first, second, rules=(rule,)), TEN + 15) == "overbooked"
        long = replace(first, duration_minutes=90)
        assert verdict(clinic(long, second, rules=(rule,)), TEN + 15) == "no"

    def test_a_place_that_is_kept_is_judged_by_its_own_minutes(self) -> None:
        there = {"provider_ids": frozenset({VEGA.id}), "room_id": ROOM.id, "start": NOON - 30}
        request = SlotRequest(VISIT.id, MONDAY, BEFORE, is_given=True, **there)
        for kept, is_free in ((None, False), (Minutes(30, 0, 0), True), (Minutes(45, 0, 0), False)):
            asked = replace(request, minutes=kept)
            assert bool(judge(clinic(visit=self.longer), asked).slots) is is_free
            reading = SlotChecker(clinic(visit=self.longer)).read(asked, VEGA, ROOM, NOON - 30)
            assert bool(reading.broken) is not is_free


class TestRule7Overbooked:
    rule = OverbookingRule(uid(4, 0), max_overlap=1, max_per_day=1)

    def over(self, *bookings: Booking, at: int = TEN + 15, **changes: Any) -> str:
        vega = changes.pop("vega", VEGA)
        return verdict(clinic(*bookings, rules=(replace(self.rule, **changes),), vega=vega), at)

    def test_allowed(self) -> None:
        assert self.over(booked(TEN)) == "overbooked"

    def test_beyond_the_cap(self) -> None:
        assert self.over(booked(TEN), at=NINE, vega=replace(VEGA, daily_cap=1)) == "overbooked"

    def test_beyond_the_minutes(self) -> None:
        vega = replace(VEGA, daily_minutes=59)
        assert self.over(booked(TEN), at=NINE, vega=vega) == "overbooked"
        vega = replace(VEGA, daily_minutes=60)
        assert self.over(booked(TEN), at=NINE, vega=vega) == "regular"

    def test_not_at_the_very_start_of_a_booking(self) -> None:
        assert self.over(booked(TEN), at=TEN) == "no"

    @pytest.mark.parametrize(
        "changes",
        [
            {"provider_id": VEGA.id},
            {"appointment_type_id": VISIT.id},
            {"weekday": 1},
            {"start": TEN + 15, "end": TEN + 45},
        ],
    )
    def test_conditions_met(self, changes: Any) -> None:
        assert self.over(booked(TEN), **changes) == "overbooked"

    @pytest.mark.parametrize(
        "changes",
        [{"weekday": 2}, {"start": TEN + 16}, {"end": TEN + 44}, {"max_overlap": 0}],
    )
    def test_conditions_missed(self, changes: Any) -> None:
        assert self.over(booked(TEN), **changes) == "no"

    def test_a_rule_that_does_not_apply_hides_no_other(self) -> None:
        other, vera = replace(VISIT, id=uid(3, 1)), replace(VEGA, id=uid(1, 1))
        both = replace(
            clinic(booked(TEN)), providers=(VEGA, vera), appointment_types=(VISIT, other)
        )
        for changes in (
            {"appointment_type_id": other.id},
            {"weekday": 2},
            {"provider_id": vera.id},
            {"start": TEN + 30},
        ):
            elsewhere = replace(self.rule, id=uid(4, 1), **changes)
            rules = (elsewhere, self.rule)
            assert verdict(replace(both, overbooking_rules=rules), TEN + 15) == "overbooked"
            assert verdict(replace(both, overbooking_rules=rules[:1]), TEN + 15) == "no"

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_a_rule_for_one_provider_is_for_no_other(self, number: int) -> None:
        providers = tuple(replace(VEGA, id=uid(1, n)) for n in range(3))
        many = replace(
            clinic(),
            providers=providers,
            overbooking_rules=(replace(self.rule, provider_id=uid(1, number)),),
            availability=tuple(replace(OPEN, provider_id=p.id) for p in providers),
        ).with_bookings(booked(TEN, n, provider_id=p.id) for n, p in enumerate(providers))
        page = find_slots(many, SlotRequest(VISIT.id, MONDAY, BEFORE, start=TEN + 15))
        assert [slot.provider.id for slot in page.slots] == [uid(1, number)]
        assert page.total == 1

    def test_max_overlap(self) -> None:
        two = (booked(TEN), booked(TEN + 30, 1))
        assert self.over(*two, max_overlap=2) == "overbooked"
        assert self.over(*two, max_overlap=1) == "no"

    def test_touching_is_no_overlap(self) -> None:
        assert self.over(booked(TEN), at=TEN + 30) == "regular"
        assert self.over(booked(TEN), at=TEN - 30) == "regular"
        assert self.over(booked(TEN), booked(TEN + 45, 1)) == "overbooked"
        assert self.over(booked(TEN), booked(TEN - 45, 1), at=TEN - 15) == "overbooked"
        assert self.over(booked(TEN), booked(TEN + 44, 1)) == "no"
        assert self.over(booked(TEN), booked(TEN - 44, 1), at=TEN - 15) == "no"

    def test_max_per_day(self) -> None:
        already = booked(NINE, 1, is_overbooked=True)
        assert self.over(booked(TEN), already, max_per_day=2) == "overbooked"
        assert self.over(booked(TEN), already, max_per_day=1) == "no"

    def test_max_per_day_counts_the_date_alone(self) -> None:
        sunday = MONDAY - dt.timedelta(days=1)
        around = (
            booked(NINE, 1, date=sunday, is_overbooked=True),
            booked(NINE, 2, date=TUESDAY, is_overbooked=True),
        )
        assert self.over(booked(TEN), *around) == "overbooked"

    def test_one_rule_has_to_allow_all_of_it(self) -> None:
        rules = (
            replace(self.rule, id=uid(4, 1), max_overlap=0, max_per_day=5),
            replace(self.rule, id=uid(4, 2), max_overlap=5, max_per_day=0),
        )
        assert verdict(clinic(booked(TEN), rules=rules), TEN + 15) == "no"


class TestTime:
    def test_grid(self) -> None:
        assert verdict(clinic(grid_minutes=20), 560) == "regular"
        assert verdict(clinic(grid_minutes=20), 550) == "no"

    @pytest.mark.parametrize(
        ("minutes", "start", "expected"),
        [
            (1, 547, "regular"),
            (7, 77 * 7, "no"),  # 8:59, before the window opens
            (7, 78 * 7, "regular"),
            (7, 78 * 7 + 1, "no"),
            (240, 480, "no"),
            (240, 720, "no"),
            (90, 540, "regular"),
            (90, 570, "no"),
        ],
    )
    def test_starts_are_the_multiples_of_any_grid_from_midnight(
        self, minutes: int, start: int, expected: str
    ) -> None:
        assert verdict(clinic(grid_minutes=minutes), start) == expected

    @pytest.mark.parametrize("minutes", [0, -5, 241])
    def test_a_grid_has_1_to_240_minutes(self, minutes: int) -> None:
        with pytest.raises(InvalidClinicError, match="grid_minutes: must be 1 to 240 minutes"):
            clinic(grid_minutes=minutes)

    @pytest.mark.parametrize(
        ("starts", "start", "expected"),
        [
            ({"start_every": 50}, 11 * 50, "regular"),
            ({"start_every": 50}, NINE, "no"),
            ({"start_every": 50}, TEN, "regular"),
            ({"start_every": 60, "start_offset": 10}, NINE + 10, "regular"),
            ({"start_every": 60, "start_offset": 10}, NINE, "no"),
            ({"start_every": 50, "start_anchor": "window"}, NINE, "regular"),
            ({"start_every": 50, "start_anchor": "window"}, NINE + 50, "regular"),
            ({"start_every": 50, "start_anchor": "window"}, 11 * 50, "no"),
            ({"start_every": 50, "start_anchor": "window"}, NOON - 30, "regular"),
            ({"start_every": 50, "start_anchor": "window"}, NOON + 20, "no"),
            ({"start_anchor": "window"}, NINE + 15, "regular"),
        ],
    )
    def test_a_type_has_a_rhythm_of_its_own(
        self, starts: dict[str, Any], start: int, expected: str
    ) -> None:
        visit = replace(VISIT, **starts)
        assert verdict(clinic(visit=visit), start) == expected

    def test_a_rhythm_begins_anew_behind_each_break(self) -> None:
        visit = replace(VISIT, start_every=40, start_anchor="window")
        rows = (
            OPEN,
            Availability(NOON, 800, provider_id=VEGA.id, weekday=1),  # merged with the one before
            Availability(TEN, TEN + 20, provider_id=VEGA.id, weekday=1, kind="closed"),
        )
        day = clinic(visit=visit, rows=rows)
        assert verdict(day, TEN + 20) == verdict(day, TEN + 20 + 3 * 40) == "regular"
        assert verdict(day, NINE + 40) == verdict(day, NOON) == "no"

    def test_what_is_packed_starts_right_behind_a_busy_span(self) -> None:
        vega, visit = replace(VEGA, buffer_before=5), replace(VISIT, packed=True, buffer_after=3)
        odd = booked(TEN + 2, duration_minutes=21, buffer_before=0, buffer_after=3)
        behind = TEN + 2 + 21 + 3 + 5
        assert verdict(clinic(odd, vega=vega, visit=visit), behind) == "regular"
        assert verdict(clinic(odd, vega=vega, visit=replace(visit, packed=False)), behind) == "no"
        for start in (behind - 1, behind + 1):
            assert verdict(clinic(odd, vega=vega, visit=visit), start) == "no"
        gone = replace(odd, status="cancelled")
        assert verdict(clinic(gone, vega=vega, visit=visit), behind) == "no"
        others = replace(odd, provider_id=uid(1, 9))
        assert verdict(clinic(others, vega=vega, visit=visit), behind) == "no"

    def test_what_is_packed_starts_within_a_window_alone(self) -> None:
        visit = replace(VISIT, packed=True)
        early, late = booked(511, duration_minutes=30), booked(700, 1, duration_minutes=27)
        assert verdict(clinic(early, visit=visit), 541) == "regular"
        day, asked = clinic(early, late, visit=visit), SlotRequest(VISIT.id, MONDAY, BEFORE)
        starts = set(build(Day.of(day, MONDAY), asked)[0].starts.tolist())
        assert starts - set(range(0, 1440, 15)) == {541}
        at_closing = clinic(booked(690, duration_minutes=30), visit=visit)
        assert verdict(at_closing, NOON) == "no"

    def test_starts_are_those_of_all_providers_and_off_the_grid_for_the_others(self) -> None:
        vera = replace(VEGA, id=uid(1, 1))
        later = Availability(NINE + 10, NOON, provider_id=vera.id, weekday=1)
        visit = replace(VISIT, start_every=90, start_anchor="window", daily_cap=0)
        both = replace(clinic(visit=visit), providers=(VEGA, vera), availability=(OPEN, later))
        page = find_slots(both, SlotRequest(VISIT.id, MONDAY, BEFORE))
        assert page.candidates == 8  # of two providers at 9:00, 9:10, 10:30 and 10:40
        assert page.blocked_by == {"OFF_GRID": 4, "TYPE_DAILY_CAP": 4}
        nobody = replace(both, availability=())
        page = find_slots(nobody, SlotRequest(VISIT.id, MONDAY, BEFORE))
        assert (page.candidates, page.blocked_by) == (0, {})

    @pytest.mark.parametrize(
        ("starts", "fault"),
        [
            ({"start_every": 0}, "start_every: must be 1 to 240 minutes"),
            ({"start_every": 241}, "start_every: must be 1 to 240 minutes"),
            ({"start_every": 50, "start_offset": 50}, "start_offset: must be 0 to 49 minutes"),
            ({"start_every": 50, "start_offset": -1}, "start_offset: must be 0 to 49 minutes"),
            ({"start_offset": 5}, "start_offset: is for types with start_every"),
            ({"start_anchor": "noon"}, "start_anchor: must be 'midnight' or 'window'"),
            (
                {"start_every": 50, "start_offset": 5, "start_anchor": "window"},
                "start_offset: must be 0 where start_anchor is 'window'",
            ),
        ],
    )
    def test_what_no_rhythm_can_be(self, starts: dict[str, Any], fault: str) -> None:
        with pytest.raises(InvalidClinicError, match=fault):
            replace(VISIT, **starts)

    def test_notice(self) -> None:
        now = BEFORE.replace(month=3, hour=8, minute=30)
        assert verdict(clinic(min_notice_minutes=30), NINE, now=now) == "regular"
        late = now.replace(second=1)
        assert verdict(clinic(min_notice_minutes=30), NINE, now=late) == "no"

    @pytest.mark.parametrize(
        ("start", "expected"), [(90, "regular"), (105, "no"), (180, "regular")]
    )
    @pytest.mark.parametrize("day", [dt.date(2027, 3, 28), dt.date(2027, 10, 31)])
    def test_clock_changes_at_two_and_three(self, day: dt.date, start: int, expected: str) -> None:
        rows = (Availability(0, 1440, provider_id=VEGA.id, date=day),)
        assert verdict(clinic(rows=rows), start, day) == expected
        assert verdict(clinic(rows=rows), 150, day) == "no"

    def test_the_last_minutes_of_a_date(self) -> None:
        rows = (Availability(0, 1440, provider_id=VEGA.id, date=MONDAY),)
        assert verdict(clinic(rows=rows), 1410) == "regular"
        assert verdict(clinic(rows=rows), 1425) == "no"

    def test_29_february(self) -> None:
        day = dt.date(2028, 2, 29)
        rows = (Availability(NINE, NOON, provider_id=VEGA.id, date=day),)
        assert verdict(clinic(rows=rows), NINE, day) == "regular"
        assert verdict(clinic(rows=rows), NINE, day + dt.timedelta(days=1)) == "no"

    def test_the_ends_of_the_calendar(self) -> None:
        last = dt.date.max
        rows = (Availability(0, 1440, provider_id=VEGA.id, weekday=last.isoweekday()),)
        before = booked(1425, date=last - dt.timedelta(days=1))
        assert verdict(clinic(before, rows=rows), 15, last) == "regular"
        assert verdict(clinic(before, rows=rows), 0, last) == "no"

        first = dt.date.min
        now = dt.datetime.combine(first, dt.time(), dt.UTC)
        rows = (Availability(0, 1440, provider_id=VEGA.id, weekday=first.isoweekday()),)
        utc = replace(
            clinic(booked(0, date=first), rows=rows), settings=ClinicSettings("Early", "UTC")
        )
        assert verdict(utc, 30, first, now) == "regular"
        assert verdict(utc, 15, first, now) == "no"


SPRING = dt.date(2027, 3, 28)


LATE = BEFORE.replace(month=4)


class TestReasons:
    """Every rule is told by its own code, alone and with all the others."""

    @pytest.mark.parametrize(
        ("code", "start", "changes"),
        [
            ("TYPE_INACTIVE", NINE, {"visit": replace(VISIT, active=False)}),
            ("OFF_GRID", NINE + 1, {}),
            ("OFF_GRID", NINE + 15, {"visit": replace(VISIT, start_every=50)}),
            ("PROVIDER_INACTIVE", NINE, {"vega": replace(VEGA, active=False)}),
            ("PROVIDER_LACKS_SKILLS", NINE, {"vega": replace(VEGA, skills=frozenset())}),
            ("ROOM_INACTIVE", NINE, {"room": replace(ROOM, active=False)}),
            ("ROOM_LACKS_EQUIPMENT", NINE, {"room": replace(ROOM, equipment=frozenset())}),
            ("TOO_SOON", NINE, {"min_notice_minutes": 60 * 24 * 60}),
            ("OUTSIDE_PROVIDER_HOURS", NOON, {}),
            (
                "OUTSIDE_ROOM_HOURS",
                NINE,
                {"rows": (OPEN, Availability(TEN, NOON, room_id=ROOM.id, weekday=1))},
            ),
            ("TYPE_DAILY_CAP", NINE, {"visit": replace(VISIT, daily_cap=0)}),
            ("PROVIDER_DAILY_CAP", NINE, {"vega": replace(VEGA, daily_cap=0)}),
            ("PROVIDER_DAILY_CAP", NINE, {"vega": replace(VEGA, daily_minutes=29)}),
        ],
    )
    def test_of_the_clinic(self, code: str, start: int, changes: Any) -> None:
        self.check(clinic(**changes), start, MONDAY, code)

    def test_of_the_book(self) -> None:
        self.check(clinic(booked(NINE)), NINE, MONDAY, "PROVIDER_BUSY")
        elsewhere = booked(NINE, provider_id=uid(1, 9), room_id=ROOM.id)
        self.check(clinic(elsewhere), NINE, MONDAY, "ROOM_BUSY")

    def test_of_the_clock(self) -> None:
        rows = (Availability(0, 1440, provider_id=VEGA.id, weekday=7),)
        self.check(clinic(rows=rows), 120, SPRING, "CLOCK_CHANGE")

    def check(self, clinic: Clinic, start: int, day: dt.date, code: str) -> None:
        request = SlotRequest(
            VISIT.id, day, BEFORE, provider_ids=frozenset({VEGA.id}), room_id=ROOM.id, start=start
        )
        assert judge(clinic, request).reasons == (code,)
        assert judge(clinic, replace(request, room_id=None)).reasons == (code,)
        assert find_slots(clinic, request).blocked_by == {code: 1}

    def test_all_at_once(self) -> None:
        nothing = clinic(
            booked(120, date=SPRING, room_id=ROOM.id),
            vega=Provider(VEGA.id, "Dr. Vega", daily_cap=0, active=False),
            room=Room(ROOM.id, "Room 1", active=False),
            visit=replace(VISIT, active=False, daily_cap=0),
            rows=(OPEN, Availability(NINE, NOON, room_id=ROOM.id, weekday=1)),
        )
        request = SlotRequest(
            VISIT.id, SPRING, LATE, provider_ids=frozenset({VEGA.id}), room_id=ROOM.id, start=121
        )
        told = (
            "TYPE_INACTIVE",
            "OFF_GRID",
            "PROVIDER_INACTIVE",
            "PROVIDER_LACKS_SKILLS",
            "ROOM_INACTIVE",
            "ROOM_LACKS_EQUIPMENT",
            "TOO_SOON",
            "CLOCK_CHANGE",
            "OUTSIDE_PROVIDER_HOURS",
            "OUTSIDE_ROOM_HOURS",
            "ROOM_BUSY",
            "TYPE_DAILY_CAP",
            "PROVIDER_BUSY",
            "PROVIDER_DAILY_CAP",
        )
        assert judge(nothing, request).reasons == told
        assert find_slots(nothing, request).blocked_by == {"TYPE_INACTIVE": 1}

    def test_every_candidate_is_counted_once(self) -> None:
        request = SlotRequest(VISIT.id, MONDAY, BEFORE)
        starts = (1440 - 30) // 15 + 1
        never = clinic(visit=replace(VISIT, active=False))
        assert find_slots(never, request).blocked_by == {"TYPE_INACTIVE": starts}
        short = clinic(rows=(replace(OPEN, end=NINE + 29),))
        assert find_slots(short, request).blocked_by == {"OUTSIDE_PROVIDER_HOURS": starts}

    def test_two_starts(self) -> None:
        # An appointment of nearly the whole day, that only its second start leaves room for.
        rows = (Availability(15, 1440, provider_id=VEGA.id, weekday=1),)
        nearly = clinic(visit=replace(VISIT, duration_minutes=1425), rows=rows)
        (masks,) = build(Day.of(nearly, MONDAY), SlotRequest(VISIT.id, MONDAY, BEFORE))
        assert masks.starts.tolist() == [0, 15]
        assert masks.broken(0, 0, 0) == ["OUTSIDE_PROVIDER_HOURS"]
        assert masks.broken(0, 0, 1) == masks.broken(0, None, 1) == []

        hours = replace(rows[0], provider_id=None, room_id=ROOM.id)
        (masks,) = build(
            Day.of(replace(nearly, availability=(*rows, hours)), MONDAY),
            SlotRequest(VISIT.id, MONDAY, BEFORE),
        )
        told = ["OUTSIDE_PROVIDER_HOURS", "OUTSIDE_ROOM_HOURS"]
        assert masks.broken(0, 0, 0) == masks.broken(0, None, 0) == told
        assert masks.broken(0, 0, 1) == masks.broken(0, None, 1) == []

    def test_past_midnight(self) -> None:
        late = (Availability(0, 1440, provider_id=VEGA.id, weekday=1),)
        request = SlotRequest(
            VISIT.id, MONDAY, BEFORE, provider_ids=frozenset({VEGA.id}), start=1425
        )
        told = ("OUTSIDE_DATE", "OUTSIDE_PROVIDER_HOURS", "OUTSIDE_ROOM_HOURS")
        assert judge(clinic(rows=late), request) == Verdict((), told)
        assert judge(clinic(rows=late), replace(request, start=1410)).reasons == ()


class TestNarrowed:
    """A request for one room, one provider, one start, in a clinic of two each."""

    VERA = replace(VEGA, id=uid(1, 1), name="Dr. Vera")
    LASER = replace(ROOM, id=uid(2, 1), name="Room 2", equipment=ROOM.equipment | {"laser"})
    TWO = Clinic(
        ClinicSettings("Two", "Europe/Berlin"),
        (VERA, VEGA),
        (LASER, ROOM),
        (VISIT,),
        (OPEN, replace(OPEN, provider_id=VERA.id)),
    )
    ANY = SlotRequest(VISIT.id, MONDAY, BEFORE, start=NINE)

    def listed(self, request: SlotRequest, clinic: Clinic = TWO) -> list[tuple[str, str, int]]:
        slots = find_slots(clinic, request, rooms="all").slots
        return [(slot.provider.name, slot.room.name, slot.start) for slot in slots]

    def test_a_start(self) -> None:
        assert self.listed(self.ANY) == [
            ("Dr. Vega", "Room 1", NINE),
            ("Dr. Vera", "Room 1", NINE),
            ("Dr. Vega", "Room 2", NINE),
            ("Dr. Vera", "Room 2", NINE),
        ]

    def test_a_room_and_a_provider(self) -> None:
        request = replace(self.ANY, room_id=self.LASER.id)
        assert self.listed(request) == [
            ("Dr. Vega", "Room 2", NINE),
            ("Dr. Vera", "Room 2", NINE),
        ]
        request = replace(request, provider_ids=frozenset({self.VERA.id}))
        assert self.listed(request) == [("Dr. Vera", "Room 2", NINE)]

    def test_a_judgement_lists_the_best_rooms_first(self) -> None:
        request = replace(self.ANY, provider_ids=frozenset({self.VERA.id}))
        for is_certified in (True, False):
            for limit in (1, 2, 3):
                verdict = judge(self.TWO, request, limit=limit, certify=is_certified)
                assert [s.room.name for s in verdict.slots] == ["Room 1", "Room 2"][:limit]
                assert verdict.reasons == ()
        assert [s.room.name for s in judge(self.TWO, request).slots] == ["Room 1"]

    def test_a_room_is_named_when_none_is_left(self) -> None:
        request = replace(self.ANY, provider_ids=frozenset({self.VERA.id}))
        one = replace(self.TWO, rooms=(replace(self.LASER, active=False), ROOM))
        assert [s.room.name for s in judge(one, request).slots] == ["Room 1"]
        assert judge(one, replace(request, room_id=self.LASER.id)).reasons == ("ROOM_INACTIVE",)
        none = replace(one, rooms=tuple(replace(room, active=False) for room in one.rooms))
        assert judge(none, request).reasons == ("ROOM_INACTIVE",)
        away = replace(one, rooms=(replace(ROOM, active=False), self.LASER), availability=())
        assert judge(away, request).reasons == ("OUTSIDE_PROVIDER_HOURS",)
        assert self.listed(request, none) == []


class TestNextAvailableDate:
    request = SlotRequest(VISIT.id, MONDAY, BEFORE)

    @pytest.mark.parametrize(
        ("ahead", "is_found"), [(0, False), (1, True), (14, True), (15, False)]
    )
    def test_the_following_fortnight(self, ahead: int, is_found: bool) -> None:
        day = MONDAY + dt.timedelta(days=ahead)
        only = clinic(rows=(Availability(NINE, TEN, provider_id=VEGA.id, date=day),))
        assert next_available_date(only, self.request) == (day if is_found else None)

    def test_the_first_of_them(self) -> None:
        assert next_available_date(clinic(), self.request) == MONDAY + dt.timedelta(days=7)
        daily = tuple(replace(OPEN, weekday=weekday) for weekday in range(1, 8))
        assert next_available_date(clinic(rows=daily), self.request) == TUESDAY

    def test_the_last_date(self) -> None:
        week = MONDAY + dt.timedelta(days=7)
        assert next_available_date(clinic(), self.request, last=week) == week
        assert next_available_date(clinic(), self.request, last=week - dt.timedelta(days=1)) is None


class TestOverrides:
    """A standing booking is told of no rule that it overrides, and of all the others."""

    def told(self, clinic: Clinic) -> list[tuple[str, str]]:
        plain = list(BookChecker(clinic).violations())
        assert violations(clinic) == plain
        return [(v.booking.id, v.code) for v in plain]

    @pytest.mark.parametrize(
        ("code", "changes", "others"),
        [
            ("OUTSIDE_PROVIDER_HOURS", {"rows": ()}, ()),
            (
                "OUTSIDE_ROOM_HOURS",
                {"rows": (OPEN, Availability(NINE, TEN, room_id=ROOM.id, weekday=1))},
                (),
            ),
            ("TYPE_DAILY_CAP", {"visit": replace(VISIT, daily_cap=0)}, ()),
        ],
    )
    def test_what_it_overrides(self, code: str, changes: Any, others: tuple[Booking, ...]) -> None:
        plain = booked(660, room_id=ROOM.id)
        made = replace(plain, overrides=frozenset({code}))
        assert self.told(clinic(plain, *others, **changes)) == [(plain.id, code)]
        assert self.told(clinic(made, *others, **changes)) == []
        other = replace(plain, overrides=frozenset({"TOO_SOON"}))
        assert self.told(clinic(other, *others, **changes)) == [(plain.id, code)]

    def test_capacity(self) -> None:
        first = booked(TEN, room_id=ROOM.id)
        second = booked(TEN + 15, 1, room_id=uid(2, 1), is_overbooked=True)
        rooms = (ROOM, Room(uid(2, 1), "Room 2", equipment=ROOM.equipment))

        def with_second(b: Booking, **changes: Any) -> Clinic:
            return replace(clinic(first, b, **changes), rooms=rooms)

        assert self.told(with_second(second)) == [(second.id, "PROVIDER_BUSY")]
        for code in ("PROVIDER_BUSY", "PROVIDER_DAILY_CAP"):
            assert self.told(with_second(replace(second, overrides=frozenset({code})))) == []
        same = replace(second, start=TEN, overrides=frozenset({"PROVIDER_BUSY"}))
        assert [code for _, code in self.told(with_second(same))] == ["PROVIDER_BUSY"] * 2

    def test_a_cap_is_full_by_those_alone_that_do_not_override_it(self) -> None:
        capped = replace(VISIT, daily_cap=1)
        first = booked(NINE, room_id=ROOM.id)
        second = booked(TEN, 1, room_id=ROOM.id, overrides=frozenset({"TYPE_DAILY_CAP"}))
        third = booked(660, 2, room_id=ROOM.id)
        assert self.told(clinic(first, second, visit=capped)) == []
        assert [key for key, _ in self.told(clinic(first, second, third, visit=capped))] == [
            first.id,
            third.id,
        ]
        assert verdict(clinic(second, visit=capped), NINE) == "no"
