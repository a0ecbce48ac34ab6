"""One what-if: watched while it is solved, compared when it is, and carried out."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import defaultdict
from html import escape
from typing import Any, cast

from fastapi import Request, Response
from nicegui import ui

from api.access.context import Context
from api.console.backend import Backend, RefusedError, Visit
from api.console.drawing.run import (
    Gantt,
    figures_table,
    heat_map,
    search_chart,
    table,
    unplaced_in_words,
)
from api.console.drawing.run_clinic import known_rows, place_in_words
from api.console.drawing.run_export import to_csv, to_json, to_xlsx
from api.console.layout import show, telling
from api.console.messages import reasons_in_words, refusal
from api.console.pages.what_if_compose import STATUS_WORDS, TITLE
from api.what_if.call_list import WAITS, by_time, with_whose
from api.what_if.figures import REASONS
from data.files.run_file import run_of
from data.what_if import queue
from solver.whatif.run_result import (
    MoveResult,
    PlaceResult,
    ProgressEvent,
    RunResult,
    ScenarioResult,
)

WATCH_SECONDS = 0.5


MOST_LISTED = 300


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/what-if/{run_id}")
    async def page(request: Request, run_id: str) -> Response | None:
        async def draw(visit: Visit) -> None:
            async with telling():
                await _RunPage(visit, run_id).start()

        return await show(backend, request, TITLE, draw)


class _RunPage:
    """One open run."""

    def __init__(self, visit: Visit, run_id: str) -> None:
        self._visit = visit
        self._run_id = run_id
        self._seen = 0
        self._events: defaultdict[str, list[ProgressEvent]] = defaultdict(list)
        self._charts: dict[str, ui.echart] = {}
        self._began: dt.datetime | None = None

    async def start(self) -> None:
        """Draw the page."""
        run = await self._visit.get(f"/what-if/{self._run_id}")
        ui.label(run["name"]).classes("text-xl").props("role=heading aria-level=1")
        self._status = ui.label().props("role=status")
        if run["status"] in queue.ENDED:
            await self._show(run)
            return
        row = await queue.get((await self._visit.service()).engine, self._run_id)
        self._limit = float(row.document.get("time_limit_seconds", 30))
        with ui.column().classes("w-full") as self._watched:
            self._bar = ui.linear_progress(0, show_value=False).props(
                'instant-feedback aria-label="Time used"'
            )
            if self._visit.caller.may("manager"):
                ui.button("Stop and keep the best", icon="stop", on_click=self._stop).props(
                    "no-caps outline"
                )
            self._area = ui.element("div").classes("sw-halves w-full")
        self._timer = ui.timer(WATCH_SECONDS, self._watch)

    # While it is solved

    async def _watch(self) -> None:
        async with telling():
            await self._look(await self._visit.service())

    async def _look(self, service: Context) -> None:
        status, new = await service.feeds.since(self._run_id, self._seen)
        changed = set()
        for self._seen, event in new:
            self._events[event["scenario"]].append(event)
            changed.add(event["scenario"])
        for scenario in changed:
            self._chart(scenario)
        if self._began is None and status == "running":
            row = await queue.get(service.engine, self._run_id)
            self._began = row.started_at
        if self._began is not None:
            used = (dt.datetime.now(dt.UTC) - self._began).total_seconds()
            self._bar.set_value(max(0.0, min(1.0, used / self._limit)))
        placed = ", ".join(
            f"{scenario}: {steps[-1]['placed']} placed" for scenario, steps in self._events.items()
        )
        self._status.set_text(
            STATUS_WORDS[status].capitalize() + (f" · {placed}" if placed else "")
        )
        if status in queue.ENDED:
            self._timer.cancel()
            self._watched.delete()
            await self._show(await self._visit.get(f"/what-if/{self._run_id}"))

    def _chart(self, scenario: str) -> None:
        options = search_chart(scenario, self._events[scenario])
        if scenario in self._charts:
            chart = self._charts[scenario]
            chart.options.clear()
            chart.options.update(options)
            chart.update()
            return
        with self._area:
            self._charts[scenario] = ui.echart(options).classes("h-64")

    async def _stop(self) -> None:
        async with telling():
            await self._visit.send("DELETE", f"/what-if/{self._run_id}")

    # When it has ended

    async def _show(self, run: dict[str, Any]) -> None:
        words = STATUS_WORDS[run["status"]].capitalize()
        if "scenarios" not in run:
            why = run["error"] or "nobody had begun to solve it"
            self._status.set_text(f"{words.partition(',')[0]}: {why}")
            return
        self._status.set_text(f"{words}, in {run['seconds']:.1f} s")
        engine = (await self._visit.service()).engine
        row = await queue.get(engine, self._run_id)
        asked = run_of(row.document)
        kept = await known_rows(engine, self._run_id, row.document, asked)
        clinic, self._names = kept.clinic, kept.names
        self._zone = clinic.settings.zone
        self._first_day = asked.start_date
        self._wishes = {
            demand.request.id: f"{self._names.get(demand.request.appointment_type_id, '')} "
            f"({demand.request.id})"
            for demand in asked.demands
        }
        result = cast("RunResult", run)
        for scenario in result["scenarios"]:
            scenario["moves"] = by_time(with_whose(scenario["moves"], clinic.bookings))
        self._moves = {
            move["booking_id"]: move
            for scenario in result["scenarios"]
            for move in scenario["moves"]
        }
        self._carry_out = {row["name"]: row["carry_out"] for row in run["scenarios"]}
        self._gantt = Gantt(
            clinic, self._names, asked.dates, self._visit.short_day, self._visit.time
        )
        self._export_buttons(result)
        self._carried_out = ui.element("div").classes("sw-bar")
        self._armed: list[ui.button] = []
        ui.html(figures_table(result, self._names), sanitize=False).classes("sw-wide").props(
            'tabindex=0 role=region aria-label="Key figures"'
        )
        scenarios = {scenario["name"]: scenario for scenario in result["scenarios"]}
        self._draw_utilisation(scenarios)
        with ui.tabs().props("align=left no-caps dense") as tabs:
            for name in scenarios:
                ui.tab(name)
        with ui.tab_panels(tabs, value=list(scenarios)[-1]).classes("w-full bg-transparent"):
            for name, scenario in scenarios.items():
                with ui.tab_panel(name).classes("p-0"):
                    self._scenario(scenario)
        if run["applied"] is not None:
            self._show_applied(run["applied"])

    def _draw_utilisation(self, scenarios: dict[str, ScenarioResult]) -> None:
        self._heading("How full the providers are")
        shown = {
            key
            for scenario in scenarios.values()
            for day in scenario["kpis"]["provider_utilisation_by_day"].values()
            for key in day
        }
        providers = {key: name for key, name in self._names.items() if key in shown}
        with ui.element("div").classes("sw-halves w-full"):
            for name, scenario in scenarios.items():
                with ui.element("div"):
                    ui.label(name).classes("sw-quiet")
                    ui.echart(heat_map(scenario, providers, self._visit.short_day)).style(
                        f"height:{50 + 28 * len(providers)}px"
                    ).classes("w-full")

    def _show_applied(self, applied: dict[str, Any]) -> None:
        """Say who carried the plan out, and let nobody do it again."""
        self._carried_out.clear()
        at = dt.datetime.fromisoformat(applied["at"]).astimezone(self._zone)
        with self._carried_out:
            ui.label(
                f"“{applied['scenario']}” was carried out on {self._visit.day(at.date(), 'medium')}"
                f" at {self._visit.time(at.time())} by {applied['by']}."
            )
            ui.link("Call list", f"/what-if/{self._run_id}/call-list").classes("sw-link")
            ui.link("See it on the board", f"/?date={self._first_day}").classes("sw-link")
        for button in self._armed:
            button.disable()
            button.tooltip("A plan of this what-if has been carried out already.")

    def _scenario(self, scenario: ScenarioResult) -> None:
        carry_out = self._carry_out[scenario["name"]]
        with ui.column().classes("w-full"):
            if self._visit.caller.may("manager"):
                button = ui.button(
                    f"Carry out “{scenario['name']}”", on_click=lambda: self._ask_to_apply(scenario)
                ).props("no-caps")
                if carry_out["possible"]:
                    self._armed.append(button)
                else:
                    button.disable()
                    ui.label(f"It cannot be carried out. {carry_out['reason']}")
            for title, drawn in (
                ("Before", self._gantt.before()),
                ("After", self._gantt.after(scenario)),
            ):
                self._heading(title)
                ui.html(drawn, sanitize=False).classes("sw-wide").props(
                    f'tabindex=0 role=region aria-label="{title}"'
                )
            ui.html(self._gantt.legend(), sanitize=False).classes("sw-legend sw-strong")
            moved = [move for move in scenario["moves"] if move["to"]]
            lost = [move for move in scenario["moves"] if not move["to"]]
            if moved:
                self._heading(f"Moved: {len(moved)}")
                rows = [
                    [*self._whose(move), self._place(move["from"]), self._place(move["to"])]
                    for move in moved
                    if move["to"]
                ]
                self._table(("Patient", "Type", "From", "To"), rows)
            if lost:
                self._heading(f"No new place found: {len(lost)}")
                rows = [
                    [
                        *self._whose(move),
                        self._place(move["from"]),
                        REASONS.get(move.get("reason", ""), ""),
                        move.get("detail", ""),
                    ]
                    for move in lost
                ]
                self._table(("Patient", "Type", "Stands at", "Reason", "Detail"), rows)
            self._heading(f"Unplaced: {len(scenario['unplaced'])}")
            if scenario["unplaced"]:
                rows = unplaced_in_words(scenario["unplaced"], self._wishes)
                self._table(("Requests", "Patient", "Reason", "Detail"), rows)
            waiting = sum(not row.get("patient_ref") for row in scenario["placements"])
            if waiting:
                ui.label(
                    f"{waiting} of the {len(scenario['placements'])} new appointments are for"
                    " nobody yet: once booked, each waits for a patient."
                )

    def _whose(self, move: MoveResult) -> list[str]:
        kind = self._names.get(move["appointment_type_id"], "")
        return [move["patient_ref"] or WAITS, kind]

    def _place(self, place: PlaceResult) -> str:
        return place_in_words(place, self._names, self._visit)

    def _heading(self, words: str) -> None:
        ui.label(words).classes("text-lg").props("role=heading aria-level=2")

    def _table(self, head: tuple[str, ...], rows: list[list[str]]) -> None:
        listed = rows[:MOST_LISTED]
        ui.html(
            table(
                "".join(f'<th scope="col">{title}</th>' for title in head),
                ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in listed),
            ),
            sanitize=False,
        ).classes("sw-wide")
        if len(rows) > len(listed):
            ui.label(f"… and {len(rows) - len(listed)} more, which the downloads have.")

    # Exports

    def _export_buttons(self, result: RunResult) -> None:
        stem = "".join(c if c.isalnum() else "-" for c in result["name"].lower())

        def csv() -> None:
            ui.download.content(to_csv(result, self._names), f"{stem}.csv")

        async def xlsx() -> None:
            content = await asyncio.to_thread(to_xlsx, result, self._names)
            ui.download.content(content, f"{stem}.xlsx")

        def json() -> None:
            ui.download.content(to_json(result, self._names), f"{stem}.json")

        async def report() -> None:
            async with telling():
                page = await self._visit.send("GET", f"/what-if/{self._run_id}/report")
                ui.download.content(page.content, f"{stem}.html")

        with ui.element("div").classes("sw-bar"):
            for words, make in (("CSV", csv), ("XLSX", xlsx), ("JSON", json), ("Report", report)):
                ui.button(words, icon="download", on_click=make).props("no-caps outline dense")

    # Carrying out

    def _ask_to_apply(self, scenario: ScenarioResult) -> None:
        moved = [move["to"] for move in scenario["moves"] if move["to"]]
        overbooked = sum(p["is_overbooked"] for p in scenario["placements"])
        overbooked += sum(place.get("is_overbooked", False) for place in moved)
        with ui.dialog(value=True) as dialog, ui.card():
            dialog.on("hide", dialog.delete)
            ui.label(
                f"Book {len(scenario['placements'])} appointments and move "
                f"{len(moved)}, all or nothing?"
            ).classes("text-lg")
            sentences = self._carry_out[scenario["name"]]["changes"]
            changes = ui.checkbox("And change the clinic:", value=True) if sentences else None
            with ui.element("ul").classes("sw-changes"):
                for sentence in sentences:
                    with ui.element("li"):
                        ui.label(sentence)
            accepted = ui.checkbox(f"{overbooked} of them overbooked") if overbooked else None
            give_way = ui.checkbox("Cancel appointments that have to give way")
            give_way.set_visibility(False)
            stale = ui.column()

            async def apply() -> None:
                try:
                    applied = await self._visit.post(
                        f"/what-if/{self._run_id}/apply",
                        scenario=scenario["name"],
                        accept_overbooked=accepted is not None and accepted.value,
                        apply_changes=changes is not None and changes.value,
                        cancel_lost=give_way.value,
                    )
                except RefusedError as error:
                    give_way.set_visibility(give_way.visible or "lost" in error.problem)
                    stale.clear()
                    with stale:
                        ui.label(self._refusal(error)).classes("sw-alert").props("role=alert")
                        for line in self._what_is_stale(error)[:20]:
                            ui.label(line)
                    return
                dialog.close()
                words = f"Booked {len(applied['bookings'])}, moved {len(applied['moved'])}."
                if applied["cancelled"]:
                    words += f" Cancelled {len(applied['cancelled'])}: call those patients."
                if applied["conflicts"]:
                    stranded = {row["booking_id"] for row in applied["conflicts"]}
                    words += f" {len(stranded)} are outside the rules now and need a new place."
                ui.notify(words, type="positive", timeout=8000)
                run = await self._visit.get(f"/what-if/{self._run_id}")
                self._show_applied(run["applied"])
                with self._carried_out:
                    ui.label(words)

            with ui.element("div").classes("sw-bar"):
                ui.button("Carry it out", on_click=apply).props("no-caps")
                ui.button("Not now", on_click=dialog.close).props("no-caps flat")

    @staticmethod
    def _refusal(error: RefusedError) -> str:
        if "WOULD_BE_OVERBOOKED" in (error.problem.get("reasons") or ()):
            return "Some of them are overbooked: tick that box if they may be."
        if lost := error.problem.get("lost"):
            who = "An appointment has" if len(lost) == 1 else f"{len(lost)} appointments have"
            return (
                f"{who} no place in this plan, which puts others there: tick that box to cancel "
                "what is named here, and call the patients."
            )
        return refusal(error)

    def _what_is_stale(self, error: RefusedError) -> list[str]:
        lost = [self._about({"booking_id": key}) for key in error.problem.get("lost", ())]
        return lost + [
            f"{self._about(item)}: {reasons_in_words(item['reasons'])}"
            for item in error.problem.get("stale", [])
        ]

    def _about(self, item: dict[str, Any]) -> str:
        """Return whom something stale is about, rather than its id."""
        move = self._moves.get(item.get("booking_id", ""))
        if move is None:
            return str(item.get("request_id", "A booking"))
        return f"{', '.join(self._whose(move))}, {self._place(move['from'])}"
