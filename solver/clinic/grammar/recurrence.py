"""Rows that recur weekly or stand on one date: their grammar, and the dates on which they hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, Protocol

from solver.clinic.grammar.sentences import RowFault

MAX_EVERY_WEEKS = 8
"""The most weeks from one in which a weekly row holds to the next."""


class Recurring(Protocol):
    """A row that recurs weekly or stands on one date."""

    @property
    def weekday(self) -> int | None:
        """ISO weekday, 1 = Monday."""

    @property
    def date(self) -> dt.date | None:
        """The one date."""

    @property
    def valid_from(self) -> dt.date | None:
        """The first date on which it may hold."""

    @property
    def valid_to(self) -> dt.date | None:
        """The last date on which it may hold."""

    @property
    def every_weeks(self) -> int:
        """How many weeks lie from one in which it holds to the next."""


def has_weekday(row: Any) -> Iterator[RowFault]:
    """Tell a weekday that is none."""
    if row.weekday is not None and not 1 <= row.weekday <= 7:
        yield RowFault("weekday", "must be 1 (Monday) to 7 (Sunday)")


def has_weekday_or_date(row: Any) -> Iterator[RowFault]:
    """Tell a row that has both a weekday and a date, or neither."""
    if (row.weekday is None) == (row.date is None):
        yield RowFault("weekday", "a row has a weekday or a date, one of the two")


def _is_valid_in_order(row: Any) -> Iterator[RowFault]:
    if row.valid_from and row.valid_to and row.valid_to < row.valid_from:
        yield RowFault("valid_to", "must not be before valid_from")


def _date_is_valid(row: Any) -> Iterator[RowFault]:
    if row.date is not None and (
        (row.valid_from is not None and row.date < row.valid_from)
        or (row.valid_to is not None and row.valid_to < row.date)
    ):
        fault = "must lie within valid_from and valid_to, which a row with a date can do without"
        yield RowFault("date", fault)


def _holds_every_few_weeks(row: Any) -> Iterator[RowFault]:
    weeks = row.every_weeks
    if not 1 <= weeks <= MAX_EVERY_WEEKS:
        yield RowFault("every_weeks", f"must be 1 to {MAX_EVERY_WEEKS} weeks, not {weeks}")
    elif weeks > 1 and row.date is not None:
        fault = "is for rows with a weekday; leave it out of a row with a date"
        yield RowFault("every_weeks", fault)
    elif weeks > 1 and row.valid_from is None:
        fault = "must be given where every_weeks is above 1: a date in the first of these weeks"
        yield RowFault("valid_from", fault)


RECURRENCE = (
    has_weekday_or_date,
    has_weekday,
    _is_valid_in_order,
    _date_is_valid,
    _holds_every_few_weeks,
)
"""The grammar of a :class:`Recurring` row."""


def holds_on(row: Recurring, day: dt.date, weekday: int) -> bool:
    """Whether a row speaks of `day`, whose ISO weekday is `weekday`."""
    if row.date is not None:
        return row.date == day
    return (
        row.weekday == weekday
        and (row.valid_from is None or row.valid_from <= day)
        and (row.valid_to is None or day <= row.valid_to)
        and (
            row.every_weeks == 1
            or row.valid_from is None  # never so: a row of some weeks has it
            or (week_number(day) - week_number(row.valid_from)) % row.every_weeks == 0
        )
    )


def week_number(day: dt.date) -> int:
    """Return a number for the week of a date, one more from each Monday on."""
    return (day.toordinal() - 1) // 7
