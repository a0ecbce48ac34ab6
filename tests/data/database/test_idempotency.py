"""Requests that may be repeated: what is kept of the first, what is undone, who meets whom."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.database.idempotency import Answer, RepeatableRequest, answer_once
from data.database.transaction import run
from data.errors import IdempotencyKeyReusedError, RequestError, SlotUnavailableError
from models.bookings import UNIQUE_PROVIDER_START
from tests.support.databases import left_open, until_stuck

DAYS = text("SELECT count(*) FROM resource_days")


ADD_DAY = text("INSERT INTO resource_days VALUES ('room', 'a', now())")


type Work = Callable[[AsyncConnection], Awaitable[Answer]]


def request(*parts: bytes, caller: str = "me", key: str = "k") -> RepeatableRequest:
    return RepeatableRequest.of(caller, key, *(parts or (b"book",)))


def answers(body: bytes) -> Work:
    async def work(connection: AsyncConnection) -> Answer:
        await connection.execute(ADD_DAY)
        return Answer(201, body)

    return work


def fails(error: Exception) -> Work:
    async def work(connection: AsyncConnection) -> Answer:
        await connection.execute(ADD_DAY)
        raise error

    return work


def refuse(error: Exception) -> Answer | None:
    if isinstance(error, SlotUnavailableError):
        return Answer(409, f"{error} {error.extra}".encode())
    return Answer(422, str(error).encode()) if isinstance(error, ValueError) else None


async def ask(engine: AsyncEngine, request: RepeatableRequest, work: Work) -> Answer:
    return await run(engine, lambda connection: answer_once(connection, request, work, refuse))


async def days(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        count: int = (await connection.execute(DAYS)).scalar_one()
        return count


def test_the_parts_of_a_request_are_told_apart() -> None:
    whole = request(b"ab", b"c")
    assert whole == request(b"ab", b"c")
    assert (whole.caller, whole.key, len(whole.request_hash)) == ("me", "k", 32)
    others = [
        request(b"a", b"bc"),
        request(b"abc"),
        request(b"ab", b"c", b""),
        request(b"c", b"ab"),
    ]
    assert len({whole.request_hash, *(other.request_hash for other in others)}) == 5


async def test_the_first_answer_is_kept_as_it_was(engine: AsyncEngine) -> None:
    assert await ask(engine, request(), answers(b"one")) == Answer(201, b"one")
    assert await ask(engine, request(), answers(b"two")) == Answer(201, b"one")
    assert await days(engine) == 1
    with pytest.raises(IdempotencyKeyReusedError) as refused:
        await ask(engine, request(b"cancel"), answers(b"three"))
    assert refused.value.detail == "This Idempotency-Key came with another request."
    assert await days(engine) == 1


async def test_a_key_is_its_callers_own(engine: AsyncEngine) -> None:
    asked = [
        request(b"one"),
        request(b"two", caller="you"),
        request(b"three", key="other"),
        request(b"four", caller="you", key="other"),
    ]
    async with engine.begin() as connection:
        for number, each in enumerate(asked):

            async def work(_: AsyncConnection, number: int = number) -> Answer:
                return Answer(200 + number, b"%d" % number)

            await answer_once(connection, each, work, refuse)
    for number, each in enumerate(asked):
        assert await ask(engine, each, answers(b"")) == Answer(200 + number, b"%d" % number)


async def test_only_ones_own_key_is_forgotten_after_a_day(engine: AsyncEngine) -> None:
    mine, others = request(), [request(caller="you"), request(key="other")]
    kept = text("SELECT count(*) FROM idempotency_keys")

    async def work(_: AsyncConnection) -> Answer:
        return Answer(200, b"")

    for each in (mine, *others):
        await ask(engine, each, work)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'")
        )
    assert await ask(engine, mine, answers(b"anew")) == Answer(201, b"anew")
    async with engine.begin() as connection:
        assert (await connection.execute(kept)).scalar_one() == 3
    for each in others:
        assert await ask(engine, each, work) == Answer(200, b"")


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (SlotUnavailableError("Taken.", reasons=["X"]), Answer(409, b"Taken. {'reasons': ['X']}")),
        (ValueError("No."), Answer(422, b"No.")),
    ],
)
async def test_a_refusal_is_kept_and_what_was_written_is_undone(
    engine: AsyncEngine, error: Exception, kept: Answer
) -> None:
    assert await ask(engine, request(), fails(error)) == kept
    assert await days(engine) == 0
    assert await ask(engine, request(), answers(b"late")) == kept


async def test_a_place_that_another_program_took_is_refused_for_good(engine: AsyncEngine) -> None:
    async def work(connection: AsyncConnection) -> Answer:
        async with engine.connect() as other:  # an error of the database, made there
            name = UNIQUE_PROVIDER_START
            await other.execute(
                text(f"CREATE TEMP TABLE book (start int CONSTRAINT {name} UNIQUE)")
            )
            await other.execute(text("INSERT INTO book VALUES (1), (1)"))
        raise AssertionError

    answer = await ask(engine, request(), work)
    told = b"This place has just been taken. {'reasons': ['PROVIDER_BUSY']}"
    assert answer == Answer(409, told)
    assert await ask(engine, request(), answers(b"late")) == answer


@pytest.mark.parametrize("error", [RequestError("Busy."), RuntimeError("Broken.")])
async def test_what_may_be_tried_again_is_not_kept(engine: AsyncEngine, error: Exception) -> None:
    with pytest.raises(type(error)):
        await ask(engine, request(), fails(error))
    assert await ask(engine, request(), answers(b"now")) == Answer(201, b"now")
    assert await days(engine) == 1


async def test_a_broken_constraint_that_means_nothing_to_a_caller_is_raised(
    engine: AsyncEngine,
) -> None:
    async def work(connection: AsyncConnection) -> Answer:
        await connection.execute(ADD_DAY)
        await connection.execute(ADD_DAY)
        raise AssertionError

    with pytest.raises(IntegrityError, match="resource_days"):
        await ask(engine, request(), work)
    assert await ask(engine, request(), answers(b"now")) == Answer(201, b"now")


async def test_a_repeat_waits_for_the_first_and_takes_its_answer(engine: AsyncEngine) -> None:
    async with left_open(engine) as first:
        await answer_once(first, request(), answers(b"first"), refuse)
        repeat = asyncio.create_task(ask(engine, request(), answers(b"second")))
        await until_stuck(engine, repeat)
        assert not repeat.done()
    assert await repeat == Answer(201, b"first")
    assert await days(engine) == 1
