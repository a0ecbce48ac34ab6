"""A scenario's changes in the words of the people who work in the clinic."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from data.files.changes import (
    AddLocationChange,
    AddOverbookingRuleChange,
    AddPoolChange,
    AddProviderChange,
    AddProviderTypeChange,
    AddRoomChange,
    AddSessionChange,
    AnyChange,
    CloseRoomChange,
    OpenHoursChange,
    ProviderOutChange,
    RemoveChange,
    ScaleDemandChange,
    SetChange,
)
from data.files.session_row import lead_in_words
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.clinic.entities import DAY_MINUTES, ProviderType

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
    "appointment_type_ids": "kept for",
    "buffer_after": "minutes kept free afterwards",
    "buffer_before": "minutes kept free before",
    "daily_cap": "most a day",
    "daily_minutes": "most minutes a day",
    "duration_minutes": "minutes",
    "equipment": "equipment",
    "from_id": "from",
    "grid_minutes": "minutes between starts",
    "location_id": "place",
    "max_bookings": "most bookings",
    "max_overlap": "most at once",
    "max_per_day": "most a day",
    "min_notice_minutes": "minutes of notice",
    "name": "name",
    "offered": "offered",
    "packed": "starts right behind other appointments, too",
    "preference_decay_minutes": "minutes at which a preference is worth nothing",
    "quantity": "pieces",
    "required_equipment": "equipment it takes",
    "required_pools": "equipment that is brought to it",
    "roles": "team",
    "required_skills": "skills it takes",
    "return_minutes": "minutes until it is back",
    "skills": "skills",
    "start_anchor": "what starts are counted from",
    "start_every": "minutes between starts",
    "start_offset": "minutes from midnight to the first start",
    "timezone": "time zone",
    "to_id": "to",
    "turnover_minutes": "minutes to be made ready",
}
"""Fields in words; others are written with spaces for underscores."""


UNKNOWN = {
    "providers": "a provider who is no longer in the clinic",
    "rooms": "a room that is no longer in the clinic",
    "appointment_types": "an appointment type that is no longer in the clinic",
    "overbooking_rules": "an overbooking rule that is no longer there",
    "provider_types": "what a provider does otherwise, which is no longer there",
    "sessions": "a session that is no longer there",
    "locations": "a place that is no longer there",
    "travel": "a way that is no longer there",
    "equipment_pools": "equipment that is no longer in the clinic",
}


ASK_AGAIN = "then ask again"


class ChangesInWords:
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
            if isinstance(
                change, AddProviderChange | AddRoomChange | AddLocationChange | AddPoolChange
            )
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
            case AddPoolChange() if change.id not in self._rows["equipment_pools"]:
                why = (
                    f"It counts on {change.name}, which the clinic does not have yet: add it under"
                    f" Clinic first, {ASK_AGAIN}."
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
            case AddSessionChange():
                why = self._missing("providers", change.provider_id)
                why = why or self._missing("rooms", change.room_id)
                kinds = change.appointment_type_ids or ()
                missing = (self._missing("appointment_types", kind) for kind in kinds)
                why = why or next(filter(None, missing), None)
            case AddLocationChange() if change.id not in self._rows["locations"]:
                why = (
                    f"It counts on the place {change.name}, which the clinic does not have yet:"
                    f" add it under Clinic first, {ASK_AGAIN}."
                )
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
            case AddRoomChange() | AddPoolChange():
                what = "The room " if isinstance(change, AddRoomChange) else ""
                words = f"{what}{change.name} is added"
            case AddLocationChange():
                words = f"The place {change.name} is added"
            case AddOverbookingRuleChange():
                who = self._name(change.provider_id) if change.provider_id else "Every provider"
                words = (
                    f"{who} may be overbooked, {change.max_overlap} at once and"
                    f" {change.max_per_day} a day"
                )
            case AddProviderTypeChange():
                words = f"{self._of_pair(change)}: {_own_way(change)}"
            case AddSessionChange():
                words = self._session(change)
            case SetChange():
                what = "The clinic" if change.id is None else self._named(change.entity, change.id)
                named = FIELDS.get(change.field, change.field.replace("_", " "))
                words = f"{what}: {named} becomes {self._value(change)}"
            case RemoveChange():
                words = f"{self._named(change.entity, change.id)} is taken away"
            case ScaleDemandChange():
                kind = change.appointment_type_id
                of = f" for {self._name(kind)}" if kind else ""
                words = f"There are {float(change.factor):g} times as many requests{of}"
            case _:
                raise AssertionError(change)
        return f"{words}."

    def _session(self, row: AddSessionChange) -> str:
        of = self._name(row.provider_id or row.room_id) if row.provider_id or row.room_id else ""
        day = f"every {WEEKDAYS[(row.weekday or 1) - 1]}"
        if row.date is not None:
            day = f"on {_day(row.date)}"
        kept = f"The session {row.name}{f' of {of}' if of else ''} is kept {day}"
        return (
            f"{kept}, {_hours(row.start_time, row.end_time)}, for"
            f" {self._kinds(row.appointment_type_ids)}"
        )

    def _kinds(self, keys: Sequence[str] | None) -> str:
        """Return whom a session is kept for."""
        if keys is None:
            return "everything"
        return ", ".join(sorted(map(self._name, keys))) or "nobody"

    def _value(self, change: SetChange) -> str:
        match change.field:
            case "appointment_type_ids":
                return self._kinds(change.value)
            case "location_id" | "from_id" | "to_id" if change.value is not None:
                return self._name(change.value)
            case "required_pools":
                needs = ((need["quantity"], self._name(need["pool_id"])) for need in change.value)
                return ", ".join(f"{quantity} × {name}" for quantity, name in needs) or "nothing"
            case "roles":
                return ", ".join(role["key"] for role in change.value) or "nobody"
            case _:
                return _value(change.value)

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
        if entity == "travel":
            way = self._rows[entity].get(key)
            of = f" from {self._name(way.from_id)} to {self._name(way.to_id)}" if way else ""
            return f"The way{of}"
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
        case {"minutes_before": _} | {"days_before": _}:
            return lead_in_words(value)
        case list():
            return ", ".join(map(str, value)) or "nothing"
        case _:
            return str(value)
