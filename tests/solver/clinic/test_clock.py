"""Local time: windows, clock changes, notice."""

import datetime as dt
import itertools
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.clinic.clock import (
    DateOutOfRangeError,
    check_date,
    clock_changes,
    first_bookable_minute,
    format_time,
    instant,
    parse_time,
)
from solver.clinic.entities import ClinicSettings
from solver.clinic.spans import cut, merge
from tests.support.strategies import MONDAY

BERLIN = ZoneInfo("Europe/Berlin")


SPANS = st.lists(
    st.tuples(st.integers(0, 100), st.integers(1, 40)).map(lambda s: (s[0], s[0] + s[1])),
    max_size=8,
)


def minutes(spans: list[tuple[int, int]]) -> set[int]:
    return {minute for start, end in spans for minute in range(start, end)}


@given(SPANS, SPANS)
def test_merge_and_cut_are_union_and_difference(
    spans: list[tuple[int, int]], cuts: list[tuple[int, int]]
) -> None:
    merged = merge(spans)
    assert minutes(merged) == minutes(spans)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(merged))
    assert minutes(cut(merged, cuts)) == minutes(spans) - minutes(cuts)
    assert all(start < end for start, end in cut(merged, cuts))


@pytest.mark.parametrize(
    ("hole", "left"),
    [
        ((10, 20), []),
        ((10, 14), [(14, 20)]),
        ((14, 20), [(10, 14)]),
        ((12, 14), [(10, 12), (14, 20)]),
        ((0, 10), [(10, 20)]),
        ((20, 30), [(10, 20)]),
    ],
)
def test_a_cut_leaves_no_empty_piece(hole: tuple[int, int], left: list[tuple[int, int]]) -> None:
    assert cut([(10, 20)], [hole]) == left


@pytest.mark.parametrize(("text", "minute"), [("00:00", 0), ("09:30", 570), ("24:00", 1440)])
def test_times_of_day(text: str, minute: int) -> None:
    assert parse_time(text) == minute
    assert format_time(minute) == text


@pytest.mark.parametrize(
    "text", ["9:30", "09:60", "24:01", "0930", "", "09:30:00", "٠٩:٣٠", "-1:00"]
)
def test_what_is_no_time_of_day(text: str) -> None:
    with pytest.raises(ValueError, match="HH:MM"):
        parse_time(text)


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", dt.date(2027, 3, 28), [(120, 180)]),  # skipped
        ("Europe/Berlin", dt.date(2027, 10, 31), [(120, 180)]),  # repeated
        ("Europe/Berlin", MONDAY, []),
        ("Australia/Lord_Howe", dt.date(2027, 4, 4), [(90, 120)]),  # half an hour
        ("America/Santiago", dt.date(2027, 4, 3), [(1380, 1440)]),  # up to midnight
        ("America/Santiago", dt.date(2027, 9, 5), [(0, 60)]),  # from midnight
        ("Pacific/Apia", dt.date(2011, 12, 30), [(0, 1440)]),  # a date that never was
        ("UTC", dt.date(2027, 3, 28), []),
    ],
)
def test_clock_changes(zone: str, day: dt.date, expected: list[tuple[int, int]]) -> None:
    assert clock_changes(ZoneInfo(zone), day) == expected


def test_instants_carry_the_offset_of_their_side_of_a_change() -> None:
    day = dt.date(2027, 10, 31)
    assert instant(BERLIN, day, 120).isoformat() == "2027-10-31T02:00:00+02:00"
    assert instant(BERLIN, day, 180).isoformat() == "2027-10-31T03:00:00+01:00"
    assert instant(BERLIN, day, 1440).isoformat() == "2027-11-01T00:00:00+01:00"


@pytest.mark.parametrize(
    ("now", "notice", "expected"),
    [
        ("2027-02-28T23:59", 0, 0),
        ("2027-03-01T09:00", 0, 540),
        ("2027-03-01T09:00:00.5", 0, 541),
        ("2027-03-01T09:00", 60, 600),
        ("2027-03-01T23:30", 60, 1441),
        ("2027-02-27T09:00", 2 * 1440 + 30, 570),
        ("2027-03-02T00:00", 0, 1441),
    ],
)
def test_first_bookable_minute(now: str, notice: int, expected: int) -> None:
    moment = dt.datetime.fromisoformat(now).replace(tzinfo=BERLIN)
    assert first_bookable_minute(BERLIN, MONDAY, moment, notice) == expected
    assert first_bookable_minute(BERLIN, MONDAY, moment.astimezone(dt.UTC), notice) == expected


@pytest.mark.parametrize("day", [dt.date(2027, 12, 31), MONDAY])
def test_a_notice_without_end_leaves_nothing(day: dt.date) -> None:
    now = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)
    assert first_bookable_minute(BERLIN, day, now, 1440) == 1441


class TestDateInRange:
    # On the last day of February in UTC, and already on 1 March in Berlin.
    now = dt.datetime(2027, 2, 28, 23, 30, tzinfo=dt.UTC)

    @pytest.mark.parametrize("ahead", [0, 1, 30])
    def test_within(self, ahead: int) -> None:
        check_date(ClinicSettings("C", "Europe/Berlin"), self.day(ahead), self.now, 30)

    @pytest.mark.parametrize(
        ("ahead", "told"),
        [
            (-1, "2027-02-28 is in the past; today is 2027-03-01"),
            (31, "2027-04-01 is too far ahead; the last date is 2027-03-31"),
        ],
    )
    def test_beyond(self, ahead: int, told: str) -> None:
        with pytest.raises(DateOutOfRangeError, match=f"^{told}$"):
            check_date(ClinicSettings("C", "Europe/Berlin"), self.day(ahead), self.now, 30)

    def day(self, ahead: int) -> dt.date:
        return MONDAY + dt.timedelta(days=ahead)
