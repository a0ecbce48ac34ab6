"""Rule 11: windows at a place, time to travel, and places that are not active, in every reading."""

from dataclasses import replace
from typing import Any

import pytest

from solver.clinic.clinic import Clinic
from solver.clinic.day import Day
from solver.clinic.entities import Availability, Booking, Room
from solver.clinic.equipment.needs import PoolNeed
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.grammar.sentences import InvalidClinicError
from solver.clinic.patients import booking_of_patient
from solver.clinic.places import Location, Travel
from solver.clinic.request import SlotRequest
from solver.rules.checked_book import BookChecker
from solver.rules.checked_slots import SlotChecker
from solver.rules.masks import build
from solver.rules.whole_book_rules import violations
from solver.slots.judge import judge
from solver.slots.oracle import enumerate_placements
from solver.slots.search import SlotPage, find_slots
from tests.support.one_day import NINE, NOON, OPEN, ROOM, TEN, VEGA, VISIT, booked, clinic
from tests.support.strategies import BEFORE, MONDAY, uid

NORTH, SOUTH = Location(uid(7, 0), "North"), Location(uid(7, 1), "South")
HERE = replace(ROOM, location_id=NORTH.id)
THERE = Room(uid(2, 1), "Room 2", equipment=ROOM.equipment, location_id=SOUTH.id)
NOWHERE = Room(uid(2, 2), "Room 3", equipment=ROOM.equipment)
WAY = Travel(uid(8, 0), NORTH.id, SOUTH.id, 30)


def at_two_places(*bookings: Booking, **changes: Any) -> Clinic:
    """A room in the North, one in the South, half an hour apart, and one that is nowhere."""
    fields = {"rows": (OPEN,), "travel": (WAY,), "locations": (NORTH, SOUTH)} | changes
    fields["availability"] = fields.pop("rows")
    return replace(clinic(*bookings), rooms=(HERE, THERE, NOWHERE), **fields)


def asked(clinic: Clinic, **changes: Any) -> SlotPage:
    """All slots of Dr. Vega's Monday, as every reading has them."""
    request = replace(SlotRequest(VISIT.id, MONDAY, BEFORE), **changes)
    page = find_slots(clinic, request, limit=500, rooms="all")
    told = [(s.provider.id, s.room.id, s.start, s.is_overbooked) for s in page.slots]
    plain = SlotChecker(clinic).read_slots(request)
    assert told == [(f.provider_id, f.room_id, f.start, f.is_overbooked) for f in plain]
    if request.location_ids is None:
        assert set(told) == enumerate_placements(clinic, request)
    return page


def starts_in(page: SlotPage, room: Room) -> set[int]:
    return {slot.start for slot in page.slots if slot.room.id == room.id}


def in_steps(first: int, last: int) -> set[int]:
    return set(range(first, last + 1, 15))


class TestTravel:
    def test_the_way_there_and_back(self) -> None:
        found = asked(at_two_places(booked(TEN, room_id=HERE.id)))
        assert starts_in(found, THERE) == in_steps(NINE, TEN - 60) | in_steps(TEN + 60, NOON - 30)
        assert starts_in(found, HERE) == in_steps(NINE, TEN - 30) | in_steps(TEN + 30, NOON - 30)
        assert starts_in(found, NOWHERE) == starts_in(found, HERE)

    def test_a_way_back_of_its_own(self) -> None:
        back = Travel(uid(8, 1), SOUTH.id, NORTH.id, 45)
        found = asked(at_two_places(booked(TEN, room_id=HERE.id), travel=(WAY, back)))
        assert starts_in(found, THERE) == in_steps(TEN + 60, NOON - 30)

    def test_without_a_way_two_places_may_touch(self) -> None:
        found = asked(at_two_places(booked(TEN, room_id=HERE.id), travel=()))
        assert starts_in(found, THERE) == starts_in(found, HERE)

    def test_overlaps_at_two_places_are_travel_that_nothing_lifts(self) -> None:
        there = at_two_places(booked(TEN, room_id=HERE.id), travel=())
        request = SlotRequest(
            VISIT.id,
            MONDAY,
            BEFORE,
            provider_ids=frozenset({VEGA.id}),
            room_id=THERE.id,
            start=TEN + 15,
            override=frozenset({"PROVIDER_BUSY"}),
        )
        found = judge(there, request)
        assert found.reasons == ("PROVIDER_TRAVEL", "PROVIDER_BUSY")
        assert not found.overriding
        assert judge(there, replace(request, room_id=NOWHERE.id)).overriding

    def test_without_a_room_the_easiest_one_anywhere_is_taken(self) -> None:
        there = at_two_places(booked(TEN, room_id=HERE.id))
        request = SlotRequest(
            VISIT.id, MONDAY, BEFORE, provider_ids=frozenset({VEGA.id}), start=TEN + 30
        )
        assert {s.room.id for s in judge(there, request, limit=9).slots} == {HERE.id, NOWHERE.id}
        only_there = replace(there, rooms=(replace(HERE, active=False), THERE))
        assert judge(only_there, request).reasons == ("PROVIDER_TRAVEL",)

    def test_a_book_is_read_alike(self) -> None:
        first = booked(TEN, room_id=HERE.id)
        for start, expected in ((TEN + 45, ["PROVIDER_TRAVEL"] * 2), (TEN + 60, [])):
            other = booked(start, 1, room_id=THERE.id)
            there = at_two_places(first, other)
            plain = list(BookChecker(there).violations())
            assert violations(there) == plain
            assert [v.code for v in plain] == expected
            assert {v.rule for v in plain} <= {11}

    def test_the_patient_travels_without_buffers(self) -> None:
        there = at_two_places(booked(TEN, room_id=HERE.id, provider_id=uid(1, 9)))
        for room, start, is_elsewhere in (
            (THERE.id, TEN + 45, True),
            (THERE.id, TEN + 60, False),
            (THERE.id, TEN - 45, True),
            (HERE.id, TEN + 30, False),
            (NOWHERE.id, TEN + 30, False),
            (NOWHERE.id, TEN + 15, True),
        ):
            span = start, start + 30
            found = booking_of_patient(there, "p", MONDAY, span, room)
            assert (found is not None) == is_elsewhere, (room, start)


