"""``/what-if``: runs submitted, watched, stopped, reported and carried out."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPAuthorizationCredentials
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.access.context import Context, ContextDependency
from api.access.require import BEARER, LARGE_BODY, LONG_SECONDS, CallerDependency, allow, counted_as
from api.bookings.idempotent_write import WriterDependency
from api.bookings.schemas import booking_body
from api.clinic.schemas import DOCUMENT_BODY, Conflict
from api.events.run_feeds import POLL_SECONDS
from api.http import media_types
from api.http.errors import PROBLEMS, Problem, RateLimitedError, UnauthenticatedError
from api.what_if.schemas import ApplyIn, ApplyOut, RunState
from data import audit
from data.clinic.snapshot import FOR_PLANS, load_clinic
from data.errors import BusyError, InvalidFieldError, PlanNotApplicableError, PlanStaleError
from data.files.fields import Id
from data.files.run_file import horizon_of, json_schema, parse_run, parse_run_document, run_of
from data.what_if import carry_out as plans
from data.what_if import queue as runs
from data.what_if.clinic_changes import carry_out, changes_of, used_by
from solver.clinic.clinic import Clinic

router = APIRouter(prefix="/what-if", tags=["what-if"])


RunId = Annotated[Id, Path()]


KEY_SECONDS = 2.0
"""How often a stream asks whether its key is still good."""


LAST_NUMBER = 2**63 - 1
"""The largest number that an event can have."""


AWAY = (BusyError, DBAPIError, PoolTimeoutError, OSError)
"""What is raised while the database, or who knows the callers, cannot be asked."""


@router.post(
    "",
    operation_id="createRun",
    dependencies=[allow("manager", seconds=LONG_SECONDS, max_body=LARGE_BODY)],
    summary="Ask what if",
    status_code=202,
    response_model=RunState,
    responses={409: {"model": Problem}, 422: {"model": Problem}},
    openapi_extra=DOCUMENT_BODY,
)
async def create(
    request: Request, context: ContextDependency, writer: WriterDependency
) -> Response:
    """Check the run against the clinic and queue it; the schema is at ``/what-if/schema``."""
    body = await request.body()
    document = await asyncio.to_thread(
        parse_run_document, body, is_yaml=media_types.is_yaml(request)
    )
    clinic, now = await _clinic(context, document)
    horizon = context.settings.horizon_days
    run = await asyncio.to_thread(parse_run, document, clinic, now, horizon)

    async def submit(connection: AsyncConnection) -> Any:
        actor = writer.policy.actor
        row = await runs.submit(connection, document, run.name, actor)
        await audit.record(connection, actor, "create", "what_if_run", key=row.id)
        return _state(row)

    return await writer.answer(submit, 202)


@router.get(
    "",
    operation_id="listRuns",
    dependencies=[allow("viewer")],
    summary="The newest runs",
    response_model=list[RunState],
)
async def find(context: ContextDependency) -> list[dict[str, Any]]:
    """List the hundred newest runs, newest first, without their results."""
    return [_state(row) for row in await runs.latest(context.engine, 100)]


@router.get(
    "/schema",
    operation_id="runSchema",
    dependencies=[allow("viewer")],
    summary="The run file's JSON Schema",
)
async def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a run."""
    return json_schema()


@router.get(
    "/{run_id}",
    operation_id="getRun",
    dependencies=[allow("viewer")],
    summary="A run's state, progress and, when it has ended, its result",
    response_model=RunState,
    responses={404: {"model": Problem}},
)
async def get(run_id: RunId, context: ContextDependency) -> Response:
    """Tell the last progress of each scenario; a run that is done or stopped has its result."""
    row = await runs.get(context.engine, run_id)
    body = _state(row) | {"progress": await runs.progress(context.engine, run_id)}
    if row.result is not None:
        result = await asyncio.to_thread(runs.result_of, row)
        async with context.engine.connect() as connection:
            used = {scenario["name"]: used_by(scenario) for scenario in result["scenarios"]}
            possible = await carry_out(connection, row.document, used)
        scenarios = [
            {**scenario, "carry_out": asdict(possible[scenario["name"]])}
            for scenario in result["scenarios"]
        ]
        body |= {**result, "scenarios": scenarios}
    return Response(await asyncio.to_thread(orjson.dumps, body), media_type="application/json")


async def _may_watch(
    run_id: RunId, request: Request, context: ContextDependency, caller: CallerDependency
) -> AsyncIterator[None]:
    """Refuse a run that is not there, and a caller's stream too many, before a stream begins."""
    try:
        with context.feeds.watching(counted_as(caller, request)):
            await context.feeds.since(run_id, sys.maxsize)
            yield
    except RateLimitedError:
        request.state.headers["Retry-After"] = str(math.ceil(KEY_SECONDS))
        raise


async def _may_still(context: Context, token: str | None) -> bool:
    """Whether a key is still good for reading; while nobody can be asked, it is."""
    try:
        return (await context.callers.identify(token)).may("viewer")
    except UnauthenticatedError:
        return False
    except AWAY:
        return True


