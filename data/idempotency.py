"""Requests that may be repeated: the first answer is kept, in the transaction of its write."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from data.errors import IdempotencyKeyReusedError, RequestError
from data.snapshot import IDEMPOTENCY_KEYS
from data.transaction import refusal_of

KEPT = text("interval '24 hours'")


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: a status and a body."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class RepeatableRequest:
    """A caller's key and all that makes up the request."""

    caller: str
    key: str
    request_hash: bytes

    @classmethod
    def of(cls, caller: str, key: str, *parts: bytes) -> RepeatableRequest:
        """Return the request whose content is `parts`."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8) + part)
        return cls(caller, key, digest.digest())


async def answer_once(
    connection: AsyncConnection,
    request: RepeatableRequest,
    work: Callable[[AsyncConnection], Awaitable[Answer]],
    refuse: Callable[[Exception], Answer | None],
) -> Answer:
    """Do `work` and keep its answer, or return the answer kept from the first time.

    A second request with the same key waits for the first one's transaction. `refuse` turns an
    exception that ends a request for good into its answer (None: let it be tried again); it is
    kept as well, while what `work` wrote is undone.

    Raises
    ------
    IdempotencyKeyReusedError
        When the key came with another request.
    """
    columns = IDEMPOTENCY_KEYS.c
    mine = (columns.caller == request.caller) & (columns.key == request.key)
    await connection.execute(
        delete(IDEMPOTENCY_KEYS).where(mine, columns.created_at < func.now() - KEPT)
    )
    taken = await connection.execute(
        upsert(IDEMPOTENCY_KEYS)
        .values(
            caller=request.caller,
            key=request.key,
            request_hash=request.request_hash,
            status=0,
            body=b"",
        )
        .on_conflict_do_nothing()
        .returning(columns.key)
    )
    if taken.one_or_none() is None:
        kept = (await connection.execute(select(IDEMPOTENCY_KEYS).where(mine))).one()
        if kept.request_hash != request.request_hash:
            raise IdempotencyKeyReusedError("This Idempotency-Key came with another request.")
        return Answer(kept.status, kept.body)
    try:
        async with connection.begin_nested():
            answer = await work(connection)
    except (IntegrityError, RequestError, ValueError) as error:
        meant = refusal_of(error) if isinstance(error, IntegrityError) else error
        refused = refuse(meant)
        if refused is None:
            raise
        answer = refused
    await connection.execute(
        update(IDEMPOTENCY_KEYS).where(mine).values(status=answer.status, body=answer.body)
    )
    return answer
