"""What it means that a booking was made against rules on purpose."""

from __future__ import annotations

from solver.clinic.entities import Booking

OVER_CAPACITY = frozenset({"PROVIDER_BUSY", "PROVIDER_DAILY_CAP"})
"""Whoever overrides one of these books over the provider's capacity, by no overbooking rule."""


def uses_allowance(booking: Booking) -> bool:
    """Whether a booking is overbooked by an overbooking rule, and counts towards `max_per_day`."""
    return booking.is_overbooked and booking.overrides.isdisjoint(OVER_CAPACITY)
