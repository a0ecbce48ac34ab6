"""The 4-weight score: exact in integers, as arrays for ranking and as the CP-SAT objective.

A score is ``F/unit + w/(1 + surplus)``: a part of the provider and start (preference, gap,
overbooking) over one common unit, and a part of the room. Both are whole numbers here, so that
rounding to four decimals, and with it the order of slots, never depends on floating point.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import TYPE_CHECKING

import numpy as np

from solver.clinic import AppointmentType, Clinic, InvalidClinicError, Room, SlotRequest, Span
from solver.masks import Masks
from solver.timeline import Ints

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

POINTS = 10_000
"""A score of 1 in points: scores are told to four decimals."""


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


def shortest_durations(clinic: Clinic, skills: list[frozenset[str]]) -> Ints:
    """[P] the shortest duration among the active types each set of skills suffices for."""
    active = [row for row in clinic.appointment_types if row.active]
    by_skills = {
        held: min((t.duration_minutes for t in active if t.required_skills <= held), default=0)
        for held in set(skills)
    }
    return np.array([by_skills[held] for held in skills], np.int64)


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


@dataclass(frozen=True)
class Scores:
    """Every placement's score for one request, with the book as it stands.

    Attributes
    ----------
    distance
        [S] minutes from each start to the preferred window.
    gap_quarters
        [P, S] the gap part in quarters.
    surplus
        [R] each room's equipment beyond what the type requires.
    """

    weights: Weights
    masks: Masks
    decay: int
    distance: Ints
    gap_quarters: Ints
    surplus: Ints

    @classmethod
    def of(cls, masks: Masks, request: SlotRequest, weights: Weights) -> Scores:
        """Work out the parts of every placement the masks know of."""
        shortest = shortest_durations(masks.day.clinic, [p.skills for p in masks.day.providers])
        return cls(
            weights=weights,
            masks=masks,
            decay=masks.day.clinic.settings.preference_decay_minutes,
            distance=preference_distance(
                request.preferred, masks.kind.duration_minutes, masks.starts
            ),
            gap_quarters=np.where(
                masks.meets > 0,
                0,
                sum(side_quarters(idle, shortest[:, None]) for idle in masks.idle),
            ),
            surplus=np.array(
                [room_surplus(masks.kind, room) for room in masks.day.rooms], np.int64
            ),
        )

    @cached_property
    def unit(self) -> int:
        """Return the denominator of :attr:`at_provider`."""
        return lcm(
            self.weights.preference.denominator * self.decay,
            self.weights.gap.denominator * 4,
            self.weights.overbook.denominator,
        )

    @cached_property
    def at_provider(self) -> Ints:
        """[P, S] preference, gap and overbooking parts, weighted, over :attr:`unit`."""
        return (
            self._preference_numerators()[None, :]
            + self._times_unit(self.weights.gap / 4) * self.gap_quarters
            + self._times_unit(self.weights.overbook) * self.masks.regular
        )

    def points(self, at_provider: Ints, surplus: Ints) -> Ints:
        """Return whole scores in points, rounded half up, of numerators and room surpluses.

        Both arrays broadcast. With four-decimal weights, a decay of a day and 200 pieces of
        surplus the largest product stays below 2**63.
        """
        share = self.weights.room
        room_unit = share.denominator * (1 + surplus)
        denominator = self.unit * room_unit
        numerator = at_provider * room_unit + share.numerator * self.unit
        return (numerator * (2 * POINTS) + denominator) // (2 * denominator)

    def parts(self, provider: int, room: int, start: int, *, is_overbooked: bool) -> ScoreParts:
        """Return the exact parts of one placement (positions, not ids)."""
        return ScoreParts(
            preference=Fraction(max(0, self.decay - int(self.distance[start])), self.decay),
            gap=Fraction(int(self.gap_quarters[provider, start]), 4),
            room=Fraction(1, 1 + int(self.surplus[room])),
            overbook=Fraction(0 if is_overbooked else 1),
        )

    def _preference_numerators(self) -> Ints:
        return self._times_unit(self.weights.preference / self.decay) * np.maximum(
            0, self.decay - self.distance
        )

    def _times_unit(self, value: Fraction) -> int:
        scaled = value * self.unit
        assert scaled.denominator == 1
        return scaled.numerator


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


def maximise_score(
    model: cp_model.CpModel,
    *,
    preference: list[tuple[cp_model.IntVar, Fraction]],
    gap: list[tuple[cp_model.IntVar, Fraction]],
    room: list[tuple[cp_model.IntVar, Fraction]],
    overbook: list[tuple[cp_model.IntVar, Fraction]],
    weights: Weights,
) -> int:
    """Give `model` the score as its objective, one term per weight.

    Each term pairs a presence literal with the value its part takes when present.

    Returns
    -------
    int
        The unit: the objective's value divided by it is the score.
    """
    terms = [
        (literal, weight * value)
        for part, weight in (
            (preference, weights.preference),
            (gap, weights.gap),
            (room, weights.room),
            (overbook, weights.overbook),
        )
        for literal, value in part
    ]
    unit = lcm(*(share.denominator for _, share in terms))
    model.maximize(sum(int(share * unit) * literal for literal, share in terms if share))
    return unit
