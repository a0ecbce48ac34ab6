"""The roles of an appointment type, and who fills them: a team."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

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


def fault_of_roles(roles: Sequence[Role], duration: int) -> tuple[str, str] | None:
    """Return the field that makes the roles of a type impossible, and what would be right there.

    `duration` is the type's.
    """
    if len(roles) > MAX_ROLES:
        return "roles", f"must be at most {MAX_ROLES}"
    keys = [role.key for role in roles]
    for at, role in enumerate(roles):
        path = f"roles[{at}]"
        if not role.key:
            return f"{path}.key", "must not be empty"
        if role.key in keys[:at]:
            return f"{path}.key", f"another role is {role.key}; each needs a key of its own"
        if (fault := fault_of_minutes(role, duration)) is not None:
            return f"{path}.{fault[0]}", fault[1]
    return None


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


def fault_of_team(team: Team, provider_id: str) -> tuple[str, str] | None:
    """Return the field that makes a team of an appointment of a provider impossible, and why.

    Whether the type has these roles, and whether there are such providers, is asked elsewhere.
    """
    for at, (key, member) in enumerate(team):
        path = f"team.{key}"
        if key in (before.key for before in team[:at]):
            return path, "has somebody already"
        if member == provider_id:
            return path, "must be somebody else than the provider of the appointment"
        if member in (before.provider_id for before in team[:at]):
            return path, "is in another role already; nobody fills two"
    return None
