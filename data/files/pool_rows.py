"""Equipment that moves, as the clinic file has it: pools, and what a type takes of one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictInt

from data.files.fields import Id, Name, SolverRow, Strict
from solver.clinic.entities import DAY_MINUTES
from solver.clinic.equipment.needs import MAX_QUANTITY, PoolNeed
from solver.clinic.equipment.pools import EquipmentPool


class PoolNeedRow(Strict):
    """So many pieces of an equipment pool, which an appointment takes."""

    pool_id: Id
    quantity: Annotated[StrictInt, Field(ge=1, le=MAX_QUANTITY)]

    def to_solver(self) -> PoolNeed:
        """Return it as the solver has it."""
        return PoolNeed(self.pool_id, self.quantity)


class EquipmentPoolRow(SolverRow):
    """Alike pieces of equipment that are brought to where they are needed."""

    grammar = EquipmentPool.GRAMMAR

    id: Id
    name: Name
    quantity: Annotated[
        StrictInt,
        Field(ge=0, le=MAX_QUANTITY, description="How many pieces there are; inactive: none."),
    ]
    return_minutes: Annotated[
        StrictInt,
        Field(
            ge=0,
            le=DAY_MINUTES,
            description="How long after an appointment its pieces are still out.",
        ),
    ] = 0
    active: StrictBool = True
    location_id: Annotated[
        Id | None,
        Field(description="Where the only rooms are that it serves; null: it serves all."),
    ] = None

    def to_solver(self) -> EquipmentPool:
        """Return the row as the solver has it."""
        return EquipmentPool(**dict(self))
