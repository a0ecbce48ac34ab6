"""Rows of every other week: all readings say the same of every date."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.clinic.entities import Availability
from solver.clinic.grammar.sentences import InvalidClinicError
from solver.clinic.windows import Windows
from solver.planning.problem import Problem
from solver.rules.checker import Checker
from solver.rules.whole_book_rules import _alike
from solver.whatif.plain_rules import _Minutes
from tests.support.one_day import NINE, NOON, VEGA, clinic
from tests.support.rules_by_hand import RulesByHand
from tests.support.strategies import BEFORE, MONDAY, examples


def holds(row: Availability, day: dt.date) -> bool:
    """Whether Dr. Vega is in on a date by one row, as every reading says it."""
    tiny = clinic(rows=(row,))
    readings = {
        bool(Windows.on(tiny, day).provider[VEGA.id]),
        1 in Checker(tiny).open_minutes(VEGA, day),
        1 in _Minutes(tiny).open(VEGA, day),
        RulesByHand(Problem(tiny, day, 1, (), BEFORE)).is_open(VEGA, day, NINE),
    }
    (verdict,) = readings
    return verdict


def row(**fields: Any) -> Availability:
    return Availability(NINE, NOON, provider_id=VEGA.id, **fields)


@pytest.mark.parametrize(
    ("weekday", "valid_from", "weeks", "days"),
    [
        (1, MONDAY, 2, [0, 14, 28, 42]),
        (1, MONDAY, 1, [0, 7, 14, 21, 28, 35, 42, 49]),
        (1, MONDAY + dt.timedelta(days=3), 2, [14, 28, 42]),  # on the Monday it is not valid yet
        (5, MONDAY + dt.timedelta(days=3), 2, [4, 18, 32, 46]),
        (7, MONDAY - dt.timedelta(days=1), 2, [13, 27, 41]),  # a Sunday ends the week before
        (1, MONDAY - dt.timedelta(days=1), 2, [7, 21, 35, 49]),
        (3, MONDAY, 8, [2]),
    ],
)
def test_a_row_holds_in_each_nth_week_of_its_first(
    weekday: int, valid_from: dt.date, weeks: int, days: list[int]
) -> None:
    weekly = row(weekday=weekday, valid_from=valid_from, every_weeks=weeks)
    dates = [MONDAY + dt.timedelta(days=ahead) for ahead in range(50)]
    assert [(day - MONDAY).days for day in dates if holds(weekly, day)] == days


def test_weeks_are_counted_over_the_turn_of_a_year_of_53() -> None:
    weekly = row(weekday=1, valid_from=dt.date(2026, 12, 14), every_weeks=2)
    assert dt.date(2026, 12, 28).isocalendar().week == 53
    assert holds(weekly, dt.date(2026, 12, 28))
    assert not holds(weekly, dt.date(2027, 1, 4))
    assert holds(weekly, dt.date(2027, 1, 11))


def test_a_row_of_some_weeks_closes_too_and_ends_with_valid_to() -> None:
    closed = row(weekday=1, valid_from=MONDAY, every_weeks=2, kind="closed")
    day = replace(clinic(), availability=(row(weekday=1), closed))
    fortnight = MONDAY + dt.timedelta(days=14)
    assert not Windows.on(day, MONDAY).provider[VEGA.id]
    assert Windows.on(day, MONDAY + dt.timedelta(days=7)).provider[VEGA.id]
    ending = row(weekday=1, valid_from=MONDAY, valid_to=fortnight, every_weeks=2)
    assert holds(ending, fortnight)
    assert not holds(ending, fortnight + dt.timedelta(days=14))


@given(
    st.integers(1, 7),
    st.integers(1, 8),
    st.integers(-30, 10),
    st.sets(st.integers(-60, 120), min_size=2, max_size=6),
)
@examples(60)
def test_all_readings_say_the_same(weekday: int, weeks: int, begins: int, ahead: set[int]) -> None:
    valid_from = MONDAY + dt.timedelta(days=begins)
    weekly = row(weekday=weekday, valid_from=valid_from, every_weeks=weeks)
    days = [MONDAY + dt.timedelta(days=number) for number in sorted(ahead)]
    for day, like in zip(days, _alike(clinic(rows=(weekly,)), days), strict=True):
        assert holds(weekly, day) == holds(weekly, like)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"weekday": 1, "every_weeks": 0}, "every_weeks"),
        ({"weekday": 1, "every_weeks": 9, "valid_from": MONDAY}, "every_weeks"),
        ({"weekday": 1, "every_weeks": 2}, "valid_from"),
        ({"date": MONDAY, "every_weeks": 2, "valid_from": MONDAY}, "every_weeks"),
    ],
)
def test_what_weeks_a_row_cannot_have(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidClinicError) as caught:
        row(**fields)
    assert caught.value.field == field


def test_a_date_may_say_that_it_is_of_every_week() -> None:
    assert holds(row(date=MONDAY, every_weeks=1), MONDAY)
