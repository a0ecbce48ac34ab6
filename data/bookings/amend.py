"""Whose a booking is and what is noted of it, changed where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from data.bookings.decisions import Policy, refuse_patient_overlap
from data.bookings.grant import lock_unchanged, write
from data.bookings.reading import BookingRecord, require_version, row_of
from data.clinic.snapshot import ClinicSelection, load_clinic
from data.database.days_to_lock import patient_day
from data.database.locks import lock_days
from data.events.events import AMENDED
from solver.clinic.patients import patient_key


async def amend(
    connection: AsyncConnection,
    booking_id: str,
    changes: Mapping[str, Any],
    policy: Policy,
    *,
    version: int | None = None,
    allow_patient_overlap: bool = False,
) -> BookingRecord:
    """Change a booking's `patient_ref` or `notes`, those of the two that are given.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    StaleVersionError
        When it has changed since `version`.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """
    seen = await row_of(connection, booking_id)
    require_version(seen, version)
    patient = patient_key(changes.get("patient_ref", seen.patient_ref))
    newcomer = None if patient == patient_key(seen.patient_ref) else patient
    if newcomer is not None:
        await lock_days(connection, [patient_day(newcomer, seen.date)])
    before = await lock_unchanged(connection, seen)
    if all(getattr(before, name) == value for name, value in changes.items()):
        return before, before.timezone
    is_judged = before.effective_status != "cancelled" and not allow_patient_overlap
    if newcomer is not None and is_judged:
        part = ClinicSelection(provider_ids=(), room_ids=(), patient_keys=(newcomer,))
        clinic = await load_clinic(connection, before.date, before.date, part)
        span = (before.start_minute, before.start_minute + before.duration_minutes)
        room_id = str(before.room_id)
        refuse_patient_overlap(clinic, newcomer, before.date, span, room_id, ignored=booking_id)
    return await write(connection, before, policy, AMENDED, **changes)
