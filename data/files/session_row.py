"""A session as the clinic file and the HTTP API write it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictInt,
    ValidationError,
    model_serializer,
)
from pydantic_core import CoreSchema

from data.files.fields import (
    TIME_SCHEMA,
    Cap,
    Date,
    EndTime,
    EveryWeeks,
    Id,
    Name,
    SolverRow,
    StartTime,
    Weekday,
)
from solver.clinic.sessions.instants import released_before_it_opens
from solver.clinic.sessions.session import MAX_DAYS_BEFORE, MAX_MINUTES_BEFORE, Lead, Session

MAX_TYPES = 1000
"""The most types that a session names."""


class LeadRow(SolverRow):
    """How long before a session something happens: minutes, or a time so many dates earlier.

    It is written with the fields that it has, and no others.
    """

    grammar = Lead.GRAMMAR

    minutes_before: Annotated[StrictInt, Field(ge=0, le=MAX_MINUTES_BEFORE)] | None = None
    days_before: Annotated[StrictInt, Field(ge=0, le=MAX_DAYS_BEFORE)] | None = None
    at: StartTime | None = None

    @model_serializer(mode="wrap")
    def _with_what_it_has(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the two forms that it has."""
        return {"anyOf": [_form(minutes_before=_MINUTES), _form(days_before=_DAYS, at=TIME_SCHEMA)]}

    def to_solver(self) -> Lead:
        """Return the row as the solver has it."""
        return Lead(**dict(self))


_MINUTES = {
    "type": "integer",
    "minimum": 0,
    "maximum": MAX_MINUTES_BEFORE,
    "description": "Real minutes before the session's start.",
}


_DAYS = {
    "type": "integer",
    "minimum": 0,
    "maximum": MAX_DAYS_BEFORE,
    "description": "Dates before the session's own, at the local time of `at`.",
}


def _form(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def lead_in_words(lead: Mapping[str, Any], write_time: Callable[[str], str] = str) -> str:
    """Return how long before a session something happens; `lead` is as it is written."""
    minutes = lead.get("minutes_before")
    if minutes is not None:
        is_hours = minutes and minutes % 60 == 0
        count, noun = (minutes // 60, "hour") if is_hours else (minutes, "minute")
        return f"{count} {noun}{'' if count == 1 else 's'} before it begins"
    days, time = lead["days_before"], write_time(lead["at"])
    before = {0: "on the day itself", 1: "the day before"}.get(days, f"{days} days before")
    return f"at {time} {before}"


def _distinct(ids: list[str]) -> list[str]:
    return sorted(set(ids))


class SessionRow(SolverRow):
    """Hours of a provider, of a room or of everybody that are kept."""

    grammar = Session.GRAMMAR

    id: Id
    name: Name
    provider_id: Id | None = None
    room_id: Id | None = None
    weekday: Weekday | None = None
    date: Date | None = None
    start_time: StartTime
    end_time: EndTime
    valid_from: Date | None = None
    valid_to: Date | None = None
    every_weeks: EveryWeeks = 1
    appointment_type_ids: Annotated[
        Annotated[list[Id], Field(max_length=MAX_TYPES), AfterValidator(_distinct)] | None,
        Field(description="The types that it is kept for: null is all of them, [] is nobody."),
    ] = None
    max_bookings: Annotated[
        Cap | None, Field(description="Most live bookings that start in it on a date.")
    ] = None
    opens: Annotated[
        LeadRow | None, Field(description="From when on it can be booked; null: always.")
    ] = None
    releases: Annotated[
        LeadRow | None,
        Field(description="From when on it keeps nobody out any more; null: never."),
    ] = None
    active: StrictBool = True

    def to_solver(self) -> Session:
        """Return the row as the solver has it."""
        fields: dict[str, Any] = dict(self)
        kinds, opens, releases = (
            fields.pop(name) for name in ("appointment_type_ids", "opens", "releases")
        )
        return Session(
            start=fields.pop("start_time"),
            end=fields.pop("end_time"),
            appointment_type_ids=None if kinds is None else frozenset(kinds),
            opens=None if opens is None else opens.to_solver(),
            releases=None if releases is None else releases.to_solver(),
            **fields,
        )


_OF_ITS_DATES = (
    "weekday",
    "date",
    "start_time",
    "end_time",
    "valid_from",
    "valid_to",
    "every_weeks",
    "opens",
    "releases",
)
"""The fields that say when a session is, opens and is released."""


def fault_of_releases(fields: Mapping[str, Any], zone: ZoneInfo) -> str | None:
    """Return what is wrong where a session does not open before it is released; None: nothing.

    It is asked of today and of the dates after it, whatever else is wrong with the session.

    Parameters
    ----------
    fields
        The session as it is written.
    """
    asked = {name: fields[name] for name in _OF_ITS_DATES if name in fields}
    try:
        session = SessionRow.model_validate({"id": _ANY_ID, "name": "any", **asked}).to_solver()
    except ValidationError:
        return None
    day = released_before_it_opens(zone, session, dt.datetime.now(zone).date())
    return None if day is None else f"must be later than opens on every date; on {day} it is not"


_ANY_ID = "00000000-0000-0000-0000-000000000000"
