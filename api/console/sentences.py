"""A scenario's changes as sentences with blanks: what a person reads, and what a run file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any
from uuid import uuid4

type Values = Mapping[str, Any]
type Rows = Mapping[str, list[dict[str, Any]]]
"""The clinic's rows by kind, as the service lists them."""
type Change = dict[str, Any]

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
    changes: Callable[[Values, Rows], list[Change]]

    def pieces(self) -> list[tuple[str, Blank | None]]:
        """Return the words between the blanks, each with the blank that follows it."""
        return [
            (words, None if name is None else Blank(name.rstrip(OPTIONAL), OPTIONAL in name))
            for words, name, _, _ in Formatter().parse(self.words)
        ]


def _plain(op: str, **fixed: Any) -> Callable[[Values, Rows], list[Change]]:
    """Return the one change `op` with the blanks as its fields."""

    def changes(values: Values, _: Rows) -> list[Change]:
        return [{"op": op, **fixed, **{k: v for k, v in values.items() if v not in (None, "")}}]

    return changes


def _set(entity: str, owner: str, field: str) -> Callable[[Values, Rows], list[Change]]:
    def changes(values: Values, _: Rows) -> list[Change]:
        return [
            {
                "op": "set",
                "entity": entity,
                "id": values[owner],
                "field": field,
                "value": values["number"],
            }
        ]

    return changes


def _remove(entity: str, owner: str) -> Callable[[Values, Rows], list[Change]]:
    return lambda values, _: [{"op": "remove", "entity": entity, "id": values[owner]}]


def _like(op: str, entity: str, owner: str) -> Callable[[Values, Rows], list[Change]]:
    """Return one more row like another, with the weekly hours of that one."""

    def changes(values: Values, rows: Rows) -> list[Change]:
        model = next(row for row in rows[entity] if row["id"] == values[owner])
        key = str(uuid4())
        name = f"Another {model['name']}"
        hours = [
            {
                "op": "open_hours",
                owner: key,
                "weekday": row["weekday"],
                "start_time": row["start_time"],
                "end_time": row["end_time"],
            }
            for row in rows["availability"]
            if row[owner] == model["id"] and row["kind"] == "open" and row["weekday"] is not None
        ]
        return [{"op": op, **model, "id": key, "name": name}, *hours]

    return changes


SENTENCES: dict[str, Sentence] = {
    "out": Sentence(
        "A provider is out",
        "{provider_id} is out on {date} from {start_time?} until {end_time?}",
        _plain("provider_out"),
    ),
    "closed": Sentence(
        "A room is closed",
        "{room_id} is closed on {date} from {start_time?} until {end_time?}",
        _plain("close_room"),
    ),
    "weekly": Sentence(
        "A provider works more each week",
        "{provider_id} also works each {weekday} from {start_time} until {end_time}",
        _plain("open_hours"),
    ),
    "extra": Sentence(
        "A provider works more on one day",
        "{provider_id} also works on {date} from {start_time} until {end_time}",
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
    "leaves": Sentence(
        "A provider leaves",
        "{provider_id} is no longer there",
        _remove("providers", "provider_id"),
    ),
    "given-up": Sentence(
        "A room is given up", "{room_id} is no longer there", _remove("rooms", "room_id")
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
    "cap": Sentence(
        "A provider takes more or fewer a day",
        "{provider_id} takes at most {number} a day",
        _set("providers", "provider_id", "daily_cap"),
    ),
    "overbooking": Sentence(
        "Overbooking is allowed",
        "{provider_id?} may be overbooked, {max_overlap} at once and {max_per_day} a day",
        _plain("add_overbooking_rule"),
    ),
}