class TestWindows:
    def row(self, start: int, end: int, location: Location | None, **fields: Any) -> Availability:
        owner = {"provider_id": VEGA.id, "weekday": 1} | fields
        return Availability(start, end, location_id=location and location.id, **owner)

    def test_hours_at_a_place_count_there_and_nowhere_else(self) -> None:
        rows = (self.row(NINE, TEN, NORTH), self.row(660, NOON, SOUTH), self.row(TEN, 660, None))
        found = asked(at_two_places(rows=rows))
        assert starts_in(found, HERE) == in_steps(NINE, 660 - 30)
        assert starts_in(found, THERE) == in_steps(TEN, NOON - 30)
        assert starts_in(found, NOWHERE) == in_steps(NINE, NOON - 30)

    def test_a_date_of_one_place_takes_the_place_of_all_weekly_rows(self) -> None:
        dated = self.row(NINE, TEN, SOUTH, weekday=None, date=MONDAY)
        found = asked(at_two_places(rows=(self.row(NINE, NOON, NORTH), dated)))
        assert starts_in(found, HERE) == set()
        assert starts_in(found, THERE) == in_steps(NINE, TEN - 30)
        assert starts_in(found, NOWHERE) == in_steps(NINE, TEN - 30)

    @pytest.mark.parametrize("owner", [{}, {"provider_id": None}])
    def test_a_closure_at_a_place_cuts_there_alone(self, owner: dict[str, Any]) -> None:
        shut = self.row(NINE, 660, NORTH, kind="closed", **owner)
        found = asked(at_two_places(rows=(OPEN, shut)))
        assert starts_in(found, HERE) == in_steps(660, NOON - 30)
        assert starts_in(found, THERE) == in_steps(NINE, NOON - 30)
        assert starts_in(found, NOWHERE) == in_steps(NINE, NOON - 30)

    def test_the_gap_part_is_of_the_windows_there(self) -> None:
        rows = (self.row(NINE, TEN, NORTH), self.row(NINE, NOON, SOUTH))
        found = asked(at_two_places(rows=rows))
        gaps = {s.room.id: s.parts.gap for s in found.slots if s.start == TEN - 30}
        assert gaps[HERE.id] > gaps[THERE.id]
        best = find_slots(at_two_places(rows=rows), SlotRequest(VISIT.id, MONDAY, BEFORE))
        assert [s.room.id for s in best.slots if s.start == TEN - 30] == [HERE.id]
        assert len({s.start for s in best.slots}) == len(best.slots)


