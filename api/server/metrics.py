"""``GET /metrics``."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from api.access.context import ContextDependency
from api.access.require import allow
from api.service.metrics import SHARED_DIRECTORY, forget_the_dead, see_pool

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="The service's figures, in Prometheus's text format",
    dependencies=[allow("viewer")],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(context: ContextDependency) -> Response:
    """Tell what all processes have measured since the service began."""
    see_pool(context.engine)
    registry = REGISTRY
    if directory := os.environ.get(SHARED_DIRECTORY):
        forget_the_dead(Path(directory))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
