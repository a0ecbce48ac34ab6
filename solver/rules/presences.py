"""Candidates of a placement model, and the presences of providers and rooms that they imply.

A candidate is one provider, room, start and kind (regular or overbooked). It implies a presence
literal of its provider at that start and one of its room at that start, each carrying an optional
interval; the rules speak of those literals only, so a thousand candidates over few providers and
rooms stay few intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Bools, Ints
from solver.clinic.day import Day
from solver.clinic.entities import Span


@dataclass(frozen=True)
class Candidates:
    """Placements to decide on, column by column, each of shape [n]; positions in a Day."""

    provider: Ints
    room: Ints
    start: Ints
    """Minutes after midnight."""
    is_overbooked: Bools

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, chosen: slice | Ints | Bools) -> Candidates:
        return Candidates(
            self.provider[chosen],
            self.room[chosen],
            self.start[chosen],
            self.is_overbooked[chosen],
        )

    @classmethod
    def every(cls, day: Day, starts: Ints) -> Candidates:
        """Every provider, room, start and kind there is, none left out beforehand."""
        grid = np.indices((len(day.providers), len(day.rooms), len(starts), 2)).reshape(4, -1)
        return cls(grid[0], grid[1], starts[grid[2]], grid[3] == 1)


@dataclass(frozen=True, slots=True)
class AtProvider:
    """A provider's presence at one start; those of different worlds know nothing of each other."""

    provider: int
    start: int
    is_overbooked: bool
    literal: cp_model.IntVar
    world: int


@dataclass(frozen=True, slots=True)
class AtRoom:
    """A room's presence at one start, in a world likewise."""

    room: int
    start: int
    literal: cp_model.IntVar
    world: int


class Presences:
    """Literals of candidates and of what they imply, in a model that has no rules yet.

    Attributes
    ----------
    chosen
        A literal for each candidate.
    implied
        The presences that each candidate implies: its provider's and its room's.
    is_independent
        Whether the candidates are independent, not rivals.
    """

    def __init__(self, candidates: Candidates, *, independent: bool) -> None:
        self.is_independent = independent
        self.model = _Model()
        self.chosen: list[cp_model.IntVar] = []
        self.implied: list[tuple[AtProvider, AtRoom]] = []
        self._at_provider: dict[tuple[int, int, bool], AtProvider] = {}
        self._at_room: dict[tuple[int, int], AtRoom] = {}
        self._choose_among(candidates)

    def _choose_among(self, candidates: Candidates) -> None:
        model = self.model
        for provider, room, start, is_overbooked in zip(
            candidates.provider.tolist(),
            candidates.room.tolist(),
            candidates.start.tolist(),
            candidates.is_overbooked.tolist(),
            strict=True,
        ):
            choice = model.new_bool_var("")
            self.chosen.append(choice)
            at = self._provider_presence(provider, start, is_overbooked)
            place = self._room_presence(room, start)
            self.implied.append((at, place))
            model.add_implication(choice, at.literal)
            model.add_implication(choice, place.literal)
        if not self.is_independent:
            model.add_exactly_one(self.chosen)
            model.add_exactly_one(at.literal for at in self._at_provider.values())
            model.add_exactly_one(at.literal for at in self._at_room.values())

    def _provider_presence(self, provider: int, start: int, is_overbooked: bool) -> AtProvider:
        key = (provider, start, is_overbooked)
        at = self._at_provider.get(key)
        if at is None:
            world = len(self._at_provider) if self.is_independent else 0
            literal = self.model.new_bool_var("")
            at = self._at_provider[key] = AtProvider(*key, literal, world)
        return at

    def _room_presence(self, room: int, start: int) -> AtRoom:
        key = (room, start)
        at = self._at_room.get(key)
        if at is None:
            world = len(self._at_room) if self.is_independent else 0
            literal = self.model.new_bool_var("")
            at = self._at_room[key] = AtRoom(*key, literal, world)
        return at

    # What the rules are built from

    def _exclude(self, literal: cp_model.IntVar) -> None:
        self.model.add_bool_and([literal.negated()])

    def _at_most(self, literals: list[cp_model.IntVar], places: int) -> None:
        """Bound the literals by the places left; a book that is over its cap leaves none."""
        self.model.add(cp_model.LinearExpr.sum(literals) <= max(0, places))

    def _interval(self, span: Span, literal: cp_model.IntVar) -> cp_model.IntervalVar:
        start, size = span[0], span[1] - span[0]
        return self.model.new_optional_fixed_size_interval_var(start, size, literal, "")

    def _no_overlap(
        self,
        intervals: dict[tuple[int, int], list[cp_model.IntervalVar]],
        busy: Callable[[int], list[Span]],
    ) -> None:
        """Keep each resource's intervals apart from one another and from what is booked.

        Bookings may overlap among themselves (overbooked ones do); merged they say the same.
        """
        booked: dict[int, list[cp_model.IntervalVar]] = {}
        for (resource, _), optional in intervals.items():
            if resource not in booked:
                booked[resource] = [
                    self.model.new_fixed_size_interval_var(start, end - start, "")
                    for start, end in busy(resource)
                ]
            if len(optional) + len(booked[resource]) > 1:
                self.model.add_no_overlap(optional + booked[resource])


class _Model(cp_model.CpModel):
    """A model without the camel-case names, which take longer to make than a small model."""

    def _add_pre_pep8_methods(self) -> None:
        """Leave the deprecated names out."""
