"""One request that writes: one transaction, committed before the answer; repeatable by its key."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
from fastapi import Depends, Header, Request, Response
from pydantic import Field
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access.callers import Caller
from api.access.context import Context, ContextDependency
from api.access.require import CallerDependency
from api.bookings.schemas import BookingIn, HoldIn, OverrideIn, booking_body
from api.http import errors
from api.http.errors import ForbiddenError
from api.service import metrics
from data.bookings.create import NOTHING_OVERRIDDEN, Details, Order, Override
from data.bookings.decisions import Place, Policy
from data.bookings.group_commit import IdempotentOrder
from data.bookings.reading import BookingRecord
from data.database.idempotency import Answer, RepeatableRequest, answer_once
from data.errors import InvalidFieldError, RequestError
from data.events.events import run_and_tell
from data.files.wording import Form

JSON = "application/json"


REPLAYED = "Idempotency-Replayed"


IdempotencyKey = Annotated[
    str,
    Field(min_length=1, max_length=255),
    Form(
        r"^[\x21-\x7e]+$",
        "must have letters, digits and signs of ASCII alone, and no spaces; a UUID will do",
    ),
]


class Writer:
    """Does the writing of one request.

    With an ``Idempotency-Key`` the answer, a refusal included, is kept in the same transaction and
    given again to the same request for 24 hours.
    """

    def __init__(self, request: Request, context: Context, caller: Caller, key: str | None) -> None:
        self._request = request
        self._context = context
        self._caller = caller
        self._key = key
        self._told: list[Row[Any]] = []

    @property
    def policy(self) -> Policy:
        """What decisions depend on beside the book."""
        settings = self._context.settings
        now, actor = dt.datetime.now(dt.UTC), self._caller.name
        return Policy(now, settings.weights, settings.horizon_days, actor, settings.undo_minutes)

    def overriding(self, asked: OverrideIn) -> Override:
        """Return what a request overrides, if its caller may.

        Raises
        ------
        ForbiddenError
            When the caller's role is too low.
        """
        if asked.override is None:
            return NOTHING_OVERRIDDEN
        role = self._context.settings.override_role
        if not self._caller.may(role):
            raise ForbiddenError(
                f"Overriding a rule needs the role {role}; the caller has the role "
                f"{self._caller.role}.",
                required_role=role,
            )
        return Override(frozenset(asked.override), asked.override_reason)

    def details(self, body: BookingIn | HoldIn) -> Details:
        """Return what a new booking or hold is told beside its place.

        Raises
        ------
        ForbiddenError
            As of :meth:`overriding`.
        """
        override = self.overriding(body)
        return Details(body.patient_ref, body.notes, body.allow_patient_overlap, override)

    async def book(self, place: Place, details: Details) -> Response:
        """Book, in one transaction with whoever else waits for the same."""
        order, group_commit = Order(place, details, self.policy), self._context.group_commit
        with _counting_refusals():
            if self._key is None:
                answer, is_repeat = _booked(await group_commit.book(order)), False
            else:
                kept = await group_commit.book_once(
                    order, IdempotentOrder(await self._repeatable(self._key), _booked, _refuse)
                )
                answer, is_repeat = kept.answer, kept.is_repeat
        response = _response(answer)
        if is_repeat:
            response.headers[REPLAYED] = "true"
        return _counted(response)

    async def create(
        self, work: Callable[[AsyncConnection, Policy], Awaitable[BookingRecord]]
    ) -> Response:
        """Write the one new booking that `work` returns, and count it as won or refused."""
        with _counting_refusals():
            return _counted(await self.update(work, 201))

    async def update(
        self, work: Callable[[AsyncConnection, Policy], Awaitable[BookingRecord]], status: int = 200
    ) -> Response:
        """Write, and answer with the one booking that `work` returns."""

        async def body(connection: AsyncConnection) -> Any:
            found = await work(connection, self.policy)
            self.tell(found)
            return booking_body(*found)

        return await self.answer(body, status)

    def tell(self, *found: BookingRecord) -> None:
        """Note, within the work of :meth:`answer`, what whoever listens is to be told of."""
        self._told += [row for row, *_ in found]

    async def answer(
        self, work: Callable[[AsyncConnection], Awaitable[Any]], status: int = 200
    ) -> Response:
        """Write, and answer with what `work` returns."""

        async def once(connection: AsyncConnection) -> Answer:
            return Answer(status, orjson.dumps(await work(connection)))

        if self._key is None:
            return _response(await self._run(once))
        repeatable = await self._repeatable(self._key)
        done_now = False

        async def keyed(connection: AsyncConnection) -> Answer:
            async def first(connection: AsyncConnection) -> Answer:
                nonlocal done_now
                done_now = True
                return await once(connection)

            return await answer_once(connection, repeatable, first, _refuse)

        response = _response(await self._run(keyed))
        if not done_now:
            response.headers[REPLAYED] = "true"
        return response

    async def _repeatable(self, key: str) -> RepeatableRequest:
        path = self._request.url.path.encode()
        body = await self._request.body()
        return RepeatableRequest.of(self._caller.id, key, path, _canonical(body))

    async def _run(self, work: Callable[[AsyncConnection], Awaitable[Answer]]) -> Answer:
        async def told(connection: AsyncConnection, rows: list[Row[Any]]) -> Answer:
            self._told = rows
            return await work(connection)

        return await run_and_tell(self._context.engine, self._context.audience, told)


@contextmanager
def _counting_refusals() -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        metrics.booking_refused(error.extra.get("reasons") or [error.code])
        raise


def _counted(answer: Response) -> Response:
    """Count the booking that an answer tells of, or its refusal, the first time it is given."""
    if REPLAYED not in answer.headers:
        if answer.status_code == 201:
            metrics.booking_won()
        else:
            body = orjson.loads(bytes(answer.body))
            metrics.booking_refused(body.get("reasons") or [body["code"]])
    return answer


def _booked(found: BookingRecord) -> Answer:
    return Answer(201, orjson.dumps(booking_body(*found)))


def _refuse(error: Exception) -> Answer | None:
    response = errors.refusal(error)
    return None if response is None else Answer(response.status_code, bytes(response.body))


def _response(answer: Answer) -> Response:
    media_type = JSON if answer.status < 400 else errors.MEDIA_TYPE
    return Response(answer.body, answer.status, media_type=media_type)


def _canonical(body: bytes) -> bytes:
    """Return JSON in one way of writing it, so that a repeat may be spaced differently."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        return body


async def _writer(
    request: Request,
    context: ContextDependency,
    caller: CallerDependency,
    idempotency_key: Annotated[
        IdempotencyKey | None,
        Header(description="Makes a repeat of the request return its first answer."),
    ] = None,
) -> Writer:
    if "if-match" in request.headers:
        raise InvalidFieldError(
            "If-Match", "only names rows of the clinic; send a booking's version in the body"
        )
    return Writer(request, context, caller, idempotency_key)


WriterDependency = Annotated[Writer, Depends(_writer)]
