"""What an override grants, by the plain checker's reasons on random clinics."""

from dataclasses import replace
from fractions import Fraction

from hypothesis import event, given
from hypothesis import strategies as st

from solver.clinic.clinic import Clinic
from solver.clinic.clock import instant
from solver.clinic.entities import Booking, OverbookingRule, Room
from solver.clinic.request import SlotRequest
from solver.rules.checked_slots import SlotChecker
from solver.rules.codes import POLICY, in_order
from solver.slots.judge import judge
from tests.support.one_day import NINE, NOON, TEN, VEGA, VISIT, booked, clinic
from tests.support.one_day import ROOM as ROOM_1
from tests.support.strategies import BEFORE, MONDAY, clinics_with_requests, examples, uid

EVERYTHING = frozenset(POLICY)


@given(
    clinics_with_requests(),
    st.one_of(st.just(EVERYTHING), st.frozensets(st.sampled_from(sorted(POLICY)))),
    st.data(),
)
@examples(100)
def test_an_override_grants_just_what_it_names_all_reasons_of(
    case: tuple[Clinic, SlotRequest], override: frozenset[str], data: st.DataObject
) -> None:
    clinic, request = case
    provider = data.draw(st.sampled_from(clinic.providers))
    starts = st.one_of(st.integers(0, 95).map(lambda n: n * 15), st.integers(0, 1439))
    taken = [b.start for b in clinic.bookings if b.date == MONDAY]
    start = data.draw(st.one_of(starts, st.sampled_from(taken)) if taken else starts)
    rooms = data.draw(st.sampled_from([clinic.rooms, clinic.rooms[:1]]))
    checker = SlotChecker(clinic)
    reasons = {room.id: checker.reasons(request, provider, room, start) for room in rooms}
    asked = replace(
        request,
        provider_ids=frozenset({provider.id}),
        start=start,
        room_id=None if rooms == clinic.rooms else rooms[0].id,
        override=override,
    )

    verdict = judge(clinic, asked, limit=len(rooms))

    free = {key for key, codes in reasons.items() if not codes}
    assert {slot.room.id for slot in verdict.slots} == free
    if free:
        assert (verdict.reasons, verdict.overriding) == ((), ())
        return
    kind = clinic.type_by_id[request.appointment_type_id]

    def ease(room: Room) -> tuple[bool, int, str]:
        is_fit = room.active and kind.required_equipment <= room.equipment
        return not is_fit, len(reasons[room.id]), room.id

    assert verdict.reasons == in_order(reasons[min(rooms, key=ease).id])
    is_impossible = instant(clinic.settings.zone, MONDAY, start) < request.now or any(
        (b.provider_id, b.date, b.start) == (provider.id, MONDAY, start) and b.is_live
        for b in clinic.bookings
    )
    granted = {
        key: codes for key, codes in reasons.items() if codes <= override and not is_impossible
    }
    event("granted" if granted else "refused")
    assert {slot.room.id: frozenset(slot.overrides) for slot in verdict.overriding} == granted
    counts = [len(slot.overrides) for slot in verdict.overriding]
    assert counts == sorted(counts)
    for slot in verdict.overriding:
        assert slot.overrides == in_order(slot.overrides)
        if reasons[slot.room.id] & {"PROVIDER_BUSY", "PROVIDER_DAILY_CAP"}:
            assert slot.is_overbooked
        assert slot.parts.overbook == (0 if slot.is_overbooked else 1)
    assert judge(clinic, asked, limit=len(rooms), certify=False) == verdict


def overriding(clinic: Clinic, start: int, *codes: str) -> list[tuple[tuple[str, ...], bool]]:
    request = SlotRequest(
        VISIT.id,
        MONDAY,
        BEFORE,
        provider_ids=frozenset({VEGA.id}),
        start=start,
        override=frozenset(codes),
    )
    slots = judge(clinic, request).overriding
    return [(slot.overrides, slot.is_overbooked) for slot in slots]


def test_hours() -> None:
    assert overriding(clinic(), NOON, "OUTSIDE_PROVIDER_HOURS") == [
        (("OUTSIDE_PROVIDER_HOURS",), False)
    ]
    assert overriding(clinic(), NOON, "OUTSIDE_ROOM_HOURS") == []


def test_a_busy_provider() -> None:
    assert overriding(clinic(booked(TEN)), TEN + 15, "PROVIDER_BUSY") == [
        (("PROVIDER_BUSY",), True)
    ]
    assert overriding(clinic(booked(TEN)), TEN, "PROVIDER_BUSY") == []


def test_allowances_are_left_for_others() -> None:
    rule = OverbookingRule(uid(4, 0), max_overlap=2, max_per_day=1)
    x = booked(NINE + 15, 1, is_overbooked=True, overrides=frozenset({"PROVIDER_BUSY"}))
    standing = (booked(NINE), x, booked(TEN + 15, 2))
    request = SlotRequest(VISIT.id, MONDAY, BEFORE, frozenset({VEGA.id}), start=TEN)
    (slot,) = judge(clinic(*standing, rules=(rule,)), request).slots
    assert slot.is_overbooked
    one_by_rule = replace(x, overrides=frozenset())
    refused = judge(clinic(standing[0], one_by_rule, standing[2], rules=(rule,)), request)
    assert refused.reasons == ("PROVIDER_BUSY",)


def test_where_no_window_holds_it_the_whole_day_is_its_window() -> None:
    def gap(start: int, *bookings: Booking) -> Fraction:
        request = SlotRequest(
            VISIT.id,
            MONDAY,
            BEFORE,
            provider_ids=frozenset({VEGA.id}),
            room_id=ROOM_1.id,
            start=start,
            override=frozenset({"OUTSIDE_PROVIDER_HOURS", "OUTSIDE_ROOM_HOURS"}),
        )
        (slot,) = judge(clinic(*bookings), request).overriding
        return slot.parts.gap

    assert gap(NOON) == Fraction(1, 2)  # neither side is touched, both are usable
    assert gap(0) == Fraction(3, 4)  # the day begins with it
    assert gap(1410) == Fraction(3, 4)
    assert gap(1200, booked(1185 - 30)) == Fraction(1, 4)  # a rest of 15 minutes is of no use
