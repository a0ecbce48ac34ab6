"""The roles of an appointment type, and who fills them: a team."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from solver.clinic.grammar.sentences import RowFault

MAX_ROLES = 6
"""Most roles that one appointment type may have."""


@dataclass(frozen=True, slots=True)
class Role:
    """Somebody besides the provider who takes part in an appointment, all of it or some minutes.

    The minutes count from the appointment's start; `to_minute` None is its end. Whoever is in the
    role has their own buffers around them, and not the type's.
    """

    key: str
    required_skills: frozenset[str] = frozenset()
    from_minute: int = 0
    to_minute: int | None = None

    def span(self, duration: int) -> tuple[int, int]:
        """Return its minutes in an appointment of some minutes."""
        return self.from_minute, duration if self.to_minute is None else self.to_minute


def roles_within(roles: Sequence[Role], duration: int) -> tuple[Role, ...]:
    """Return the roles of an appointment that keeps the duration with which it was made.

    Where it is shorter than the type is now, they end with it, and nobody is needed for one that
    would begin after it.
    """
    return tuple(
        role
        if role.to_minute is None or role.to_minute <= duration
        else replace(role, to_minute=None)
        for role in roles
        if role.from_minute < duration
    )


class Member(NamedTuple):
    """Who is in a role."""

    key: str
    provider_id: str


type Team = tuple[Member, ...]
"""In the order of the roles; complete where each role of the type has a member."""


def roles_are_possible(row: Any) -> Iterator[RowFault]:
    """Tell what makes the roles of a type impossible."""
    if len(row.roles) > MAX_ROLES:
        yield RowFault("roles", f"must be at most {MAX_ROLES}")
    keys: set[str] = set()
    for at, role in enumerate(row.roles):
        path = f"roles[{at}]"
        if not role.key:
            yield RowFault(f"{path}.key", "must not be empty")
        if role.key in keys:
            fault = f"another role is {role.key}; each needs a key of its own"
            yield RowFault(f"{path}.key", fault)
        keys.add(role.key)
        if (fault_of_it := fault_of_minutes(role, row.duration_minutes)) is not None:
            yield RowFault(f"{path}.{fault_of_it[0]}", fault_of_it[1])


def fault_of_minutes(role: Role, duration: int) -> tuple[str, str] | None:
    """Return the field of a role that an appointment of some minutes cannot have, and why.

    It holds for the type's duration and for that of each provider who differs (`provider_types`).
    """
    if not 0 <= role.from_minute < duration:
        return "from_minute", f"must be 0 to {duration - 1}, before the end of the appointment"
    end = duration if role.to_minute is None else role.to_minute
    if not role.from_minute < end <= duration:
        return (
            "to_minute",
            f"must be {role.from_minute + 1} to {duration}, after from_minute and not after the end"
            " of the appointment",
        )
    return None


def team_is_possible(row: Any) -> Iterator[RowFault]:
    """Tell what makes a booking's team impossible.

    Whether its type has these roles, and whether there are such providers, is asked elsewhere.
    """
    keys: set[str] = set()
    people: set[str] = set()
    for key, member in row.team.items() if isinstance(row.team, Mapping) else row.team or ():
        path = f"team.{key}"
        if key in keys:
            yield RowFault(path, "has somebody already")
        elif member == row.provider_id:
            yield RowFault(path, "must be somebody else than the provider of the appointment")
        elif member in people:
            yield RowFault(path, "is in another role already; nobody fills two")
        keys.add(key)
        people.add(member)
