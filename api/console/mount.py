"""How the console becomes part of the service.

NiceGUI is imported here and below only, and when the service starts: no other command waits for
it. It brings every asset it needs, so the console works offline.
"""

from __future__ import annotations

import logging
import os
from functools import cache

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.middleware.base import RequestResponseEndpoint

from api.access.require import allow
from api.console.backend import Backend
from api.service import logs
from data.database.scratch import ScratchDirectory

MOUNT_PATH = "/console"


POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Nothing from elsewhere. NiceGUI's pages compile their templates and handlers in the browser."""


def mount(app: FastAPI) -> None:
    """Mount the console on the service; once in a process, as NiceGUI is one to a process."""
    os.environ["NICEGUI_STORAGE_PATH"] = _storage().name
    from nicegui import app as console
    from nicegui import core, ui

    from api.console import error_pages as refusals
    from api.console import gate
    from api.console import layout as frame
    from api.console.pages import benchmarks as benchmarks_page
    from api.console.pages import call_list, clinic_editor, sign_in, slot_finder, statistics
    from api.console.pages import day_board as board
    from api.console.pages import what_if_compose as run_composer
    from api.console.pages import what_if_run as run_page

    logging.getLogger("httpx").setLevel(logging.WARNING)  # calls within the process
    logs.log_location_only("nicegui", "engineio.server", "socketio.server")
    core.sio.on("log", lambda *_: None)  # a browser writes nothing into the service's log
    core.sio.eio.transports = console.config.socket_io_js_transports = ["websocket"]
    core.sio.eio.cors_allowed_origins = []  # origins are looked at before anything gets here

    @console.middleware("http")
    async def policy(request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        answer.headers.setdefault("content-security-policy", POLICY)
        return answer

    @app.get(MOUNT_PATH, include_in_schema=False, dependencies=[allow("anyone")])
    async def lead(request: Request) -> Response:
        return RedirectResponse(f"{request.scope['root_path']}{MOUNT_PATH}/")

    refusals.install(console)
    console.router.redirect_slashes = False
    app.state.has_console = True
    backend = Backend(app)
    console.add_middleware(gate.Gate, backend=backend)
    for page in (
        sign_in,
        board,
        slot_finder,
        run_composer,
        run_page,
        call_list,
        clinic_editor,
        statistics,
        benchmarks_page,
    ):
        page.add(backend)
    ui.add_css(frame.stylesheet(), shared=True)
    ui.add_body_html(frame.SHORTCUTS, shared=True)
    ui.run_with(
        app,
        mount_path=MOUNT_PATH,
        title="Slotwright",
        dark=None,
        language="en-US",
        binding_refresh_interval=None,
        show_welcome_message=False,
    )


@cache
def _storage() -> ScratchDirectory:
    """Return the directory that NiceGUI looks into, nobody else's, which goes with the process."""
    return ScratchDirectory("console")
