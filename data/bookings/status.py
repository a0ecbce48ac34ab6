"""Changes of a booking's status: confirmed, checked in, completed, cancelled, and taken back."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from data import audit
from data.bookings.create import Details
from data.bookings.decisions import (
    BookingRequest,
    Policy,
    load_around,
    refuse_patient_overlap,
)
from data.bookings.grant import (
    free_of_expired_holds,
    grant,
    lock_unchanged,
    minutes_of,
    place_of,
    write,
)
from data.bookings.in_turn import foresee, foresee_lock_keys
from data.bookings.reading import BookingRecord, require_state, require_version, row_of
from data.bookings.statements import CANCEL_EXPIRED, as_it_stands, placed
from data.database.locks import lock_days
from data.database.transaction import ChangedMeanwhileError
from data.errors import (
    InvalidFieldError,
    InvalidStateError,
    SlotUnavailableError,
    StaleVersionError,
)
from data.files.role_rows import team_of
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time, instant
from solver.rules.checked_book import BookChecker

type Transition = Literal["cancel", "check_in", "complete", "no_show"]


_TRANSITIONS: dict[Transition, tuple[tuple[str, ...], str, str]] = {
    "cancel": (("held", "booked", "checked_in"), "cancelled", "cancelled"),
    "check_in": (("booked", "no_show"), "checked_in", "checked in"),
    "complete": (("checked_in",), "completed", "completed"),
    "no_show": (("booked",), "no_show", "marked as a no-show"),
}
"""From which states a change leads to which, and what is said to have been done."""


_REVERSIBLE = [
    {"held", "cancelled"},
    {"booked", "cancelled"},
    {"checked_in", "cancelled"},
    {"booked", "checked_in"},
    {"checked_in", "completed"},
    {"booked", "no_show"},
    {"no_show", "checked_in"},
]
"""Pairs of states between which a change can be taken back, and taking it back likewise."""


# Changing the state


async def confirm(
    connection: AsyncConnection,
    booking_id: str,
    details: Details,
    policy: Policy,
    *,
    version: int | None = None,
    accept_overbooked: bool = False,
) -> BookingRecord:
    """Book what a hold reserves, once, while it lasts, as long as the rules allow it.

    Raises
    ------
    NotFoundError
        When there is no such hold.
    InvalidFieldError
        When no one said who the patient is.
    InvalidStateError
        When the hold has run out, was cancelled or is booked already.
    StaleVersionError
        When it has changed since `version`; without one, when it is not where it was held.
    SlotUnavailableError
        When a rule forbids the place by now; the hold stays until it runs out.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """
    seen = await row_of(connection, booking_id)
    require_state(seen, ("held",), "confirmed", version)
    if version is None:
        await _require_where_held(connection, seen)
    patient_ref = details.patient_ref or seen.patient_ref
    if patient_ref is None:
        raise InvalidFieldError("patient_ref", "is needed, since the hold has none")
    request = BookingRequest(
        place_of(seen, seen, accept_overbooked=accept_overbooked or seen.is_overbooked),
        policy,
        patient_ref,
        details.allow_patient_overlap,
        ignored=frozenset({booking_id}),
        is_given=True,
        minutes=minutes_of(seen),
        override=frozenset(seen.overrides),
        kept_team=team_of(seen.team),
    )
    # The hold may run out at this very moment and its place be decided on by another.
    clinic = await load_around(connection, [request])
    _, won = await asyncio.to_thread(foresee, clinic, [request])
    locked = won | foresee_lock_keys(clinic, [request])
    await lock_days(connection, locked)
    clinic = await load_around(connection, [request])
    if not foresee_lock_keys(clinic, [request]) <= locked:
        raise ChangedMeanwhileError
    before = await lock_unchanged(connection, seen)
    require_state(before, ("held",), "confirmed", None)
    place = await asyncio.to_thread(_decide_where_it_stands, clinic, request, before)
    others = clinic.with_bookings(b for b in clinic.bookings if b.id != booking_id)
    await free_of_expired_holds(connection, others, [place])
    notes = details.notes or before.notes
    told = {"status": "booked", "patient_ref": patient_ref, "notes": notes}
    return await write(connection, before, policy, "confirm", place, **told)


async def _require_where_held(connection: AsyncConnection, row: Row[Any]) -> None:
    """Refuse a hold that a plan or an import has moved since it was made.

    Whoever made it has not seen the place where it now is.
    """
    held = await audit.first_written(connection, "booking", row.id)
    place = {
        "provider_id": str(row.provider_id),
        "room_id": str(row.room_id),
        "date": row.date.isoformat(),
        "start_minute": row.start_minute,
    }
    if held is not None and any(held.get(name) != value for name, value in place.items()):
        raise StaleVersionError(
            f"The hold was moved after it was made: it is on {row.date} at "
            f"{format_time(row.start_minute)} now. Read it again, and send its version to book it "
            "there.",
            version=row.version,
        )


def _decide_where_it_stands(
    clinic: Clinic, request: BookingRequest, row: Row[Any]
) -> dict[str, Any]:
    """Return the place of a booking that stands in `clinic`, as the rules have it by now.

    What could be booked there afresh may stay, and so may what breaks no rule beside the others:
    one that came first is not overbooked by those that were since. What the booking overrides is
    not asked again, and stays as it was granted.
    """
    try:
        slot = request.decide(clinic).slot
        return as_it_stands(row) if request.override else placed(slot)
    except SlotUnavailableError:
        (standing,) = (b for b in clinic.bookings if b.id == str(row.id))
        if any(BookChecker(clinic, request.policy.now).violations_of(standing)):
            raise
    if not request.allow_patient_overlap:
        span = (row.start_minute, row.start_minute + row.duration_minutes)
        where = row.date, span, str(row.room_id)
        refuse_patient_overlap(clinic, request.patient_key, *where, ignored=str(row.id))
    return as_it_stands(row)


async def change_status(
    connection: AsyncConnection,
    booking_id: str,
    action: Transition,
    policy: Policy,
    *,
    version: int | None = None,
    confirm: bool = False,
) -> BookingRecord:
    """Cancel, check in or complete a booking, or mark a no-show.

    Whoever was marked as a no-show and comes after all is checked in.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    InvalidStateError
        When its status does not allow the change; when it is checked in or completed on another
        date than its own, without `confirm`; when it is a no-show before it has begun.
    StaleVersionError
        When it has changed since `version`.
    """
    allowed, status, done = _TRANSITIONS[action]
    before = await row_of(connection, booking_id, lock=True)
    require_state(before, allowed, done, version)
    if action in ("check_in", "complete") and not confirm:
        today = _today(before, policy)
        if today != before.date:
            raise InvalidStateError(
                f"The booking is on {before.date} and today is {today}; "
                f"send confirm: true if it is to be {done} all the same.",
                booking_status=before.effective_status,
            )
    if action == "no_show" and policy.now < _begins(before):
        raise InvalidStateError(
            "A booking cannot be marked as a no-show before it has begun.",
            booking_status=before.effective_status,
        )
    return await write(connection, before, policy, action, status=status)


def _today(row: Row[Any], policy: Policy) -> dt.date:
    return policy.now.astimezone(ZoneInfo(row.timezone)).date()


def _begins(row: Row[Any]) -> dt.datetime:
    return instant(ZoneInfo(row.timezone), row.date, row.start_minute)


async def undo(
    connection: AsyncConnection,
    booking_id: str,
    policy: Policy,
    *,
    version: int | None = None,
    accept_overbooked: bool = False,
    allow_patient_overlap: bool = False,
) -> BookingRecord:
    """Take the last change of a booking's status back, while that is recent enough.

    Taking back is a change like any other, and can be taken back. What was cancelled is decided
    on afresh: its place must still be allowed, and free.

    Raises
    ------
    NotFoundError
        When there is no such booking.
    StaleVersionError
        When it has changed since `version`.
    InvalidStateError
        When there is nothing to take back, or it is too late.
    SlotUnavailableError
        When a rule forbids the place that was given up.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """
    seen = await row_of(connection, booking_id)
    require_version(seen, version)
    last = await audit.last_change(connection, "booking", seen.id, "status")
    if (
        last is None
        or last.latter != seen.effective_status
        or last.action == CANCEL_EXPIRED
        or not _can_be_taken_back(last)
    ):
        raise InvalidStateError(
            "There is no change of status to take back.", booking_status=seen.effective_status
        )
    _require_recent(seen, last, policy)
    expires_at = last.before.get("expires_at")
    if expires_at is not None:
        expires_at = dt.datetime.fromisoformat(expires_at)
        if expires_at <= policy.now:
            raise InvalidStateError(
                "The time of the hold is over; cancel the booking, or hold the place again.",
                booking_status=seen.effective_status,
            )
    told = {"status": last.former, "expires_at": expires_at}
    if last.latter != "cancelled":
        before = await lock_unchanged(connection, seen)
        return await write(connection, before, policy, "undo", **told)
    request = BookingRequest(
        place_of(seen, seen, accept_overbooked=accept_overbooked or seen.is_overbooked),
        policy,
        seen.patient_ref,
        allow_patient_overlap,
        ignored=frozenset({booking_id}),
        is_given=True,
        minutes=minutes_of(seen),
        override=frozenset(seen.overrides),
        kept_team=team_of(seen.team),
    )
    granted = await grant(connection, request)
    before = await lock_unchanged(connection, seen)
    place = as_it_stands(before) if before.overrides else placed(granted.slot)
    await free_of_expired_holds(connection, granted.clinic, [place])
    return await write(connection, before, policy, "undo", place, **told)


def _can_be_taken_back(last: Row[Any]) -> bool:
    """Whether a change of status may; a confirmation taken back is confirmed, not taken back."""
    is_confirmed = (last.former, last.latter) == ("held", "booked")
    return is_confirmed or {last.former, last.latter} in _REVERSIBLE


def _require_recent(row: Row[Any], last: Row[Any], policy: Policy) -> None:
    """Refuse to take back what is too old; a late check-in can be all day."""
    if (last.former, last.latter) == ("no_show", "checked_in"):
        if last.at.astimezone(ZoneInfo(row.timezone)).date() == _today(row, policy):
            return
        limit = "on the same day"
    else:
        if last.age <= dt.timedelta(minutes=policy.undo_minutes):
            return
        limit = f"for {policy.undo_minutes} minutes"
    raise InvalidStateError(
        f"It is too late: a change of status can be taken back {limit}.",
        booking_status=row.effective_status,
    )
