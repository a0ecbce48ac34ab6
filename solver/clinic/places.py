"""Places of a clinic, and the way between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from solver.arrays import Ints
from solver.clinic.entities import Span, _require
from solver.clinic.grammar.sentences import (
    InvalidClinicError,
    RowFault,
    minutes_within,
    require_sound,
)

MAX_TRAVEL_MINUTES = 720
"""The longest way from one place to another: half a day."""


NOWHERE = -1
"""The place of a room that has no location."""


@dataclass(frozen=True, slots=True)
class Location:
    """A place at which the clinic has rooms; the rooms of one that is not active are not either."""

    id: str
    name: str
    active: bool = True


def _leads_elsewhere(row: Any) -> Iterator[RowFault]:
    if row.from_id == row.to_id:
        yield RowFault("to_id", "must be another location than from_id is")


@dataclass(frozen=True, slots=True)
class Travel:
    """How many minutes the way from one location to another takes.

    The way back takes as long, unless a row of its own says otherwise.
    """

    id: str
    from_id: str
    to_id: str
    minutes: int

    GRAMMAR = (_leads_elsewhere, minutes_within("minutes", 0, MAX_TRAVEL_MINUTES))

    def __post_init__(self) -> None:
        require_sound(self, self.GRAMMAR)


@dataclass(frozen=True)
class Places:
    """Where rooms are, by the position of their location among all, and the ways between these."""

    locations: tuple[Location, ...]
    travel: tuple[Travel, ...]
    location_of_room: Mapping[str, str | None]

    @cached_property
    def position(self) -> Mapping[str | None, int]:
        """The position of each location, by its id; :data:`NOWHERE` of None."""
        return {None: NOWHERE, **{row.id: i for i, row in enumerate(self.locations)}}

    @cached_property
    def of_room(self) -> Mapping[str, int]:
        """The place of each room, by its id."""
        return {room: self.position[key] for room, key in self.location_of_room.items()}

    @cached_property
    def are_several(self) -> bool:
        """Whether rooms are in more than one place, or some in one and others in none."""
        return len(set(self.of_room.values())) > 1

    @cached_property
    def minutes(self) -> Ints:
        """[L, L] minutes of the way from one place to another; 0 where none is told."""
        position = self.position
        minutes = np.zeros((len(self.locations), len(self.locations)), np.int64)
        for row in self.travel:
            minutes[position[row.to_id], position[row.from_id]] = row.minutes
        for row in self.travel:
            minutes[position[row.from_id], position[row.to_id]] = row.minutes
        return minutes

    def between(self, place: int, others: Ints) -> tuple[Ints, Ints]:
        """[n], [n] minutes from a place to others, and from these to it; both are places."""
        return self.minutes[place, others], self.minutes[others, place]

    def ways(self, room_id: str, place: int) -> tuple[int, int]:
        """Return the minutes of the ways from a room to a place, and back."""
        there = self.of_room.get(room_id, NOWHERE)
        if there == place or NOWHERE in (there, place):
            return 0, 0
        return int(self.minutes[there, place]), int(self.minutes[place, there])

    def are_rooms_apart(self, one: tuple[str | None, Span], other: tuple[str, Span]) -> bool:
        """Whether there is time for the way between two spans, each in a room; None is nowhere."""
        (here, mine), (there, theirs) = one, other
        of_room = self.of_room
        at = NOWHERE if here is None else of_room.get(here, NOWHERE)
        return self.are_apart((at, mine), (of_room.get(there, NOWHERE), theirs))

    def are_apart(self, one: tuple[int, Span], other: tuple[int, Span]) -> bool:
        """Whether there is time for the way between two spans, each at a place.

        There is no way within one place, nor to or from nowhere.
        """
        (here, mine), (there, theirs) = one, other
        if here == there or NOWHERE in (here, there):
            return True
        return (
            mine[1] + int(self.minutes[here, there]) <= theirs[0]
            or theirs[1] + int(self.minutes[there, here]) <= mine[0]
        )


def check_places(
    locations: Iterable[Location], travel: Iterable[Travel], by_id: Mapping[str, Location]
) -> None:
    """Require that no two locations share an id, that ways lead from one to one, each told once.

    Raises
    ------
    InvalidClinicError
        Otherwise.
    """
    _require(len(list(locations)) == len(by_id), "locations", "two rows share an id")
    pairs: set[tuple[str, str]] = set()
    for row in travel:
        for key in (row.from_id, row.to_id):
            if key not in by_id:
                raise InvalidClinicError("travel", f"no location {key}")
        _require((row.from_id, row.to_id) not in pairs, "travel", "two rows are of one way")
        pairs.add((row.from_id, row.to_id))
