"""The clinic's rows, edited with the conflicts of an edit in view before it is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from fastapi import Request, Response
from nicegui import events, ui

from api.console.backend import Backend, RefusedError, Visit, read_date
from api.console.frame import DENSE, date_field, show, telling
from api.console.run_drawing import table
from data.catalogue import RESOURCES
from data.clinic_file import ClinicRow, Strict

TITLE = "Clinic"
MOST_CONFLICTS = 50
TABS = {
    "providers": "Providers",
    "rooms": "Rooms",
    "appointment_types": "Types",
    "availability": "Hours",
    "overbooking_rules": "Overbooking",
}
LABELS = {
    "daily_cap": "Most a day",
    "buffer_before": "Buffer before, minutes",
    "buffer_after": "Buffer after, minutes",
    "turnover_minutes": "Turnover, minutes",
    "duration_minutes": "Duration, minutes",
    "max_overlap": "Most at once",
    "max_per_day": "Most a day",
    "provider_id": "Provider",
    "room_id": "Room",
    "appointment_type_id": "Type",
    "start_time": "From",
    "end_time": "Until",
    "kind": "Open or closed",
    "valid_from": "From date",
    "valid_to": "To date",
    "grid_minutes": "Grid, minutes",
    "preference_decay_minutes": "Preference decays over, minutes",
    "min_notice_minutes": "Least notice, minutes",
}
OWNERS = {
    "provider_id": "providers",
    "room_id": "rooms",
    "appointment_type_id": "appointment_types",
}
TAGS = ("skills", "equipment", "required_skills", "required_equipment")
NUMBERS = (
    "daily_cap",
    "buffer_before",
    "buffer_after",
    "turnover_minutes",
    "duration_minutes",
    "max_overlap",
    "max_per_day",
    "grid_minutes",
    "preference_decay_minutes",
    "min_notice_minutes",
)
DATES = ("date", "valid_from", "valid_to")
TIMES = ("start_time", "end_time")

ON_CLICK = """(event) => {
  const hit = event.target.closest("[data-row]");
  if (hit) emit(hit.dataset.row);
}"""

type Row = dict[str, Any]


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/clinic")
    async def page(request: Request) -> Response | None:
        return await show(backend, request, TITLE, lambda visit: _Editor(visit).start())


class _Editor:
    """One open editor."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._may_edit = visit.caller.may("manager")
        self._rows: dict[str, list[Row]] = {}
        self._tables: dict[str, ui.html] = {}

    async def start(self) -> None:
        """Draw the page."""
        settings = await self._visit.get("/clinic")
        with ui.element("div").classes("sw-bar"):
            ui.label(settings["name"]).classes("text-xl").props("role=heading aria-level=1")
            if self._may_edit:
                ui.button("Settings", on_click=self._edit_settings).props("no-caps outline dense")
        with ui.tabs().props("align=left no-caps dense") as tabs:
            for kind, title in TABS.items():
                ui.tab(kind, label=title)
        with ui.tab_panels(tabs, value="providers").classes("w-full bg-transparent"):
            for kind in TABS:
                with ui.tab_panel(kind).classes("p-0"):
                    self._panel(kind)
        await self._read()

    def _panel(self, kind: str) -> None:
        if self._may_edit:
            ui.button(f"New {RESOURCES[kind].noun}", on_click=lambda: self._edit(kind, None)).props(
                "no-caps outline dense"
            )

        def chosen(event: events.GenericEventArguments) -> None:
            if self._may_edit:
                row = next(row for row in self._rows[kind] if row["id"] == event.args)
                self._edit(kind, row)

        self._tables[kind] = (
            ui.html("", sanitize=False)
            .classes("sw-wide")
            .props(f'tabindex=0 role=region aria-label="{TABS[kind]}"')
            .on("click", chosen, js_handler=ON_CLICK)
        )

    async def _read(self) -> None:
        for kind in TABS:
            self._rows[kind] = await self._visit.get(_path(kind))
        for kind, drawn in self._tables.items():
            drawn.set_content(self._table(kind))

    def _table(self, kind: str) -> str:
        fields = [name for name in RESOURCES[kind].model.model_fields if name != "id"]
        heads = [_label(name) for name in fields]
        if kind == "availability":  # a row has one owner, or the whole clinic
            fields = [name for name in fields if name not in OWNERS]
            heads = ["Whose", *(_label(name) for name in fields)]
        head = "".join(f'<th scope="col">{escape(words)}</th>' for words in heads)
        rows = (
            "".join(
                f'<td><button type="button" class="sw-link" data-row="{row["id"]}">{text}</button>'
                "</td>"
                if number == 0 and self._may_edit
                else f"<td>{text}</td>"
                for number, text in enumerate(self._cells(kind, row, fields))
            )
            for row in sorted(self._rows[kind], key=self._order)
        )
        return table(head, rows)

    def _cells(self, kind: str, row: Row, fields: list[str]) -> list[str]:
        cells = [self._shown(name, row[name]) for name in fields]
        if kind == "availability":
            cells.insert(0, self._whose(row))
        return [escape(cell) or "–" for cell in cells]

    def _whose(self, row: Row) -> str:
        return next(
            (self._shown(name, row[name]) for name in OWNERS if row.get(name)), "The whole clinic"
        )

    def _order(self, row: Row) -> tuple[str, ...]:
        names = [self._shown(name, row[name]) for name in OWNERS if name in row]
        rest = (row.get("weekday"), row.get("date"), row.get("start_time"))
        return (row.get("name", "").casefold(), *names, *(str(value or "") for value in rest))

    def _shown(self, name: str, value: Any) -> str:
        """Write a field's value."""
        match name, value:
            case _, None:
                shown = "any" if name in OWNERS else ""
            case (("provider_id" | "room_id" | "appointment_type_id"), _):
                names = {row["id"]: str(row["name"]) for row in self._rows[OWNERS[name]]}
                shown = names.get(value, value)
            case (("date" | "valid_from" | "valid_to"), _):
                shown = self._visit.day(value, "medium")
            case (("start_time" | "end_time"), _):
                shown = self._visit.time(value)
            case "weekday", _:
                shown = self._visit.weekdays()[value]
            case _, bool():
                shown = "yes" if value else "no"
            case _, list():
                shown = ", ".join(value)
            case _:
                shown = str(value)
        return shown

    # One row

    async def _edit_settings(self) -> None:
        settings = await self._visit.get("/clinic")
        self._form("The clinic's settings", ClinicRow, settings, "PATCH", "/clinic", None)

    def _edit(self, kind: str, row: Row | None) -> None:
        resource = RESOURCES[kind]
        if row is None:
            self._form(f"New {resource.noun}", resource.model, {}, "POST", _path(kind), None)
            return
        path = f"{_path(kind)}/{row['id']}"
        title = row.get("name") or f"{TABS[kind]}: {self._whose(row)}"
        self._form(title, resource.model, row, "PATCH", path, path)

    def _form(
        self,
        title: str,
        model: type[Strict],
        row: Mapping[str, Any],
        method: str,
        path: str,
        removable: str | None,
    ) -> None:
        fields: dict[str, Any] = {}
        with ui.dialog(value=True) as dialog, ui.card().classes("sw-form"):
            dialog.on("hide", dialog.delete)
            ui.label(title).classes("text-lg").props("role=heading aria-level=2")

            def body() -> Row:
                given = {name: _read(name, field.value) for name, field in fields.items()}
                required = {n for n, info in model.model_fields.items() if info.is_required()}
                return {n: v for n, v in given.items() if v is not None or n not in required}

            async def look() -> None:
                await self._foresee(found, save, method, path, body())

            with ui.element("div").classes("sw-fields"):
                for name, info in model.model_fields.items():
                    if name == "id":
                        continue
                    default = (
                        None if info.is_required() else info.get_default(call_default_factory=True)
                    )
                    fields[name] = self._field(name, row.get(name, default), look)
            found = ui.column().classes("w-full").props("role=status")

            async def keep() -> None:
                async with telling():
                    await self._visit.send(method, path, json=body())
                    dialog.close()
                    await self._read()

            with ui.element("div").classes("sw-bar"):
                save = ui.button("Save", on_click=keep).props("no-caps")
                if removable is not None:
                    self._remove_button(removable, found, dialog)
                ui.button("Close", on_click=dialog.close).props("no-caps flat")

    def _remove_button(self, path: str, found: ui.column, dialog: ui.dialog) -> None:
        async def ask() -> None:
            async with telling():
                answer = await self._visit.send("DELETE", path, params={"dry_run": True})
                foreseen = answer.json()
                words = (
                    "Delete it" if foreseen["deleted"] else "Deactivate it: bookings refer to it"
                )
                self._show_conflicts(found, foreseen["conflicts"])
                with found:
                    ui.button(words, on_click=remove).props("no-caps outline color=negative")

        async def remove() -> None:
            async with telling():
                await self._visit.send("DELETE", path)
                dialog.close()
                await self._read()

        ui.button("Delete …", on_click=ask).props("no-caps flat")

    async def _foresee(
        self, found: ui.column, save: ui.button, method: str, path: str, body: Row
    ) -> None:
        """Show what saving would do to the bookings."""
        try:
            answer = await self._visit.send(method, path, json=body, params={"dry_run": True})
        except RefusedError as error:
            found.clear()
            with found:
                ui.label(str(error)).classes("sw-alert")
            return
        conflicts = answer.json()["conflicts"]
        self._show_conflicts(found, conflicts)
        save.set_text("Save all the same" if conflicts else "Save")

    def _show_conflicts(self, found: ui.column, conflicts: list[Row]) -> None:
        found.clear()
        with found:
            if not conflicts:
                ui.label("No booking is in the way.").classes("sw-quiet")
                return
            bookings = len({conflict["booking_id"] for conflict in conflicts})
            noun = "booking" if bookings == 1 else "bookings"
            ui.label(f"{bookings} {noun} would be outside the rules:").classes("sw-alert")
            rows = (
                f"<td>{escape(self._visit.day(c['date'], 'medium'))}, "
                f"{escape(self._visit.time(c['start_time']))}</td>"
                f"<td>{escape(self._shown('provider_id', c['provider_id']))}</td>"
                f"<td>{escape(c['detail'])}</td>"
                for c in conflicts[:MOST_CONFLICTS]
            )
            head = "".join(f'<th scope="col">{h}</th>' for h in ("When", "Provider", "Why"))
            ui.html(table(head, rows), sanitize=False).classes("sw-wide")

    def _field(self, name: str, value: Any, look: Callable[[], Any]) -> Any:
        label = _label(name)
        field: Any
        if name in OWNERS:
            options = {row["id"]: row["name"] for row in self._rows[OWNERS[name]]}
            field = ui.select(options, label=label, value=value, clearable=True)
        elif name == "weekday":
            field = ui.select(self._visit.weekdays(), label=label, value=value, clearable=True)
        elif name == "kind":
            field = ui.select(["open", "closed"], label=label, value=value)
        elif name in TAGS:
            field = ui.input_chips(label, value=list(value or ()), clearable=True)
        elif name in NUMBERS:
            field = ui.number(label, value=value, min=0, precision=0)
        elif name == "active":
            field = ui.checkbox("Active", value=bool(value))
        elif name in DATES:
            field = date_field(label, read_date(value))
        elif name in TIMES:
            field = ui.input(label, value=_clock(value)).props("type=time stack-label")
        else:
            field = ui.input(label, value=value)
        if name != "active" and name not in DATES:
            field.props(f"{DENSE} debounce=300")
        field.on_value_change(look)
        return field


def _path(kind: str) -> str:
    return f"/{kind.replace('_', '-')}"


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " ").capitalize())


def _clock(value: Any) -> Any:
    """Return a time as the browser's field takes it; it knows no 24:00."""
    return "00:00" if value == "24:00" else value


def _read(name: str, value: Any) -> Any:
    """Return what a field holds as the service takes it."""
    if value in (None, ""):
        return None
    if name in NUMBERS:
        return int(value)
    if name == "end_time" and value == "00:00":
        return "24:00"
    return list(value) if name in TAGS else value
