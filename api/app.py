"""The HTTP service."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from api import bookings, clinic, errors, health, holds, logs, slots, what_if
from api.catalogue import build_routers
from api.context import Context
from api.runner import running
from api.settings import Settings, read_settings
from data.engine import create_engine
from data.postgres_launcher import end_with_parent


def create_app(settings: Settings) -> FastAPI:
    """Return the service; its database, named by the settings, has the newest schema."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if settings.database_url is None:
            raise RuntimeError("DATABASE_URL is not set; start the service with slotwright serve")
        engine = create_engine(settings.database_url)
        app.state.context = Context.of(settings, engine)
        async with running(settings):
            yield
        await engine.dispose()

    app = FastAPI(
        title="Slotwright",
        version=version("slotwright"),
        summary="Every bookable slot of a clinic, exact, scored and explained.",
        lifespan=lifespan,
        redoc_url=None,
    )
    errors.install(app)
    for router in (
        slots.router,
        bookings.router,
        holds.router,
        clinic.router,
        *build_routers(),
        what_if.router,
        health.router,
    ):
        app.include_router(router)
    return app


def service() -> FastAPI:
    """Return the service as a server process runs it: settings and logs from the environment."""
    if multiprocessing.parent_process() is not None:
        end_with_parent(os.getppid(), signal.SIGTERM)  # a killed service leaves no worker behind
    settings = read_settings()
    logs.configure(settings.log_level)
    return with_console(create_app(settings))


def with_console(app: FastAPI) -> FastAPI:
    """Mount the web console on a service; once in a process."""
    from api.console.mounting import mount  # takes a while, and only those who serve it wait

    mount(app)
    return app
