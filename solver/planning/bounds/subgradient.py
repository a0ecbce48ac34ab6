"""The rounds of a subgradient method, with the step of Adam (Kingma & Ba 2015).

A Lagrangian dual function is convex in its multipliers and has a kink wherever the best solution of
a subproblem changes. Each round evaluates it, and moves the multipliers along a running mean of its
subgradients, entry by entry scaled to their usual size, by a step that falls from round to round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from solver.arrays import Floats


@dataclass(frozen=True, kw_only=True)
class SubgradientParams:
    """How many rounds, and how far multipliers move in each."""

    rounds: int
    first_step: float
    last_step: float
    """Steps in the first and in the last round, falling geometrically between them, in the unit of
    the multipliers."""
    mean_weight: float
    square_weight: float
    """Weights of the newest subgradient in the running mean, and of its square in the running mean
    square (Adam's 1 - β1 and 1 - β2)."""
    damping: float
    """Added to the root of the mean square (Adam's ε), in the unit of the subgradients."""


class SubgradientRounds:
    """Counts rounds and seconds, and works out the step of each.

    Attributes
    ----------
    number
        Rounds begun.
    share
        Of the rounds or, if that is more, of the seconds: what was used up by the latest round.
    """

    def __init__(
        self,
        shape: int | tuple[int, ...],
        params: SubgradientParams,
        time_limit: float,
        should_stop: Callable[[], bool],
    ) -> None:
        self._began = time.perf_counter()
        self._params, self._time_limit, self._should_stop = params, time_limit, should_stop
        self._mean, self._square = np.zeros(shape), np.zeros(shape)
        self.number, self.share = 0, 0.0

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def is_over(self) -> bool:
        """Whether no round is left, no time, or a stop was asked for."""
        is_used_up = self.number >= self._params.rounds or self._seconds >= self._time_limit
        return is_used_up or self._should_stop()

    def advance(self) -> None:
        """Count a round."""
        self.number += 1
        self.share = max(self.number / self._params.rounds, self._seconds / self._time_limit)

    @property
    def step(self) -> float:
        """How far multipliers move in this round where subgradients are of one sign and size."""
        first, last = self._params.first_step, self._params.last_step
        step: float = first * (last / first) ** self.share
        return step

    def averaged(self, subgradient: Floats) -> tuple[Floats, Floats]:
        """Return the mean of the subgradients up to this one, and their usual size.

        Both as Adam corrects them for having begun at zero; the direction to move in is their
        ratio.
        """
        params = self._params
        keep_mean, keep_square = 1 - params.mean_weight, 1 - params.square_weight
        self._mean = keep_mean * self._mean + params.mean_weight * subgradient
        self._square = keep_square * self._square + params.square_weight * subgradient**2
        mean = self._mean / (1 - keep_mean**self.number)
        size = np.sqrt(self._square / (1 - keep_square**self.number)) + params.damping
        return mean, size
