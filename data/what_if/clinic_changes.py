"""A scenario's changes to the clinic: whether they can be made, in sentences, and how."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from data.clinic.columns import from_row
from data.clinic.resources import RESOURCES, SETTINGS
from data.clinic.rows import create_row, patch_row, remove_row
from data.clinic.snapshot import ClinicSelection, load_clinic
from data.errors import NotFoundError
from data.files.changes import (
    AddOverbookingRuleChange,
    AddProviderTypeChange,
    AddSessionChange,
    AnyChange,
    CloseRoomChange,
    OpenHoursChange,
    ProviderOutChange,
    RemoveChange,
    SetChange,
)
from data.files.clinic_file import AvailabilityRow
from data.files.run_file import ScenarioRow
from data.what_if.changes_in_words import ChangesInWords
from models.tables import AVAILABILITY
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.whatif.run_result import PlaceResult, ScenarioResult


@dataclass(frozen=True)
class CarryOut:
    """Whether a scenario can be carried out, why not, and what it changes about the clinic."""

    possible: bool
    reason: str | None
    changes: list[str] = field(default_factory=list)


def changes_of(document: Mapping[str, Any], scenario: str) -> list[AnyChange]:
    """Return the changes of a scenario of a run that has been parsed before."""
    rows = (row for row in document.get("scenarios") or () if row["name"] == scenario)
    return [change for row in rows for change in ScenarioRow.model_validate(row).changes]


async def carry_out(
    connection: AsyncConnection,
    document: Mapping[str, Any],
    used: Mapping[str, Iterable[tuple[str, str]]],
) -> dict[str, CarryOut]:
    """Return for scenarios of a run whether they can be carried out in the clinic as it is.

    `used` has for each scenario's name the rows that have to be in use for it, as (kind, id).
    """
    day = dt.date.fromisoformat(document["start_date"])
    clinic = await load_clinic(
        connection, day, day, ClinicSelection(bookings=False, every_session=True)
    )
    return {name: assess(changes_of(document, name), clinic, rows) for name, rows in used.items()}


def used_by(scenario: ScenarioResult) -> set[tuple[str, str]]:
    """Return the rows, as (kind, id), that the plan of a scenario gives appointments to."""
    moved = [move["to"] for move in scenario["moves"] if move["to"] is not None]
    kinds = {row["appointment_type_id"] for row in scenario["placements"]}
    places: list[PlaceResult] = [*scenario["placements"], *moved]
    return (
        {("appointment_types", kind) for kind in kinds}
        | {("providers", row["provider_id"]) for row in places}
        | {("rooms", row["room_id"]) for row in places}
    )


def assess(
    changes: Sequence[AnyChange], clinic: Clinic, used: Iterable[tuple[str, str]] = ()
) -> CarryOut:
    """Return whether changes can be made in `clinic`, and each in a sentence.

    `used` are rows, as (kind, id), that have to be in use for it.
    """
    words = ChangesInWords(clinic, changes)
    hindrances = (words.hindrance(change) for change in changes)
    reason = next(filter(None, hindrances), None) or words.out_of_use(used)
    return CarryOut(reason is None, reason, list(words.sentences(changes)))


# Made


async def make(connection: AsyncConnection, changes: Sequence[AnyChange], actor: str) -> None:
    """Make changes in the clinic, which the transaction holds; each is audited as an edit is.

    What the clinic has already, or has no more, is left as it is.
    """
    for change in changes:
        match change:
            case ProviderOutChange():
                await _close(connection, {"provider_id": change.provider_id}, change, actor)
            case CloseRoomChange():
                await _close(connection, {"room_id": change.room_id}, change, actor)
            case OpenHoursChange():
                await _open(connection, change, actor)
            case AddOverbookingRuleChange() | AddSessionChange():
                fields = change.model_dump(mode="json", exclude={"op"})
                is_session = isinstance(change, AddSessionChange)
                resource = RESOURCES["sessions" if is_session else "overbooking_rules"]
                known = select(exists().where(resource.table.c.id == fields["id"]))
                if not await connection.scalar(known):
                    await create_row(connection, resource, fields, actor)
            case AddProviderTypeChange():
                await _do_otherwise(connection, change, actor)
            case SetChange(id=None):
                await patch_row(connection, SETTINGS, None, {change.field: change.value}, actor)
            case SetChange() if change.entity in RESOURCES:
                values = {change.field: change.value}
                await patch_row(connection, RESOURCES[change.entity], change.id, values, actor)
            case RemoveChange() if change.entity in RESOURCES:
                try:
                    await remove_row(connection, RESOURCES[change.entity], change.id, actor)
                except NotFoundError:
                    continue
            case _:
                continue  # who or what was added is there already


async def _do_otherwise(
    connection: AsyncConnection, change: AddProviderTypeChange, actor: str
) -> None:
    """Add what a provider does otherwise, unless the clinic has a row of the two already."""
    resource, fields = RESOURCES["provider_types"], change.model_dump(mode="json", exclude={"op"})
    pair = (resource.table.c[name] == fields[name] for name in resource.pair)
    if not await connection.scalar(select(exists().where(*pair))):
        await create_row(connection, resource, fields, actor)


async def _close(
    connection: AsyncConnection,
    owner: dict[str, str],
    change: ProviderOutChange | CloseRoomChange,
    actor: str,
) -> None:
    start, end = change.hours
    await _add_hours(connection, owner, start, end, actor, kind="closed", date=change.date)


async def _open(connection: AsyncConnection, change: OpenHoursChange, actor: str) -> None:
    """Open longer; a date without hours of its own keeps its weekly ones beside the new ones."""
    name = "provider_id" if change.provider_id is not None else "room_id"
    owner = {name: change.provider_id or change.room_id or ""}
    c = AVAILABILITY.c
    of_owner = select(AVAILABILITY).where(c[name] == owner[name], c.kind == "open")
    rows = (await connection.execute(of_owner)).all()
    if name == "room_id" and not rows:
        return  # open all day
    day = change.date
    if day is not None and not any(row.date == day for row in rows):
        for row in rows:
            weekly = from_row(row, AvailabilityRow).to_solver()
            if weekly.applies_on(day, day.isoweekday()):
                hours = (row.start_minute, row.end_minute)
                place = None if row.location_id is None else str(row.location_id)
                await _add_hours(
                    connection, owner, *hours, actor, kind="open", date=day, location_id=place
                )
    await _add_hours(
        connection,
        owner,
        change.start_time,
        change.end_time,
        actor,
        kind="open",
        date=day,
        weekday=change.weekday,
    )


async def _add_hours(
    connection: AsyncConnection,
    owner: dict[str, str],
    start: int,
    end: int,
    actor: str,
    *,
    kind: str,
    date: dt.date | None = None,
    weekday: int | None = None,
    location_id: str | None = None,
) -> None:
    c = AVAILABILITY.c
    (name, key), *_ = owner.items()
    same = select(
        exists().where(
            c[name] == key,
            c.kind == kind,
            c.start_minute == start,
            c.end_minute == end,
            c.date.is_not_distinct_from(date),
            c.weekday.is_not_distinct_from(weekday),
            c.valid_from.is_(None),
            c.valid_to.is_(None),
            c.every_weeks == 1,
            c.location_id.is_not_distinct_from(location_id),
        )
    )
    if await connection.scalar(same):
        return
    fields = {
        **owner,
        "kind": kind,
        "start_time": format_time(start),
        "end_time": format_time(end),
        "date": None if date is None else date.isoformat(),
        "weekday": weekday,
        "location_id": location_id,
    }
    await create_row(connection, RESOURCES["availability"], fields, actor)
