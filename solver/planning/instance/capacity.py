"""What the daily caps leave: of a provider's date, of a type's date, and for overbooking."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from copy import copy

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.entities import Clinic, Provider
from solver.clinic.overrides import uses_allowance
from solver.planning.instance.tasks import FixedBooking
from solver.rules.codes import TYPE_DAILY_CAP

NO_CAP = 10**9
"""The places of a provider's or a type's date that has no cap."""


class Capacity:
    """The places left beside some bookings and assignments.

    Each of these takes a place of its type and date and, unless it is overbooked, one of its
    provider and date. What lies outside the horizon takes none. A booking that was made over its
    provider's capacity by an override takes neither a regular nor an overbooked place.

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
    over_type
        [K, D] bookings that override the type's cap: they take places from what is new, and none
        from bookings that stay, which may have been made before them.
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
        self.over_type: Ints = np.zeros(self.type_left.shape, np.int64)
        self.overbooked: Ints = np.zeros((len(providers), len(dates)), np.int64)
        self._most_overbooked = max((r.max_per_day for r in clinic.overbooking_rules), default=0)

    @property
    def overbooked_left(self) -> Ints:
        """[P, D] overbooked placements that some overbooking rule could still allow (rule 7)."""
        return np.maximum(0, self._most_overbooked - self.overbooked)

    @property
    def type_left_to_stay(self) -> Ints:
        """[K, D] bookings that the type's cap still lets stay; negative as `type_left` is."""
        return self.type_left + self.over_type

    def allowances(self, kind: int, provider: int, day: int, start: int) -> list[tuple[int, int]]:
        """Return (max_overlap, max_per_day) of the overbooking rules that cover a placement."""
        row, weekday = self._clinic.appointment_types[kind], self._dates[day].isoweekday()
        return [
            (rule.max_overlap, rule.max_per_day)
            for rule in self._clinic.overbooking_rules
            if rule.covers(self._providers[provider].id, row, weekday, start)
        ]

    def after(self, bookings: Iterable[FixedBooking]) -> Capacity:
        """Return what is left when bookings have taken their places, too."""
        other = copy(self)
        other.regular_left = self.regular_left.copy()
        other.type_left = self.type_left.copy()
        other.over_type = self.over_type.copy()
        other.overbooked = self.overbooked.copy()
        for booking in bookings:
            other.book(booking)
        return other

    def book(self, own: FixedBooking) -> None:
        """Take the places of a booking."""
        is_overbooked = own.booking.is_overbooked
        provider = -1 if is_overbooked and not uses_allowance(own.booking) else own.provider
        self.take(own.kind, provider, own.day, is_overbooked=is_overbooked)
        if TYPE_DAILY_CAP in own.booking.overrides and 0 <= own.day < len(self._dates):
            self.over_type[own.kind, own.day] += 1

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
