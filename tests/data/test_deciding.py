"""Many wishes judged at once are decided as one after another."""

import datetime as dt
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from data.deciding import Place, Policy, Seen, Wish, decide_in_turn
from data.errors import RequestError
from solver.clinic import (
    AppointmentType,
    Availability,
    Booking,
    Clinic,
    ClinicSettings,
    OverbookingRule,
    Provider,
    Room,
)
from solver.objective import DEFAULT_WEIGHTS
from solver.timeline import DateOutOfRangeError
from tests.strategies import MONDAY, examples, uid

NOW = dt.datetime(2027, 2, 25, 9, tzinfo=dt.UTC)
POLICY = Policy(NOW, DEFAULT_WEIGHTS, horizon_days=300)
MINUTES = st.sampled_from([0, 0, 15])
CAPS = st.sampled_from([None, 1, 2, 4])


@st.composite
def open_clinics(draw: st.DrawFn) -> Clinic:
    """Two or three providers and rooms that take whatever comes, all day long."""
    providers = tuple(
        Provider(uid(1, n), f"P{n}", frozenset({"gp"}), draw(CAPS), draw(MINUTES), draw(MINUTES))
        for n in range(draw(st.integers(2, 3)))
    )
    rooms = tuple(
        Room(uid(2, n), f"R{n}", frozenset(), draw(MINUTES)) for n in range(draw(st.integers(2, 3)))
    )
    kinds = tuple(
        AppointmentType(uid(3, n), f"T{n}", 30, draw(MINUTES), draw(MINUTES), daily_cap=draw(CAPS))
        for n in range(2)
    )
    bookings = tuple(
        Booking(uid(5, n), uid(1, n % 2), uid(2, n % 2), uid(3, 0), MONDAY, 540 + 60 * n, "Ada")
        for n in range(draw(st.integers(0, 2)))
    )
    return Clinic(
        ClinicSettings("Open", "Europe/Berlin"),
        providers,
        rooms,
        kinds,
        tuple(Availability(0, 1440, provider.id, weekday=1) for provider in providers),
        (OverbookingRule(uid(4, 0), max_per_day=1),) if draw(st.booleans()) else (),
        bookings,
    )


@st.composite
def clinics_with_wishes(draw: st.DrawFn) -> tuple[Clinic, list[Wish]]:
    clinic = draw(open_clinics())
    return clinic, draw(st.lists(wishes(clinic), min_size=2, max_size=8))


@st.composite
def wishes(draw: st.DrawFn, clinic: Clinic) -> Wish:
    """Few places, so that many want the same, or what another has a part of."""
    rooms = [row.id for row in clinic.rooms]
    place = Place(
        draw(st.sampled_from([row.id for row in clinic.appointment_types])),
        draw(st.sampled_from([row.id for row in clinic.providers])),
        MONDAY,
        draw(st.sampled_from([540, 570, 600, 615, 660, 667, 1425])),
        draw(st.sampled_from([None, *rooms, *rooms])),
        draw(st.integers(0, 3)) == 0,
    )
    return Wish(
        place,
        POLICY,
        draw(st.sampled_from(["Ada", "Ada", "Bo", None])),
        draw(st.integers(0, 3)) == 0,
        aside=frozenset({uid(5, 0)} if draw(st.integers(0, 4)) == 0 else ()),
        room_before=draw(st.sampled_from([None, *rooms])),
    )


@given(clinics_with_wishes())
@examples(300)
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
