"""Composing a what-if without writing any of it: requests from a table, scenarios in sentences."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from nicegui import events, ui

from api.console.backend import Backend, Visit, read_date
from api.console.demand import COLUMNS, DemandError, read_csv
from api.console.frame import frame, telling, to_sign_in
from api.console.sentences import SENTENCES, Blank

TITLE = "What if"
DEFAULT_DAYS = 5
DEFAULT_SECONDS = 20
STATUS_WORDS = {
    "queued": "waiting",
    "running": "being solved",
    "done": "done",
    "stopped": "stopped, with the best found",
    "failed": "failed",
}
HOURS = {
    "any": ("At any time", {}),
    "morning": ("Mornings", {"preferred_start": "08:00", "preferred_end": "12:00"}),
    "afternoon": ("Afternoons", {"preferred_start": "13:00", "preferred_end": "17:00"}),
}
NUMBERS = {"number": 30, "factor": 1.2, "max_overlap": 1, "max_per_day": 2}
CSV_FIELD = (
    '<label class="sw-file">Or from a CSV file <input type="file" accept=".csv,text/csv">'
    f"<small>Columns: {', '.join(COLUMNS)}</small></label>"
)
ON_FILE = """async (event) => {
  const file = event.target.files[0];
  event.target.value = "";
  emit(file.size < 900000 ? await file.text() : "too large");
}"""
DENSE = "dense outlined options-dense"


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/what-if")
    async def page(request: Request) -> Response | None:
        visit = await Visit.of(backend, request)
        if visit is None:
            return to_sign_in()
        with frame(visit, TITLE):
            await _Composer(visit).start()
        return None


class _Composer:
    """One what-if being composed."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._requests: list[dict[str, Any]] = []
        self._scenarios: list[_ScenarioForm] = []

    async def start(self) -> None:
        """Draw the page."""
        settings = await self._visit.get("/clinic")
        self._rows: dict[str, list[dict[str, Any]]] = {
            name.replace("-", "_"): await self._visit.get(f"/{name}")
            for name in ("providers", "rooms", "appointment-types", "availability")
        }
        self._names = {
            row["id"]: row["name"]
            for kind in ("providers", "rooms", "appointment_types")
            for row in self._rows[kind]
        }
        today = dt.datetime.now(ZoneInfo(settings["timezone"])).date()
        if self._visit.caller.may("manager"):
            self._compose(today)
        await self._list_runs()

    def _compose(self, today: dt.date) -> None:
        monday = today + dt.timedelta(days=7 - today.weekday())
        ui.label("What would the best schedule be, and how would it change if …?").classes(
            "text-xl"
        ).props("role=heading aria-level=1")
        with ui.element("div").classes("sw-bar"):
            self._name = ui.input("Name", value="Next week").props(DENSE).classes("w-56")
            self._start = ui.date_input("From", value=monday.isoformat()).props(DENSE)
            self._days = ui.number("Days", value=DEFAULT_DAYS, min=1, max=31, precision=0).props(
                DENSE
            )
            self._existing = ui.select(
                {"fixed": "stay where they are", "movable": "may be moved"},
                value="fixed",
                label="Bookings there are",
            ).props(DENSE)
            self._seconds = ui.number(
                "Seconds to search", value=DEFAULT_SECONDS, min=1, max=3600, precision=0
            ).props(DENSE)
            self._overbooking = ui.checkbox("Overbooking, where a rule allows it", value=True)
        with ui.element("div").classes("sw-halves"):
            with ui.card().classes("sw-card"):
                self._draw_requests()
            with ui.card().classes("sw-card"):
                self._draw_scenarios()
        ui.button("Find the best plans", on_click=self._submit).props("no-caps")

    # Requests

    def _draw_requests(self) -> None:
        ui.label("Requests").classes("text-lg").props("role=heading aria-level=2")
        types = {t["id"]: t["name"] for t in self._rows["appointment_types"] if t["active"]}
        with ui.element("div").classes("sw-bar"):
            count = ui.number("How many", value=10, min=1, max=5000, precision=0).props(DENSE)
            kind = ui.select(types, label="of type", value=next(iter(types), None)).props(DENSE)
            hours = ui.select(
                {key: words for key, (words, _) in HOURS.items()}, value="any", label="when"
            ).props(DENSE)
            priority = ui.number("priority 1–9", value=1, min=1, max=9, precision=0).props(DENSE)

            def add() -> None:
                if kind.value is None or not count.value:
                    return
                self._requests.append(
                    {
                        "id": f"request {len(self._requests) + 1}",
                        "appointment_type_id": kind.value,
                        "count": int(count.value),
                        "priority": int(priority.value or 1),
                        **HOURS[hours.value][1],
                    }
                )
                self._show_requests()

            ui.button("Add requests", on_click=add).props("no-caps outline")
        ui.html(CSV_FIELD, sanitize=False).on("change", self._uploaded, js_handler=ON_FILE)
        self._asked = ui.column().classes("w-full gap-1")

    def _uploaded(self, event: events.GenericEventArguments) -> None:
        try:
            self._requests = read_csv(
                event.args, self._rows["appointment_types"], self._rows["providers"]
            )
        except DemandError as error:
            ui.notify(str(error), type="negative", timeout=8000)
            return
        self._show_requests()

    def _show_requests(self) -> None:
        self._asked.clear()
        with self._asked:
            total = sum(request.get("count", 1) for request in self._requests)
            ui.label(f"{total} requests").props("role=status")
            for request in self._requests[:100]:
                with ui.element("div").classes("sw-bar"):
                    ui.label(_in_words(request, self._names))

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
                self._scenarios.append(_ScenarioForm(number, self._rows, self._start.value))

        ui.button("Add a scenario", on_click=add).props("no-caps outline")

    async def _submit(self) -> None:
        scenarios = [form.scenario() for form in self._scenarios if not form.is_gone]
        lacking = [s["name"] for s in scenarios if s["changes"] is None]
        if lacking:
            ui.notify(f"Fill in the blanks of “{lacking[0]}”.", type="warning")
            return
        start = read_date(self._start.value)
        document = {
            "name": self._name.value,
            "start_date": None if start is None else start.isoformat(),
            "days": int(self._days.value or 0),
            "existing": self._existing.value,
            "requests": self._requests,
            "scenarios": [{"name": "baseline", "changes": []}, *scenarios],
            "time_limit_seconds": int(self._seconds.value or 0),
            "allow_overbooking": self._overbooking.value,
        }
        async with telling():
            run = await self._visit.post("/what-if", **document)
            ui.navigate.to(f"/what-if/{run['id']}")

    async def _list_runs(self) -> None:
        runs = await self._visit.get("/what-if")
        if not runs:
            return
        ui.label("Asked before").classes("text-lg").props("role=heading aria-level=2")
        for run in runs:
            at = dt.datetime.fromisoformat(run["created_at"])
            words = f"{run['name']} · {self._visit.day(at.date(), 'medium')}"
            ui.link(f"{words} · {STATUS_WORDS[run['status']]}", f"/what-if/{run['id']}").classes(
                "sw-link"
            )


