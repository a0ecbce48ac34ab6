"""The scores of all placements of a request at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import lcm

import numpy as np

from solver.arrays import Ints
from solver.clinic.request import SlotRequest
from solver.rules.masks import Masks
from solver.scoring.parts import (
    POINTS,
    ScoreParts,
    Weights,
    preference_distance,
    room_surplus,
    shortest_durations,
    side_quarters,
)


@dataclass(frozen=True)
class Scores:
    """Every placement's score for one request, beside all that is booked.

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
        shortest = shortest_durations(masks.day.clinic, masks.day.providers)
        return cls(
            weights=weights,
            masks=masks,
            decay=masks.day.clinic.settings.preference_decay_minutes,
            distance=preference_distance(
                request.preferred, masks.kind.duration_minutes, masks.starts
            ),
            gap_quarters=np.where(
                masks.overlaps > 0,
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
            + self._times_unit(self.weights.overbook) * self.masks.within_capacity
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

    def with_whole_day(self, provider: int, start: int) -> Scores:
        """Return the scores with the gap part of one placement as though all day were open.

        That is how a placement counts that no window of its provider holds.
        """
        idle = np.array(self.masks.around.idle_all_day(provider, start), np.int64)
        day = self.masks.day
        shortest = shortest_durations(day.clinic, [day.providers[provider]])[0]
        gap_quarters = self.gap_quarters.copy()
        gap_quarters[provider, start] = side_quarters(idle, shortest).sum()
        return replace(self, gap_quarters=gap_quarters)

    def _preference_numerators(self) -> Ints:
        return self._times_unit(self.weights.preference / self.decay) * np.maximum(
            0, self.decay - self.distance
        )

    def _times_unit(self, value: Fraction) -> int:
        scaled = value * self.unit
        assert scaled.denominator == 1
        return scaled.numerator
