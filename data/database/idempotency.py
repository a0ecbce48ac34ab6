"""Requests that may be repeated: the first answer is kept, in the transaction of its write."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, LargeBinary, SmallInteger, Text, bindparam, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from data.database.transaction import refusal_of
from data.errors import IdempotencyKeyReusedError, RequestError

KEPT = "interval '24 hours'"


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
    (begun,) = await begin(connection, [request])
    if isinstance(begun, Answer):
        return begun
    if begun is not None:
        raise begun
    return await run_and_store(connection, request, work, refuse)


async def run_and_store(
    connection: AsyncConnection,
    request: RepeatableRequest,
    work: Callable[[AsyncConnection], Awaitable[Answer]],
    refuse: Callable[[Exception], Answer | None],
) -> Answer:
    """Do the `work` of a request that was begun, and keep its answer; see :func:`answer_once`."""
    try:
        async with connection.begin_nested():
            answer = await work(connection)
    except (IntegrityError, RequestError, ValueError) as error:
        meant = refusal_of(error) if isinstance(error, IntegrityError) else error
        refused = refuse(meant)
        if refused is None:
            raise
        answer = refused
    await keep(connection, [(request, answer)])
    return answer


async def begin(
    connection: AsyncConnection, requests: Sequence[RepeatableRequest]
) -> list[Answer | IdempotencyKeyReusedError | None]:
    """Begin requests with different keys; return None for each whose work is to be done now.

    Of the others, the answer kept from the first time, or that the key came with another request.
    What is begun is to be given to :func:`keep` in the same transaction.
    """
    names: dict[str, Any] = {
        "callers": [request.caller for request in requests],
        "keys": [request.key for request in requests],
    }
    await connection.execute(_FORGET_OLD, names)
    hashes = [request.request_hash for request in requests]
    taken = {tuple(row) for row in await connection.execute(_TAKE, {**names, "hashes": hashes})}
    if len(taken) == len(requests):
        return [None] * len(requests)
    known = {(row.caller, row.key): row for row in await connection.execute(_READ, names)}
    begun: list[Answer | IdempotencyKeyReusedError | None] = []
    for request in requests:
        kept = known[request.caller, request.key]
        if (request.caller, request.key) in taken:
            begun.append(None)
        elif kept.request_hash != request.request_hash:
            begun.append(
                IdempotencyKeyReusedError("This Idempotency-Key came with another request.")
            )
        else:
            begun.append(Answer(kept.status, kept.body))
    return begun


async def keep(
    connection: AsyncConnection, answers: Sequence[tuple[RepeatableRequest, Answer | None]]
) -> None:
    """Keep the answers to requests that were begun; those without one may be tried again."""
    given = [(request, answer) for request, answer in answers if answer is not None]
    if given:
        await connection.execute(
            _KEEP,
            {
                "callers": [request.caller for request, _ in given],
                "keys": [request.key for request, _ in given],
                "statuses": [answer.status for _, answer in given],
                "bodies": [answer.body for _, answer in given],
            },
        )
    open_ = [request for request, answer in answers if answer is None]
    if open_:
        names = {"callers": [r.caller for r in open_], "keys": [r.key for r in open_]}
        await connection.execute(_DROP, names)


_NAMED = "(caller, key) IN (SELECT * FROM unnest(:callers, :keys))"


_NAMES = [bindparam(name, type_=ARRAY(Text)) for name in ("callers", "keys")]


_FORGET_OLD = text(
    f"DELETE FROM idempotency_keys WHERE {_NAMED} AND created_at < now() - {KEPT}"  # noqa: S608
).bindparams(*_NAMES)


_TAKE = text(
    """
    INSERT INTO idempotency_keys (caller, key, request_hash, status, body)
    SELECT caller, key, hash, 0, ''
    FROM unnest(:callers, :keys, :hashes) AS asked (caller, key, hash)
    ORDER BY caller, key
    ON CONFLICT DO NOTHING
    RETURNING caller, key
    """
).bindparams(*_NAMES, bindparam("hashes", type_=ARRAY(LargeBinary)))
"""In one order, so that two who have keys in common do not wait for each other."""


_READ = text(
    f"SELECT caller, key, request_hash, status, body FROM idempotency_keys WHERE {_NAMED}"  # noqa: S608
).bindparams(*_NAMES)


_KEEP = text(
    """
    UPDATE idempotency_keys AS kept SET status = given.status, body = given.body
    FROM unnest(:callers, :keys, :statuses, :bodies) AS given (caller, key, status, body)
    WHERE kept.caller = given.caller AND kept.key = given.key
    """
).bindparams(
    *_NAMES,
    bindparam("statuses", type_=ARRAY(SmallInteger)),
    bindparam("bodies", type_=ARRAY(LargeBinary)),
)


_DROP = text(f"DELETE FROM idempotency_keys WHERE {_NAMED}").bindparams(*_NAMES)  # noqa: S608
