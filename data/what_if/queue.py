"""What-if runs in the database: a queue that survives whoever works on it.

A run is solved by whoever holds its advisory lock, on a session of its own: a solver that dies, or
loses its database, loses the lock with it, and the run is taken up again. Each taking-up is an
attempt with a number, and what is written names it, so that of two that both believe they have the
run only the later one writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
from pydantic import TypeAdapter
from sqlalchemy import (
    ColumnElement,
    Row,
    Text,
    case,
    cast,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data.database.locks import RUN_LOCKS
from data.errors import InvalidStateError, NotFoundError, PlanStaleError
from models.tables import WHAT_IF_EVENTS, WHAT_IF_RUNS
from solver.clinic.clinic import Clinic
from solver.whatif.run_result import ProgressEvent, RunResult

MAX_ATTEMPTS = 3
"""A run that was lost this often is given up: it may be what kills its solvers."""


ENDED = ("done", "stopped", "failed")


CARRIED_OUT = "CARRIED_OUT"
"""Why a run's second plan is refused."""


_RUNS, _EVENTS = WHAT_IF_RUNS.c, WHAT_IF_EVENTS.c


_SHOWN: tuple[Any, ...] = (
    _RUNS.id,
    _RUNS.name,
    _RUNS.status,
    _RUNS.error,
    _RUNS.created_at,
    _RUNS.started_at,
    _RUNS.finished_at,
    _RUNS.applied,
)


_CLINIC = TypeAdapter(Clinic)


async def submit(
    connection: AsyncConnection, document: Mapping[str, Any], name: str, actor: str
) -> Row[Any]:
    """Put a run into the queue."""
    statement = insert(WHAT_IF_RUNS).values(id=uuid4(), name=name, document=document, actor=actor)
    row: Row[Any] = (await connection.execute(statement.returning(*_SHOWN))).one()
    return row


async def get(engine: AsyncEngine, run_id: str) -> Row[Any]:
    """Return a run, with its result as JSON text.

    Raises
    ------
    NotFoundError
        When there is no such run.
    """
    query = select(*_SHOWN, cast(_RUNS.result, Text).label("result"), _RUNS.document)
    async with engine.connect() as connection:
        found = await connection.execute(query.where(_RUNS.id == run_id))
        row: Any = found.one_or_none()
    if row is None:
        raise NotFoundError(f"There is no run {run_id}.")
    known: Row[Any] = row
    return known


async def latest(engine: AsyncEngine, count: int) -> Sequence[Row[Any]]:
    """Return the newest runs, newest first."""
    query = select(*_SHOWN).order_by(_RUNS.created_at.desc(), _RUNS.id).limit(count)
    async with engine.connect() as connection:
        return (await connection.execute(query)).all()


async def progress(engine: AsyncEngine, run_id: str) -> list[ProgressEvent]:
    """Return the last event of each scenario, in the order in which they began."""
    scenario = _EVENTS.data.op("->>")("scenario")
    last = select(func.max(_EVENTS.id)).where(_EVENTS.run_id == run_id).group_by(scenario)
    query = select(_EVENTS.data).where(_EVENTS.id.in_(last))
    async with engine.connect() as connection:
        return list((await connection.execute(query.order_by(_EVENTS.id))).scalars())


async def events(
    engine: AsyncEngine, run_id: str, after: int
) -> tuple[str, list[tuple[int, ProgressEvent]]]:
    """Return the run's status, and its events with a number above `after`.

    The status is read first: once it is an end, there is no event beyond those returned.
    """
    async with engine.connect() as connection:
        status = await connection.scalar(select(_RUNS.status).where(_RUNS.id == run_id))
        if status is None:
            raise NotFoundError(f"There is no run {run_id}.")
        rows = await connection.execute(
            select(_EVENTS.id, _EVENTS.data)
            .where(_EVENTS.run_id == run_id, _EVENTS.id > after)
            .order_by(_EVENTS.id)
        )
        return status, [(row.id, row.data) for row in rows]


async def last_event(engine: AsyncEngine, run_id: str) -> int:
    """Return the number of a run's newest event; 0 while there is none."""
    query = select(func.coalesce(func.max(_EVENTS.id), 0)).where(_EVENTS.run_id == run_id)
    async with engine.connect() as connection:
        number: int = (await connection.execute(query)).scalar_one()
        return number


