"""What the API takes and gives, beyond the rows of the clinic file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import Row

from data.files.fields import Date, EndTime, Id, PatientRef, StartTime, Strict, Text
from solver.clinic.clock import format_time, instant
from solver.clinic.entities import DAY_MINUTES, Clinic, Span, Status
from solver.clinic.request import SlotRequest
from solver.rules.checker import Violation
from solver.scoring.parts import POINTS, round_half_up

if TYPE_CHECKING:  # the commands that only want a schema do without the solver
    from data.bookings.decisions import Place
    from solver.slots.query import Slot
    from solver.slots.search import SlotPage

MAX_LIMIT = 5000
DEFAULT_LIMIT = 50

DOCUMENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/yaml": {"schema": {"type": "string"}},
        },
    }
}
"""What OpenAPI says of a body that is a clinic file or a run file."""


class SlotQuery(Strict):
    """One slot query."""

    date: Date
    appointment_type_id: Id
    provider_id: list[Id] = Field(default=[], description="Repeatable; none means any provider.")
    preferred_start: StartTime | None = None
    preferred_end: EndTime | None = None
    rooms: Literal["best", "all"] = "best"
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT

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
        """Return the query as the solver has it."""
        return SlotRequest(
            self.appointment_type_id,
            self.date,
            now,
            provider_ids=frozenset(self.provider_id) or None,
            preferred=self.preferred,
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


class SlotsOut(BaseModel):
    """The answer to a slot query."""

    date: dt.date
    appointment_type_id: str
    total: int
    slots: list[SlotOut]
    next_available_date: dt.date | None
    blocked_by: dict[str, int]


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
        }

    return {
        "date": page.date.isoformat(),
        "appointment_type_id": page.kind.id,
        "total": page.total,
        "slots": [slot_body(slot) for slot in page.slots],
        "next_available_date": None if following is None else following.isoformat(),
        "blocked_by": page.blocked_by,
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


class PlaceIn(Strict):
    """A placement to take."""

    appointment_type_id: Id
    provider_id: Id
    date: Date
    start_time: StartTime
    room_id: Id | None = Field(None, description="None takes the best free room.")
    accept_overbooked: StrictBool = False
    allow_patient_overlap: StrictBool = False
    notes: Text | None = None

    def place(self) -> Place:
        """Return where the appointment is wanted."""
        from data.bookings.decisions import Place

        return Place(
            self.appointment_type_id,
            self.provider_id,
            self.date,
            self.start_time,
            self.room_id,
            self.accept_overbooked,
        )


class BookingIn(PlaceIn):
    """An appointment to book."""

    patient_ref: PatientRef


class HoldIn(PlaceIn):
    """A placement to reserve while a person decides."""

    patient_ref: PatientRef | None = None
    minutes: Annotated[StrictInt, Field(ge=1, le=60)] = 5


Version = Annotated[StrictInt | None, Field(description="Refuse if it has changed since.")]


class ConfirmIn(Strict):
    """What a hold still lacks."""

    patient_ref: PatientRef | None = None
    notes: Text | None = None
    version: Version = None
    accept_overbooked: StrictBool = False
    allow_patient_overlap: StrictBool = False


class RescheduleIn(Strict):
    """A new place for a booking."""

    date: Date
    start_time: StartTime
    provider_id: Id | None = Field(None, description="None keeps the provider.")
    room_id: Id | None = Field(None, description="None keeps the room if it is free.")
    version: Version = None
    accept_overbooked: StrictBool = False
    allow_patient_overlap: StrictBool = False


class SwapIn(Strict):
    """Two bookings that exchange their places."""

    a: Id
    b: Id
    accept_overbooked: StrictBool = False


class MoveIn(Strict):
    """A change of status."""

    version: Version = None


class VisitIn(MoveIn):
    """A change of status of a patient who is there."""

    confirm: StrictBool = Field(False, description="Do it on another date than the booking's, too.")


class UndoIn(MoveIn):
    """The last change of status is to be taken back."""

    accept_overbooked: StrictBool = False
    allow_patient_overlap: StrictBool = False


class BookingPatch(Strict):
    """What a booking is told beside its place; what is left out stays as it is."""

    patient_ref: PatientRef | None = None
    notes: Text | None = None
    version: Version = None
    allow_patient_overlap: StrictBool = False

    @property
    def changes(self) -> dict[str, Any]:
        """The fields of the booking that are given."""
        given = self.model_fields_set & {"patient_ref", "notes"}
        return {name: getattr(self, name) for name in given}


class BookingOut(BaseModel):
    """One booking."""

    id: str
    provider_id: str
    room_id: str
    appointment_type_id: str
    date: dt.date
    start_time: str
    end_time: str
    start: dt.datetime
    end: dt.datetime
    patient_ref: str | None
    status: Status
    is_overbooked: bool
    notes: str | None
    score: float | None
    version: int
    expires_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


def booking_body(row: Row[Any], timezone: str, duration: int) -> dict[str, Any]:
    """Return one booking, ready for JSON."""
    zone = ZoneInfo(timezone)

    def moment(value: dt.datetime | None) -> str | None:
        return None if value is None else value.astimezone(zone).isoformat()

    end = row.start_minute + duration
    times = times_body(row.date, row.start_minute, min(end, DAY_MINUTES), zone)
    return {
        "id": str(row.id),
        "provider_id": str(row.provider_id),
        "room_id": str(row.room_id),
        "appointment_type_id": str(row.appointment_type_id),
        **times,
        "patient_ref": row.patient_ref,
        "status": getattr(row, "effective_status", row.status),
        "is_overbooked": row.is_overbooked,
        "notes": row.notes,
        "score": None if row.score is None else row.score / POINTS,
        "version": row.version,
        "expires_at": moment(row.expires_at),
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


class SwapOut(BaseModel):
    """The two bookings after the exchange."""

    a: BookingOut
    b: BookingOut


class HistoryEntry(BaseModel):
    """One write to a booking."""

    at: dt.datetime
    actor: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Conflict(BaseModel):
    """A booking that an edit or an import leaves outside a rule."""

    booking_id: str
    provider_id: str
    provider_name: str
    room_id: str
    room_name: str
    appointment_type_id: str
    appointment_type_name: str
    patient_ref: str | None
    date: dt.date
    start_time: str
    rule: int = Field(
        description="The number of the rule in the documentation; 0: none of the seven."
    )
    code: str = Field(description="The code of what is wrong, as in the documentation.")
    detail: str

    @classmethod
    def of(cls, violation: Violation, clinic: Clinic) -> Self:
        """Return a violation as it is told; `clinic` has the rows that it names."""
        booking = violation.booking
        return cls(
            booking_id=booking.id,
            provider_id=booking.provider_id,
            provider_name=clinic.provider_by_id[booking.provider_id].name,
            room_id=booking.room_id,
            room_name=clinic.room_by_id[booking.room_id].name,
            appointment_type_id=booking.appointment_type_id,
            appointment_type_name=clinic.type_by_id[booking.appointment_type_id].name,
            patient_ref=booking.patient_ref,
            date=booking.date,
            start_time=format_time(booking.start),
            rule=violation.rule,
            code=violation.code,
            detail=violation.detail,
        )


class BrokenRule(BaseModel):
    """A rule that a booking breaks."""

    rule: int = Field(
        description="The number of the rule in the documentation; 0: none of the seven."
    )
    code: str = Field(description="The code of what is wrong, as in the documentation.")
    detail: str


class StandingConflict(BookingOut):
    """A live booking that is outside the rules now, and all that it breaks."""

    booking_id: str = Field(description="The same as `id`, as in an edit's `conflicts`.")
    provider_name: str
    room_name: str
    appointment_type_name: str
    rules: list[BrokenRule]


def standing_body(
    booking: dict[str, Any], violations: Iterable[Violation], clinic: Clinic
) -> dict[str, Any]:
    """Return a booking's body with the rules that it breaks."""
    return {
        **booking,
        "booking_id": booking["id"],
        "provider_name": clinic.provider_by_id[booking["provider_id"]].name,
        "room_name": clinic.room_by_id[booking["room_id"]].name,
        "appointment_type_name": clinic.type_by_id[booking["appointment_type_id"]].name,
        "rules": [{"rule": v.rule, "code": v.code, "detail": v.detail} for v in violations],
    }


CONFLICTING_BOOKINGS = Field(
    None,
    description="Only where not all are listed, but the first 1000 by date, start and id: how many "
    "bookings there are.",
)


class ImportOut(BaseModel):
    """What an import did."""

    imported: dict[str, int]
    removed: dict[str, int]
    warnings: list[Conflict]
    conflicting_bookings: int | None = CONFLICTING_BOOKINGS


class RemovalOut(BaseModel):
    """How a row went."""

    id: str
    deleted: bool
    deactivated: bool
    conflicts: list[Conflict]
    conflicting_bookings: int | None = CONFLICTING_BOOKINGS
