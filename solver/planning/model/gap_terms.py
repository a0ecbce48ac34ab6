"""The gap part of the score in the finished plan, linear in moments.

A side of an appointment is worth one quarter, one more when it touches its neighbour or the
window's edge, and one less when it leaves a fragment. At each moment at which a provider's spans
begin or end there is one literal for touching, at most what begins and at most what ends there,
and one for a fragment, at least what begins there together with what ends shortly before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ortools.sat.python import cp_model

from solver.clinic.entities import Span

type Literal = cp_model.IntVar


type Values = dict[int, int]
"""What a solution gives the variables, by their index."""


type Derived = tuple[Literal, Callable[[Values], bool]]
"""A literal and how it follows from others."""


class Spot(NamedTuple):
    """Somebody's presence at a provider, as the gap part sees it; without literals it is sure."""

    busy: Span
    window: Span | None
    literals: tuple[Literal, ...]
    is_overbooked: bool
    counts: bool
    is_new: bool


class Gaps:
    """The gap parts of one provider's spots.

    Attributes
    ----------
    sure
        Quarters that are earned whatever is chosen.
    terms
        Literals and the quarters that each is worth, or costs.
    derived
        Literals made here and how they follow from others, in an order in which they can.
    """

    def __init__(self, model: cp_model.CpModel, spots: Sequence[Spot], shortest: int) -> None:
        self._model = model
        self._shortest = shortest
        self.sure = 0
        self.terms: list[tuple[Literal, int]] = []
        self.derived: list[Derived] = []
        self._spots = spots
        self._start, self._end = np.array([spot.busy for spot in spots]).reshape(-1, 2).T
        self._clean = [self._unmet(spot) for spot in spots]
        for side in (0, 1):
            self._side(side)

    def _derive(self, literal: Literal, follows: Callable[[Values], bool]) -> None:
        self.derived.append((literal, follows))

    def _unmet(self, spot: Spot) -> tuple[tuple[Literal, ...], bool]:
        """Return the literals of which one says that the spot meets nothing, or that it is sure.

        A regular placement can only be met by overbooked ones; those that no cap has made overlap
        something by their nature, and their literal then stays false.
        """
        if not spot.counts:
            return (), False
        threats: list[Literal] = []
        meets = (self._start < spot.busy[1]) & (self._end > spot.busy[0])
        for other in (self._spots[i] for i in np.flatnonzero(meets).tolist()):
            if other is spot:
                continue
            if spot.is_new and not spot.is_overbooked and not other.is_overbooked:
                continue
            if not other.literals:
                return (), False
            threats += other.literals
        if not threats:
            self.sure += 2 * (not spot.literals)
            self.terms += [(x, 2) for x in spot.literals]
            return spot.literals, not spot.literals
        model = self._model
        clean = model.new_bool_var("")
        present = spot.literals
        if present:
            model.add(cp_model.LinearExpr.sum(present) >= clean)
        for threat in threats:
            model.add_at_most_one([clean, threat])
        self._derive(
            clean,
            lambda v: (
                (not present or any(v[x.index] for x in present))
                and not any(v[x.index] for x in threats)
            ),
        )
        self.terms.append((clean, 2))
        return (clean,), False

    def _side(self, side: int) -> None:
        """Reward touching and punish fragments on the left (0) or on the right (1)."""
        here: dict[int, list[int]] = defaultdict(list)
        there: dict[int, list[int]] = defaultdict(list)
        for i, spot in enumerate(self._spots):
            there[spot.busy[1 - side]].append(i)
            literals, is_sure = self._clean[i]
            if (literals or is_sure) and spot.window is not None:
                edge, mine = spot.window[side], spot.busy[side]
                if (edge >= mine) if side == 0 else (edge <= mine):
                    self.sure += is_sure
                    self.terms += [(x, 1) for x in literals]
                else:
                    here[mine].append(i)
        for moment, members in here.items():
            self._at_moment(side, moment, members, there)

    def _at_moment(
        self, side: int, moment: int, members: Sequence[int], there: Mapping[int, Sequence[int]]
    ) -> None:
        model = self._model
        mine = [x for i in members for x in self._clean[i][0]]
        is_sure = any(self._clean[i][1] for i in members)
        neighbours = [self._spots[i] for i in there.get(moment, ())]
        touches: Literal | None = None
        if any(not n.literals for n in neighbours):
            self.sure += is_sure
            self.terms += [(x, 1) for x in mine]
            return
        other = [x for n in neighbours for x in n.literals]
        if other:
            touches = model.new_bool_var("")
            if not is_sure:
                model.add(cp_model.LinearExpr.sum(mine) >= touches)
            model.add(cp_model.LinearExpr.sum(other) >= touches)
            self._derive(
                touches,
                lambda v: (
                    (is_sure or any(v[x.index] for x in mine)) and any(v[x.index] for x in other)
                ),
            )
            self.terms.append((touches, 1))
        self._fragment(side, moment, members, there, touches)

    def _fragment(
        self,
        side: int,
        moment: int,
        members: Sequence[int],
        there: Mapping[int, Sequence[int]],
        touches: Literal | None,
    ) -> None:
        model = self._model
        step = -1 if side == 0 else 1
        rows: list[tuple[list[Literal], bool, list[Literal]]] = []
        edged = [
            i
            for i in members
            if (window := self._spots[i].window) is not None
            and 0 < step * (window[side] - moment) < self._shortest
        ]
        if edged:
            rows.append(
                (
                    [x for i in edged for x in self._clean[i][0]],
                    any(self._clean[i][1] for i in edged),
                    [],
                )
            )
        mine = [x for i in members for x in self._clean[i][0]]
        is_sure = any(self._clean[i][1] for i in members)
        for away in range(1, self._shortest):
            neighbours = [self._spots[i] for i in there.get(moment + step * away, ())]
            if not neighbours:
                continue
            if any(not n.literals for n in neighbours):
                rows.append((mine, is_sure, []))
                continue
            together = [
                x for n in neighbours if n.is_new and not n.is_overbooked for x in n.literals
            ]
            alone = [n.literals for n in neighbours if not (n.is_new and not n.is_overbooked)]
            rows += [(mine, is_sure, list(xs)) for xs in (together, *alone) if xs]
        if not rows:
            return
        fragment = model.new_bool_var("")
        free = 0 if touches is None else touches
        for one, sure, two in rows:
            need = (1 if sure else cp_model.LinearExpr.sum(one)) - (0 if not two else 1)
            model.add(fragment + free >= need + cp_model.LinearExpr.sum(two))

        def value(v: Values) -> bool:
            if touches is not None and v[touches.index]:
                return False
            return any(
                (sure or any(v[x.index] for x in one)) and (not two or any(v[x.index] for x in two))
                for one, sure, two in rows
            )

        self._derive(fragment, value)
        self.terms.append((fragment, -1))
