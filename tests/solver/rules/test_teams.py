"""Rule 9, a team: whom it takes and whom not, in every reading, and which team is the least."""

from dataclasses import replace
from typing import Any

import pytest

from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    InvalidClinicError,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
)
from solver.clinic.places import Location, Travel
from solver.clinic.request import SlotRequest
from solver.clinic.teams.matching import least_team, teams
from solver.clinic.teams.roles import Member, Role, Team
from solver.rules.checked_book import BookChecker
from solver.rules.checked_slots import SlotChecker
from solver.rules.whole_book_rules import violations
from solver.slots.judge import judge
from solver.slots.oracle import enumerate_placements
from solver.slots.search import find_slots
from tests.support.one_day import NINE, OPEN, ROOM, TEN, VEGA, VISIT, booked
from tests.support.strategies import BEFORE, MONDAY, uid

NURSE = Provider(uid(1, 1), "Nurse Amir", skills=frozenset({"nurse"}))


OTHER = Provider(uid(1, 2), "Nurse Bo", skills=frozenset({"nurse"}))


ASSISTED = replace(VISIT, roles=(Role("assistant", frozenset({"nurse"})),))


TWO = replace(VISIT, roles=(Role("first", frozenset({"nurse"})), Role("second")))


def a_clinic(
    *bookings: Booking,
    visit: AppointmentType = ASSISTED,
    others: tuple[Provider, ...] = (NURSE,),
    rows: tuple[Availability, ...] = (),
    **fields: Any,
) -> Clinic:
    hours = [replace(OPEN, provider_id=p.id) for p in others if not rows]
    return Clinic(
        ClinicSettings("Tiny", "Europe/Berlin"),
        (VEGA, *others),
        fields.pop("rooms", (ROOM,)),
        (visit,),
        (OPEN, *hours, *rows),
        fields.pop("rules", ()),
        bookings,
        **fields,
    )


def team_at(clinic: Clinic, start: int, room: Room = ROOM, **asked: Any) -> tuple[str, ...] | None:
    """Who is in the roles of a visit of Dr. Vega, None where nobody can be: in every reading."""
    request = SlotRequest(
        VISIT.id, MONDAY, BEFORE, provider_ids=frozenset({VEGA.id}), room_id=room.id, **asked
    )
    page = find_slots(clinic, request, limit=500, rooms="all")
    listed = [slot for slot in page.slots if slot.start == start]
    alone = [place for place in enumerate_placements(clinic, request) if place[2] == start]
    reading = SlotChecker(clinic).read(request, VEGA, room, start)
    judged = judge(clinic, replace(request, start=start))
    assert len(listed) == len(alone) == (not reading.broken)
    assert list(judged.slots) == listed
    if not listed:
        assert reading.broken == (9,)
        assert judged.reasons == ("ROLE_UNFILLED",)
        assert SlotChecker(clinic).reasons(request, VEGA, room, start) == {"ROLE_UNFILLED"}
        return None
    assert not request.kept_team or listed[0].team
    if not request.kept_team:
        assert listed[0].team == reading.team
    return tuple(member for _, member in listed[0].team)


def of(booking: Booking, *members: tuple[str, str]) -> Booking:
    return replace(booking, team=tuple(Member(*each) for each in members))


ASSIST = of(booked(TEN, provider_id=uid(1, 9)), ("assistant", NURSE.id))
"""Somebody else's appointment from ten to half past, with the nurse."""


