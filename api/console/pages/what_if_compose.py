"""Composing a what-if without writing any of it: requests from a table, scenarios in sentences."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from nicegui import events, ui

from api.console.backend import Backend, Visit, read_date
from api.console.layout import DENSE, date_field, show, telling
from api.console.scenario.form import ScenarioForm
from api.console.scenario.request_csv import (
    COLUMNS_IN_WORDS,
    HALVES,
    LINE,
    DemandError,
    as_usual,
    booked_mix,
    example_csv,
    read_csv,
)
from solver.clinic.sessions.session import SessionsRead

TITLE = "What if"


DEFAULT_DAYS = 5


DEFAULT_SECONDS = 20


USUAL_DAYS = 28


STATUS_WORDS = {
    "queued": "waiting",
    "running": "being solved",
    "done": "done",
    "stopped": "stopped, with the best found",
    "failed": "failed",
}


HOURS = {
    "any": ("At any time", {}),
    "morning": ("Mornings", HALVES[True]),
    "afternoon": ("Afternoons", HALVES[False]),
}


CSV_FIELD = (
    '<label class="sw-file">Or from a CSV file <input type="file" accept=".csv,text/csv">'
    f"<small>Columns: {COLUMNS_IN_WORDS}</small></label>"
)


SESSIONS: dict[SessionsRead, str] = {
    "now": "as they are now",
    "released": "all released",
    "ignored": "ignored",
}
"""How a plan reads sessions, in words."""


ON_FILE = """async (event) => {
  const file = event.target.files[0];
  event.target.value = "";
  emit(file.size < 900000 ? await file.text() : "too large");
}"""


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/what-if")
    async def page(request: Request) -> Response | None:
        return await show(backend, request, TITLE, lambda visit: _Composer(visit).start())


class _Composer:
    """One what-if being composed."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._requests: list[dict[str, Any]] = []
        self._scenarios: list[ScenarioForm] = []

    async def start(self) -> None:
        """Draw the page."""
        settings = await self._visit.get("/clinic")
        self._rows: dict[str, list[dict[str, Any]]] = {
            name.replace("-", "_"): await self._visit.get(f"/{name}")
            for name in (
                "providers",
                "rooms",
                "appointment-types",
                "availability",
                "overbooking-rules",
                "sessions",
            )
        }
        self._names = {
            row["id"]: row["name"]
            for kind in ("providers", "rooms", "appointment_types")
            for row in self._rows[kind]
        }
        self._zone = ZoneInfo(settings["timezone"])
        self._numbers = count(1)
        today = dt.datetime.now(self._zone).date()
        if self._visit.caller.may("manager"):
            self._compose(today)
        else:
            ui.label(TITLE).classes("text-xl").props("role=heading aria-level=1")
            ui.label("Asking is for managers; what they have asked and found can be read here.")
        await self._list_runs()

    def _compose(self, today: dt.date) -> None:
        monday = today + dt.timedelta(days=7 - today.weekday())
        ui.label("What would the best schedule be, and how would it change if …?").classes(
            "text-xl"
        ).props("role=heading aria-level=1")
        with ui.element("div").classes("sw-bar"):
            self._name = ui.input("Name", value="Next week").props(DENSE).classes("w-56")
            self._start = date_field("From", monday)
            self._days = ui.number("Days", value=DEFAULT_DAYS, min=1, max=31, precision=0).props(
                DENSE
            )
            self._existing = ui.select(
                {"fixed": "stay where they are", "movable": "may be moved"},
                value="fixed",
                label="Bookings there are",
            ).props(DENSE)
            self._sessions = ui.select(SESSIONS, value="now", label="Kept hours").props(DENSE)
            self._seconds = ui.number(
                "Seconds to search", value=DEFAULT_SECONDS, min=1, max=3600, precision=0
            )
            self._seconds.props(DENSE).classes("w-36")
            self._overbooking = ui.checkbox("Overbooking, where a rule allows it", value=True)
        with ui.element("div").classes("sw-halves"):
            with ui.card().classes("sw-card"):
                self._draw_requests()
            with ui.card().classes("sw-card"):
                self._draw_scenarios()
        ui.button("Find the best plans", icon="play_arrow", on_click=self._submit).props(
            "no-caps"
        ).classes("self-start")

    # Requests

    def _draw_requests(self) -> None:
        ui.label("Requests").classes("text-lg").props("role=heading aria-level=2")
        types = {t["id"]: t["name"] for t in self._rows["appointment_types"] if t["active"]}
        with ui.element("div").classes("sw-bar"):
            many = ui.number("How many", value=10, min=1, max=5000, precision=0).props(DENSE)
            kind = ui.select(types, label="of type", value=next(iter(types), None)).props(DENSE)
            hours = ui.select(
                {key: words for key, (words, _) in HOURS.items()}, value="any", label="when"
            ).props(DENSE)
            priority = ui.number("priority 1–9", value=1, min=1, max=9, precision=0).props(DENSE)

            def add() -> None:
                if kind.value is None or not many.value:
                    return
                wish = {"appointment_type_id": kind.value, "count": int(many.value)}
                self._add([wish | HOURS[hours.value][1]], int(priority.value or 1))

            ui.button("Add requests", on_click=add).props("no-caps outline")
        with ui.element("div").classes("sw-bar"):
            total = ui.number("In all", value=100, min=1, max=5000, precision=0).props(DENSE)

            async def add_usual() -> None:
                start = read_date(self._start.value)
                if start is None or not total.value:
                    return
                before = start - dt.timedelta(days=USUAL_DAYS), start - dt.timedelta(days=1)
                async with telling():
                    engine = (await self._visit.service("manager")).engine
                    if mix := await booked_mix(engine, *before):
                        self._add(as_usual(mix, int(total.value)), 1)
                    else:
                        ui.notify("Nothing is booked in the four weeks before.", type="warning")

            ui.button("Add a usual mix", on_click=add_usual).props("no-caps outline")
            ui.label("of types and times, as booked in the four weeks before").classes("sw-quiet")
        with ui.element("div").classes("sw-bar"):
            ui.html(CSV_FIELD, sanitize=False).on("change", self._uploaded, js_handler=ON_FILE)
            example = example_csv(t for t in self._rows["appointment_types"] if t["active"])
            ui.button(
                "Example", on_click=lambda: ui.download.content(example, "requests.csv")
            ).props("no-caps flat dense")
        self._asked = ui.column().classes("w-full gap-1")

    def _add(self, wishes: list[dict[str, Any]], priority: int) -> None:
        for wish in wishes:
            key = f"request {next(self._numbers)}"
            self._requests.append({"id": key, "priority": priority, **wish})
        self._show_requests()

    def _uploaded(self, event: events.GenericEventArguments) -> None:
        try:
            read = read_csv(event.args, self._rows["appointment_types"], self._rows["providers"])
        except DemandError as error:
            ui.notify(str(error), type="negative", timeout=8000)
            return
        added = [r for r in self._requests if not r["id"].startswith(LINE)]
        self._requests = added + read  # in the place of a file read before
        self._show_requests()

    def _show_requests(self) -> None:
        self._asked.clear()
        with self._asked:
            total = sum(request.get("count", 1) for request in self._requests)
            ui.label(f"{total} requests").props("role=status")
            for request in self._requests[:100]:
                with ui.element("div").classes("sw-bar"):
                    ui.label(self._in_words(request))

                    def drop(gone: dict[str, Any] = request) -> None:
                        self._requests.remove(gone)
                        self._show_requests()

                    ui.button(icon="close", on_click=drop).props(
                        f'flat round dense size=sm aria-label="Leave out {request["id"]}"'
                    )

    # Scenarios

    def _draw_scenarios(self) -> None:
        ui.label("Scenarios").classes("text-lg").props("role=heading aria-level=2")
        ui.label("The first is the clinic as it is. Each of these changes something:").classes(
            "sw-quiet"
        )
        self._forms = ui.column().classes("w-full")

        def add() -> None:
            with self._forms:
                number = len(self._scenarios) + 1
                first = read_date(self._start.value)
                self._scenarios.append(ScenarioForm(self._visit, number, self._rows, first))

        ui.button("Add a scenario", on_click=add).props("no-caps outline")

    async def _submit(self) -> None:
        start, days = read_date(self._start.value), int(self._days.value or 0)
        if start is None:
            ui.notify("From which day on?", type="warning")
            return
        if not self._requests and self._existing.value == "fixed":
            words = "Nothing is asked for: add requests, or let the bookings there are be moved."
            ui.notify(words, type="warning")
            return
        dates = [start + dt.timedelta(days=ahead) for ahead in range(days)]
        scenarios = []
        names: Counter[str] = Counter(["baseline"])
        for form in self._scenarios:
            if form.is_gone:
                continue
            changes = form.changes(dates)
            if changes is None:
                ui.notify(f"Fill in the blanks of “{form.name}”.", type="warning")
                return
            names[form.name] += 1
            again = f" ({names[form.name]})" if names[form.name] > 1 else ""
            scenarios.append({"name": form.name + again, "changes": changes})
        document = {
            "name": self._name.value,
            "start_date": start.isoformat(),
            "days": days,
            "existing": self._existing.value,
            "requests": self._requests,
            "scenarios": [{"name": "baseline", "changes": []}, *scenarios],
            "time_limit_seconds": int(self._seconds.value or 0),
            "allow_overbooking": self._overbooking.value,
            "sessions": self._sessions.value,
        }
        async with telling():
            run = await self._visit.post("/what-if", **document)
            ui.navigate.to(f"/what-if/{run['id']}")

    def _in_words(self, request: dict[str, Any]) -> str:
        def words() -> Iterator[str]:
            yield f"{request.get('count', 1)} × {self._names[request['appointment_type_id']]}"
            window = [
                self._visit.time(request[name]) if name in request else ""
                for name in ("preferred_start", "preferred_end")
            ]
            if any(window):
                yield f"best {'–'.join(window)}"
            if "dates" in request:
                yield f"on {', '.join(request['dates'])}"
            if "provider_id" in request:
                yield f"with {self._names[request['provider_id']]}"
            if "patient_ref" in request:
                yield f"for {request['patient_ref']}"
            yield f"priority {request.get('priority', 1)}"

        return ", ".join(words())

    async def _list_runs(self) -> None:
        runs = await self._visit.get("/what-if")
        if not runs and self._visit.caller.may("manager"):
            return
        ui.label("Asked before").classes("text-lg").props("role=heading aria-level=2")
        if not runs:
            ui.label("Nothing so far.").classes("sw-quiet")
        for run in runs:
            at = dt.datetime.fromisoformat(run["created_at"]).astimezone(self._zone)
            when = f"{self._visit.day(at.date(), 'medium')}, {self._visit.time(at.time())}"
            words = f"{run['name']} · {when}"
            ui.link(f"{words} · {STATUS_WORDS[run['status']]}", f"/what-if/{run['id']}").classes(
                "sw-link"
            )