class _ScenarioForm:
    """One scenario: its name and its sentences."""

    def __init__(self, number: int, rows: dict[str, list[dict[str, Any]]], start: str) -> None:
        self._rows, self._start = rows, start
        self._lines: list[tuple[str, dict[str, Any], dict[str, Blank]]] = []
        self.is_gone = False
        with ui.card().classes("w-full") as card:
            with ui.element("div").classes("sw-bar"):
                self._name = ui.input("Scenario", value=f"Scenario {number}").props(DENSE)

                def drop() -> None:
                    self.is_gone = True
                    card.delete()

                ui.button(icon="close", on_click=drop).props(
                    f'flat round dense aria-label="Leave out scenario {number}"'
                )
            self._sentences = ui.column().classes("w-full")
            choice = (
                ui.select(
                    {key: sentence.title for key, sentence in SENTENCES.items()},
                    label="What changes",
                )
                .props(DENSE)
                .classes("w-72")
            )

            def chosen() -> None:
                if choice.value is not None:
                    with self._sentences:
                        self._add(choice.value)
                    choice.set_value(None)

            choice.on_value_change(chosen)

    def scenario(self) -> dict[str, Any]:
        """Return the scenario as a run file has it; without changes where a blank is empty."""
        changes: list[dict[str, Any]] = []
        for key, fields, blanks in self._lines:
            values = {name: _value(name, field.value) for name, field in fields.items()}
            if any(values[n] is None and not blank.is_optional for n, blank in blanks.items()):
                return {"name": self._name.value, "changes": None}
            changes += SENTENCES[key].changes(values, self._rows)
        return {"name": self._name.value, "changes": changes}

    def _add(self, key: str) -> None:
        fields: dict[str, Any] = {}
        blanks: dict[str, Blank] = {}
        line = (key, fields, blanks)
        self._lines.append(line)
        with ui.element("div").classes("sw-bar sw-sentence") as row:
            for words, blank in SENTENCES[key].pieces():
                if words.strip():
                    ui.label(words.strip())
                if blank is not None:
                    fields[blank.name] = self._field(blank)
                    blanks[blank.name] = blank

            def drop() -> None:
                self._lines.remove(line)
                row.delete()

            ui.button(icon="close", on_click=drop).props(
                'flat round dense size=sm aria-label="Leave out this change"'
            )

    def _field(self, blank: Blank) -> Any:
        kinds = {
            "provider_id": ("providers", "Provider", "any provider"),
            "room_id": ("rooms", "Room", "any room"),
            "appointment_type_id": ("appointment_types", "Type", "all types"),
        }
        name = blank.name
        if name in kinds:
            kind, label, nothing = kinds[name]
            options = {row["id"]: row["name"] for row in self._rows[kind]}
            return (
                ui.select(
                    options,
                    label=nothing if blank.is_optional else label,
                    clearable=blank.is_optional,
                )
                .props(DENSE)
                .classes("w-40")
            )
        if name == "date":
            return ui.date_input("Date", value=self._start).props(DENSE).classes("w-40")
        if name == "weekday":
            days = {n: f"{dt.date(2024, 1, n):%A}" for n in range(1, 8)}
            return ui.select(days, label="Weekday").props(DENSE).classes("w-36")
        if name in NUMBERS:
            label = name.replace("_", " ")
            return ui.number(value=NUMBERS[name], min=0).props(f'{DENSE} aria-label="{label}"')
        label = "all day" if blank.is_optional else name.removesuffix("_time")
        return ui.input(label).props(f"{DENSE} type=time stack-label")


def _value(name: str, value: Any) -> Any:
    """Return what a blank holds as a run file writes it."""
    if value in (None, ""):
        return None
    if name in NUMBERS and name != "factor":
        return int(value)
    return value


def _in_words(request: dict[str, Any], names: dict[str, str]) -> str:
    def words() -> Iterator[str]:
        yield f"{request.get('count', 1)} × {names[request['appointment_type_id']]}"
        if "preferred_start" in request or "preferred_end" in request:
            start, end = request.get("preferred_start", ""), request.get("preferred_end", "")
            yield f"best {start}–{end}"
        if "dates" in request:
            yield f"on {', '.join(request['dates'])}"
        if "provider_id" in request:
            yield f"with {names[request['provider_id']]}"
        if "patient_ref" in request:
            yield f"for {request['patient_ref']}"
        yield f"priority {request.get('priority', 1)}"

    return ", ".join(words())
