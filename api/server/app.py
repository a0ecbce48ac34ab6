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

from api.access import key_routes as keys
from api.access.callers import Callers
from api.access.context import Context
from api.access.oidc import Issuer
from api.access.open_until_first_key import KeylessAccess
from api.access.origins import OriginGuard
from api.access.rate_limits import Limits
from api.bookings import hold_routes as holds
from api.bookings import routes as bookings
from api.clinic import files as clinic
from api.clinic.rows import build_routers
from api.events.hub import telling
from api.events.run_feeds import RunFeeds
from api.http import errors
from api.http.middleware import Envelope
from api.http.prefix import ForwardedPrefix
from api.server import health, openapi
from api.server import metrics as metrics_page
from api.server import start_pages as start
from api.service import logs, metrics
from api.service.garbage_collection import collecting, freeze_existing_objects
from api.service.scheduler import working
from api.service.settings import Settings, read_settings
from api.slots import routes as slots
from api.statistics import routes as statistics
from api.what_if import routes as what_if
from api.what_if.queue_worker import running
from data.bookings.group_commit import GroupCommit
from data.clinic.snapshot import Snapshots
from data.database import aside
from data.database.embedded.launcher import end_with_parent
from data.database.engine import create_engine

SWITCH_SECONDS = 0.0005
"""How long the event loop waits, at most, for a thread that computes to let go of the interpreter:
a tenth of Python's own, as it waits many times in a request."""


OPEN_WHILE = "_SLOTWRIGHT_OPEN_WHILE"
"""The variable that names a file: while it is there, the processes of a service are open to all."""


def create_app(settings: Settings, keyless: KeylessAccess | None = None) -> FastAPI:
    """Return the service; its database, named by the settings, has the newest schema.

    Without a `keyless`, or with an issuer of tokens, every caller has to be known.
    """
    if keyless is None or settings.oidc_issuer is not None:
        keyless = KeylessAccess()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if settings.database_url is None:
            raise RuntimeError("DATABASE_URL is not set; start the service with slotwright serve")
        engine = create_engine(settings.database_url)
        limits = Limits(settings.redis_url) if settings.rate_limits == "on" else None
        callers = Callers(engine, _issuer(settings), keyless)
        async with telling(settings, engine) as audience:
            with told_to_stop() as stopping:
                app.state.context = Context(
                    settings,
                    engine,
                    GroupCommit(engine, audience),
                    audience,
                    Snapshots(engine),
                    callers,
                    limits,
                    stopping,
                    RunFeeds(engine),
                )
                async with (
                    aside.worker_ended(),
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
    app.add_middleware(OriginGuard, keyless=keyless, public_url=settings.public_url)
    app.add_middleware(Envelope)
    for router in (
        slots.router,
        bookings.router,
        holds.router,
        clinic.router,
        *build_routers(),
        what_if.router,
        keys.router,
        statistics.router,
        health.router,
        metrics_page.router,
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
    keyless = None if shared is None else KeylessAccess(is_open=True, file=Path(shared))
    app = create_app(settings, keyless)
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
    freeze_existing_objects()
    sys.setswitchinterval(SWITCH_SECONDS)
    return app


def with_console(app: FastAPI) -> FastAPI:
    """Mount the web console on the service of one process.

    A page lives in the process that made it; with several, its next message may reach another.
    """
    from api.console.mount import mount  # takes a while, and only those who serve it wait

    mount(app)
    return app
