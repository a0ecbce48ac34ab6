"""The fields of the clinic file's rows and the columns of the tables, each from the other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from data.files.fields import Strict
from data.files.pool_rows import PoolNeedRow
from data.files.role_rows import RoleRow
from data.files.session_row import LeadRow

_COLUMN = {"start_time": "start_minute", "end_time": "end_minute"}
"""Columns that are not called as their field."""


_LEADS = ("opens", "releases")
"""The fields that have a column for each of their own fields."""


_LISTS_OF_ROWS: dict[str, type[Strict]] = {"required_pools": PoolNeedRow, "roles": RoleRow}
"""The fields that are lists of rows, in a column as JSON."""


def columns_of(row: Strict) -> dict[str, Any]:
    """Return a row's fields under the names of the table's columns."""
    columns: dict[str, Any] = {}
    for field, value in row:
        if field in _LEADS:
            columns |= {
                f"{field}_{part}": getattr(value, part, None) for part in LeadRow.model_fields
            }
        elif field in _LISTS_OF_ROWS:
            columns[field] = [dict(each) for each in value]
        else:
            columns[_COLUMN.get(field, field)] = value
    return columns


def from_row[Model: Strict](row: Any, model: type[Model]) -> Model:
    """Return a database row as a row of the file, without checking it again."""
    fields = {field: _value(row, field) for field in model.model_fields}
    constructed: Model = model.model_construct(None, **fields)  # type: ignore[assignment]
    return constructed


def _value(row: Any, field: str) -> Any:
    if field in _LEADS:
        parts = {part: getattr(row, f"{field}_{part}") for part in LeadRow.model_fields}
        return None if set(parts.values()) == {None} else LeadRow.model_construct(None, **parts)
    if field in _LISTS_OF_ROWS:
        kind = _LISTS_OF_ROWS[field]
        return [kind.model_construct(None, **each) for each in getattr(row, field)]
    match getattr(row, _COLUMN.get(field, field)):
        case UUID() as key:
            return str(key)
        case [UUID(), *_] as keys:
            return [str(key) for key in keys]
        case value:
            return value
