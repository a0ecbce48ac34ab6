"""The clinic file over HTTP: ``/clinic/import``, ``/clinic/export``, ``/clinic/schema``."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncEngine

from api.access.context import ContextDependency
from api.access.require import LARGE_BODY, LONG_SECONDS, CallerDependency, allow, counted_as
from api.clinic.schemas import DOCUMENT_BODY, Conflict, ImportOut
from api.http import media_types
from api.http.errors import Problem
from api.service.fair_semaphore import FairSemaphore
from data.clinic.import_export import ImportReport, export_in_pieces, import_document
from data.files.clinic_file import json_schema
from data.files.fields import Strict

router = APIRouter(prefix="/clinic", tags=["clinic"])


EXPORTING = FairSemaphore(2)
"""An export has a connection until its reader, who may be slow, has all of it."""


class ImportQuery(Strict):
    """How to import."""

    replace: bool = Field(False, description="Also remove what the file lacks.")


@router.post(
    "/import",
    operation_id="importClinic",
    dependencies=[allow("manager", seconds=LONG_SECONDS, max_body=LARGE_BODY)],
    summary="Bring a clinic file in, all of it or nothing",
    responses={409: {"model": Problem}, 422: {"model": Problem}},
    response_model=ImportOut,
    openapi_extra=DOCUMENT_BODY,
)
async def import_clinic(
    request: Request,
    context: ContextDependency,
    caller: CallerDependency,
    query: Annotated[ImportQuery, Query()],
) -> Response:
    """Match rows by id; bookings that only break a softer rule are taken, with a warning."""
    report = await import_document(
        context.engine,
        await request.body(),
        is_yaml=media_types.is_yaml(request),
        replace=query.replace,
        today=dt.datetime.now(dt.UTC).date(),
        actor=caller.name,
    )
    body = await asyncio.to_thread(_told, report)
    return Response(body, media_type="application/json")


def _told(report: ImportReport) -> bytes:
    outside = report.outside
    told: dict[str, Any] = {
        "imported": report.imported,
        "removed": report.removed,
        "warnings": [Conflict.of(v, outside.clinic).model_dump() for v in outside.violations],
    }
    if not outside.is_whole:
        told["conflicting_bookings"] = outside.count
    return orjson.dumps(told)


@router.get(
    "/export",
    operation_id="exportClinic",
    dependencies=[allow("viewer", seconds=LONG_SECONDS)],
    summary="The whole clinic as a clinic file",
    response_model=dict[str, Any],
)
async def export(
    request: Request, context: ContextDependency, caller: CallerDependency
) -> Response:
    """Write every row; importing the result gives the same clinic."""
    pieces = export_in_turn(context.engine, counted_as(caller, request))
    first = await anext(pieces)  # what goes wrong before anything is sent is told

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            yield first
            async for piece in pieces:
                yield piece

    return StreamingResponse(body(), media_type="application/json")


async def export_in_turn(engine: AsyncEngine, who: str) -> AsyncGenerator[bytes]:
    """Yield the pieces of an export once it is the turn of `who`."""
    async with EXPORTING.take(who), aclosing(export_in_pieces(engine)) as pieces:
        async for piece in pieces:
            yield piece


@router.get(
    "/schema",
    operation_id="clinicSchema",
    dependencies=[allow("viewer")],
    summary="The clinic file's JSON Schema",
)
async def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the clinic file."""
    return json_schema()
