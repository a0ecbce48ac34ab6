"""``/bookings``."""

import asyncio
import datetime as dt
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any, Self
from urllib.parse import urlencode

import orjson
from anyio import CapacityLimiter
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access.context import ContextDependency
from api.access.rate_limits import Group
from api.access.require import CallerDependency, allow
from api.bookings.idempotent_write import WriterDependency
from api.bookings.schemas import (
    BookingIn,
    BookingOut,
    BookingPatch,
    HistoryEntry,
    MoveIn,
    RescheduleIn,
    StandingConflict,
    SwapIn,
    SwapOut,
    UndoIn,
    VisitIn,
    booking_body,
    standing_body,
)
from api.http.errors import PROBLEMS, Problem
from data import audit
from data.bookings import reading, relocate
from data.bookings import status as bookings_status
from data.bookings.amend import amend
from data.bookings.decisions import Place
from data.bookings.outside_rules import find_outside
from data.bookings.reading import PageCursor
from data.clinic.snapshot import EFFECTIVE_STATUS
from data.errors import InvalidFieldError
from data.files.fields import BookingDate, Date, Id, PatientRef, Strict
from data.files.role_rows import team_of
from models.tables import BOOKINGS
from solver.clinic.clock import parse_time
from solver.clinic.entities import DAY_MINUTES, Status
from solver.clinic.patients import patient_key
from solver.rules.checker import Violation

router = APIRouter(prefix="/bookings", tags=["bookings"])


BookingId = Annotated[Id, Path()]


MOST_LISTED = 1000


LISTED = 200


class Page(Strict):
    """Which part of a list is wanted."""

    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = LISTED
    cursor: str | None = Field(
        None, description="Where to go on: what the `Link` header of the page before says."
    )

    @property
    def after(self) -> PageCursor | None:
        """The place after which to go on.

        Raises
        ------
        InvalidFieldError
            When the cursor is not one of ours.
        """
        if self.cursor is None:
            return None
        try:
            return PageCursor(*PLACE.validate_json(urlsafe_b64decode(self.cursor.encode())))
        except ValueError:
            raise InvalidFieldError(
                "cursor", "is none that a Link header gave; leave it out to begin anew"
            ) from None

    def link(self, request: Request, last: dict[str, Any]) -> dict[str, str]:
        """Return the header that leads to the page after one whose last booking is `last`."""
        start = parse_time(last["start_time"])
        cursor = urlsafe_b64encode(orjson.dumps([last["date"], start, last["id"]])).decode()
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"]
        target = f"{request.url.path}?{urlencode([*query, ('cursor', cursor)])}"
        return {"Link": f'<{target}>; rel="next"'}


class Dates(Page):
    """A page of the bookings of some dates."""

    first: BookingDate | None = Field(None, alias="from", description="Included.")
    last: BookingDate | None = Field(None, alias="to", description="Included.")
    provider_id: Id | None = None
    room_id: Id | None = None

    @model_validator(mode="after")
    def _dates_are_in_order(self) -> Self:
        if self.first is not None and self.last is not None and self.last < self.first:
            raise PydanticCustomError("range", "must not be before from", {"field": "to"})
        return self

    @property
    def owners(self) -> list[Any]:
        """The conditions on provider and room."""
        given = {"provider_id": self.provider_id, "room_id": self.room_id}
        return [BOOKINGS.c[name] == key for name, key in given.items() if key is not None]


class BookingFilter(Dates):
    """Which bookings to list; several conditions narrow together."""

    date: Date | None = None
    status: Status | None = None
    patient_ref: PatientRef | None = None

    @property
    def conditions(self) -> list[Any]:
        """The conditions in the database."""
        columns = BOOKINGS.c
        found = self.owners
        if self.date is not None:
            found.append(columns.date == self.date)
        if self.first is not None:
            found.append(columns.date >= self.first)
        if self.last is not None:
            found.append(columns.date <= self.last)
        if self.status is not None:
            found.append(EFFECTIVE_STATUS.in_([self.status]))
        if self.patient_ref is not None:
            found.append(columns.patient_key == patient_key(self.patient_ref))
        return found


PLACE = TypeAdapter[tuple[dt.date, int, str]](
    tuple[BookingDate, Annotated[int, Field(ge=0, lt=DAY_MINUTES)], Id]
)
"""What a cursor says: date, start and id of the last booking of a page."""


READS_AT_ONCE = CapacityLimiter(1)
"""Holding a whole book against the rules takes a core for a moment: one reader at a time."""


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
    return await writer.book(body.place(), writer.details(body))


@router.get(
    "",
    operation_id="listBookings",
    dependencies=[allow("viewer")],
    summary="List bookings",
    response_model=list[BookingOut],
    responses={422: {"model": Problem}},
)
async def find(
    query: Annotated[BookingFilter, Query()], request: Request, context: ContextDependency
) -> Response:
    """List bookings by date, start and id; a `Link` header leads to the next page."""
    found = await reading.find(
        context.engine, query.conditions, after=query.after, limit=query.limit + 1
    )
    listed = found[: query.limit]
    bodies = await asyncio.to_thread(lambda: [booking_body(*each) for each in listed])
    headers = query.link(request, bodies[-1]) if len(found) > query.limit else None
    return Response(orjson.dumps(bodies), 200, headers, "application/json")


