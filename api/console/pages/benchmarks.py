"""The last report of ``slotwright bench`` that was put into the data directory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import FileResponse
from nicegui import app as console
from nicegui import ui

from api.console.backend import Backend, Visit
from api.console.layout import show, to_sign_in

TITLE = "Benchmarks"


SUMMARY, REPORT = "benchmarks.md", "benchmarks.html"


def add(backend: Backend) -> None:
    """Add the page, and the report that it leads to."""

    def kept() -> Path:
        """Return where the report is looked for; others may write into a working directory."""
        return backend.context.settings.data_dir / "benchmarks"

    def last() -> Path | None:
        """Return the directory of the report, if there is one."""
        return kept() if (kept() / SUMMARY).is_file() else None

    async def draw(_: Visit) -> None:
        ui.label(TITLE).classes("text-xl").props("role=heading aria-level=1")
        directory = await asyncio.to_thread(last)
        if directory is None:
            ui.label("There is no report yet. This makes one:")
            ui.label(f"slotwright bench --report {kept()}").classes("font-mono")
            return
        summary = await asyncio.to_thread((directory / SUMMARY).read_text, "utf-8")
        ui.link("The whole report, with its charts", "/benchmarks/report").classes("sw-link")
        ui.markdown(summary.partition("\n")[2]).classes("sw-wide sw-report").props(
            'tabindex=0 role=region aria-label="Figures"'
        )

    @ui.page("/benchmarks")
    async def page(request: Request) -> Response | None:
        return await show(backend, request, TITLE, draw)

    @console.get("/benchmarks/report")
    async def report(request: Request) -> Response:
        if await Visit.of(backend, request) is None:
            return to_sign_in(request)
        directory = await asyncio.to_thread(last)
        if directory is None:
            return Response(status_code=404)
        return FileResponse(directory / REPORT, media_type="text/html")
