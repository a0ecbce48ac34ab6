"""What appointment types need of equipment pools and of people, as conditions of SQL."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    Select,
    Text,
    cast,
    column,
    exists,
    func,
    select,
    true,
)

from models.tables import EQUIPMENT_POOLS, PROVIDERS, TYPES


def types_taking_from(pools: Collection[str] | Select[str]) -> Select[tuple[UUID]]:
    """Return the types that take from some equipment pools."""
    needs, pool_id = _needs_of(TYPES)
    return select(TYPES.c.id).where(exists().select_from(needs).where(pool_id.in_(pools)))


def types_sharing_pools(is_asked: ColumnElement[bool]) -> Select[tuple[UUID]]:
    """Return the types that take from a pool from which one that is asked about takes, too.

    `is_asked` is a condition of :data:`models.tables.TYPES`. Without a pool no type is looked at.
    """
    other = TYPES.alias()
    needs, pool_id = _needs_of(TYPES)
    others_needs, others_pool_id = _needs_of(other)
    asked = select(pool_id).select_from(TYPES).join(needs, true())
    is_sharing = exists().select_from(others_needs).where(others_pool_id.in_(asked.where(is_asked)))
    there_are = exists().select_from(EQUIPMENT_POOLS)
    return select(other.c.id).where(there_are, is_sharing)


def _needs_of(types: FromClause) -> tuple[FromClause, ColumnElement[str]]:
    """Return what the types of a table take, a row each, and the ids of the pools in it."""
    needs = func.jsonb_array_elements(types.c.required_pools).table_valued("value")
    return needs, cast(needs.c.value.op("->>")("pool_id"), Text)


def able_in_roles(type_ids: Collection[str]) -> Select[tuple[UUID]]:
    """Return the active providers who have the skills of some role of the types."""
    skills = column("required_skills", ARRAY(Text))
    role = func.jsonb_to_recordset(TYPES.c.roles).table_valued(skills)
    role = role.render_derived(name="role", with_types=True)
    needed = select(role.c.required_skills).select_from(TYPES).join(role, true())
    is_able = PROVIDERS.c.skills.bool_op("@>")(role.c.required_skills)
    wanted = needed.where(TYPES.c.id.in_(type_ids), is_able).correlate(PROVIDERS).exists()
    return select(PROVIDERS.c.id).where(PROVIDERS.c.active, wanted)
