"""How full the hours of the week are: appointments' minutes to open minutes, over some days."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Booking, Provider
from solver.clinic.windows import Windows

HOURS = 24


def week_fill(
    clinic: Clinic, days: Iterable[dt.date], provider_ids: Collection[str] = ()
) -> NDArray[np.float64]:
    """Return the share of the providers' open minutes that appointments take.

    Counted as ``utilisation`` in the statistics: no buffers, no holds, and a minute that two
    appointments share once.

    Parameters
    ----------
    clinic
        With its bookings on `days`.
    provider_ids
        Of those who count; all if there are none.

    Returns
    -------
    numpy.ndarray
        [7, 24] by ISO weekday and hour of the day; NaN where nobody is ever in.
    """
    booked: defaultdict[tuple[str, dt.date], list[Booking]] = defaultdict(list)
    for booking in clinic.bookings:
        if booking.is_live and booking.status != "held":
            booked[booking.provider_id, booking.date].append(booking)
    counting = [p for p in clinic.providers if not provider_ids or p.id in provider_ids]
    open_, busy = np.zeros((2, 7, DAY_MINUTES), dtype=np.int64)
    for day in days:
        windows = Windows.on(clinic, day).provider
        for provider in counting:
            spans = _open_spans(provider, windows)
            if not spans:
                continue
            is_open, is_taken = np.zeros((2, DAY_MINUTES), dtype=bool)
            for start, end in spans:
                is_open[start:end] = True
            for booking in booked[provider.id, day]:
                kind = clinic.kind_of(booking)
                is_taken[booking.start : booking.start + kind.duration_minutes] = True
            open_[day.isoweekday() - 1] += is_open
            busy[day.isoweekday() - 1] += is_open & is_taken
    open_hours, busy_hours = (
        minutes.reshape(7, HOURS, DAY_MINUTES // HOURS).sum(axis=2) for minutes in (open_, busy)
    )
    with np.errstate(invalid="ignore"):
        return np.asarray(busy_hours / open_hours, dtype=np.float64)


def _open_spans(
    provider: Provider, windows: dict[str, list[tuple[int, int]]]
) -> list[tuple[int, int]]:
    return windows.get(provider.id, []) if provider.active else []
