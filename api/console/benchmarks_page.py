"""The last report of ``slotwright bench``, where one was written into the data directory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse
from nicegui import app as console
from nicegui import ui

from api.console.backend import Backend, Visit
from api.console.frame import frame, to_sign_in

TITLE = "Benchmarks"
SUMMARY, REPORT = "benchmarks.md", "benchmarks.html"


def add(backend: Backend) -> None:
    """Add the page, and the report that it leads to."""

    def directory() -> Path:
        return backend.context.settings.data_dir / "benchmarks"

    @ui.page("/benchmarks")
    async def page(request: Request) -> Response | None:
        visit = await Visit.of(backend, request)
        if visit is None:
            return to_sign_in()
        with frame(visit, TITLE):
            ui.label(TITLE).classes("text-xl").props("role=heading aria-level=1")
            try:
                summary = await asyncio.to_thread((directory() / SUMMARY).read_text, "utf-8")
            except OSError:
                ui.label("There is no report yet. This makes one:")
                ui.label(f"slotwright bench --report {directory()}").classes("font-mono")
                return None
            ui.link("The whole report", "/benchmarks/report").classes("sw-link")
            ui.markdown(summary).classes("sw-wide")
        return None

    @console.get("/benchmarks/report")
    async def report(request: Request) -> Response:
        if await Visit.of(backend, request) is None:
            return to_sign_in()
        path = directory() / REPORT
        if not await asyncio.to_thread(path.is_file):
            return Response(status_code=404)
        return FileResponse(path, media_type="text/html")
