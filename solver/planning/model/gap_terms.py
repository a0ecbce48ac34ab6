"""The gap part of the score in the finished plan, linear in moments.

A busy span that overlaps nothing earns two quarters, one for each side. On each side it earns one
more where it touches its neighbour or the window's edge, and loses one where the idle time there is
a fragment: shorter than the shortest appointment of the provider. Per provider, side and moment t
at which such spans begin (left side; where they end, for the right side):

- touch_t <= sum(spans that begin at t), touch_t <= sum(spans that end at t); +1;
- fragment_t + touch_t >= sum(spans that begin at t) + sum(spans that end at t - a) - 1, for each
  0 < a < shortest; -1.

Neither needs the opposite inequality: the objective raises touch_t and lowers fragment_t.
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


class Presence(NamedTuple):
    """Something that keeps a provider busy; without literals, whatever is chosen.

    Of several literals at most one holds. `counts` tells whether it has a gap part, `is_new`
    whether the planner places it.
    """

    busy: Span
    window: Span | None
    literals: tuple[Literal, ...]
    is_overbooked: bool
    counts: bool
    is_new: bool


class _Alone(NamedTuple):
    """A presence that overlaps nothing: one of some literals, or `is_certain` whatever is chosen.

    With neither, it is never so.
    """

    literals: Sequence[Literal] = ()
    is_certain: bool = False

    def holds(self, values: Values) -> bool:
        """Whether it is so in a solution."""
        return self.is_certain or any(values[x.index] for x in self.literals)


class GapTerms:
    """The gap parts at one provider.

    Attributes
    ----------
    constant
        Quarters that are earned whatever is chosen.
    terms
        Literals and the quarters that each earns, or costs.
    derived
        Literals made here and how they follow from others, in an order in which they can.
    """

    def __init__(
        self, model: cp_model.CpModel, presences: Sequence[Presence], shortest: int
    ) -> None:
        self._model = model
        self._shortest = shortest
        self.constant = 0
        self.terms: list[tuple[Literal, int]] = []
        self.derived: list[Derived] = []
        self._presences = presences
        self._start, self._end = np.array([each.busy for each in presences]).reshape(-1, 2).T
        self._alone = [self._alone_literals(each) for each in presences]
        for side in (0, 1):
            self._add_side(side)

    def _earn(self, alone: _Alone, quarters: int) -> None:
        """Add quarters that a presence that overlaps nothing earns."""
        self.constant += quarters * alone.is_certain
        self.terms += [(x, quarters) for x in alone.literals]

    def _alone_literals(self, presence: Presence) -> _Alone:
        """Return when a presence overlaps nothing; adds its two quarters.

        A regular placement is overlapped by overbooked ones alone. An overbooked one that no cap
        has made so always overlaps something, so that its literal stays false.
        """
        if not presence.counts:
            return _Alone()
        threats: list[Literal] = []
        overlaps = (self._start < presence.busy[1]) & (self._end > presence.busy[0])
        for other in (self._presences[i] for i in np.flatnonzero(overlaps).tolist()):
            if other is presence:
                continue
            if presence.is_new and not presence.is_overbooked and not other.is_overbooked:
                continue
            if not other.literals:
                return _Alone()
            threats += other.literals
        alone = _Alone(presence.literals, is_certain=not presence.literals)
        if threats:
            alone = self._unless(alone, threats)
        self._earn(alone, 2)
        return alone

    def _unless(self, present: _Alone, threats: Sequence[Literal]) -> _Alone:
        """Return a literal that holds where something is present and none of the threats is."""
        alone = self._model.new_bool_var("")
        if present.literals:
            self._model.add(cp_model.LinearExpr.sum(present.literals) >= alone)
        for threat in threats:
            self._model.add_at_most_one([alone, threat])
        self.derived.append(
            (alone, lambda v: present.holds(v) and not any(v[x.index] for x in threats))
        )
        return _Alone((alone,))

    def _add_side(self, side: int) -> None:
        """Add what presences earn on their left (0) or right (1) side."""
        here: dict[int, list[int]] = defaultdict(list)
        there: dict[int, list[int]] = defaultdict(list)
        for i, presence in enumerate(self._presences):
            there[presence.busy[1 - side]].append(i)
            alone = self._alone[i]
            if (alone.literals or alone.is_certain) and presence.window is not None:
                edge, mine = presence.window[side], presence.busy[side]
                if (edge >= mine) if side == 0 else (edge <= mine):
                    self._earn(alone, 1)
                else:
                    here[mine].append(i)
        for moment, members in here.items():
            neighbours = [self._presences[i] for i in there.get(moment, ())]
            mine_here = self._any_of(members)
            if any(not n.literals for n in neighbours):
                self._earn(mine_here, 1)
                continue
            touch = self._touch(mine_here, [x for n in neighbours for x in n.literals])
            self._fragment(side, moment, members, there, touch)

    def _any_of(self, members: Sequence[int]) -> _Alone:
        """Return when one of some presences is there and overlaps nothing."""
        return _Alone(
            [x for i in members for x in self._alone[i].literals],
            is_certain=any(self._alone[i].is_certain for i in members),
        )

    def _touch(self, mine: _Alone, other: Sequence[Literal]) -> Literal | None:
        """Return the literal by which a presence touches one of `other`; None where none could."""
        if not other:
            return None
        touch = self._model.new_bool_var("")
        if not mine.is_certain:
            self._model.add(cp_model.LinearExpr.sum(mine.literals) >= touch)
        self._model.add(cp_model.LinearExpr.sum(other) >= touch)
        self.derived.append((touch, lambda v: mine.holds(v) and any(v[x.index] for x in other)))
        self.terms.append((touch, 1))
        return touch

    def _fragment(
        self,
        side: int,
        moment: int,
        members: Sequence[int],
        there: Mapping[int, Sequence[int]],
        touch: Literal | None,
    ) -> None:
        """Add the literal by which idle time that begins or ends at a moment is a fragment."""
        causes = self._causes(side, moment, members, there)
        if not causes:
            return
        fragment = self._model.new_bool_var("")
        for mine, near in causes:
            need = (1 if mine.is_certain else cp_model.LinearExpr.sum(mine.literals)) - int(
                bool(near)
            )
            need = need + cp_model.LinearExpr.sum(list(near))
            self._model.add(fragment + (0 if touch is None else touch) >= need)

        def value(v: Values) -> bool:
            return not (touch is not None and v[touch.index]) and any(
                mine.holds(v) and (not near or any(v[x.index] for x in near))
                for mine, near in causes
            )

        self.derived.append((fragment, value))
        self.terms.append((fragment, -1))

    def _causes(
        self, side: int, moment: int, members: Sequence[int], there: Mapping[int, Sequence[int]]
    ) -> list[tuple[_Alone, Sequence[Literal]]]:
        """Return what makes a fragment: a presence at the moment, with one of some near it.

        Without any near ones the presence suffices, as the window's edge or something that is
        there whatever is chosen lies that near. Columns that end at one moment exclude one another
        where they are regular, so they make one cause together.
        """
        step = -1 if side == 0 else 1
        causes: list[tuple[_Alone, Sequence[Literal]]] = []
        edged = [
            i
            for i in members
            if (window := self._presences[i].window) is not None
            and 0 < step * (window[side] - moment) < self._shortest
        ]
        if edged:
            causes.append((self._any_of(edged), ()))
        mine = self._any_of(members)
        for away in range(1, self._shortest):
            neighbours = [self._presences[i] for i in there.get(moment + step * away, ())]
            if any(not n.literals for n in neighbours):
                causes.append((mine, ()))
                continue
            regular = [n.is_new and not n.is_overbooked for n in neighbours]
            together = [
                x
                for n, is_one in zip(neighbours, regular, strict=True)
                if is_one
                for x in n.literals
            ]
            alone = [
                n.literals for n, is_one in zip(neighbours, regular, strict=True) if not is_one
            ]
            causes += [(mine, literals) for literals in (together, *alone) if literals]
        return causes
