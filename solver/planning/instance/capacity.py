"""What the daily caps leave: of a provider's date, of a type's date, and for overbooking."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from copy import copy

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic, uses_allowance
from solver.clinic.entities import AppointmentType, Provider
from solver.planning.instance.session_places import NO_SESSIONS, SessionPlaces
from solver.planning.instance.tasks import FixedBooking
from solver.rules.codes import PROVIDER_DAILY_CAP, TYPE_DAILY_CAP

NO_CAP = 10**9
"""The places, or minutes, of a provider's or a type's date that has no cap."""


class Capacity:
    """The places left beside some bookings and assignments.

    Each of these takes a place of its type and date and, unless it is overbooked, one of its
    provider and date, and its minutes of that date's. What lies outside the horizon takes none. A
    booking that was made over its provider's capacity by an override takes neither a regular nor an
    overbooked place.

    Parameters
    ----------
    clinic, providers, dates
        The caps; the providers in the order of the tables; the horizon.

    Attributes
    ----------
    has_provider_cap, has_minutes_cap, has_type_cap
        [P], [P], [K] whether there is a daily cap, of the provider's regular bookings and of their
        minutes; without one, :data:`NO_CAP` are shared out.
    minutes
        [K, P] what a regular placement of a type takes of a provider's minutes.
    regular_left
        [P, D] regular placements that the provider's cap still allows (rule 6); negative where
        more is booked than it allows.
    minutes_left
        [P, D] minutes of regular placements that the provider still takes (rule 6); negative
        likewise.
    type_left
        [K, D] appointments that the type's cap still allows (rule 5); negative likewise.
    over_type
        [K, D] bookings that override the type's cap: they take places from what is new, and none
        from bookings that stay, which may have been made before them.
    overbooked
        [P, D] overbooked bookings and assignments.
    pair_left
        By type of which some provider has a cap of its own: [P, D] appointments of it that this cap
        still allows (rule 6), :data:`NO_CAP` where there is none; negative likewise.
    pair_left_to_stay
        The same for bookings that stay: those that override the cap take no place of it.
    sessions
        The places of sessions that take so many bookings (rule 8).
    """

    def __init__(
        self,
        clinic: Clinic,
        providers: Sequence[Provider],
        dates: Sequence[dt.date],
        sessions: SessionPlaces = NO_SESSIONS,
    ) -> None:
        self._clinic, self._providers, self._dates = clinic, providers, dates
        of_providers = [p.daily_cap for p in providers]
        of_minutes = [p.daily_minutes for p in providers]
        of_types = [row.daily_cap for row in clinic.appointment_types]
        self.has_provider_cap: Bools = np.array([cap is not None for cap in of_providers], np.bool_)
        self.has_minutes_cap: Bools = np.array([cap is not None for cap in of_minutes], np.bool_)
        self.has_type_cap: Bools = np.array([cap is not None for cap in of_types], np.bool_)
        self.regular_left = _each_day(of_providers, len(dates))
        self.minutes_left = _each_day(of_minutes, len(dates))
        self.type_left = _each_day(of_types, len(dates))
        durations = [
            [clinic.kind_at(row.id, p.id).duration_minutes for p in providers]
            for row in clinic.appointment_types
        ]
        self.minutes: Ints = np.array(durations, np.int64).reshape(len(durations), len(providers))
        self.over_type: Ints = np.zeros(self.type_left.shape, np.int64)
        self.overbooked: Ints = np.zeros((len(providers), len(dates)), np.int64)
        self.pair_left = _of_pairs(clinic, providers, len(dates))
        self.pair_left_to_stay = _of_pairs(clinic, providers, len(dates))
        self.sessions = sessions
        self._most_overbooked = max((r.max_per_day for r in clinic.overbooking_rules), default=0)

    @property
    def is_limited(self) -> Bools:
        """[P] whether a provider's regular placements of a date have a cap, or their minutes."""
        return self.has_provider_cap | self.has_minutes_cap

    @property
    def most_regular(self) -> Ints:
        """[P, D] what regular placements do not outnumber.

        That is what the provider's cap still allows, or fewer: the minutes that are left, if all
        went to appointments of the shortest type.
        """
        shortest = self.minutes.min(axis=0, initial=NO_CAP)[:, None]
        by_minutes = np.minimum(self.regular_left, self.minutes_left // shortest)
        return np.where(self.has_minutes_cap[:, None], by_minutes, self.regular_left)

    def takes_regular(self, kind: int) -> Bools:
        """[P, D] whether there is a regular place for one more of a type, under both caps."""
        takes: Bools = self.minutes_left >= self.minutes[kind][:, None]
        takes &= self.regular_left > 0
        return takes

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
        type_id = self._clinic.appointment_types[kind].id
        row = self._clinic.kind_at(type_id, self._providers[provider].id)
        return self._covering(row, provider, day, start)

    def allowances_of(self, own: FixedBooking) -> list[tuple[int, int]]:
        """Return the same of the rules that cover a booking where it is, as long as it is."""
        row = self._clinic.kind_of(own.booking)
        return self._covering(row, own.provider, own.day, own.booking.start)

    def _covering(
        self, row: AppointmentType, provider: int, day: int, start: int
    ) -> list[tuple[int, int]]:
        key, weekday = self._providers[provider].id, self._dates[day].isoweekday()
        return [
            (rule.max_overlap, rule.max_per_day)
            for rule in self._clinic.overbooking_rules
            if rule.covers(key, row, weekday, start)
        ]

    def after(self, bookings: Iterable[FixedBooking]) -> Capacity:
        """Return what is left when bookings have taken their places, too."""
        other = copy(self)
        other.regular_left = self.regular_left.copy()
        other.minutes_left = self.minutes_left.copy()
        other.type_left = self.type_left.copy()
        other.over_type = self.over_type.copy()
        other.overbooked = self.overbooked.copy()
        other.pair_left = {k: left.copy() for k, left in self.pair_left.items()}
        other.pair_left_to_stay = {k: left.copy() for k, left in self.pair_left_to_stay.items()}
        other.sessions = self.sessions.after(())
        for booking in bookings:
            other.book(booking)
        return other

    def book(self, own: FixedBooking) -> None:
        """Take the places of a booking."""
        is_overbooked = own.booking.is_overbooked
        provider = -1 if is_overbooked and not uses_allowance(own.booking) else own.provider
        self._take(own.kind, provider, own.day, own.minutes, is_overbooked=is_overbooked)
        if TYPE_DAILY_CAP in own.booking.overrides and 0 <= own.day < len(self._dates):
            self.over_type[own.kind, own.day] += 1
        self.sessions.book(own)
        is_over = PROVIDER_DAILY_CAP in own.booking.overrides
        self._take_of_pair(own.kind, own.provider, own.day, is_over=is_over)

    def take(self, kind: int, provider: int, day: int, *, is_overbooked: bool) -> None:
        """Take the places of one assignment."""
        minutes = int(self.minutes[kind, provider])
        self._take(kind, provider, day, minutes, is_overbooked=is_overbooked)
        self._take_of_pair(kind, provider, day)

    def _take_of_pair(self, kind: int, provider: int, day: int, *, is_over: bool = False) -> None:
        if kind in self.pair_left and provider >= 0 and 0 <= day < len(self._dates):
            self.pair_left[kind][provider, day] -= 1
            self.pair_left_to_stay[kind][provider, day] -= not is_over

    def _take(
        self, kind: int, provider: int, day: int, minutes: int, *, is_overbooked: bool
    ) -> None:
        if not 0 <= day < self.type_left.shape[1]:
            return
        self.type_left[kind, day] -= 1
        if provider >= 0 and is_overbooked:
            self.overbooked[provider, day] += 1
        elif provider >= 0:
            self.regular_left[provider, day] -= 1
            self.minutes_left[provider, day] -= minutes


def _of_pairs(clinic: Clinic, providers: Sequence[Provider], days: int) -> dict[int, Ints]:
    """By type: [P, D] the caps that providers have for it, date by date."""
    found: dict[int, Ints] = {}
    position = {provider.id: i for i, provider in enumerate(providers)}
    for row in clinic.provider_types:
        if row.daily_cap is not None and row.provider_id in position:
            kind = clinic.type_at[row.appointment_type_id]
            none = np.full((len(providers), days), NO_CAP, np.int64)
            found.setdefault(kind, none)[position[row.provider_id]] = row.daily_cap
    return found


def _each_day(caps: Sequence[int | None], days: int) -> Ints:
    """[n, D] the caps, date by date."""
    places = np.array([NO_CAP if cap is None else cap for cap in caps], np.int64)
    return np.repeat(places[:, None], days, axis=1)