class TestWhoIsAble:
    def test_feasible(self) -> None:
        assert team_at(a_clinic(), NINE) == (NURSE.id,)

    @pytest.mark.parametrize(
        "others",
        [
            (),
            (replace(NURSE, active=False),),
            (replace(NURSE, skills=frozenset({"gp"})),),
        ],
    )
    def test_infeasible(self, others: tuple[Provider, ...]) -> None:
        assert team_at(a_clinic(others=others), NINE) is None

    def test_in_one_window_for_the_minutes_of_the_role(self) -> None:
        ten = Availability(NINE, TEN, provider_id=NURSE.id, weekday=1)
        early = Availability(TEN, TEN + 15, provider_id=NURSE.id, weekday=1)
        brief = replace(ASSISTED, roles=(Role("assistant", to_minute=15),))
        late = replace(ASSISTED, roles=(Role("assistant", from_minute=15),))
        assert team_at(a_clinic(rows=(ten,)), TEN - 30) == (NURSE.id,)
        assert team_at(a_clinic(rows=(ten,)), TEN - 15) is None
        assert team_at(a_clinic(rows=(ten, early)), TEN - 15) == (NURSE.id,)
        assert team_at(a_clinic(rows=(ten,), visit=brief), TEN - 15) == (NURSE.id,)
        assert team_at(a_clinic(rows=(ten,), visit=late), TEN - 15) is None
        assert team_at(a_clinic(rows=(ten,), visit=late), NINE) == (NURSE.id,)

    def test_the_own_buffers_alone_lie_around_it(self) -> None:
        wide = replace(NURSE, buffer_before=5, buffer_after=15)
        beside = booked(TEN, provider_id=NURSE.id)
        buffered = replace(ASSISTED, buffer_before=30, buffer_after=30)
        assert team_at(a_clinic(beside), NINE + 30) == (NURSE.id,)
        assert team_at(a_clinic(beside, others=(wide,)), NINE + 30) is None
        assert team_at(a_clinic(beside, others=(wide,)), NINE + 15) is None
        assert team_at(a_clinic(beside, others=(wide,)), NINE) == (NURSE.id,)
        apart = replace(beside, buffer_before=0, buffer_after=0)
        assert team_at(a_clinic(apart, visit=buffered), NINE + 30) == (NURSE.id,)

    @pytest.mark.parametrize("is_overbooked", [False, True])
    def test_nobody_is_busy_otherwise(self, is_overbooked: bool) -> None:
        own = booked(TEN, provider_id=NURSE.id, is_overbooked=is_overbooked)
        for busy in (own, ASSIST, replace(ASSIST, is_overbooked=is_overbooked)):
            assert team_at(a_clinic(busy), TEN) is None
            assert team_at(a_clinic(busy), TEN + 30) == (NURSE.id,)
            assert team_at(a_clinic(replace(busy, status="cancelled")), TEN) == (NURSE.id,)

    def test_there_is_time_to_travel(self) -> None:
        north, south = (Location(uid(7, n), f"L{n}") for n in range(2))
        here, there = (replace(ROOM, id=uid(2, n), location_id=uid(7, n)) for n in range(2))
        where = {
            "rooms": (here, there),
            "locations": (north, south),
            "travel": (Travel(uid(8, 0), north.id, south.id, 20),),
        }
        away = replace(ASSIST, room_id=there.id)
        assert team_at(a_clinic(away, **where), TEN + 30, here) is None
        assert team_at(a_clinic(away, **where), TEN + 45, here) is None
        assert team_at(a_clinic(away, **where), TEN + 60, here) == (NURSE.id,)
        assert team_at(a_clinic(away, **where), TEN + 30, there) == (NURSE.id,)

    def test_who_is_named_is_in_the_role_or_nobody(self) -> None:
        both = a_clinic(others=(NURSE, OTHER))
        assert team_at(both, NINE) == (NURSE.id,)
        assert team_at(both, NINE, team=(Member("assistant", OTHER.id),)) == (OTHER.id,)
        named = (Member("assistant", NURSE.id),)
        assert team_at(replace(both, bookings=(ASSIST,)), TEN, team=named) is None

    def test_a_team_is_kept_where_the_whole_of_it_is_able(self) -> None:
        kept: Team = (Member("first", OTHER.id), Member("second", NURSE.id))
        third = replace(OTHER, id=uid(1, 3), name="Nurse Cy")
        several = a_clinic(visit=TWO, others=(NURSE, OTHER, third))
        assert team_at(several, TEN) == (NURSE.id, OTHER.id)
        assert team_at(several, TEN, kept_team=kept) == (OTHER.id, NURSE.id)
        taken = replace(several, bookings=(of(ASSIST, ("first", NURSE.id)),))
        assert team_at(taken, TEN, kept_team=kept) == (OTHER.id, third.id)


class TestSeveralRoles:
    def test_nobody_fills_two(self) -> None:
        assert team_at(a_clinic(visit=TWO), NINE) is None
        assert team_at(a_clinic(visit=TWO, others=(NURSE, OTHER)), NINE) == (NURSE.id, OTHER.id)

    def test_the_first_leaves_the_second_whom_it_needs(self) -> None:
        first, second = TWO.roles
        turned = replace(TWO, roles=(replace(second, key="anybody"), first))
        porter = Provider(uid(1, 3), "Porter Cy")
        clinic = a_clinic(visit=turned, others=(NURSE, porter))
        assert team_at(clinic, NINE) == (porter.id, NURSE.id)

    def test_the_least_team(self) -> None:
        assert list(teams([["a", "b"], ["a", "c"]])) == [("a", "c"), ("b", "a"), ("b", "c")]
        assert least_team([["a"], ["a"]]) is None
        assert least_team([]) == ()


