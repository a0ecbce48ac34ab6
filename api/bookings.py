"""``/bookings``."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api.context import ContextDependency
from api.errors import Problem
from api.schemas import BookingIn, BookingOut, booking_body
from data import bookings
from data.bookings import BookingOrder
from data.clinic_file import Date, Id, Strict
from data.snapshot import BOOKINGS
from solver.clinic import Status

router = APIRouter(prefix="/bookings", tags=["bookings"])

BookingId = Annotated[Id, Path()]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem},
    409: {"model": Problem},
    422: {"model": Problem},
}


class BookingFilter(Strict):
    """Which bookings to list; several conditions narrow together."""

    date: Date | None = None
    provider_id: Id | None = None
    room_id: Id | None = None
    status: Status | None = None


@router.post(
    "",
    operation_id="createBooking",
    summary="Book a placement",
    status_code=201,
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def create(body: BookingIn, context: ContextDependency) -> dict[str, Any]:
    """Book, if every rule allows it at the moment of writing; else 409 with the reasons."""
    fields = dict(body)
    order = BookingOrder(start=fields.pop("start_time"), **fields)
    booked = await bookings.book(
        context.engine,
        order,
        now=dt.datetime.now(dt.UTC),
        weights=context.settings.weights,
        horizon_days=context.settings.horizon_days,
    )
    return booking_body(*booked)


@router.get(
    "",
    operation_id="listBookings",
    summary="List bookings",
    response_model=list[BookingOut],
    responses={422: {"model": Problem}},
)
async def find(
    query: Annotated[BookingFilter, Query()], context: ContextDependency
) -> list[dict[str, Any]]:
    """List bookings by date, start and id."""
    conditions = [BOOKINGS.c[name] == value for name, value in query if value is not None]
    return [booking_body(*found) for found in await bookings.find(context.engine, conditions)]


@router.get(
    "/{booking_id}",
    operation_id="getBooking",
    summary="One booking",
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def get(booking_id: BookingId, context: ContextDependency) -> dict[str, Any]:
    """Return one booking."""
    return booking_body(*await bookings.get(context.engine, booking_id))


@router.post(
    "/{booking_id}/cancel",
    operation_id="cancelBooking",
    summary="Cancel a booking",
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def cancel(booking_id: BookingId, context: ContextDependency) -> dict[str, Any]:
    """Cancel a booking; its place is free at once."""
    await bookings.cancel(context.engine, booking_id)
    return booking_body(*await bookings.get(context.engine, booking_id))
