"""What requests and answers about bookings say."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import Row

from api.slots.schemas import times_body
from data.files.fields import (
    Date,
    Id,
    OverrideReason,
    Overrides,
    PatientRef,
    StartTime,
    Strict,
    Text,
)
from data.files.role_rows import Members, team_of
from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Status
from solver.rules.checker import Violation
from solver.rules.codes import in_order
from solver.scoring.parts import POINTS

if TYPE_CHECKING:  # the commands that only want a schema do without the solver
    from data.bookings.decisions import Place


class OverrideIn(Strict):
    """Rules of policy that are to be overridden, and why: both or neither."""

    override: Annotated[Overrides, Field(min_length=1)] | None = Field(
        None,
        description="Codes of rules of policy that may be broken; it is refused for any other"
        " reason all the same. Needs the role manager, or that of SLOTWRIGHT_OVERRIDE_ROLE.",
    )
    override_reason: OverrideReason | None = Field(
        None, description="Why; it is in the history, for managers."
    )

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.override is None) != (self.override_reason is None):
            missing = "override" if self.override is None else "override_reason"
            words = "name the rules" if self.override is None else "say why"
            raise PydanticCustomError(
                "override", "is missing: {words}", {"field": missing, "words": words}
            )
        return self


class PlaceIn(OverrideIn):
    """A placement to take."""

    appointment_type_id: Id
    provider_id: Id
    date: Date
    start_time: StartTime
    room_id: Id | None = Field(None, description="None takes the best free room.")
    accept_overbooked: StrictBool = False
    allow_patient_overlap: StrictBool = False
    notes: Text | None = None
    team: Members = Field(
        default={},
        description="Who is to be in which role of the type, some or all; in the others is"
        " whoever is able and first by id.",
    )

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
            team_of(self.team),
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


class RescheduleIn(OverrideIn):
    """A new place for a booking."""

    date: Date
    start_time: StartTime
    provider_id: Id | None = Field(None, description="None keeps the provider.")
    room_id: Id | None = Field(None, description="None keeps the room if it is free.")
    team: Members = Field(default={}, description="Who is to be in which role now, some or all.")
    keep_team: StrictBool = Field(
        False,
        description="Refuse if somebody of the team cannot; else the team is completed anew.",
    )
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
    overrides: list[str] = Field(
        description="The codes of the rules that it was made against, on purpose."
    )
    team: dict[str, str] = Field(
        description="Who is in which role of its type: ids of providers, by the roles' keys."
    )
    notes: str | None
    score: float | None
    version: int
    expires_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


def booking_body(row: Row[Any], timezone: str) -> dict[str, Any]:
    """Return one booking, ready for JSON."""
    zone = ZoneInfo(timezone)

    def moment(value: dt.datetime | None) -> str | None:
        return None if value is None else value.astimezone(zone).isoformat()

    end = row.start_minute + row.duration_minutes
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
        "overrides": [*in_order(row.overrides)],
        "team": row.team,
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
    override_reason: str | None = Field(
        None, description="Why rules were overridden; managers and admins alone are told."
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
