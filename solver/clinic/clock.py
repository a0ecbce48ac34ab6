"""Local time: minutes of a date, instants, clock changes, and what is too soon or too far."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from solver.clinic.entities import DAY_MINUTES, ClinicSettings, Span
from solver.clinic.spans import merge

HORIZON_DAYS = 365
"""How far ahead bookings are taken where no setting says otherwise."""


class DateOutOfRangeError(ValueError):
    """The date lies before today or beyond the horizon."""


def parse_time(text: str) -> int:
    """Return the minute of the day that ``HH:MM`` names; ``24:00`` is the end of the day.

    Raises
    ------
    ValueError
        When `text` is not of that form.
    """
    digits = text.split(":")
    if len(digits) == 2 and all(len(d) == 2 and d.isascii() and d.isdigit() for d in digits):
        hour, minute = int(digits[0]), int(digits[1])
        if minute < 60 and hour * 60 + minute <= DAY_MINUTES:
            return hour * 60 + minute
    raise ValueError(f"'{text}' is no time of day; write HH:MM, as in 09:30")


def format_time(minute: int) -> str:
    """Write a minute of the day as ``HH:MM``; the end of the day as ``24:00``."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def instant(zone: ZoneInfo, day: dt.date, minute: int) -> dt.datetime:
    """Return the moment of a local minute, with its UTC offset."""
    midnight = dt.datetime.combine(day, dt.time(), tzinfo=zone)
    return midnight + dt.timedelta(minutes=minute)  # wall-clock arithmetic within one zone


def clock_changes(zone: ZoneInfo, day: dt.date) -> list[Span]:
    """Return the local minutes of `day` that a clock change skips or repeats.

    A wall time is skipped or repeated exactly when its two readings (``fold`` 0 and 1, PEP 495)
    have different UTC offsets.
    """
    midnight = dt.datetime.combine(day, dt.time())
    ends = (midnight, midnight + dt.timedelta(days=1) if day < dt.date.max else midnight)
    readings = {
        zone.utcoffset(wall.replace(fold=fold, tzinfo=zone)) for wall in ends for fold in (0, 1)
    }
    if len(readings) == 1:
        return []
    odd = []
    for minute in range(DAY_MINUTES):
        wall = (midnight + dt.timedelta(minutes=minute)).replace(tzinfo=zone)
        if zone.utcoffset(wall) != zone.utcoffset(wall.replace(fold=1)):
            odd.append((minute, minute + 1))
    return merge(odd)


def first_bookable_minute(zone: ZoneInfo, day: dt.date, now: dt.datetime, notice: int) -> int:
    """Return the first minute of `day` that is not before `now` + `notice` minutes.

    0 when the whole day is later, more than :data:`DAY_MINUTES` when it is over.
    """
    try:
        earliest = now.astimezone(dt.UTC) + dt.timedelta(minutes=notice)
    except OverflowError:
        return DAY_MINUTES + 1
    local = earliest.astimezone(zone)
    if local.date() < day:
        return 0
    if local.date() > day:
        return DAY_MINUTES + 1
    begun = local.second > 0 or local.microsecond > 0
    return local.hour * 60 + local.minute + begun


def check_date(settings: ClinicSettings, day: dt.date, now: dt.datetime, horizon_days: int) -> None:
    """Refuse a date outside what the clinic books.

    Raises
    ------
    DateOutOfRangeError
        When `day` is before today, in the clinic's zone, or more than `horizon_days` ahead.
    """
    today = now.astimezone(settings.zone).date()
    if day < today:
        raise DateOutOfRangeError(f"{day} is in the past; today is {today}")
    if (day - today).days > horizon_days:
        last = today + dt.timedelta(days=horizon_days)
        raise DateOutOfRangeError(f"{day} is too far ahead; the last date is {last}")
