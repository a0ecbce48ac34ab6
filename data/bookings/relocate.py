"""A booking moved to another place, or two that change theirs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import batched
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from data.bookings.create import NOTHING_OVERRIDDEN, WRITTEN_AT_ONCE, Override
from data.bookings.decisions import BookingRequest, Decision, Place, Policy
from data.bookings.grant import free_of_expired_holds, grant, place_of, write
from data.bookings.reading import BookingRecord, require_state, row_of
from data.bookings.statements import RELOCATE_ALL, placed
from data.database.locks import lock_days
from data.database.transaction import ChangedMeanwhileError
from data.errors import (
    InvalidFieldError,
    InvalidStateError,
    PatientConflictError,
    RequestError,
    SlotUnavailableError,
)
from data.files.role_rows import team_of
from models.tables import BOOKINGS, TYPES


async def relocate(
    connection: AsyncConnection,
    before: Row[Any],
    granted: Decision,
    policy: Policy,
    action: str,
    override: Override = NOTHING_OVERRIDDEN,
) -> BookingRecord:
    """Write a booking to the place that it has won."""
    reason = override.reason if granted.slot.overrides else None
    place = placed(granted.slot)
    return await write(connection, before, policy, action, place, override_reason=reason)


async def relocate_all(
    connection: AsyncConnection,
    moves: Sequence[tuple[Row[Any], Decision]],
    policy: Policy,
    action: str,
) -> list[BookingRecord]:
    """Write bookings, which have left their places, to the places that they have won."""
    found: list[BookingRecord] = []
    for some in batched(moves, WRITTEN_AT_ONCE):
        asked = [
            {
                "id": str(before.id),
                "status": before.status,
                "actor": policy.actor,
                "action": action,
                "before": before.logged,
                **placed(granted.slot),
                "day": granted.slot.date.isoformat(),
            }
            for before, granted in some
        ]
        rows = {row.id: row for row in await connection.execute(RELOCATE_ALL, {"asked": asked})}
        found += [(rows[before.id], granted.clinic.settings.timezone) for before, granted in some]
    return found


async def reschedule(
    connection: AsyncConnection,
    booking_id: str,
    place: Place,
    policy: Policy,
    *,
    version: int | None,
    allow_patient_overlap: bool,
    override: Override = NOTHING_OVERRIDDEN,
    keep_team: bool = False,
) -> BookingRecord:
    """Move a booking; its old place is given up only if the new one is won.

    `place` may leave the type, the provider and the room empty: the type never changes, the
    provider stays, and so does the room where it is free, else it is the best free one. The team
    stays where the whole of it can; else there is another, or with `keep_team` a refusal. What the
    booking overrode at its old place is forgotten.

    Raises
    ------
    NotFoundError
        When there is no such booking, provider or room.
    InvalidStateError
        When it is not booked.
    StaleVersionError
        When it has changed since `version`.
    SlotUnavailableError
        When a rule forbids the new placement.
    PatientConflictError
        When the patient has an overlapping booking and the caller did not allow it.
    """

    def request_of(row: Row[Any]) -> BookingRequest:
        there = replace(
            place,
            appointment_type_id=str(row.appointment_type_id),
            provider_id=place.provider_id or str(row.provider_id),
        )
        return BookingRequest(
            there,
            policy,
            row.patient_ref,
            allow_patient_overlap,
            ignored=frozenset({booking_id}),
            room_before=str(row.room_id),
            override=override.codes,
            kept_team=team_of(row.team),
            must_keep=keep_team,
        )

    seen = await row_of(connection, booking_id)
    require_state(seen, ("booked",), "rescheduled", version)
    request = request_of(seen)
    granted = await grant(connection, request)
    before = await row_of(connection, booking_id, lock=True)
    require_state(before, ("booked",), "rescheduled", version)
    if request_of(before) != request:
        raise ChangedMeanwhileError
    await free_of_expired_holds(connection, granted.clinic, [placed(granted.slot)])
    return await relocate(connection, before, granted, policy, "reschedule", override)


async def swap(
    connection: AsyncConnection, a: str, b: str, policy: Policy, *, accept_overbooked: bool
) -> tuple[BookingRecord, BookingRecord]:
    """Let two bookings exchange provider, room, date and start, both or neither.

    Raises
    ------
    InvalidFieldError
        When the two are one.
    NotFoundError
        When there is no such booking.
    InvalidStateError
        When one is not booked, or is of a type that has roles.
    SlotUnavailableError
        When a rule forbids either new placement, in whichever order they are made.
    PatientConflictError
        When a patient's bookings would overlap.
    """
    if a == b:
        raise InvalidFieldError("b", "must name another booking than a")

    def requests_of(rows: Mapping[str, Row[Any]]) -> dict[str, BookingRequest]:
        for row in rows.values():
            require_state(row, ("booked",), "swapped", None)
        accept = accept_overbooked or any(row.is_overbooked for row in rows.values())
        return {
            key: BookingRequest(
                place_of(rows[other], rows[key], accept_overbooked=accept),
                policy,
                rows[key].patient_ref,
                allow_patient_overlap=False,
                ignored=frozenset({a, b}),
            )
            for key, other in ((a, b), (b, a))
        }

    seen = {key: await row_of(connection, key) for key in sorted((a, b))}
    requests = requests_of(seen)
    await _require_no_roles(connection, seen.values())
    looks = [await requests[key].look(connection) for key in (a, b)]
    locked = looks[0].lock_keys() | looks[1].lock_keys()
    await lock_days(connection, locked)
    # Those that have been swapped meanwhile have the same two places, and these are locked.
    before = {key: await row_of(connection, key, lock=True) for key in seen}
    await _require_no_roles(connection, before.values())
    granted = await _grant_both(connection, (a, b), requests_of(before))
    if (
        not granted[a].lock_keys() | granted[b].lock_keys() <= locked
    ):  # moved elsewhere; or a buffer or a cap edited
        raise ChangedMeanwhileError
    for seen_by_one in granted.values():
        place = placed(seen_by_one.slot)
        await free_of_expired_holds(connection, seen_by_one.clinic, [place])
    await vacate_places(connection, [a, b])
    after = {
        key: await relocate(connection, before[key], granted[key], policy, "swap")
        for key in granted
    }
    return after[a], after[b]


async def _require_no_roles(connection: AsyncConnection, rows: Iterable[Row[Any]]) -> None:
    """Refuse to swap bookings of types with roles: their teams belong to the times they have."""
    kinds = {row.appointment_type_id for row in rows}
    with_roles = select(TYPES.c.name).where(TYPES.c.id.in_(kinds), TYPES.c.roles != [])
    if (name := await connection.scalar(with_roles.limit(1))) is not None:
        raise InvalidStateError(
            f"{name} has roles, which people fill at that time: it cannot be swapped; reschedule"
            " the bookings one by one."
        )


async def vacate_places(connection: AsyncConnection, ids: Collection[Any]) -> None:
    """Cancel bookings for a moment, so that the constraints let others take their places.

    A version below 0 marks such a row: in the history nothing has happened to it.
    """
    await connection.execute(
        update(BOOKINGS)
        .where(BOOKINGS.c.id.in_(ids))
        .values(status="cancelled", expires_at=None, version=-BOOKINGS.c.version)
    )


async def _grant_both(
    connection: AsyncConnection, pair: tuple[str, str], requests: dict[str, BookingRequest]
) -> dict[str, Decision]:
    """Return both new placements, the second feasible with the first in place."""
    refusal: RequestError | None = None
    for first, second in (pair, pair[::-1]):
        try:
            granted = await requests[first].look(connection, certify=True)
            standing = granted.as_booking(first)
            other = await requests[second].look(connection, beside=(standing,), certify=True)
        except (SlotUnavailableError, PatientConflictError) as error:
            refusal = refusal or error
        else:
            return {first: granted, second: other}
    assert refusal is not None
    raise refusal
