"""The score, on examples worked by hand, and the order."""

import datetime as dt
from dataclasses import replace
from fractions import Fraction

import pytest

from solver.clinic.clinic import Clinic
from solver.clinic.day import Day
from solver.clinic.entities import Booking, ClinicSettings, OverbookingRule, Room
from solver.clinic.grammar.sentences import InvalidClinicError
from solver.clinic.request import SlotRequest
from solver.rules.checked_slots import SlotChecker
from solver.rules.masks import build
from solver.scoring.parts import Weights, round_half_up
from solver.scoring.scores import Scores
from solver.slots.oracle import best_slot
from solver.slots.query import Slot
from solver.slots.ranking import Ranking
from solver.slots.search import find_slots
from tests.support.one_day import NINE, OPEN, ROOM, TEN, VEGA, VISIT, booked, clinic
from tests.support.strategies import BEFORE, MONDAY, uid


def slot_at(clinic: Clinic, start: int, preferred: tuple[int, int] | None = None) -> Slot:
    request = SlotRequest(VISIT.id, MONDAY, BEFORE, preferred=preferred)
    return next(s for s in find_slots(clinic, request, limit=500).slots if s.start == start)


def test_worked_example() -> None:
    # Touches the window's start, two hours idle before the next booking; a surplus of nothing;
    # an hour before the preferred window of a four-hour decay.
    slot = slot_at(clinic(booked(690)), NINE, preferred=(600, 720))
    assert slot.parts.preference == Fraction(3, 4)
    assert slot.parts.gap == Fraction(3, 4)
    assert slot.parts.room == 1
    assert slot.parts.overbook == 1
    assert slot.points == round_half_up(
        Fraction(4, 10) * Fraction(3, 4) + Fraction(35, 100) * Fraction(3, 4) + Fraction(25, 100)
    )
    assert slot.score == 0.8125
    assert (slot.provider, slot.room) == (VEGA, ROOM)
    assert (slot.date, slot.start, slot.end) == (MONDAY, NINE, NINE + 30)
    assert not slot.is_overbooked


@pytest.mark.parametrize(
    ("preferred", "start", "expected"),
    [
        ((600, 660), 600, 1),
        ((600, 660), 630, 1),  # the last start that still ends in the window
        ((600, 660), 645, Fraction(225, 240)),
        ((600, 660), 570, Fraction(210, 240)),
        ((600, 615), 600, 1),  # shorter than the visit: only its start is best
        ((600, 615), 615, Fraction(225, 240)),
        ((1020, 1080), 540, 0),  # never below 0
    ],
)
def test_preference(preferred: tuple[int, int], start: int, expected: Fraction) -> None:
    assert slot_at(clinic(), start, preferred).parts.preference == expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (540, Fraction(3, 4)),  # touches the window, then a usable rest of 60
        (555, Fraction(1, 4)),  # a fragment of 15 before, 45 after
        (570, Fraction(1, 2)),  # 30 before and after: usable
        (600, Fraction(3, 4)),
    ],
)
def test_gap(start: int, expected: Fraction) -> None:
    assert slot_at(clinic(booked(630)), start).parts.gap == expected


@pytest.mark.parametrize(
    ("buffers", "at", "start"),
    [
        ({"buffer_after": 60}, 600, 615),  # 30 minutes before noon, and 10 after the booking
        ({"buffer_before": 60}, 660, 630),  # 30 minutes after nine, and 15 before the booking
    ],
)
def test_gap_beside_a_booking_shorter_than_the_buffer(
    buffers: dict[str, int], at: int, start: int
) -> None:
    visit = replace(VISIT, duration_minutes=15, **buffers)
    short = replace(VISIT, id=uid(3, 1), duration_minutes=5)
    two = replace(clinic(), appointment_types=(visit, short)).with_bookings(
        [replace(booked(at), appointment_type_id=short.id)]
    )
    assert slot_at(two, start).parts.gap == Fraction(1, 2)


