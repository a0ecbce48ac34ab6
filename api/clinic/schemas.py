"""What answers about the clinic's rows and files say."""

from __future__ import annotations

import datetime as dt
from typing import Self

from pydantic import BaseModel, Field

from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time
from solver.rules.checker import Violation

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
