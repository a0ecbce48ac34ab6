"""Who is to be called once a plan is carried out: a page to print, with a box to tick for each."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from html import escape

from fastapi import Request, Response
from nicegui import ui

from api.console.backend import Backend, Visit
from api.console.drawing.run import table
from api.console.drawing.run_clinic import KnownRows, known_rows, place_in_words
from api.console.layout import show, telling
from api.console.pages.what_if_compose import TITLE
from api.what_if.call_list import by_time, with_whose
from data.bookings.reading import rows_by_id
from data.files.run_file import run_of
from data.what_if import queue
from solver.whatif.run_result import MoveResult, PlacementResult, PlaceResult, ScenarioResult

BOX = '<td class="sw-box"><input type="checkbox" aria-label="{}"></td>'


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/what-if/{run_id}/call-list")
    async def page(request: Request, run_id: str) -> Response | None:
        async def draw(visit: Visit) -> None:
            async with telling():
                await _draw(visit, run_id)

        return await show(backend, request, TITLE, draw)


async def _draw(visit: Visit, run_id: str) -> None:
    run = await visit.get(f"/what-if/{run_id}")
    ui.label(f"Call list: {run['name']}").classes("text-xl").props("role=heading aria-level=1")
    applied = run["applied"]
    if applied is None:
        ui.label("No plan of this what-if has been carried out, so there is nobody to call.")
        ui.link("Back to the plans", f"/what-if/{run_id}").classes("sw-link")
        return
    engine = (await visit.service()).engine
    row = await queue.get(engine, run_id)
    kept = await known_rows(engine, run_id, row.document, run_of(row.document))
    at = dt.datetime.fromisoformat(applied["at"]).astimezone(kept.clinic.settings.zone)
    ui.label(
        f"“{applied['scenario']}”, carried out on {visit.day(at.date(), 'medium')}"
        f" at {visit.time(at.time())} by {applied['by']}."
    )
    with ui.element("div").classes("sw-bar sw-no-print"):
        ui.button(
            "Print", icon="print", on_click=lambda: ui.run_javascript("window.print()")
        ).props("no-caps outline")
        ui.link("Back to the plans", f"/what-if/{run_id}").classes("sw-link")
    scenario = next(s for s in run["scenarios"] if s["name"] == applied["scenario"])
    without = [move["booking_id"] for move in scenario["moves"] if move["to"] is None]
    async with engine.connect() as connection:
        rows = await rows_by_id(connection, without)
    cancelled = {key for key, row in rows.items() if row.effective_status == "cancelled"}
    _draw_lists(visit, scenario, kept, cancelled)


def _draw_lists(
    visit: Visit, scenario: ScenarioResult, kept: KnownRows, cancelled: Collection[str]
) -> None:
    moves = by_time(with_whose(scenario["moves"], kept.clinic.bookings))
    moved = [move for move in moves if move["to"]]
    without = [move for move in moves if not move["to"]]
    gave_way = [move for move in without if move["booking_id"] in cancelled]
    lost = [move for move in without if move["booking_id"] not in cancelled]
    new = sorted(scenario["placements"], key=lambda row: (row["date"], row["start_time"]))
    known = [row for row in new if row.get("patient_ref")]

    def place(where: PlaceResult) -> str:
        return place_in_words(where, kept.names, visit)

    def whose(row: MoveResult | PlacementResult) -> list[str]:
        return [row.get("patient_ref") or "–", kept.names.get(row["appointment_type_id"], "")]

    _list(
        f"Moved: {len(moved)}",
        ("Patient", "Type", "Was", "Is now"),
        [[*whose(move), place(move["from"]), place(move["to"])] for move in moved if move["to"]],
    )
    _list(
        f"Cancelled, without a new place: {len(gave_way)}",
        ("Patient", "Type", "Was", "Reason"),
        [[*whose(move), place(move["from"]), move.get("detail", "")] for move in gave_way],
    )
    _list(
        f"No new place found, to be settled by hand: {len(lost)}",
        ("Patient", "Type", "Stands at", "Reason"),
        [[*whose(move), place(move["from"]), move.get("detail", "")] for move in lost],
    )
    _list(
        f"New: {len(known)}",
        ("Patient", "Type", "When and where"),
        [[*whose(row), place(row)] for row in known],
    )
    if waiting := len(new) - len(known):
        ui.label(f"{waiting} new appointments wait for a patient: nobody is to be called yet.")
    if not new and not moves:
        ui.label("Nobody was moved and nothing was booked, so there is nobody to call.")


def _list(title: str, head: Iterable[str], rows: list[list[str]]) -> None:
    if not rows:
        return
    ui.label(title).classes("text-lg").props("role=heading aria-level=2")
    ui.html(
        table(
            '<th scope="col">Called</th>'
            + "".join(f'<th scope="col">{escape(name)}</th>' for name in head),
            (
                BOX.format(escape(f"{row[0]} called", quote=True))
                + "".join(f"<td>{escape(cell)}</td>" for cell in row)
                for row in rows
            ),
        ),
        sanitize=False,
    ).classes("sw-wide sw-calls")
