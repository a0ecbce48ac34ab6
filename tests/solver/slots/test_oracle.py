"""Masks, model and plain checker agree on random clinics with every rule in play."""

from collections import Counter
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import pairwise, product

from hypothesis import event, given
from hypothesis import strategies as st

from solver.clinic.clinic import Clinic
from solver.clinic.day import Day
from solver.clinic.request import SlotRequest
from solver.clinic.sessions.session import SessionsRead
from solver.rules.checked_slots import Found, SlotChecker
from solver.rules.masks import build
from solver.scoring.parts import DEFAULT_WEIGHTS
from solver.scoring.scores import Scores
from solver.slots.oracle import best_slot, enumerate_placements
from solver.slots.query import Slot
from solver.slots.ranking import Ranking, Rooms
from solver.slots.search import find_slots
from tests.support.strategies import clinics_with_requests, examples


def as_found(slot: Slot) -> Found:
    parts = slot.parts
    return Found(
        slot.provider.id,
        slot.room.id,
        slot.start,
        slot.is_overbooked,
        (parts.preference, parts.gap, parts.room, parts.overbook),
        Fraction(slot.points, 10_000),
        slot.team,
    )


@given(clinics_with_requests())
@examples(150)
def test_slots_are_those_the_checker_reads_in_its_order(case: tuple[Clinic, SlotRequest]) -> None:
    clinic, request = case
    expected = SlotChecker(clinic).read_slots(request)
    event("feasible" if expected else "nothing fits")
    if any(found.is_overbooked for found in expected):
        event("some overbooked")

    page = find_slots(clinic, request, limit=5000, rooms="all")

    assert [as_found(slot) for slot in page.slots] == expected
    assert (page.date, page.kind.id) == (request.date, request.appointment_type_id)
    assert page.total == len(expected)
    assert bool(page.blocked_by) == (not expected and page.candidates > 0)


@given(clinics_with_requests())
@examples(80)
def test_best_rooms_are_the_first_of_each_provider_and_start(
    case: tuple[Clinic, SlotRequest],
) -> None:
    clinic, request = case
    first: dict[tuple[str, int], Found] = {}
    for found in SlotChecker(clinic).read_slots(request):
        first.setdefault((found.provider_id, found.start), found)
    for limit in (1, 7, 5000):
        page = find_slots(clinic, request, limit=limit)
        assert [as_found(slot) for slot in page.slots] == list(first.values())[:limit]


@given(clinics_with_requests(), st.integers(1, 200), st.sampled_from(["best", "all"]))
@examples(100)
def test_the_ranking_grows_from_the_rows_asked_for_to_all(
    case: tuple[Clinic, SlotRequest], limit: int, rooms: Rooms
) -> None:
    clinic, request = case
    masks, *_ = build(Day.of(clinic, request.date, provider_ids=request.provider_ids), request)
    scores = Scores.of(masks, request, DEFAULT_WEIGHTS)
    heads = [rows.tolist() for rows in Ranking(masks, scores).growing(limit, rooms)]
    everything = heads[-1]
    if rooms == "all":
        assert len(everything) == masks.total()
    else:
        pairs = masks.provider_free & masks.room_free.any(axis=0)
        assert len(everything) == pairs.sum()
    assert [len(head) for head in heads] == [
        min(limit * 2**step, len(everything)) for step in range(len(heads))
    ]
    assert all(len(head) < len(longer) for head, longer in pairwise(heads))
    assert all(head == everything[: len(head)] for head in heads)
    assert everything == sorted(everything, key=lambda row: (-row[0], *row[1:]))


@given(clinics_with_requests())
@examples(60)
def test_the_model_alone_enumerates_what_masks_and_model_find(
    case: tuple[Clinic, SlotRequest],
) -> None:
    clinic, request = case
    expected = {
        (found.provider_id, found.room_id, found.start, found.is_overbooked)
        for found in SlotChecker(clinic).read_slots(request)
    }
    assert enumerate_placements(clinic, request) == expected


@given(clinics_with_requests(), st.sampled_from(["released", "ignored"]))
@examples(40)
def test_the_model_reads_sessions_as_the_masks_do(
    case: tuple[Clinic, SlotRequest], sessions: SessionsRead
) -> None:
    clinic, request = case
    asked = replace(request, sessions=sessions)
    page = find_slots(clinic, asked, limit=5000, rooms="all")
    found = {(s.provider.id, s.room.id, s.start, s.is_overbooked) for s in page.slots}
    assert enumerate_placements(clinic, asked) == found
    assert len(found) == page.total


@given(clinics_with_requests())
@examples(100)
def test_the_proved_best_has_the_first_slots_score(case: tuple[Clinic, SlotRequest]) -> None:
    clinic, request = case
    page = find_slots(clinic, request, limit=1)
    best = best_slot(clinic, request)
    assert (best is None) == (not page.slots)
    if best is not None:
        slot, exact = best
        assert slot.points == page.slots[0].points
        assert abs(exact - Fraction(slot.points, 10_000)) <= Fraction(1, 20_000)
        assert exact == sum(
            weight * getattr(slot.parts, part) for part, weight in asdict(DEFAULT_WEIGHTS).items()
        )
        assert slot in find_slots(clinic, request, limit=5000, rooms="all").slots


@given(clinics_with_requests())
@examples(100)
def test_the_first_rule_to_exclude_a_candidate_counts_it(
    case: tuple[Clinic, SlotRequest],
) -> None:
    clinic, request = case
    masks, *_ = build(Day.of(clinic, request.date, provider_ids=request.provider_ids), request)
    assert not (masks.regular & masks.overbooked).any()
    rooms = range(len(masks.day.rooms))
    first: Counter[str] = Counter()
    for provider, start in product(range(len(masks.day.providers)), range(len(masks.starts))):
        broken = [masks.broken(provider, room, start) for room in rooms]
        for room, codes in zip(rooms, broken, strict=True):
            free = masks.provider_free[provider, start] and masks.room_free[room, start]
            assert bool(codes) == (not free)
            first.update(codes[:1])
        everywhere = set.intersection(*map(set, broken))
        assert set(masks.broken(provider, None, start)) == everywhere
    assert masks.blocked_by() == first
    assert sum(first.values()) + masks.total() == len(masks.starts) * len(rooms) * len(
        masks.day.providers
    )
