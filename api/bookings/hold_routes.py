"""``/holds``: placements reserved while a person decides."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.access.require import allow
from api.bookings.idempotent_write import WriterDependency
from api.bookings.schemas import BookingOut, ConfirmIn, HoldIn
from api.http.errors import PROBLEMS
from data.bookings import create as bookings
from data.bookings import status
from data.bookings.create import Details
from data.files.fields import Id

router = APIRouter(prefix="/holds", tags=["bookings"])


HoldId = Annotated[Id, Path()]


@router.post(
    "",
    operation_id="createHold",
    dependencies=[allow("scheduler", "bookings")],
    summary="Reserve a placement for some minutes",
    status_code=201,
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def create(body: HoldIn, writer: WriterDependency) -> Response:
    """Hold, under the same rules as a booking; when the time is over it blocks nobody."""
    details = writer.details(body)
    return await writer.create(
        lambda connection, policy: bookings.hold(
            connection, body.place(), details, policy, body.minutes
        )
    )


@router.post(
    "/{hold_id}/confirm",
    operation_id="confirmHold",
    dependencies=[allow("scheduler", "bookings")],
    summary="Book what a hold reserves",
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def confirm(
    hold_id: HoldId, writer: WriterDependency, body: ConfirmIn | None = None
) -> Response:
    """Book it, once, while the hold lasts, if every rule still allows it.

    Without `version` a hold that was moved since it was made is refused.
    """
    body = body or ConfirmIn()
    details = Details(body.patient_ref, body.notes, body.allow_patient_overlap)
    return await writer.update(
        lambda connection, policy: status.confirm(
            connection,
            hold_id,
            details,
            policy,
            version=body.version,
            accept_overbooked=body.accept_overbooked,
        )
    )