@router.get(
    "/{run_id}/events",
    operation_id="watchRun",
    summary="Progress as server-sent events",
    response_class=EventSourceResponse,
    dependencies=[allow("viewer", seconds=math.inf), Depends(_may_watch)],
    responses={404: {"model": Problem}, 429: {"model": Problem}, 503: {"model": Problem}},
)
async def events(
    run_id: RunId,
    context: ContextDependency,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    last_event_id: Annotated[int | None, Header(ge=0, le=LAST_NUMBER)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Stream ``progress`` events from the beginning, or from the last one seen; then ``end``.

    A caller may have eight streams open. A stream ends when its key is revoked.
    """
    token = None if credentials is None else credentials.credentials
    after = last_event_id or 0
    asked_at = time.monotonic()
    while True:
        try:
            status, new = await context.feeds.since(run_id, after)
        except AWAY:  # the database comes back
            status, new = "", []
        for after, data in new:
            yield ServerSentEvent(data=data, event="progress", id=str(after))
        if status in runs.ENDED:
            yield ServerSentEvent(data={"status": status}, event="end")
            return
        if context.stopping.is_set():  # whoever reads on asks another process, from the last event
            return
        if time.monotonic() - asked_at >= KEY_SECONDS:
            asked_at = time.monotonic()
            if not await _may_still(context, token):
                return
        await asyncio.sleep(POLL_SECONDS)


@router.delete(
    "/{run_id}",
    operation_id="stopRun",
    dependencies=[allow("manager")],
    summary="Stop a run and keep the best found",
    response_model=RunState,
    responses=PROBLEMS,
)
async def stop(run_id: RunId, writer: WriterDependency) -> Response:
    """Ask it to end; one that has ended stays as it is."""

    async def ask(connection: AsyncConnection) -> Any:
        row = await runs.request_stop(connection, run_id)
        await audit.record(connection, writer.policy.actor, "stop", "what_if_run", key=row.id)
        return _state(row)

    return await writer.answer(ask)


@router.get(
    "/{run_id}/report",
    operation_id="reportRun",
    dependencies=[allow("viewer", seconds=LONG_SECONDS)],
    summary="The comparison as a page",
    response_class=HTMLResponse,
    responses={404: {"model": Problem}, 409: {"model": Problem}},
)
async def report(run_id: RunId, context: ContextDependency) -> Response:
    """Return one page that needs no network."""
    from api.what_if.report import render  # the charts' library takes a while to import

    row = await runs.get(context.engine, run_id)
    result = runs.result_of(row)
    clinic = await runs.clinic_of(context.engine, run_id)
    if clinic is None:  # of before clinics were kept: as it is now
        clinic, _ = await _clinic(context, row.document)
    page = await asyncio.to_thread(render, result, run_of(row.document), clinic)
    return HTMLResponse(page)


@router.post(
    "/{run_id}/apply",
    operation_id="applyRun",
    dependencies=[allow("manager", seconds=LONG_SECONDS)],
    summary="Carry out the plan of a scenario, all or nothing",
    response_model=ApplyOut,
    responses=PROBLEMS,
)
async def apply(
    run_id: RunId, body: ApplyIn, context: ContextDependency, writer: WriterDependency
) -> Response:
    """Book the placements and move the bookings, under the rules as the book stands now.

    With `apply_changes` the scenario's changes of the clinic are made first, in the same
    transaction: closures of one date, longer hours, rows set, removed and added.
    """
    row = await runs.get(context.engine, run_id)
    result = await asyncio.to_thread(runs.result_of, row)
    scenarios = {each["name"]: each for each in result["scenarios"]}
    if body.scenario not in scenarios:
        raise InvalidFieldError("scenario", f"must be one of {', '.join(scenarios)}")
    scenario = scenarios[body.scenario]
    asked = {r["id"]: r.get("patient_ref") for r in row.document.get("requests") or ()}
    patients = {
        key: asked[key if key in asked else key.rpartition("#")[0]]
        for key in (placement["request_id"] for placement in scenario["placements"])
    }
    changes = changes_of(row.document, body.scenario)

    async def work(connection: AsyncConnection) -> Any:
        policy = writer.policy
        possible = await carry_out(connection, row.document, {body.scenario: ()})
        if (reason := possible[body.scenario].reason) is not None:
            raise PlanNotApplicableError(reason)
        try:
            applied = await plans.apply(
                connection,
                scenario,
                patients,
                policy,
                accept_overbooked=body.accept_overbooked,
                cancel_lost=body.cancel_lost,
                changes=changes if body.apply_changes else (),
            )
        except PlanStaleError as error:
            if row.applied is None:
                raise
            raise runs.carried_out_before(error.extra["stale"]) from error
        writer.tell(*(found for _, found in applied.booked), *applied.moved, *applied.cancelled)
        await audit.record(connection, policy.actor, "apply", "what_if_run", key=run_id)
        await runs.carried_out(
            connection, run_id, body.scenario, policy.actor, apply_changes=body.apply_changes
        )
        return await asyncio.to_thread(_applied, body.scenario, applied)

    return await writer.answer(work)


def _applied(scenario: str, applied: plans.Applied) -> dict[str, Any]:
    clinic = applied.clinic
    conflicts = [] if clinic is None else [Conflict.of(v, clinic) for v in applied.conflicts]
    return {
        "scenario": scenario,
        "bookings": [{"request_id": key} | booking_body(*found) for key, found in applied.booked],
        "moved": [booking_body(*found) for found in applied.moved],
        "cancelled": [booking_body(*found) for found in applied.cancelled],
        "conflicts": [conflict.model_dump(mode="json") for conflict in conflicts],
    }


def _state(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "status": row.status,
        "error": row.error,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "applied": row.applied,
    }


async def _clinic(context: ContextDependency, document: object) -> tuple[Clinic, dt.datetime]:
    now = dt.datetime.now(dt.UTC)
    async with context.engine.connect() as connection:
        clinic = await load_clinic(connection, *horizon_of(document, now.date()), FOR_PLANS)
    return clinic, now
