"""Teams, as the clinic file and the HTTP API write them: a type's roles, and who is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StrictInt

from data.files.fields import Id, Strict, Tag, Tags
from solver.clinic.entities import DAY_MINUTES
from solver.clinic.teams.roles import MAX_ROLES, Member, Role, Team


class RoleRow(Strict):
    """Somebody besides the provider who takes part in an appointment."""

    key: Annotated[Tag, Field(description="What the role is called; no other of the type is.")]
    required_skills: Tags = Field(default=[])
    from_minute: Annotated[
        StrictInt,
        Field(ge=0, lt=DAY_MINUTES, description="Minutes from the appointment's start."),
    ] = 0
    to_minute: Annotated[
        Annotated[StrictInt, Field(ge=1, le=DAY_MINUTES)] | None,
        Field(description="Minutes from the appointment's start; null: its end."),
    ] = None

    def to_solver(self) -> Role:
        """Return it as the solver has it."""
        return Role(self.key, frozenset(self.required_skills), self.from_minute, self.to_minute)


Roles = Annotated[
    list[RoleRow],
    Field(max_length=MAX_ROLES, description="Who takes part besides the provider, each another."),
]


Members = Annotated[
    dict[Tag, Id],
    Field(max_length=MAX_ROLES, description="Ids of providers, by the keys of the type's roles."),
]


def team_of(members: Mapping[str, str] | None) -> Team:
    """Return who is in which role as the solver has it."""
    return tuple(Member(*each) for each in members.items()) if members else ()