def test_gap_is_nothing_where_a_booking_is_met() -> None:
    rule = OverbookingRule(uid(4, 0), max_overlap=1, max_per_day=1)
    slot = slot_at(clinic(booked(TEN), rules=(rule,)), TEN + 15)
    assert slot.is_overbooked
    assert (slot.parts.gap, slot.parts.overbook) == (0, 0)


def test_room_surplus_and_the_order_of_equal_scores() -> None:
    rooms = (
        Room(uid(2, 3), "plain, later id", equipment=ROOM.equipment),
        Room(uid(2, 1), "more than needed", equipment=ROOM.equipment | {"laser"}),
        Room(uid(2, 2), "plain", equipment=ROOM.equipment),
    )
    several = Clinic(
        ClinicSettings("Rooms", "Europe/Berlin"), (VEGA,), rooms, (VISIT,), (OPEN,), (), ()
    )
    request = SlotRequest(VISIT.id, MONDAY, BEFORE)
    everything = find_slots(several, request, limit=500, rooms="all").slots
    first_start = [s.room.name for s in everything if s.start == NINE]
    assert first_start == ["plain", "plain, later id", "more than needed"]
    assert {s.room.name for s in find_slots(several, request).slots} == {"plain"}


def test_the_proved_best_by_hand() -> None:
    # Fills the half hour between two bookings inside the preferred window, in the plain room.
    rooms = (
        Room(uid(2, 1), "more than needed", equipment=ROOM.equipment | {"laser"}),
        Room(uid(2, 2), "plain", equipment=ROOM.equipment),
    )
    rule = OverbookingRule(uid(4, 0), max_overlap=2, max_per_day=1)
    book = (booked(TEN - 30), booked(TEN + 30, 1))
    several = replace(clinic(*book, rules=(rule,)), rooms=rooms)
    request = SlotRequest(VISIT.id, MONDAY, BEFORE, preferred=(TEN, TEN + 60))
    best = best_slot(several, request)
    assert best is not None
    assert (best[0].start, best[0].room.name, best[0].is_overbooked) == (TEN, "plain", False)
    assert best[1] == 1

    # For the preference alone, the start between the bookings' starts that may only overbook.
    alone = replace(request, preferred=(TEN + 15, TEN + 45))
    best = best_slot(several, alone, weights=Weights.parse("0.9 0.05 0.05 0"))
    assert best is not None
    assert (best[0].start, best[0].is_overbooked) == (TEN + 15, True)
    assert best[1] == Fraction(95, 100)

    assert best_slot(replace(several, rooms=()), request) is None


def test_a_head_of_the_ranking_is_the_same_however_long_it_is() -> None:
    # A room part of 0.075 less ties with three quarters of an hour or a quarter of the gap.
    rooms = (ROOM, Room(uid(2, 1), "more", equipment=ROOM.equipment | {"laser"}))
    vera = replace(VEGA, id=uid(1, 1), buffer_before=5)
    many = replace(clinic(booked(630), grid_minutes=5), providers=(VEGA, vera), rooms=rooms)
    long = replace(OPEN, end=1080)
    many = replace(many, availability=(long, replace(long, provider_id=vera.id)))
    request = SlotRequest(VISIT.id, MONDAY, BEFORE, preferred=(570, 630))
    assert len(find_slots(many, request).slots) == 50
    (masks,) = build(Day.of(many, MONDAY), request)
    ranking = Ranking(masks, Scores.of(masks, request, Weights.parse("0.4 0.3 0.15 0.15")))
    (everything,) = (rows.tolist() for rows in ranking.growing(masks.total(), "all"))
    assert everything == sorted(everything, key=lambda row: (-row[0], *row[1:]))
    assert len(everything) == masks.total() > 2 * 64
    for limit in range(1, masks.total()):
        assert next(ranking.growing(limit, "all")).tolist() == everything[:limit]