async def request_stop(connection: AsyncConnection, run_id: str) -> Row[Any]:
    """Ask a run to end with the best found; one that has ended stays as it is.

    A run that nobody has taken up yet ends at once, without a result.
    """
    is_queued = _RUNS.status == "queued"
    row = (
        await connection.execute(
            update(WHAT_IF_RUNS)
            .where(_RUNS.id == run_id)
            .values(
                stop_requested=True,
                status=case((is_queued, "stopped"), else_=_RUNS.status),
                finished_at=case((is_queued, func.now()), else_=_RUNS.finished_at),
            )
            .returning(*_SHOWN)
        )
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no run {run_id}.")
    return row


async def clinic_of(engine: AsyncEngine, run_id: str) -> Clinic | None:
    """Return the clinic that a run was solved for; None where it was not kept."""
    query = select(cast(_RUNS.clinic, Text)).where(_RUNS.id == run_id)
    async with engine.connect() as connection:
        kept = await connection.scalar(query)
    return None if kept is None else await asyncio.to_thread(_CLINIC.validate_json, kept)


async def carried_out(
    connection: AsyncConnection, run_id: str, scenario: str, actor: str, *, apply_changes: bool
) -> None:
    """Note that the plan of a scenario was carried out now, in the transaction that does it.

    A run is carried out once: what it asks for is booked then, and its call list is final.

    Raises
    ------
    PlanStaleError
        When a plan of the run has been carried out before.
    """
    applied = func.json_build_object(
        "scenario",
        cast(scenario, Text),
        "at",
        func.now(),
        "by",
        cast(actor, Text),
        "apply_changes",
        apply_changes,
    )
    noted = await connection.execute(
        update(WHAT_IF_RUNS)
        .where(_RUNS.id == run_id, _RUNS.applied.is_(None))
        .values(applied=applied)
    )
    if noted.rowcount == 0:
        raise carried_out_before()


def carried_out_before(stale: Sequence[Mapping[str, Any]] = ()) -> PlanStaleError:
    """Return why a second plan of a run is refused; `stale` is what of it no longer fits."""
    return PlanStaleError(
        "A plan of this run has been carried out before; ask again for what is still wanted.",
        reasons=[CARRIED_OUT],
        stale=list(stale),
    )


def result_of(row: Row[Any]) -> RunResult:
    """Return the result of a run that has one.

    Raises
    ------
    InvalidStateError
        When it has none.
    """
    if row.result is None:
        raise InvalidStateError(
            f"The run is {row.status}; there is no result.", run_status=row.status
        )
    result: RunResult = orjson.loads(row.result)
    return result


# Working on runs


@dataclass(frozen=True)
class Claim:
    """A run that is this process's to solve, while its session lives."""

    connection: AsyncConnection
    run_id: str
    document: dict[str, Any]
    attempt: int

    async def report(self, data: ProgressEvent) -> None:
        """Add an event."""
        await self.connection.execute(
            insert(WHAT_IF_EVENTS).from_select(
                ["run_id", "data"],
                select(_RUNS.id, literal(dict(data), _EVENTS.data.type)).where(*self._mine),
            )
        )

    async def is_to_stop(self) -> bool:
        """Whether someone asked for an end, or the run is another's by now."""
        asked = await self.connection.scalar(select(_RUNS.stop_requested).where(*self._mine))
        return asked is None or bool(asked)

    async def finish(self, result: RunResult, clinic: Clinic, *, stopped: bool) -> None:
        """Keep the result, and the clinic that it is for."""

        def written() -> tuple[str, str]:
            return orjson.dumps(result).decode(), _CLINIC.dump_json(clinic).decode()

        answer, kept = await asyncio.to_thread(written)  # both may be large
        await self._end(
            "stopped" if stopped else "done", result=_as_json(answer), clinic=_as_json(kept)
        )

    async def fail(self, error: str) -> None:
        """Keep why there is no result."""
        await self._end("failed", error=error)

    async def give_back(self) -> None:
        """Leave the run to whoever comes next; this was no attempt that failed."""
        await self.connection.execute(
            update(WHAT_IF_RUNS)
            .where(*self._mine)
            .values(status="queued", attempt=self.attempt - 1)
        )

    @property
    def _mine(self) -> tuple[Any, ...]:
        return (_RUNS.id == self.run_id, _RUNS.attempt == self.attempt, _RUNS.status == "running")

    async def _end(self, status: str, **values: Any) -> None:
        await self.connection.execute(
            update(WHAT_IF_RUNS)
            .where(*self._mine)
            .values(status=status, finished_at=func.now(), **values)
        )


def _as_json(document: str) -> ColumnElement[Any]:
    return cast(literal(document, Text), JSON)


@asynccontextmanager
async def claim(engine: AsyncEngine) -> AsyncIterator[Claim | None]:
    """Take up the oldest run that nobody works on, for as long as the block lasts; or none.

    The lock is held by the session, outside any transaction, so nothing is kept open while the
    solver works.
    """
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        taken = await _take_up(connection)
        try:
            yield taken
        finally:
            if taken is not None and not connection.invalidated:
                await connection.execute(text("SELECT pg_advisory_unlock_all()"))


async def _take_up(connection: AsyncConnection) -> Claim | None:
    waiting = await connection.execute(
        select(_RUNS.id)
        .where(_RUNS.status.in_(("queued", "running")))
        .order_by(_RUNS.created_at, _RUNS.id)
    )
    for (run_id,) in waiting.all():
        lock = func.pg_try_advisory_lock(RUN_LOCKS, func.hashtext(str(run_id)))
        if not await connection.scalar(select(lock)):
            continue
        row = (
            await connection.execute(
                update(WHAT_IF_RUNS)
                .where(_RUNS.id == run_id, _RUNS.status.in_(("queued", "running")))
                .values(
                    status="running",
                    attempt=_RUNS.attempt + 1,
                    started_at=func.coalesce(_RUNS.started_at, func.now()),
                )
                .returning(_RUNS.document, _RUNS.attempt)
            )
        ).one_or_none()
        if row is not None:
            taken = Claim(connection, str(run_id), row.document, row.attempt)
            if row.attempt <= MAX_ATTEMPTS:
                return taken
            await taken.fail(f"The solver was lost {MAX_ATTEMPTS} times.")
        await connection.execute(text("SELECT pg_advisory_unlock_all()"))
    return None
