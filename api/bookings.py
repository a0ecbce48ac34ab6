"""``/bookings``."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access import allow
from api.context import ContextDependency
from api.errors import PROBLEMS, Problem
from api.limits import Group
from api.schemas import (
    BookingIn,
    BookingOut,
    HistoryEntry,
    MoveIn,
    RescheduleIn,
    SwapIn,
    SwapOut,
    booking_body,
)
from api.writes import WriterDependency
from data import audit, bookings
from data.bookings import Details
from data.clinic_file import Date, Id, Strict
from data.deciding import Place
from data.snapshot import BOOKINGS, EFFECTIVE_STATUS
from solver.clinic import Status

router = APIRouter(prefix="/bookings", tags=["bookings"])

BookingId = Annotated[Id, Path()]


class BookingFilter(Strict):
    """Which bookings to list; several conditions narrow together."""

    date: Date | None = None
    provider_id: Id | None = None
    room_id: Id | None = None
    status: Status | None = None


@router.post(
    "",
    operation_id="createBooking",
    dependencies=[allow("scheduler", "bookings")],
    summary="Book a placement",
    status_code=201,
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def create(body: BookingIn, writer: WriterDependency) -> Response:
    """Book, if every rule allows it at the moment of writing; else 409 with the reasons."""
    details = Details(body.patient_ref, body.notes, body.allow_patient_overlap)
    return await writer.order(body.place(), details)


@router.get(
    "",
    operation_id="listBookings",
    dependencies=[allow("viewer")],
    summary="List bookings",
    response_model=list[BookingOut],
    responses={422: {"model": Problem}},
)
async def find(
    query: Annotated[BookingFilter, Query()], context: ContextDependency
) -> list[dict[str, Any]]:
    """List bookings by date, start and id."""
    given = {name: value for name, value in query if value is not None}
    conditions: list[Any] = []
    if "status" in given:
        conditions.append(EFFECTIVE_STATUS.in_([given.pop("status")]))
    conditions += [BOOKINGS.c[name] == value for name, value in given.items()]
    return [booking_body(*found) for found in await bookings.find(context.engine, conditions)]


@router.post(
    "/swap",
    operation_id="swapBookings",
    dependencies=[allow("scheduler", "bookings")],
    summary="Let two bookings exchange their places",
    response_model=SwapOut,
    responses=PROBLEMS,
)
async def swap(body: SwapIn, writer: WriterDependency) -> Response:
    """Exchange provider, room, date and start of two bookings, both or neither."""

    async def work(connection: AsyncConnection) -> dict[str, Any]:
        a, b = await bookings.swap(
            connection,
            body.a,
            body.b,
            writer.policy,
            accept_overbooked=body.accept_overbooked,
        )
        writer.tell(a, b)
        return {"a": booking_body(*a), "b": booking_body(*b)}

    return await writer.answer(work)


@router.get(
    "/{booking_id}",
    operation_id="getBooking",
    dependencies=[allow("viewer")],
    summary="One booking",
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def get(booking_id: BookingId, context: ContextDependency) -> dict[str, Any]:
    """Return one booking."""
    return booking_body(*await bookings.get(context.engine, booking_id))


@router.get(
    "/{booking_id}/history",
    operation_id="bookingHistory",
    dependencies=[allow("viewer")],
    summary="Every write to a booking",
    response_model=list[HistoryEntry],
    responses=PROBLEMS,
)
async def history(booking_id: BookingId, context: ContextDependency) -> list[dict[str, Any]]:
    """Tell who changed a booking when, before and after, oldest first."""
    await bookings.get(context.engine, booking_id)
    return await audit.history(context.engine, "booking", booking_id)


@router.post(
    "/{booking_id}/reschedule",
    operation_id="rescheduleBooking",
    dependencies=[allow("scheduler", "bookings")],
    summary="Move a booking",
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def reschedule(
    booking_id: BookingId, body: RescheduleIn, writer: WriterDependency
) -> Response:
    """Give up the old place only if the new one is won."""
    place = Place(
        "",
        body.provider_id or "",
        body.date,
        body.start_time,
        body.room_id,
        body.accept_overbooked,
    )
    return await writer.booking(
        lambda connection, policy: bookings.reschedule(
            connection,
            booking_id,
            place,
            policy,
            version=body.version,
            allow_patient_overlap=body.allow_patient_overlap,
        )
    )


def _add_move(action: bookings.Move, path: str, summary: str, group: Group | None = None) -> None:
    @router.post(
        f"/{{booking_id}}/{path}",
        operation_id=f"{action.replace('_i', 'I')}Booking",
        dependencies=[allow("scheduler", group)],
        summary=summary,
        response_model=BookingOut,
        responses=PROBLEMS,
    )
    async def move(
        booking_id: BookingId, writer: WriterDependency, body: MoveIn | None = None
    ) -> Response:
        version = None if body is None else body.version
        return await writer.booking(
            lambda connection, policy: bookings.move(
                connection, booking_id, action, policy, version=version
            )
        )


_add_move("cancel", "cancel", "Cancel a booking; its place is free at once", "cancellations")
_add_move("check_in", "check-in", "The patient has come")
_add_move("complete", "complete", "The appointment is over")
