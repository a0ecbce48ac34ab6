"""Many wishes judged at once are decided as one after another."""

import datetime as dt
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from data.deciding import Place, Policy, Seen, Wish, decide_in_turn
from data.errors import RequestError
from solver.clinic import Clinic, SlotRequest
from solver.objective import DEFAULT_WEIGHTS
from solver.timeline import DateOutOfRangeError
from tests.strategies import clinics_with_requests, examples, uid


@st.composite
def clinics_with_wishes(draw: st.DrawFn) -> tuple[Clinic, list[Wish]]:
    clinic, request = draw(clinics_with_requests())
    policy = Policy(request.now, DEFAULT_WEIGHTS, horizon_days=400)
    return clinic, draw(st.lists(wishes(clinic, request, policy), min_size=1, max_size=10))


@st.composite
def wishes(draw: st.DrawFn, clinic: Clinic, request: SlotRequest, policy: Policy) -> Wish:
    """Few places, so that many want the same."""
    kinds = [request.appointment_type_id, *(row.id for row in clinic.appointment_types[:1])]
    rooms = [row.id for row in clinic.rooms]
    standing = [b.id for b in clinic.bookings]
    place = Place(
        draw(st.sampled_from(kinds)),
        draw(st.sampled_from([*(row.id for row in clinic.providers), uid(1, 99)])),
        request.date + dt.timedelta(days=draw(st.sampled_from([0, 0, 0, 1]))),
        draw(st.sampled_from([480, 540, 555, 570, 600, 607, 720, 1425])),
        draw(st.sampled_from([None, None, *rooms])),
        draw(st.booleans()),
    )
    return Wish(
        place,
        policy,
        draw(st.sampled_from([None, "Ada", "Bo"])),
        draw(st.booleans()),
        aside=frozenset(draw(st.lists(st.sampled_from(standing), max_size=1)) if standing else ()),
        room_before=draw(st.sampled_from([None, *rooms])),
    )


@given(clinics_with_wishes())
@examples(200)
def test_many_at_once_are_decided_as_one_after_another(case: tuple[Clinic, list[Wish]]) -> None:
    clinic, wanted = case
    outcomes = list(decide_in_turn(clinic, wanted))
    aside = {key for wish in wanted for key in wish.aside}
    book = [b for b in clinic.bookings if b.id not in aside]
    for number, (wish, outcome) in enumerate(zip(wanted, outcomes, strict=True)):
        expected: Seen | Exception
        try:
            expected = wish.decide(clinic.with_bookings(book), room_id=wish.place.room_id)
        except (RequestError, DateOutOfRangeError) as error:
            expected = error
        else:
            book.append(expected.as_booking(f"won {number}"))
        assert told(outcome) == told(expected)


def told(outcome: Seen | Exception) -> Any:
    if isinstance(outcome, Seen):
        return outcome.slot, outcome.keys()
    return type(outcome), str(outcome), getattr(outcome, "extra", None)
