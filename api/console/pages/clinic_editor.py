"""The clinic's rows, edited with the conflicts of an edit in view before it is saved."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import Request, Response
from nicegui import events, ui

from api.console.backend import Backend, Visit
from api.console.drawing.run import table
from api.console.layout import show, telling
from api.console.messages import EVERY_WEEKS, START_ANCHORS, label_of
from api.console.pages.clinic_row_form import OWNERS, REFERENCES, TAGS, Row, RowForm, path
from data.clinic.resources import RESOURCES
from data.files.clinic_file import ClinicRow
from data.files.fields import Strict
from data.files.session_row import lead_in_words

TITLE = "Clinic"


TABS = {
    "providers": "Providers",
    "rooms": "Rooms",
    "locations": "Places",
    "travel": "Ways",
    "equipment_pools": "Equipment",
    "appointment_types": "Types",
    "provider_types": "Who differs",
    "availability": "Hours",
    "sessions": "Sessions",
    "overbooking_rules": "Overbooking",
}


NOUNS = {"locations": "place", "travel": "way"}
"""What one row is called where the service has another word for it."""


WHOSE = {"availability": "The whole clinic", "sessions": "Everybody"}
"""The kinds of row that have one owner or none, and whose those are that have none."""


ON_CLICK = """(event) => {
  const hit = event.target.closest("[data-row]");
  if (hit) emit(hit.dataset.row);
}"""


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/clinic")
    async def page(request: Request) -> Response | None:
        return await show(backend, request, TITLE, lambda visit: _Editor(visit).start())


class _Editor:
    """One open editor."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self._may_edit = visit.caller.may("manager")
        self.rows: dict[str, list[Row]] = {}
        self._tables: dict[str, ui.html] = {}

    async def start(self) -> None:
        """Draw the page."""
        settings = await self.visit.get("/clinic")
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
        await self.read()

    def _panel(self, kind: str) -> None:
        if self._may_edit:
            ui.button(f"New {_noun(kind)}", on_click=lambda: self._edit(kind, None)).props(
                "no-caps outline dense"
            )

        async def chosen(event: events.GenericEventArguments) -> None:
            if self._may_edit:
                row = next(row for row in self.rows[kind] if row["id"] == event.args)
                await self._edit(kind, row)

        self._tables[kind] = (
            ui.html("", sanitize=False)
            .classes("sw-wide")
            .props(f'tabindex=0 role=region aria-label="{TABS[kind]}"')
            .on("click", chosen, js_handler=ON_CLICK)
        )

    async def read(self) -> None:
        """Read all rows, and show them."""
        for kind in TABS:
            self.rows[kind] = await self.visit.get(path(kind))
        for kind, drawn in self._tables.items():
            drawn.set_content(self._table(kind))

    def _table(self, kind: str) -> str:
        fields = [name for name in RESOURCES[kind].model.model_fields if name != "id"]
        heads = [label_of(name) for name in fields]
        if kind in WHOSE:  # a row has one owner, or none
            fields = [name for name in fields if name not in OWNERS]
            heads = [label_of(name) for name in fields]
            heads.insert(fields.index("weekday"), "Whose")
        head = "".join(f'<th scope="col">{escape(words)}</th>' for words in heads)
        rows = (
            "".join(
                f'<td><button type="button" class="sw-link" data-row="{row["id"]}">{text}</button>'
                "</td>"
                if number == 0 and self._may_edit
                else f"<td>{text}</td>"
                for number, text in enumerate(self._cells(kind, row, fields))
            )
            for row in sorted(self.rows[kind], key=self._order)
        )
        return table(head, rows)

    def _cells(self, kind: str, row: Row, fields: list[str]) -> list[str]:
        cells = [self.shown(name, row[name]) for name in fields]
        if kind in WHOSE:
            if row["date"] is not None:
                cells[fields.index("every_weeks")] = ""
            cells.insert(fields.index("weekday"), self._whose(kind, row))
        return [escape(cell) or "–" for cell in cells]

    def _whose(self, kind: str, row: Row) -> str:
        owned = (self.shown(name, row[name]) for name in OWNERS if row.get(name))
        return next(owned, WHOSE.get(kind, WHOSE["availability"]))

    def _order(self, row: Row) -> tuple[str, ...]:
        named = (*OWNERS, "from_id", "to_id")
        names = [self.shown(name, row[name]) for name in named if name in row]
        rest = (row.get("weekday"), row.get("date"), row.get("start_time"))
        return (row.get("name", "").casefold(), *names, *(str(value or "") for value in rest))

    def shown(self, name: str, value: Any) -> str:
        """Write a field's value."""
        match name, value:
            case "appointment_type_ids", _:
                names = {row["id"]: row["name"] for row in self.rows["appointment_types"]}
                kinds = None if value is None else sorted(names.get(key, key) for key in value)
                shown = "everything" if kinds is None else ", ".join(kinds) or "nobody"
            case (("opens" | "releases"), dict()):
                shown = lead_in_words(value, self.visit.time)
            case (("required_pools" | "roles"), _):
                names = {row["id"]: str(row["name"]) for row in self.rows["equipment_pools"]}
                shown = ", ".join(
                    row["key"] if "key" in row else f"{row['quantity']} × {names[row['pool_id']]}"
                    for row in value or ()
                )
            case _, None:
                shown = "any" if name in OWNERS else ""
            case _, _ if name in REFERENCES:
                names = {row["id"]: str(row["name"]) for row in self.rows[REFERENCES[name]]}
                shown = names.get(value, value)
            case (("date" | "valid_from" | "valid_to"), _):
                shown = self.visit.day(value, "medium")
            case (("start_time" | "end_time"), _):
                shown = self.visit.time(value)
            case "weekday", _:
                shown = self.visit.weekdays()[value]
            case (("every_weeks" | "start_anchor"), _):
                shown = (EVERY_WEEKS if name == "every_weeks" else START_ANCHORS)[value]
            case _, bool():
                shown = "yes" if value else "no"
            case _, list():
                shown = ", ".join(value)
            case _:
                shown = str(value)
        return shown

    # One row

    async def _edit_settings(self) -> None:
        await self._open("The clinic's settings", ClinicRow, "/clinic", None)

    async def _edit(self, kind: str, row: Row | None) -> None:
        resource = RESOURCES[kind]
        if row is None:
            RowForm(self, f"New {_noun(kind)}", resource.model, {}, "POST", path(kind)).draw()
            return
        at = f"{path(kind)}/{row['id']}"
        title = row.get("name") or f"{TABS[kind]}: {self._whose(kind, row)}"
        if kind == "travel":
            title = " – ".join(self.shown(name, row[name]) for name in ("from_id", "to_id"))
        await self._open(title, resource.model, at, at)

    async def _open(
        self, title: str, model: type[Strict], path: str, removable: str | None
    ) -> None:
        """Open a row as it is now, which may not be as it was when the page was read."""
        async with telling():
            answer = await self.visit.send("GET", path)
            form = RowForm(self, title, model, answer.json(), "PATCH", path, removable)
            form.etag = answer.headers["etag"]
            form.draw()

    def tags_in_use(self, name: str) -> set[str]:
        """Return the tags of a field's kind that any row has."""
        return {
            tag
            for rows in self.rows.values()
            for row in rows
            for field, noun in TAGS.items()
            if noun == TAGS[name]
            for tag in row.get(field, ())
        }


def _noun(kind: str) -> str:
    return NOUNS.get(kind, RESOURCES[kind].noun)
