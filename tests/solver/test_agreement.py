"""Masks, model and plain checker agree on random clinics with every rule in play."""

from fractions import Fraction

from hypothesis import event, given, settings

from solver.checker import Checker, Found
from solver.clinic import Clinic, SlotRequest
from solver.masks import build
from solver.slots import Slot, best_slot, enumerate_placements, find_slots
from solver.timeline import Day
from tests.strategies import clinics_with_requests


def as_found(slot: Slot) -> Found:
    parts = slot.parts
    return Found(
        slot.provider.id,
        slot.room.id,
        slot.start,
        slot.is_overbooked,
        (parts.preference, parts.gap, parts.room, parts.overbook),
        Fraction(slot.points, 10_000),
    )


@given(clinics_with_requests())
@settings(max_examples=300, deadline=None)
def test_slots_are_those_the_checker_reads_in_its_order(case: tuple[Clinic, SlotRequest]) -> None:
    clinic, request = case
    expected = Checker(clinic).read_slots(request)
    event("feasible" if expected else "nothing fits")
    if any(found.is_overbooked for found in expected):
        event("some overbooked")

    page = find_slots(clinic, request, limit=5000, rooms="all")

    assert [as_found(slot) for slot in page.slots] == expected
    assert page.total == len(expected)
    assert bool(page.blocked_by) == (not expected)


@given(clinics_with_requests())
@settings(max_examples=150, deadline=None)
def test_best_rooms_are_the_first_of_each_provider_and_start(
    case: tuple[Clinic, SlotRequest],
) -> None:
    clinic, request = case
    first: dict[tuple[str, int], Found] = {}
    for found in Checker(clinic).read_slots(request):
        first.setdefault((found.provider_id, found.start), found)
    for limit in (1, 7, 5000):
        page = find_slots(clinic, request, limit=limit)
        assert [as_found(slot) for slot in page.slots] == list(first.values())[:limit]


@given(clinics_with_requests())
@settings(max_examples=60, deadline=None)
def test_the_model_alone_enumerates_what_masks_and_model_find(
    case: tuple[Clinic, SlotRequest],
) -> None:
    clinic, request = case
    expected = {
        (found.provider_id, found.room_id, found.start, found.is_overbooked)
        for found in Checker(clinic).read_slots(request)
    }
    assert enumerate_placements(clinic, request) == expected


@given(clinics_with_requests())
@settings(max_examples=100, deadline=None)
def test_the_proved_best_has_the_first_slots_score(case: tuple[Clinic, SlotRequest]) -> None:
    clinic, request = case
    page = find_slots(clinic, request, limit=1)
    best = best_slot(clinic, request)
    assert (best is None) == (not page.slots)
    if best is not None:
        slot, exact = best
        assert slot.points == page.slots[0].points
        assert abs(exact - Fraction(slot.points, 10_000)) <= Fraction(1, 20_000)


@given(clinics_with_requests())
@settings(max_examples=150, deadline=None)
def test_blocked_by_counts_every_candidate_that_is_not_feasible(
    case: tuple[Clinic, SlotRequest],
) -> None:
    clinic, request = case
    masks = build(Day.of(clinic, request.date, provider_ids=request.provider_ids), request)
    candidates = len(masks.day.providers) * len(masks.day.rooms) * len(masks.starts)
    assert sum(masks.blocked_by().values()) + masks.total() == candidates