class TestPools:
    """A pool that is at a location serves its rooms alone."""

    def scans(self, *bookings: Booking, at: Location | None = NORTH, **pool: Any) -> Clinic:
        scanner = EquipmentPool(uid(8, 9), "Scanner", 2, location_id=at and at.id, **pool)
        scan = replace(VISIT, required_pools=(PoolNeed(scanner.id, 1),))
        kinds = {"appointment_types": (scan,), "equipment_pools": (scanner,)}
        return at_two_places(*bookings, **kinds)

    def test_rooms_elsewhere_have_nothing_of_it(self) -> None:
        found = asked(self.scans())
        assert starts_in(found, HERE) == in_steps(NINE, NOON - 30)
        assert starts_in(found, THERE) == starts_in(found, NOWHERE) == set()
        assert {slot.room.id for slot in asked(self.scans(at=None)).slots} == {
            HERE.id,
            THERE.id,
            NOWHERE.id,
        }
        only_elsewhere = asked(replace(self.scans(), rooms=(THERE, NOWHERE)))
        assert [*only_elsewhere.blocked_by][-1] == "EQUIPMENT_BUSY"

    def test_a_book_is_read_alike(self) -> None:
        for room, expected in (
            (HERE, []),
            (THERE, ["EQUIPMENT_BUSY"]),
            (NOWHERE, ["EQUIPMENT_BUSY"]),
        ):
            standing = self.scans(booked(TEN, room_id=room.id))
            plain = list(BookChecker(standing).violations())
            assert [v.code for v in plain] == expected
            assert violations(standing) == plain

    def test_what_is_taken_elsewhere_all_the_same_is_out(self) -> None:
        others = [booked(TEN, n, room_id=THERE.id, provider_id=uid(1, 9)) for n in range(2)]
        found = asked(self.scans(*others))
        assert starts_in(found, HERE) == in_steps(NINE, TEN - 30) | in_steps(TEN + 30, NOON - 30)

    def test_its_location_is_there(self) -> None:
        with pytest.raises(InvalidClinicError) as caught:
            self.scans(at=Location(uid(7, 5), "West"))
        assert caught.value.field == "equipment_pools"


class TestLocations:
    def test_rooms_of_one_that_is_not_active_are_not_either(self) -> None:
        shut = (replace(NORTH, active=False), SOUTH)
        found = asked(at_two_places(locations=shut))
        assert starts_in(found, HERE) == set()
        assert starts_in(found, THERE) == in_steps(NINE, NOON - 30)
        standing = at_two_places(booked(TEN, room_id=HERE.id), locations=shut)
        plain = list(BookChecker(standing).violations())
        assert [v.code for v in plain] == ["ROOM_INACTIVE"]
        assert violations(standing) == plain

    def test_they_narrow_what_is_asked_for(self) -> None:
        found = asked(at_two_places(), location_ids=frozenset({SOUTH.id}))
        assert {slot.room.id for slot in found.slots} == {THERE.id}
        assert found.total == len(found.slots)

    def test_candidates_are_counted_once_and_told_in_the_order_of_the_rules(self) -> None:
        there = at_two_places(booked(TEN, room_id=HERE.id, provider_id=VEGA.id))
        blocked = replace(there, rooms=(THERE,), elsewhere=((HERE.id, NORTH.id),))
        late = replace(
            blocked, availability=(replace(OPEN, start=TEN - 45, end=TEN + 75),), travel=(WAY,)
        )
        page = find_slots(late, SlotRequest(VISIT.id, MONDAY, BEFORE))
        assert not page.slots
        assert sum(page.blocked_by.values()) == page.candidates
        assert [*page.blocked_by] == ["OUTSIDE_PROVIDER_HOURS", "PROVIDER_TRAVEL"]

    def test_where_there_is_one_place_all_is_one_part(self) -> None:
        day = Day.of(clinic(), MONDAY)
        assert len(build(day, SlotRequest(VISIT.id, MONDAY, BEFORE))) == 1

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"travel": (WAY, replace(WAY, id=uid(8, 5)))}, "travel"),
            ({"travel": (replace(WAY, to_id=uid(7, 9)),)}, "travel"),
            ({"locations": (NORTH, SOUTH, NORTH)}, "locations"),
            ({"locations": ()}, "rooms"),
        ],
    )
    def test_rows_that_do_not_go_together(self, changes: Any, field: str) -> None:
        with pytest.raises(InvalidClinicError) as caught:
            at_two_places(**changes)
        assert caught.value.field == field

    def test_a_way_leads_to_another_place(self) -> None:
        with pytest.raises(InvalidClinicError) as caught:
            replace(WAY, to_id=NORTH.id)
        assert caught.value.field == "to_id"
        with pytest.raises(InvalidClinicError):
            Availability(NINE, TEN, room_id=ROOM.id, weekday=1, location_id=NORTH.id)
