"""The HTTP service."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from fastapi import FastAPI

from api import (
    bookings,
    clinic,
    errors,
    health,
    holds,
    keys,
    logs,
    metrics,
    openapi,
    slots,
    start,
    stats,
    what_if,
)
from api.callers import Callers
from api.catalogue import build_routers
from api.collector import collecting, spare_what_is_there
from api.context import Context
from api.door import Door
from api.envelope import Envelope
from api.hub import telling
from api.jobs import working
from api.limits import Limits
from api.oidc import Issuer
from api.origins import OriginGuard
from api.prefix import ForwardedPrefix
from api.run_feeds import RunFeeds
from api.runner import running
from api.settings import Settings, read_settings
from data.bookings.group_commit import Desk
from data.clinic.snapshot import Snapshots
from data.database.embedded.launcher import end_with_parent
from data.database.engine import create_engine

SWITCH_SECONDS = 0.0005
"""How long the event loop waits, at most, for a thread that computes to let go of the interpreter:
a tenth of Python's own, as it waits many times in a request."""
OPEN_WHILE = "_SLOTWRIGHT_OPEN_WHILE"
"""The variable that names the file by which the processes of one service share their door."""


def create_app(settings: Settings, door: Door | None = None) -> FastAPI:
    """Return the service; its database, named by the settings, has the newest schema.

    Without a `door`, or with an issuer of tokens, every caller has to be known.
    """
    if door is None or settings.oidc_issuer is not None:
        door = Door()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if settings.database_url is None:
            raise RuntimeError("DATABASE_URL is not set; start the service with slotwright serve")
        engine = create_engine(settings.database_url)
        limits = Limits(settings.redis_url) if settings.rate_limits == "on" else None
        callers = Callers(engine, _issuer(settings), door)
        async with telling(settings, engine) as audience:
            with told_to_stop() as stopping:
                app.state.context = Context(
                    settings,
                    engine,
                    Desk(engine, audience),
                    audience,
                    Snapshots(engine),
                    callers,
                    limits,
                    stopping,
                    RunFeeds(engine),
                )
                async with (
                    collecting(),
                    metrics.watching(engine),
                    callers.watching(),
                    running(settings),
                    working(settings, engine, audience),
                ):
                    yield
        if limits is not None:
            await limits.close()
        await engine.dispose()

    app = FastAPI(
        title="Slotwright",
        version=version("slotwright"),
        summary="Every bookable slot of a clinic, exact, scored and explained.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would lead to whatever name the request asked for
    )
    app.state.has_console = False
    errors.install(app)
    app.add_middleware(ForwardedPrefix)
    app.add_middleware(OriginGuard, door=door, public_url=settings.public_url)
    app.add_middleware(Envelope)
    for router in (
        slots.router,
        bookings.router,
        holds.router,
        clinic.router,
        *build_routers(),
        what_if.router,
        keys.router,
        stats.router,
        health.router,
        metrics.router,
        start.router,
    ):
        app.include_router(router)
    openapi.install(app)
    return app


def _issuer(settings: Settings) -> Issuer | None:
    if settings.oidc_issuer is None:
        return None
    assert settings.oidc_audience is not None
    return Issuer(settings.oidc_issuer, settings.oidc_audience, settings.oidc_role_claim)


@contextmanager
def told_to_stop() -> Iterator[asyncio.Event]:
    """Yield what is set when the process is told to end: the server waits for open streams."""
    stopping = asyncio.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        then = before[signal.Signals(number)]
        if callable(then):
            then(number, frame)

    mine = {number: then for number, then in before.items() if callable(then)}
    for number in mine:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number, then in mine.items():
            signal.signal(number, then)


def service() -> FastAPI:
    """Return the service as a server process runs it: settings and logs from the environment."""
    starter = multiprocessing.parent_process()
    if starter is not None and starter.pid is not None:
        end_with_parent(starter.pid, signal.SIGTERM)  # a killed service leaves no worker behind
    settings = read_settings()
    logs.configure(settings.log_level)
    shared = os.environ.get(OPEN_WHILE)
    door = None if shared is None else Door(is_open=True, file=Path(shared))
    app = create_app(settings, door)
    if starter is None:
        app = with_console(app)
    return ready(app)


def ready(app: FastAPI) -> FastAPI:
    """Prepare this process for serving, so that no request holds up those beside it.

    FastAPI builds its routes in the first request unless that is done before.
    """
    scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}
    for route in app.router.routes:
        route.matches(scope)
    spare_what_is_there()
    sys.setswitchinterval(SWITCH_SECONDS)
    return app


def with_console(app: FastAPI) -> FastAPI:
    """Mount the web console on the service of one process.

    A page lives in the process that made it; with several, its next message may reach another.
    """
    from api.console.mounting import mount  # takes a while, and only those who serve it wait

    mount(app)
    return app