def test_scores_that_round_alike_are_ordered_by_start_and_ids() -> None:
    # With 60 and 61 surplus pieces the room parts differ by less than half a ten-thousandth.
    many = [f"thing {n}" for n in range(61)]
    rooms = (
        Room(uid(2, 2), "60", equipment=ROOM.equipment | set(many[:60])),
        Room(uid(2, 1), "61", equipment=ROOM.equipment | set(many)),
    )
    both = Clinic(
        ClinicSettings("Full", "Europe/Berlin"), (VEGA,), rooms, (VISIT,), (OPEN,), (), ()
    )
    request = SlotRequest(VISIT.id, MONDAY, BEFORE)
    best = find_slots(both, request, limit=500)
    listed = SlotChecker(both).read_slots(request)
    firsts = {f.start: f.room_id for f in reversed(listed)}
    assert {s.start: s.room.id for s in best.slots} == firsts


def test_weights() -> None:
    assert Weights.parse("0.4, 0.35, 0.15, 0.1") == Weights()
    assert Weights.parse("1 0 0 0").preference == 1
    assert Weights.parse("0.0001 0.9999 0 0").gap == Fraction(9999, 10_000)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "needs four numbers (preference, gap, room, overbook): ''"),
        ("0.4 0.35 0.25", "needs four numbers (preference, gap, room, overbook): '0.4 0.35 0.25'"),
        ("1 0 0 0 0", "needs four numbers (preference, gap, room, overbook): '1 0 0 0 0'"),
        ("a b c d", "'a b c d' is not four numbers"),
        ("nan 0 0 1", "'nan 0 0 1' is not four numbers"),
        ("inf 0 0 1", "'inf 0 0 1' is not four numbers"),
        ("0.5 0.5 0.5 -0.5", "each must be 0 to 1 with at most four decimals"),
        ("2 -1 0 0", "each must be 0 to 1 with at most four decimals"),
        ("0.12345 0.37655 0.4 0.1", "each must be 0 to 1 with at most four decimals"),
        ("0.3 0.3 0.3 0.3", "must sum to 1, not 1.2"),
    ],
)
def test_what_are_no_weights(text: str, told: str) -> None:
    with pytest.raises(InvalidClinicError) as refused:
        Weights.parse(text)
    assert (refused.value.field, refused.value.message) == ("weights", told)


def test_other_weights_and_decay_agree_with_the_checker() -> None:
    weights = Weights.parse("0.1234 0.2766 0.5 0.1")
    parts = (weights.preference, weights.gap, weights.room, weights.overbook)
    several = clinic(booked(630), preference_decay_minutes=97)
    request = SlotRequest(VISIT.id, MONDAY, BEFORE, preferred=(601, 680))
    slots = find_slots(several, request, weights=weights).slots
    expected = SlotChecker(several, parts).read_slots(request)
    assert [(s.start, Fraction(s.points, 10_000)) for s in slots] == [
        (f.start, f.score) for f in expected
    ]


def test_half_a_point_is_rounded_up() -> None:
    assert round_half_up(Fraction(12345, 100_000)) == 1235
    assert round_half_up(Fraction(12344, 100_000)) == 1234


def test_an_empty_clinic_and_one_without_rooms() -> None:
    settings = ClinicSettings("Empty", "UTC")
    request = SlotRequest(VISIT.id, MONDAY, BEFORE)
    for bare in (
        Clinic(settings, (), (), (VISIT,)),
        Clinic(settings, (VEGA,), (), (VISIT,), (OPEN,)),
        Clinic(settings, (), (ROOM,), (VISIT,)),
    ):
        page = find_slots(bare, request)
        assert (page.total, page.slots, page.blocked_by) == (0, (), {})


def test_equal_inputs_give_equal_answers() -> None:
    book = (booked(TEN), booked(660, 1, date=MONDAY + dt.timedelta(days=1)))
    request = SlotRequest(VISIT.id, MONDAY, BEFORE)
    first = find_slots(clinic(*book), request)
    assert all(find_slots(clinic(*reversed(book)), request) == first for _ in range(3))


def test_expired_bookings_are_no_ones_concern() -> None:
    gone = Booking(uid(5, 0), VEGA.id, ROOM.id, VISIT.id, MONDAY, NINE, status="cancelled")
    assert slot_at(clinic(gone), NINE).parts.gap == Fraction(3, 4)
