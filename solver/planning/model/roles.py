"""Rule 9 in the planning model: who is in the roles of what is chosen.

All columns at one position of their type's table, of requests or of bookings that move, are a
*group*: at most one of them is chosen, and its team is the group's. A literal for each person who
is able says whether they are in a role of the group. They are busy then, as with a regular
placement of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from ortools.sat.python import cp_model

from solver.arrays import Bools, Ints
from solver.clinic.entities import Span
from solver.clinic.places import Places
from solver.clinic.spans import overlap
from solver.planning.instance.columns import Columns, ColumnTimes, grouped
from solver.planning.instance.layout import busy_as_member
from solver.planning.instance.tables import Instance
from solver.planning.instance.tasks import InRole
from solver.planning.model.gap_terms import Literal, Values


class Group(NamedTuple):
    """Columns at one position, of bookings that move or of requests, and their roles."""

    columns: tuple[int, ...]
    is_move: bool
    roles: tuple[range, ...]
    """Of each role, the positions in :class:`Roles` of those who could be in it."""


class Roles:
    """Who could be in the roles of columns: parallel columns of shape [m], and a literal for each.

    Attributes
    ----------
    groups, group_of_column
        The groups, and the number of the one that a column with roles is in.
    group
        The number of each one's group.
    provider, day, place, busy_start, busy_end
        Whose role it would be, and when and where they would be busy.
    literals
        [m] whether they are in it.
    """

    def __init__(
        self,
        model: cp_model.CpModel,
        instance: Instance,
        columns: Columns,
        at: ColumnTimes,
        engaged: Iterable[InRole],
    ) -> None:
        self._instance, self._columns, self._at = instance, columns, at
        self._engaged: dict[int, list[InRole]] = defaultdict(list)
        for each in engaged:
            self._engaged[each.provider].append(each)
        self.groups: list[Group] = []
        self.group_of_column: dict[int, int] = {}
        self.literals: list[Literal] = []
        rows: list[tuple[int, ...]] = []
        is_move = np.array([task.own is not None for task in instance.tasks], np.bool_)
        for number in np.unique(at.kind).tolist():
            if not instance.kinds[number].row.roles:
                continue
            of_kind = np.flatnonzero(at.kind == number)
            key = columns.position[of_kind].astype(np.int64) * 2 + is_move[columns.task[of_kind]]
            for _, members in grouped(key):
                self._add_group(of_kind[members].tolist(), rows)
        self.group, self.provider, self.day, self.place, self.busy_start, self.busy_end = (
            np.array(rows, np.int64).reshape(-1, 6).T
        )
        self.literals = [model.new_bool_var("") for _ in rows]

    def __len__(self) -> int:
        return len(self.literals)

    def _add_group(self, members: Sequence[int], rows: list[tuple[int, ...]]) -> None:
        instance, at, first = self._instance, self._at, members[0]
        kind = instance.kinds[int(at.kind[first])]
        provider, day, start = (int(x[first]) for x in (at.provider, at.day, at.start_index))
        variant = kind.variants[int(at.variant[first])]
        roles = []
        for able, span in zip(
            variant.able[:, :, day, start], kind.role_spans(provider), strict=True
        ):
            begin = len(rows)
            for person in np.flatnonzero(able).tolist():
                busy = busy_as_member(instance, person, int(at.at[first]), span)
                in_role = InRole(person, busy, day, variant.place)
                if person != provider and self._is_free(in_role):
                    rows.append((len(self.groups), person, day, variant.place, *busy))
            roles.append(range(begin, len(rows)))
        self.group_of_column |= dict.fromkeys(members, len(self.groups))
        is_move = instance.tasks[int(self._columns.task[first])].own is not None
        self.groups.append(Group(tuple(members), is_move, tuple(roles)))

    def _is_free(self, in_role: InRole) -> bool:
        """Whether somebody is in no way busy with what is booked or frozen."""
        places = self._instance.places
        return not any(clash(in_role, each, places) for each in self._engaged[in_role.provider])

    def of(self, provider: int, *, of_moves: bool) -> Ints:
        """Return the positions of a provider's roles, only those of bookings that move or all."""
        here = self.provider == provider
        if of_moves:
            here = here & np.array([self.groups[g].is_move for g in self.group.tolist()], np.bool_)
        return np.flatnonzero(here)

    def overlapping(self, chosen: Ints, busy: Span) -> Bools:
        """Return which of some positions would overlap a span."""
        overlaps: Bools = self.busy_start[chosen] < busy[1]
        overlaps &= self.busy_end[chosen] > busy[0]
        return overlaps

    def team(self, column: int, values: Values) -> tuple[int, ...]:
        """Return who is in the roles of a chosen column, by the values of the literals."""
        if column not in self.group_of_column:
            return ()
        group = self.groups[self.group_of_column[column]]
        return tuple(
            next(int(self.provider[i]) for i in role if values[self.literals[i].index])
            for role in group.roles
        )

    def hint(self, column: int, team: Sequence[int], values: Values) -> None:
        """Give the literals of a chosen column the values of its team."""
        group = self.groups[self.group_of_column[column]]
        for role, member in zip(group.roles, team, strict=False):
            for i in role:
                values[self.literals[i].index] = int(self.provider[i] == member)


def clash(one: InRole, other: InRole, places: Places) -> bool:
    """Whether somebody cannot be busy with both: they overlap, or leave no time for the way."""
    return overlap(one.busy, other.busy) or is_too_far(one, other, places)


def is_too_far(one: InRole, other: InRole, places: Places) -> bool:
    """Whether somebody has no time for the way between two places on a date."""
    here, there = (one.location, one.busy), (other.location, other.busy)
    return one.day == other.day and not places.are_apart(here, there)
