"""``/healthz`` and ``/readyz``."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text

from api.access.context import ContextDependency
from api.access.require import allow
from api.http.errors import Problem

router = APIRouter(tags=["health"])


@router.get(
    "/healthz", operation_id="health", dependencies=[allow("anyone")], summary="The process lives"
)
async def health() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    operation_id="ready",
    dependencies=[allow("anyone")],
    summary="The database answers",
    responses={503: {"model": Problem}},
)
async def ready(context: ContextDependency) -> dict[str, str]:
    """Answer 200 when the database does, else 503."""
    async with context.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return {"status": "ready"}
