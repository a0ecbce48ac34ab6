"""What slot queries and their answers say."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from data.errors import InvalidFieldError
from data.files.fields import Date, EndTime, Id, Moment, StartTime, Strict
from solver.clinic.clock import format_time, instant
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.request import SlotRequest
from solver.scoring.parts import POINTS, round_half_up

if TYPE_CHECKING:
    from solver.slots.query import Slot
    from solver.slots.search import SlotPage


MAX_LIMIT = 5000


DEFAULT_LIMIT = 50


class SlotQuery(Strict):
    """One slot query."""

    date: Date
    appointment_type_id: Id
    provider_id: list[Id] = Field(default=[], description="Repeatable; none means any provider.")
    location_id: list[Id] = Field(default=[], description="Repeatable; none means any place.")
    preferred_start: StartTime | None = None
    preferred_end: EndTime | None = None
    rooms: Literal["best", "all"] = "best"
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    without: Id | None = Field(
        default=None,
        description="A booking that is to move: the answer is as if it were not there.",
    )
    as_of: Moment | None = Field(
        default=None,
        description="A moment from now on, with its UTC offset: what will be bookable then. It "
        "changes what is too soon, and which sessions are open or released; nothing else.",
    )

    @model_validator(mode="after")
    def _window_has_minutes(self) -> Self:
        window = self.preferred
        if window is not None and window[0] >= window[1]:
            raise PydanticCustomError(
                "window", "must be later than preferred_start", {"field": "preferred_end"}
            )
        return self

    @property
    def preferred(self) -> Span | None:
        """The preferred window; one end alone leaves the other at that end of the day."""
        start, end = self.preferred_start, self.preferred_end
        if start is None and end is None:
            return None
        return (0 if start is None else start, DAY_MINUTES if end is None else end)

    def to_request(self, now: dt.datetime) -> SlotRequest:
        """Return the query as the solver has it.

        Raises
        ------
        InvalidFieldError
            When it asks as of a moment before `now`.
        """
        if self.as_of is not None and self.as_of < now:
            raise InvalidFieldError(
                "as_of", "must not be before now; leave it out to ask about now"
            )
        return SlotRequest(
            self.appointment_type_id,
            self.date,
            now,
            provider_ids=frozenset(self.provider_id) or None,
            preferred=self.preferred,
            location_ids=frozenset(self.location_id) or None,
            as_of=self.as_of,
        )


class ScorePartsOut(BaseModel):
    """The score's parts, each in [0, 1], to four decimals."""

    preference: float
    gap: float
    room: float
    overbook: float


class SlotOut(BaseModel):
    """One feasible placement."""

    provider_id: str
    provider_name: str
    room_id: str
    room_name: str
    date: dt.date
    start_time: str
    end_time: str
    start: dt.datetime
    end: dt.datetime
    score: float
    score_parts: ScorePartsOut
    is_overbooked: bool
    session_ids: list[str] = Field(
        description="The sessions of the provider, the room and everybody that govern some of its "
        "minutes and admit it, released or not."
    )
    team: dict[str, str] = Field(
        description="Who would be in which role of the type: ids of providers, by the roles' keys."
    )


class OpeningOut(BaseModel):
    """A moment at which sessions let more be booked, or less again."""

    at: dt.datetime
    count: int = Field(
        description="Placements over all rooms that sessions alone exclude at the moment asked "
        "about, and that neither these nor the notice exclude then."
    )


class SlotsOut(BaseModel):
    """The answer to a slot query."""

    date: dt.date
    appointment_type_id: str
    total: int
    slots: list[SlotOut]
    next_available_date: dt.date | None
    blocked_by: dict[str, int]
    opens_later: list[OpeningOut] = Field(
        description="The next moments, ten at most, at which that number changes."
    )


def slots_body(page: SlotPage, zone: ZoneInfo, following: dt.date | None) -> dict[str, Any]:
    """Return the body of ``GET /slots``, ready for JSON."""

    @cache  # slots share starts and the values of parts, and writing either takes long
    def times(start: int, end: int) -> dict[str, str]:
        return times_body(page.date, start, end, zone)

    @cache
    def told(part: Fraction) -> float:
        return round_half_up(part) / POINTS

    def slot_body(slot: Slot) -> dict[str, Any]:
        parts = slot.parts
        return {
            "provider_id": slot.provider.id,
            "provider_name": slot.provider.name,
            "room_id": slot.room.id,
            "room_name": slot.room.name,
            **times(slot.start, slot.end),
            "score": slot.score,
            "score_parts": {
                "preference": told(parts.preference),
                "gap": told(parts.gap),
                "room": told(parts.room),
                "overbook": told(parts.overbook),
            },
            "is_overbooked": slot.is_overbooked,
            "session_ids": slot.session_ids,
            "team": dict(slot.team),
        }

    return {
        "date": page.date.isoformat(),
        "appointment_type_id": page.kind.id,
        "total": page.total,
        "slots": [slot_body(slot) for slot in page.slots],
        "next_available_date": None if following is None else following.isoformat(),
        "blocked_by": page.blocked_by,
        "opens_later": [
            {"at": opening.at.astimezone(zone).isoformat(), "count": opening.count}
            for opening in page.opens_later
        ],
    }


def times_body(day: dt.date, start: int, end: int, zone: ZoneInfo) -> dict[str, str]:
    """Return an appointment's times, local and with their UTC offset."""
    return {
        "date": day.isoformat(),
        "start_time": format_time(start),
        "end_time": format_time(end),
        "start": instant(zone, day, start).isoformat(),
        "end": instant(zone, day, end).isoformat(),
    }