@router.get(
    "/conflicts",
    operation_id="listConflicts",
    dependencies=[allow("viewer")],
    summary="Live bookings from today on that are outside the rules, with these",
    response_model=list[StandingConflict],
    responses={422: {"model": Problem}},
)
async def conflicts(
    query: Annotated[Dates, Query()], request: Request, context: ContextDependency
) -> Response:
    """List what an edit or an import left outside the rules: who is to be called.

    By date, start and id; a `Link` header leads to the next page, and `X-Total-Count` tells how
    many there are in all.
    """
    async with READS_AT_ONCE:
        outside = await find_outside(
            context.engine,
            first=query.first,
            last=query.last,
            provider_id=query.provider_id,
            room_id=query.room_id,
            after=query.after,
            limit=query.limit + 1,
        )
    broken: dict[str, list[Violation]] = {}
    for violation in outside.violations:
        broken.setdefault(violation.booking.id, []).append(violation)
    ids = list(broken)[: query.limit]
    found = await reading.find(context.engine, [BOOKINGS.c.id.in_(ids)])
    bodies = await asyncio.to_thread(
        lambda: [
            standing_body(body, broken[body["id"]], outside.clinic)
            for body in (booking_body(*each) for each in found)
        ]
    )
    headers = {"X-Total-Count": str(outside.count)}
    if len(broken) > query.limit and bodies:
        headers |= query.link(request, bodies[-1])
    return Response(orjson.dumps(bodies), 200, headers, "application/json")


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
        a, b = await relocate.swap(
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
    return booking_body(*await reading.get(context.engine, booking_id))


@router.get(
    "/{booking_id}/history",
    operation_id="bookingHistory",
    dependencies=[allow("viewer")],
    summary="Every write to a booking",
    response_model=list[HistoryEntry],
    response_model_exclude_unset=True,
    responses=PROBLEMS,
)
async def history(
    booking_id: BookingId, context: ContextDependency, caller: CallerDependency
) -> list[dict[str, Any]]:
    """Tell who changed a booking when, before and after, oldest first."""
    entries = await audit.history(
        context.engine, "booking", booking_id, with_reasons=caller.may("manager")
    )
    if not entries:  # of one that was removed the history stays
        await reading.get(context.engine, booking_id)
    return entries


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
        team_of(body.team),
    )
    override = writer.overriding(body)
    return await writer.update(
        lambda connection, policy: relocate.reschedule(
            connection,
            booking_id,
            place,
            policy,
            version=body.version,
            allow_patient_overlap=body.allow_patient_overlap,
            override=override,
            keep_team=body.keep_team,
        )
    )


@router.patch(
    "/{booking_id}",
    operation_id="patchBooking",
    dependencies=[allow("scheduler", "bookings")],
    summary="Change a booking's patient or notes",
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def patch(booking_id: BookingId, body: BookingPatch, writer: WriterDependency) -> Response:
    """Say who a booking is for, or what there is to know; its place stays as it is."""
    if body.changes.get("patient_ref", "") is None:
        raise InvalidFieldError("patient_ref", "must name someone; leave it out to keep who it is")
    return await writer.update(
        lambda connection, policy: amend(
            connection,
            booking_id,
            body.changes,
            policy,
            version=body.version,
            allow_patient_overlap=body.allow_patient_overlap,
        )
    )


@router.post(
    "/{booking_id}/undo",
    operation_id="undoBooking",
    dependencies=[allow("scheduler", "bookings")],
    summary="Take the last change of status back",
    response_model=BookingOut,
    responses=PROBLEMS,
)
async def undo(
    booking_id: BookingId, writer: WriterDependency, body: UndoIn | None = None
) -> Response:
    """Take it back while it is recent; what was cancelled has to win its place again."""
    body = body or UndoIn()
    return await writer.update(
        lambda connection, policy: bookings_status.undo(
            connection,
            booking_id,
            policy,
            version=body.version,
            accept_overbooked=body.accept_overbooked,
            allow_patient_overlap=body.allow_patient_overlap,
        )
    )


def _add_move[Body: MoveIn](
    action: bookings_status.Transition,
    operation_id: str,
    path: str,
    summary: str,
    body_type: type[Body],
    group: Group | None = None,
) -> None:
    @router.post(
        f"/{{booking_id}}/{path}",
        operation_id=operation_id,
        dependencies=[allow("scheduler", group)],
        summary=summary,
        response_model=BookingOut,
        responses=PROBLEMS,
    )
    async def move(
        booking_id: BookingId,
        writer: WriterDependency,
        body: body_type | None = None,  # type: ignore[valid-type]
    ) -> Response:
        given: dict[str, Any] = {} if body is None else dict(body)
        return await writer.update(
            lambda connection, policy: bookings_status.change_status(
                connection, booking_id, action, policy, **given
            )
        )


_add_move(
    "cancel",
    "cancelBooking",
    "cancel",
    "Cancel a booking; its place is free at once",
    MoveIn,
    "cancellations",
)


_add_move("check_in", "checkInBooking", "check-in", "The patient has come", VisitIn)


_add_move("complete", "completeBooking", "complete", "The appointment is over", VisitIn)


_add_move("no_show", "markNoShow", "no-show", "The patient has not come", MoveIn)