class TestBusyInARole:
    """Whoever is in a role is busy then for appointments of their own."""

    def verdict(self, start: int, *bookings: Booking, **fields: Any) -> list[bool]:
        clinic = a_clinic(
            of(booked(TEN, provider_id=NURSE.id), ("assistant", VEGA.id)), *bookings, **fields
        )
        request = SlotRequest(VISIT.id, MONDAY, BEFORE, provider_ids=frozenset({VEGA.id}))
        page = find_slots(clinic, request, limit=500, rooms="all")
        plain = SlotChecker(clinic).read_slots(request)
        assert [(s.start, s.is_overbooked) for s in page.slots] == [
            (found.start, found.is_overbooked) for found in plain
        ]
        assert [s.parts.gap for s in page.slots] == [found.parts[1] for found in plain]
        return [slot.is_overbooked for slot in page.slots if slot.start == start]

    def test_a_regular_one_does_not_overlap_it_and_an_overbooked_one_may(self) -> None:
        plain = replace(VISIT, roles=())
        assert self.verdict(TEN + 15, visit=plain) == [False]  # a type that has no roles any more
        two = (NURSE, OTHER)
        assert self.verdict(TEN + 30, others=two) == [False]
        assert self.verdict(TEN + 15, others=two) == []
        rules = (OverbookingRule(uid(4, 0), max_overlap=1, max_per_day=2),)
        assert self.verdict(TEN + 15, others=two, rules=rules) == [True]
        assert self.verdict(TEN, others=two, rules=rules) == [True]  # no booking of their own
        none = (OverbookingRule(uid(4, 0), max_overlap=0, max_per_day=2),)
        assert self.verdict(TEN + 15, others=two, rules=none) == []

    def test_what_stands(self) -> None:
        """A regular one and a role of one person exclude each other; what overbooks came later."""
        role = of(booked(TEN, room_id=ROOM.id), ("assistant", NURSE.id))
        own = booked(TEN, 1, provider_id=NURSE.id, room_id=uid(2, 1))
        own = of(own, ("assistant", OTHER.id))
        rooms = (ROOM, replace(ROOM, id=uid(2, 1), name="Room 2"))
        gp = replace(NURSE, skills=frozenset({"nurse", "gp"}))
        rules = (OverbookingRule(uid(4, 0), max_overlap=1, max_per_day=1),)

        def told(*bookings: Booking) -> list[tuple[str, str]]:
            clinic = a_clinic(*bookings, others=(gp, OTHER), rooms=rooms, rules=rules)
            plain = list(BookChecker(clinic).violations())
            assert violations(clinic) == plain
            return [(v.booking.id, v.code) for v in plain]

        assert told(role, own) == [(role.id, "ROLE_UNFILLED"), (own.id, "PROVIDER_BUSY")]
        assert told(role, replace(own, is_overbooked=True)) == []
        assert told(replace(role, team=())) == [(role.id, "ROLE_UNFILLED")]
        again = replace(own, provider_id=uid(1, 2), team=role.team)
        assert (role.id, "ROLE_UNFILLED") in told(role, again)
        assert (again.id, "ROLE_UNFILLED") in told(role, again)


class TestKeptDurations:
    def test_a_role_ends_with_a_booking_that_is_shorter(self) -> None:
        long = replace(ASSISTED, duration_minutes=60, roles=(Role("assistant", from_minute=20),))
        rooms = (ROOM, replace(ROOM, id=uid(2, 1), name="Room 2"))
        role = of(booked(TEN, duration_minutes=30, room_id=ROOM.id), ("assistant", NURSE.id))
        for minutes, free_from in ((30, TEN + 30), (20, NINE)):
            standing = replace(role, duration_minutes=minutes)
            clinic = a_clinic(standing, visit=long, rooms=rooms, rows=(), others=(NURSE,))
            assert not violations(clinic)
            request = SlotRequest(VISIT.id, MONDAY, BEFORE, provider_ids=frozenset({NURSE.id}))
            able = find_slots(
                replace(clinic, appointment_types=(replace(long, required_skills=frozenset()),)),
                request,
                limit=500,
            )
            assert not any(slot.start < free_from < slot.end for slot in able.slots)


@pytest.mark.parametrize(
    ("roles", "field"),
    [
        ((Role("a"), Role("a")), "roles[1].key"),
        ((Role(""),), "roles[0].key"),
        ((Role("a", from_minute=-1),), "roles[0].from_minute"),
        ((Role("a", from_minute=30),), "roles[0].from_minute"),
        ((Role("a", from_minute=10, to_minute=10),), "roles[0].to_minute"),
        ((Role("a", to_minute=31),), "roles[0].to_minute"),
        (tuple(Role(f"r{n}") for n in range(7)), "roles"),
    ],
)
def test_roles_that_cannot_be(roles: tuple[Role, ...], field: str) -> None:
    with pytest.raises(InvalidClinicError) as caught:
        replace(VISIT, roles=roles)
    assert caught.value.field == field


def test_teams_that_cannot_be() -> None:
    for team, field in (
        ((("a", VEGA.id),), "team.a"),
        ((("a", NURSE.id), ("b", NURSE.id)), "team.b"),
        ((("a", NURSE.id), ("a", OTHER.id)), "team.a"),
    ):
        with pytest.raises(InvalidClinicError) as caught:
            of(booked(TEN), *team)
        assert caught.value.field == field


def test_a_providers_own_duration_holds_the_roles() -> None:
    own = ProviderType(uid(6, 0), VEGA.id, VISIT.id, duration_minutes=20)
    late = replace(ASSISTED, roles=(Role("assistant", to_minute=25),))
    assert a_clinic(provider_types=(own,))
    with pytest.raises(InvalidClinicError):
        a_clinic(visit=late, provider_types=(own,))
