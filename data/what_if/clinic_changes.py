"""A scenario's changes to the clinic: whether they can be made, in sentences, and how."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from data.clinic.import_export import from_row
from data.clinic.resources import RESOURCES, SETTINGS
from data.clinic.rows import create_row, patch_row, remove_row
from data.clinic.snapshot import ClinicSelection, load_clinic
from data.errors import NotFoundError
from data.files.changes import (
    AddOverbookingRuleChange,
    AddProviderChange,
    AddProviderTypeChange,
    AddRoomChange,
    AnyChange,
    CloseRoomChange,
    OpenHoursChange,
    ProviderOutChange,
    RemoveChange,
    ScaleDemandChange,
    SetChange,
)
from data.files.clinic_file import AvailabilityRow
from data.files.run_file import ScenarioRow
from models.tables import AVAILABILITY
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.clinic.entities import DAY_MINUTES, ProviderType
from solver.whatif.run_result import PlaceResult, ScenarioResult

WEEKDAYS = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)


FIELDS = {
    "active": "active",
    "buffer_after": "minutes kept free afterwards",
    "buffer_before": "minutes kept free before",
    "daily_cap": "most a day",
    "daily_minutes": "most minutes a day",
    "duration_minutes": "minutes",
    "equipment": "equipment",
    "grid_minutes": "minutes between starts",
    "max_overlap": "most at once",
    "max_per_day": "most a day",
    "min_notice_minutes": "minutes of notice",
    "name": "name",
    "offered": "offered",
    "preference_decay_minutes": "minutes at which a preference is worth nothing",
    "required_equipment": "equipment it takes",
    "required_skills": "skills it takes",
    "skills": "skills",
    "timezone": "time zone",
    "turnover_minutes": "minutes to be made ready",
}
"""Fields in words; others are written with spaces for underscores."""


UNKNOWN = {
    "providers": "a provider who is no longer in the clinic",
    "rooms": "a room that is no longer in the clinic",
    "appointment_types": "an appointment type that is no longer in the clinic",
    "overbooking_rules": "an overbooking rule that is no longer there",
    "provider_types": "what a provider does otherwise, which is no longer there",
}


ASK_AGAIN = "then ask again"


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
    clinic = await load_clinic(connection, day, day, ClinicSelection(bookings=False))
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
    words = _ChangesInWords(clinic, changes)
    hindrances = (words.hindrance(change) for change in changes)
    reason = next(filter(None, hindrances), None) or words.out_of_use(used)
    return CarryOut(reason is None, reason, list(words.sentences(changes)))


class _ChangesInWords:
    """Changes to one clinic, in the words of the people who work in it."""

    def __init__(self, clinic: Clinic, changes: Sequence[AnyChange]) -> None:
        self._rows: dict[str, dict[str, Any]] = {
            name: {row.id: row for row in getattr(clinic, name)} for name in UNKNOWN
        }
        rows = (row for of_kind in self._rows.values() for row in of_kind.values())
        self._names = {row.id: row.name for row in rows if hasattr(row, "name")}
        self._made_active = {
            (change.entity, change.id)
            for change in changes
            if isinstance(change, SetChange) and change.field == "active" and change.value
        }
        self._added = {
            change.id: change.name
            for change in changes
            if isinstance(change, AddProviderChange | AddRoomChange)
        }

    # Whether it can be made

    def hindrance(self, change: AnyChange) -> str | None:
        """Return why a change cannot be made; None where it can."""
        why: str | None = None
        match change:
            case AddProviderChange() if change.id not in self._rows["providers"]:
                why = (
                    f"It counts on {change.name}, who is not in the clinic yet: take them on under"
                    f" Clinic first, {ASK_AGAIN}."
                )
            case AddRoomChange() if change.id not in self._rows["rooms"]:
                why = (
                    f"It counts on the room {change.name}, which the clinic does not have yet:"
                    f" add it under Clinic first, {ASK_AGAIN}."
                )
            case ScaleDemandChange():
                why = (
                    "It asks for more or fewer requests than there are: to carry a plan out, ask"
                    " for those that there are."
                )
            case SetChange(entity="bookings") | RemoveChange(entity="bookings"):
                why = (
                    "It changes bookings themselves: change them on the day board first,"
                    f" {ASK_AGAIN}."
                )
            case SetChange(entity=entity, id=str(key)):
                why = self._missing(entity, key)
            case ProviderOutChange() | CloseRoomChange() | OpenHoursChange():
                why = self._missing("providers", getattr(change, "provider_id", None))
                why = why or self._missing("rooms", getattr(change, "room_id", None))
            case AddOverbookingRuleChange() | AddProviderTypeChange():
                why = self._missing("providers", change.provider_id)
                why = why or self._missing("appointment_types", change.appointment_type_id)
        return why

    def out_of_use(self, used: Iterable[tuple[str, str]]) -> str | None:
        """Return what a plan needs that is in use no more; None where there is all."""
        for entity, key in sorted(used):
            if (entity, key) in self._made_active or key in self._added:
                continue
            row = self._rows[entity].get(key)
            if row is None:
                return f"It needs {UNKNOWN[entity]}; ask again."
            if not row.active:
                return f"It needs {row.name}, which is no longer in use; ask again."
        return None

    def _missing(self, entity: str, key: str | None) -> str | None:
        if key is None or key in self._rows[entity] or key in self._added:
            return None
        return f"It speaks of {UNKNOWN[entity]}; ask again."

    # In words

    def sentences(self, changes: Sequence[AnyChange]) -> Iterator[str]:
        """Yield sentences; the same on dates that follow one another is one."""
        for _, alike in groupby(enumerate(changes), key=_what_dates_share):
            run = [change for _, change in alike]
            first, last = run[0], run[-1]
            if isinstance(first, ProviderOutChange | CloseRoomChange):
                assert isinstance(last, ProviderOutChange | CloseRoomChange)
                yield self._closed(first, last.date)
            else:
                yield self._sentence(first)

    def _closed(self, change: ProviderOutChange | CloseRoomChange, last: dt.date) -> str:
        if isinstance(change, ProviderOutChange):
            what = f"{self._name(change.provider_id)} is away"
        else:
            what = f"{self._name(change.room_id)} is closed"
        days = f"on {_day(change.date)}"
        if last != change.date:
            days = f"from {_day(change.date)} to {_day(last)}"
        whole = change.hours == (0, DAY_MINUTES)
        return f"{what} {days}{'' if whole else ', ' + _hours(*change.hours)}."

    def _sentence(self, change: AnyChange) -> str:
        match change:
            case OpenHoursChange():
                who = self._name(change.provider_id or change.room_id)
                days = f"every {WEEKDAYS[(change.weekday or 1) - 1]}"
                if change.date is not None:
                    days = f"on {_day(change.date)}"
                hours = _hours(change.start_time, change.end_time)
                words = f"{who} is also open {days}, {hours}"
            case AddProviderChange():
                words = f"{change.name} joins the clinic"
            case AddRoomChange():
                words = f"The room {change.name} is added"
            case AddOverbookingRuleChange():
                who = self._name(change.provider_id) if change.provider_id else "Every provider"
                words = (
                    f"{who} may be overbooked, {change.max_overlap} at once and"
                    f" {change.max_per_day} a day"
                )
            case AddProviderTypeChange():
                words = f"{self._of_pair(change)}: {_own_way(change)}"
            case SetChange():
                what = "The clinic" if change.id is None else self._named(change.entity, change.id)
                named = FIELDS.get(change.field, change.field.replace("_", " "))
                words = f"{what}: {named} becomes {_value(change.value)}"
            case RemoveChange():
                words = f"{self._named(change.entity, change.id)} is taken away"
            case ScaleDemandChange():
                kind = change.appointment_type_id
                of = f" for {self._name(kind)}" if kind else ""
                words = f"There are {float(change.factor):g} times as many requests{of}"
            case _:
                raise AssertionError(change)
        return f"{words}."

    def _name(self, key: str | None) -> str:
        return self._names.get(key or "") or self._added.get(key or "") or "Someone no longer there"

    def _of_pair(self, row: AddProviderTypeChange | ProviderType) -> str:
        return f"{self._name(row.appointment_type_id)} with {self._name(row.provider_id)}"

    def _named(self, entity: str, key: str) -> str:
        if entity == "overbooking_rules":
            rule = self._rows[entity].get(key)
            of = f" of {self._name(rule.provider_id)}" if rule and rule.provider_id else ""
            return f"The overbooking rule{of}"
        if entity == "provider_types":
            row = self._rows[entity].get(key)
            return "What a provider does otherwise" if row is None else self._of_pair(row)
        return "A booking" if entity == "bookings" else self._name(key)


def _own_way(row: AddProviderTypeChange) -> str:
    """Return what one provider does otherwise, in words."""
    if not row.offered:
        return "not offered"
    names = ("duration_minutes", "buffer_before", "buffer_after", "daily_cap")
    words = [f"{FIELDS[n]} {getattr(row, n)}" for n in names if getattr(row, n) is not None]
    return ", ".join(words) or "as everybody"


def _what_dates_share(numbered: tuple[int, AnyChange]) -> object:
    """Return what is equal for closures of one owner on dates that follow one another."""
    number, change = numbered
    if not isinstance(change, ProviderOutChange | CloseRoomChange):
        return number
    owner = change.provider_id if isinstance(change, ProviderOutChange) else change.room_id
    return change.op, owner, change.hours, change.date.toordinal() - number


def _day(day: dt.date) -> str:
    return f"{day:%a} {day.day} {day:%b %Y}"


def _hours(start: int, end: int) -> str:
    return f"{format_time(start)}–{format_time(end)}"


def _value(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value)) or "nothing"
        case _:
            return str(value)


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
            case AddOverbookingRuleChange():
                fields = change.model_dump(mode="json", exclude={"op"})
                resource = RESOURCES["overbooking_rules"]
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
                await _add_hours(connection, owner, *hours, actor, kind="open", date=day)
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
    }
    await create_row(connection, RESOURCES["availability"], fields, actor)
