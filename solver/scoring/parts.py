"""The parts of the score, their weights, and the exact arithmetic of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction

import numpy as np

from solver.arrays import Ints
from solver.clinic.clinic import Clinic
from solver.clinic.entities import AppointmentType, Provider, Room, Span
from solver.clinic.grammar.sentences import InvalidClinicError

POINTS = 10_000
"""A score of 1 in points: scores have four decimals."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the four parts, exact, each 0 to 1 with at most four decimals, sum 1."""

    preference: Fraction = Fraction(40, 100)
    gap: Fraction = Fraction(35, 100)
    room: Fraction = Fraction(15, 100)
    overbook: Fraction = Fraction(10, 100)

    def __post_init__(self) -> None:
        for weight in self._all:
            if not 0 <= weight <= 1 or (weight * POINTS).denominator != 1:
                raise InvalidClinicError(
                    "weights", "each must be 0 to 1 with at most four decimals"
                )
        if sum(self._all) != 1:
            raise InvalidClinicError("weights", f"must sum to 1, not {float(sum(self._all)):g}")

    @property
    def _all(self) -> tuple[Fraction, Fraction, Fraction, Fraction]:
        return (self.preference, self.gap, self.room, self.overbook)

    @classmethod
    def parse(cls, text: str) -> Weights:
        """Read four numbers: preference, gap, room and overbooking, with commas or blanks."""
        words = text.replace(",", " ").split()
        try:
            numbers = [Fraction(Decimal(word)) for word in words]
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise InvalidClinicError("weights", f"'{text}' is not four numbers") from error
        if len(numbers) != 4:
            raise InvalidClinicError(
                "weights", f"needs four numbers (preference, gap, room, overbook): '{text}'"
            )
        return cls(*numbers)


DEFAULT_WEIGHTS = Weights()


def round_half_up(value: Fraction) -> int:
    """Return `value` in points, rounded half up."""
    return int((value * 2 * POINTS + 1) // 2)


def shortest_durations(clinic: Clinic, providers: Sequence[Provider]) -> Ints:
    """[P] the shortest duration, at each provider, among the active types that it offers."""
    active = [row for row in clinic.appointment_types if row.active]
    differ = {row.provider_id for row in clinic.provider_types}
    by_skills = {
        held: min((t.duration_minutes for t in active if t.required_skills <= held), default=0)
        for held in {p.skills for p in providers}
    }

    def shortest(provider: Provider) -> int:
        if provider.id not in differ:
            return by_skills[provider.skills]
        offered = (t for t in active if clinic.offers(provider, t))
        minutes = (clinic.kind_at(t.id, provider.id).duration_minutes for t in offered)
        return min(minutes, default=0)

    return np.array([shortest(provider) for provider in providers], np.int64)


def room_surplus(kind: AppointmentType, room: Room) -> int:
    """Return how much equipment `room` has beyond what `kind` requires."""
    return len(room.equipment - kind.required_equipment)


@dataclass(frozen=True)
class ScoreParts:
    """The parts of one slot's score, each in [0, 1] and exact."""

    preference: Fraction
    gap: Fraction
    room: Fraction
    overbook: Fraction


def preference_distance(preferred: Span | None, duration: int, starts: Ints) -> Ints:
    """[S] minutes from each start to the starts that the preferred window would have."""
    if preferred is None:
        return np.zeros(len(starts), np.int64)
    opens, closes = preferred
    last = max(opens, closes - duration)
    return np.maximum(0, np.maximum(opens - starts, starts - last))


def side_quarters(idle: Ints, shortest: Ints | int) -> Ints:
    """One side of the gap part in quarters: touching 2, a usable rest 1, a fragment 0.

    Both broadcast; less than no idle minute is none.
    """
    return np.where(idle <= 0, 2, np.where(idle < shortest, 0, 1))
