"""What the daily caps leave: of a provider's date, of a type's date, and for overbooking."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from copy import copy

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.entities import AppointmentType, Clinic, Provider
from solver.planning.instance.tasks import FixedBooking

NO_CAP = 10**9
"""The places of a provider's or a type's date that has no cap."""


class Capacity:
    """The places left beside some bookings and assignments.

    Each of these takes a place of its type and date and, unless it is overbooked, one of its
    provider and date. What lies outside the horizon takes none.

    Parameters
    ----------
    clinic, providers, dates
        The caps; the providers in the order of the tables; the horizon.

    Attributes
    ----------
    has_provider_cap, has_type_cap
        [P], [K] whether there is a daily cap; without one, :data:`NO_CAP` places are shared out.
    regular_left
        [P, D] regular placements that the provider's cap still allows (rule 6); negative where
        more is booked than it allows.
    type_left
        [K, D] appointments that the type's cap still allows (rule 5); negative likewise.
    overbooked
        [P, D] overbooked bookings and assignments.
    """

    def __init__(
        self, clinic: Clinic, providers: Sequence[Provider], dates: Sequence[dt.date]
    ) -> None:
        self._clinic, self._providers, self._dates = clinic, providers, dates
        of_providers = [p.daily_cap for p in providers]
        of_types = [row.daily_cap for row in clinic.appointment_types]
        self.has_provider_cap: Bools = np.array([cap is not None for cap in of_providers], np.bool_)
        self.has_type_cap: Bools = np.array([cap is not None for cap in of_types], np.bool_)
        self.regular_left = _each_day(of_providers, len(dates))
        self.type_left = _each_day(of_types, len(dates))
        self.overbooked: Ints = np.zeros((len(providers), len(dates)), np.int64)
        self._most_overbooked = max((r.max_per_day for r in clinic.overbooking_rules), default=0)

    @property
    def overbooked_left(self) -> Ints:
        """[P, D] overbooked placements that some overbooking rule could still allow (rule 7)."""
        return np.maximum(0, self._most_overbooked - self.overbooked)

    def allowances(self, kind: int, provider: int, day: int, start: int) -> list[tuple[int, int]]:
        """Return (max_overlap, max_per_day) of the overbooking rules that cover a placement."""
        return self._covering(self._clinic.appointment_types[kind], provider, day, start)

    def allowances_of(self, own: FixedBooking) -> list[tuple[int, int]]:
        """Return those that cover a booking where it is, as long as it is."""
        kind = self._clinic.kind_of(own.booking)
        return self._covering(kind, own.provider, own.day, own.booking.start)

    def _covering(
        self, kind: AppointmentType, provider: int, day: int, start: int
    ) -> list[tuple[int, int]]:
        weekday = self._dates[day].isoweekday()
        return [
            (rule.max_overlap, rule.max_per_day)
            for rule in self._clinic.overbooking_rules
            if rule.covers(self._providers[provider].id, kind, weekday, start)
        ]

    def after(self, bookings: Iterable[FixedBooking]) -> Capacity:
        """Return what is left when bookings have taken their places, too."""
        other = copy(self)
        other.regular_left = self.regular_left.copy()
        other.type_left = self.type_left.copy()
        other.overbooked = self.overbooked.copy()
        for booking in bookings:
            other.book(booking)
        return other

    def book(self, own: FixedBooking) -> None:
        """Take the places of a booking."""
        self.take(own.kind, own.provider, own.day, is_overbooked=own.booking.is_overbooked)

    def take(self, kind: int, provider: int, day: int, *, is_overbooked: bool) -> None:
        """Take the places of one booking or assignment."""
        if not 0 <= day < self.type_left.shape[1]:
            return
        self.type_left[kind, day] -= 1
        if provider >= 0 and is_overbooked:
            self.overbooked[provider, day] += 1
        elif provider >= 0:
            self.regular_left[provider, day] -= 1


def _each_day(caps: Sequence[int | None], days: int) -> Ints:
    """[n, D] the caps, date by date."""
    places = np.array([NO_CAP if cap is None else cap for cap in caps], np.int64)
    return np.repeat(places[:, None], days, axis=1)
