"""Places and the ways between them as the clinic file and the HTTP API write them."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

from pydantic import Field, StrictBool, StrictInt, model_validator

from data.files.fields import Id, Name, SolverRow
from solver.clinic.places import MAX_TRAVEL_MINUTES, Location, Travel


class LocationRow(SolverRow):
    """A place at which the clinic has rooms."""

    id: Id
    name: Name
    active: StrictBool = True

    def to_solver(self) -> Location:
        """Return the row as the solver has it."""
        return Location(**dict(self))


class TravelRow(SolverRow):
    """How long the way from one place to another takes; without an id it gets one of the two.

    The way back takes as long, unless it has a row of its own.
    """

    grammar = Travel.GRAMMAR

    id: Id
    from_id: Id
    to_id: Id
    minutes: Annotated[StrictInt, Field(ge=0, le=MAX_TRAVEL_MINUTES)]

    @model_validator(mode="before")
    @classmethod
    def _name_by_pair(cls, value: Any) -> Any:
        if isinstance(value, dict) and "id" not in value:
            return {**value, "id": cls.id_of_pair(value.get("from_id"), value.get("to_id"))}
        return value

    @staticmethod
    def id_of_pair(from_id: object, to_id: object) -> str:
        """Return the id of the row of a way, if it has none."""
        return str(uuid5(NAMESPACE_URL, f"travel:{from_id}:{to_id}".lower()))

    @property
    def is_unnamed(self) -> bool:
        """Whether its id is that which a row without one gets."""
        return self.id == self.id_of_pair(self.from_id, self.to_id)

    def to_solver(self) -> Travel:
        """Return the row as the solver has it."""
        return Travel(**dict(self))
