"""What is read of a whole book at once is what the plain checker reads booking by booking."""

import datetime as dt
from dataclasses import replace

import numpy as np
from hypothesis import event, given
from hypothesis import strategies as st

from benchmarks.hospital.book import hospital_clinic
from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
from solver.rules import whole_book_rules as whole_book
from solver.rules.checked_book import BookChecker
from solver.rules.ledger import Ledger
from solver.rules.whole_book_rules import RULES, broken_rules, violations
from tests.support.strategies import (
    DAYS,
    KEPT,
    MONDAY,
    OVERRIDES,
    clinics,
    examples,
    uid,
    with_teams,
)

CLOCKS_CHANGE = dt.date(2027, 3, 28)
"""In Berlin, from 02:00 to 03:00."""


@st.composite
def crowded(draw: st.DrawFn) -> Clinic:
    """A clinic with bookings anywhere, beside and above one another."""
    clinic = draw(clinics())
    durations = draw(st.sampled_from([None, None, None, 700, 1440]))
    if durations is not None:
        first, *others = clinic.appointment_types
        clinic = replace(
            clinic, appointment_types=(replace(first, duration_minutes=durations), *others)
        )
    starts = st.sampled_from([480, 495, 510, 540, 545, 600, 1020, 1425, 0, 60, 150])
    book = [
        Booking(
            uid(5, number),
            draw(st.sampled_from(clinic.providers)).id,
            draw(st.sampled_from(clinic.rooms)).id,
            draw(st.sampled_from(clinic.appointment_types)).id,
            draw(st.sampled_from([*DAYS, MONDAY, MONDAY, CLOCKS_CHANGE])),
            draw(starts),
            status=draw(st.sampled_from(["booked", "booked", "held", "cancelled"])),
            is_overbooked=draw(st.booleans()),
            **(draw(KEPT) | draw(st.sampled_from([{}, {}, {}, {"duration_minutes": 1440}]))),
            overrides=draw(OVERRIDES),
        )
        for number in range(draw(st.integers(0, 12)))
    ]
    return draw(with_teams(clinic.with_bookings(book)))


@given(crowded())
@examples(100)
def test_a_book_read_at_once_breaks_what_the_checker_tells(clinic: Clinic) -> None:
    in_order = sorted(clinic.bookings, key=lambda b: (b.date, b.start, b.id))
    plain = list(BookChecker(clinic.with_bookings(in_order)).violations())
    for violation in plain:
        event(violation.code)
    assert violations(clinic) == plain
    expected = {b.id: 0 for b in clinic.bookings if b.is_live}
    for violation in plain:
        expected[violation.booking.id] |= 1 << violation.rule
    book = Ledger.of(clinic)
    assert dict(zip(book.ids(), broken_rules(clinic, book).tolist(), strict=True)) == expected


@given(crowded(), st.sampled_from(sorted(RULES)))
@examples(40)
def test_one_rule_is_read_without_the_others(clinic: Clinic, rule: int) -> None:
    book = Ledger.of(clinic)
    every = broken_rules(clinic, book)
    assert (broken_rules(clinic, book, {rule}) == (every & np.uint16(1 << rule))).all()


def test_only_bookings_that_break_something_are_read_one_by_one(monkeypatch) -> None:
    clinic = hospital_clinic(MONDAY, providers=8, bookings=4000)
    moved = replace(clinic.bookings[7], start=clinic.bookings[6].start + 5)
    clinic = clinic.with_bookings([*clinic.bookings[:7], moved, *clinic.bookings[8:]])
    read = []

    class Counting(BookChecker):
        def _violations_of(self, b, *args):  # type: ignore[no-untyped-def]
            read.append(b.id)
            return super()._violations_of(b, *args)

    monkeypatch.setattr(whole_book, "BookChecker", Counting)
    told = violations(clinic)
    assert {v.booking.id for v in told} == {clinic.bookings[6].id, moved.id}
    assert len(read) == 2
