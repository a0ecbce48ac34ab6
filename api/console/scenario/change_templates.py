"""A scenario's changes as sentences with blanks: what a person reads, and what a run file says."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any
from uuid import uuid4

from data.files.clinic_file import AvailabilityRow

type Values = Mapping[str, Any]


type Rows = Mapping[str, list[dict[str, Any]]]
"""The clinic's rows by kind, as the service lists them."""


type Change = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a change may have to know besides its blanks."""

    rows: Rows
    dates: Sequence[dt.date]
    """The days of the run."""


OPTIONAL = "?"
"""Ends the name of a blank that may stay empty."""


@dataclass(frozen=True)
class Blank:
    """A place in a sentence to fill in."""

    name: str
    is_optional: bool


@dataclass(frozen=True)
class Sentence:
    """A change in words with ``{blanks}``, and the changes of a run file that it stands for."""

    title: str
    words: str
    changes: Callable[[Values, Setting], list[Change]]
    number: float = 30
    """What the blank for a number begins with."""

    def blanks(self) -> list[Blank]:
        """Return the places to fill in."""
        return [blank for _, blank in self.pieces() if blank is not None]

    def pieces(self) -> list[tuple[str, Blank | None]]:
        """Return the words between the blanks, each with the blank that follows it."""
        return [
            (words, None if name is None else Blank(name.rstrip(OPTIONAL), OPTIONAL in name))
            for words, name, _, _ in Formatter().parse(self.words)
        ]


def _plain(op: str, **fixed: Any) -> Callable[[Values, Setting], list[Change]]:
    """Return the one change `op` with the blanks as its fields."""

    def changes(values: Values, _: Setting) -> list[Change]:
        return [{"op": op, **fixed, **{k: v for k, v in values.items() if v not in (None, "")}}]

    return changes


def _set(entity: str, owner: str, field: str) -> Callable[[Values, Setting], list[Change]]:
    """Return a field of a row at the number that is filled in."""
    return lambda values, _: [_setting(entity, values[owner], field, values["number"])]


def _gains(
    entity: str, owner: str, field: str, tag: str
) -> Callable[[Values, Setting], list[Change]]:
    """Return a row with one tag more."""

    def changes(values: Values, setting: Setting) -> list[Change]:
        row = _row(setting, entity, values[owner])
        return [_setting(entity, row["id"], field, sorted({*row[field], values[tag]}))]

    return changes


def _setting(entity: str, key: str, field: str, value: Any) -> Change:
    return {"op": "set", "entity": entity, "id": key, "field": field, "value": value}


def _row(setting: Setting, entity: str, key: str) -> dict[str, Any]:
    return next(row for row in setting.rows[entity] if row["id"] == key)


def _grid(values: Values, _: Setting) -> list[Change]:
    field = {"entity": "clinic", "field": "grid_minutes", "value": values["number"]}
    return [{"op": "set", **field}]


def _from_window(values: Values, _: Setting) -> list[Change]:
    """Return a type's rhythm that begins with the provider's hours."""
    fields = {"start_offset": 0, "start_every": values["number"], "start_anchor": "window"}
    key = values["appointment_type_id"]
    return [_setting("appointment_types", key, name, value) for name, value in fields.items()]


def _packed(values: Values, _: Setting) -> list[Change]:
    return [_setting("appointment_types", values["appointment_type_id"], "packed", True)]


def _remove(entity: str, owner: str) -> Callable[[Values, Setting], list[Change]]:
    return lambda values, _: [{"op": "remove", "entity": entity, "id": values[owner]}]


def _no_overbooking(_: Values, setting: Setting) -> list[Change]:
    rules = setting.rows["overbooking_rules"]
    return [{"op": "remove", "entity": "overbooking_rules", "id": rule["id"]} for rule in rules]


def _kept(values: Values, setting: Setting) -> list[Change]:
    """Return a session of weekly hours that are kept for one type."""
    kind = values["appointment_type_id"]
    name = f"For {_row(setting, 'appointment_types', kind)['name']}"
    hours = {k: v for k, v in values.items() if k != "appointment_type_id" and v not in (None, "")}
    return [{"op": "add_session", "name": name, "appointment_type_ids": [kind], **hours}]


def _nothing_kept(_: Values, setting: Setting) -> list[Change]:
    rows = setting.rows["sessions"]
    return [{"op": "remove", "entity": "sessions", "id": row["id"]} for row in rows]


def _away(values: Values, setting: Setting) -> list[Change]:
    """Return the provider out on each day of the run between two, or on the first of them."""
    first, last = (dt.date.fromisoformat(values[name]) for name in ("date", "last_date"))
    days = [day for day in setting.dates if first <= day <= last] or [first]
    return [_out(values["provider_id"], day) for day in days]


def _never_on(values: Values, setting: Setting) -> list[Change]:
    days = [day for day in setting.dates if day.isoweekday() == values["weekday"]]
    return [_out(values["provider_id"], day) for day in days]


def _out(provider_id: str, day: dt.date) -> Change:
    return {"op": "provider_out", "provider_id": provider_id, "date": day.isoformat()}


def _all_out(values: Values, setting: Setting) -> list[Change]:
    out = _plain("provider_out")
    providers = [row["id"] for row in setting.rows["providers"] if row["active"]]
    return [c for key in providers for c in out({"provider_id": key, **values}, setting)]


def _weekly(row: dict[str, Any], setting: Setting) -> list[dict[str, Any]]:
    """Return when a weekly row holds: on its weekday, or on those days of the run in its weeks."""
    if row["every_weeks"] == 1:
        return [{"weekday": row["weekday"]}]
    fields = {name: value for name, value in row.items() if name != "id"}
    holds = AvailabilityRow.model_validate(fields).to_solver().applies_on
    return [{"date": day.isoformat()} for day in setting.dates if holds(day, day.isoweekday())]


def _like(op: str, entity: str, owner: str) -> Callable[[Values, Setting], list[Change]]:
    """Return one more row like another, with the weekly hours of that one."""

    def changes(values: Values, setting: Setting) -> list[Change]:
        model = _row(setting, entity, values[owner])
        key = str(uuid4())
        name = f"Another {model['name']}"
        hours = [
            {
                "op": "open_hours",
                owner: key,
                **when,
                "start_time": row["start_time"],
                "end_time": row["end_time"],
            }
            for row in setting.rows["availability"]
            if row[owner] == model["id"] and row["kind"] == "open" and row["weekday"] is not None
            for when in _weekly(row, setting)
        ]
        return [{"op": op, **model, "id": key, "name": name}, *hours]

    return changes


HOURS = "from {start_time} until {end_time}"


MAYBE_HOURS = "from {start_time?} until {end_time?}"


SENTENCES: dict[str, Sentence] = {
    "out": Sentence(
        "A provider is out",
        f"{{provider_id}} is out on {{date}} {MAYBE_HOURS}",
        _plain("provider_out"),
    ),
    "away": Sentence(
        "A provider is away for some days",
        "{provider_id} is away from {date} to {last_date}",
        _away,
    ),
    "never-on": Sentence(
        "A provider gives up a weekday", "{provider_id} is not in on any {weekday}", _never_on
    ),
    "closed": Sentence(
        "A room is closed",
        f"{{room_id}} is closed on {{date}} {MAYBE_HOURS}",
        _plain("close_room"),
    ),
    "holiday": Sentence(
        "The practice is closed", f"The practice is closed on {{date}} {MAYBE_HOURS}", _all_out
    ),
    "weekly": Sentence(
        "A provider works more each week",
        f"{{provider_id}} also works each {{weekday}} {HOURS}",
        _plain("open_hours"),
    ),
    "extra": Sentence(
        "A provider works more on one day",
        f"{{provider_id}} also works on {{date}} {HOURS}",
        _plain("open_hours"),
    ),
    "room-weekly": Sentence(
        "A room is open longer each week",
        f"{{room_id}} is also open each {{weekday}} {HOURS}",
        _plain("open_hours"),
    ),
    "another-provider": Sentence(
        "One more provider",
        "There is another provider like {provider_id}",
        _like("add_provider", "providers", "provider_id"),
    ),
    "another-room": Sentence(
        "One more room",
        "There is another room like {room_id}",
        _like("add_room", "rooms", "room_id"),
    ),
    "skill": Sentence(
        "A provider learns something",
        "{provider_id} can also do {skill}",
        _gains("providers", "provider_id", "skills", "skill"),
    ),
    "equipment": Sentence(
        "A room is equipped",
        "{room_id} also has {equipment}",
        _gains("rooms", "room_id", "equipment", "equipment"),
    ),
    "leaves": Sentence(
        "A provider leaves",
        "{provider_id} is no longer there",
        _remove("providers", "provider_id"),
    ),
    "given-up": Sentence(
        "A room is given up", "{room_id} is no longer there", _remove("rooms", "room_id")
    ),
    "not-offered": Sentence(
        "A type is given up",
        "{appointment_type_id} is no longer offered",
        _remove("appointment_types", "appointment_type_id"),
    ),
    "demand": Sentence(
        "More or fewer requests",
        "There are {factor} times as many requests for {appointment_type_id?}",
        _plain("scale_demand"),
    ),
    "duration": Sentence(
        "A type takes longer or shorter",
        "{appointment_type_id} takes {number} minutes",
        _set("appointment_types", "appointment_type_id", "duration_minutes"),
    ),
    "type-cap": Sentence(
        "A type is done more or less often",
        "{appointment_type_id} is done at most {number} times a day",
        _set("appointment_types", "appointment_type_id", "daily_cap"),
        10,
    ),
    "cap": Sentence(
        "A provider takes more or fewer a day",
        "{provider_id} takes at most {number} a day",
        _set("providers", "provider_id", "daily_cap"),
        20,
    ),
    "minutes": Sentence(
        "A provider has more or less time for patients",
        "{provider_id} takes at most {number} minutes of appointments a day",
        _set("providers", "provider_id", "daily_minutes"),
        300,
    ),
    "buffer": Sentence(
        "A provider takes a breath",
        "{provider_id} keeps {number} minutes free after each appointment",
        _set("providers", "provider_id", "buffer_after"),
        10,
    ),
    "turnover": Sentence(
        "A room takes longer to be made ready",
        "{room_id} takes {number} minutes to be made ready",
        _set("rooms", "room_id", "turnover_minutes"),
        10,
    ),
    "grid": Sentence(
        "Appointments start at other times", "Appointments start every {number} minutes", _grid, 10
    ),
    "kept": Sentence(
        "Hours are kept for a type",
        f"{{provider_id?}} keeps each {{weekday}} {HOURS} for {{appointment_type_id}}",
        _kept,
    ),
    "nothing-kept": Sentence(
        "Sessions end", "No hours are kept in sessions any more", _nothing_kept
    ),
    "in-a-row": Sentence(
        "A type is done one after another",
        "{appointment_type_id} starts when the provider's hours begin, and every {number} minutes "
        "from then on",
        _from_window,
        50,
    ),
    "packed": Sentence(
        "A type leaves no gap",
        "{appointment_type_id} may also start right behind another appointment",
        _packed,
    ),
    "overbooking": Sentence(
        "Overbooking is allowed",
        "{provider_id?} may be overbooked, {max_overlap} at once and {max_per_day} a day",
        _plain("add_overbooking_rule"),
    ),
    "no-overbooking": Sentence(
        "Overbooking ends", "Nobody may be overbooked any more", _no_overbooking
    ),
}
