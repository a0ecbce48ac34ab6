"""The form of one row of the clinic, with its conflicts in view."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from nicegui import events, ui

from api.console.backend import RefusedError, read_date
from api.console.layout import DENSE, LeadField, NeedsField, RolesField, date_field, telling
from api.console.messages import EVERY_WEEKS, START_ANCHORS, label_of, refusal
from api.console.stranded_bookings import booking_table
from data.files.fields import Strict

if TYPE_CHECKING:
    from api.console.pages.clinic_editor import _Editor


MOST_CONFLICTS = 50


OWNERS = {
    "provider_id": "providers",
    "room_id": "rooms",
    "appointment_type_id": "appointment_types",
}


REFERENCES = OWNERS | {"location_id": "locations", "from_id": "locations", "to_id": "locations"}
"""The fields that name a row, and the kind of row that each names."""


TAGS = {
    "skills": "skill",
    "equipment": "piece of equipment",
    "required_skills": "skill",
    "required_equipment": "piece of equipment",
}
"""The fields that hold tags, and what one of them is called."""


NUMBERS = (
    "daily_cap",
    "daily_minutes",
    "buffer_before",
    "buffer_after",
    "turnover_minutes",
    "duration_minutes",
    "minutes",
    "max_bookings",
    "quantity",
    "return_minutes",
    "max_overlap",
    "max_per_day",
    "grid_minutes",
    "start_every",
    "start_offset",
    "preference_decay_minutes",
    "min_notice_minutes",
)


TICKS = ("active", "offered", "packed")


CHOICES: dict[str, Any] = {
    "every_weeks": EVERY_WEEKS,
    "kind": ["open", "closed"],
    "start_anchor": START_ANCHORS,
}
"""What there is to choose from, by field."""


DATES = ("date", "valid_from", "valid_to")


TIMES = ("start_time", "end_time")


LEADS = ("opens", "releases")
"""The fields that hold an instant before a session."""


NEEDS = "required_pools"


ROLES = "roles"


KINDS = "appointment_type_ids"


NOBODY = ""
"""Stands among the types that a session is kept for where it is kept for none of them."""


ON_LEAVE = """(event) => {
  const typed = event.target.value?.trim();
  if (typed && !event.relatedTarget?.closest(".q-menu")) emit(typed);
}"""
"""What has been typed into a field of tags counts without Enter, too."""


type Row = dict[str, Any]


class RowForm:
    """One row being edited, or made."""

    def __init__(
        self,
        editor: _Editor,
        title: str,
        model: type[Strict],
        row: Row,
        method: str,
        path: str,
        removable: str | None = None,
    ) -> None:
        self._editor, self._visit = editor, editor.visit
        self._title, self._model, self._row = title, model, row
        self._method, self._path, self._removable = method, path, removable
        self.etag: str | None = None
        """What names the row as it was read."""
        self._fields: dict[str, Any] = {}
        self._kept_tags: set[tuple[str, str]] = set()

    def draw(self) -> None:
        """Draw the form as a dialog."""
        with ui.dialog(value=True) as self._dialog, ui.card().classes("sw-form sw-still"):
            self._dialog.on("hide", self._dialog.delete)
            ui.label(self._title).classes("text-lg").props("role=heading aria-level=2")
            with ui.element("div").classes("sw-scroll"):
                with ui.element("div").classes("sw-fields"):
                    self._draw_fields()
                self._found = ui.column().classes("w-full").props("role=status")
            self._asked = ui.column().classes("w-full").props("role=alert")
            with ui.element("div").classes("sw-bar sw-buttons"):
                self._save = ui.button("Save", on_click=self._keep).props("no-caps")
                if self._removable is not None:
                    self._remove_button(self._removable)
                ui.button("Close", on_click=self._dialog.close).props("no-caps flat")

    def _draw_fields(self) -> None:
        for name, info in self._model.model_fields.items():
            if name == "id":
                continue
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            self._fields[name] = self._field(name, self._row.get(name, default))
        self._read = self._values()

    def _values(self) -> Row:
        return {name: _read(name, field.value) for name, field in self._fields.items()}

    def _body(self) -> Row:
        """Return what is to be sent: of a row that there is, what has been changed here alone."""
        values = self._values()
        if self._method == "PATCH":
            return {name: value for name, value in values.items() if value != self._read[name]}
        required = {n for n, info in self._model.model_fields.items() if info.is_required()}
        return {n: v for n, v in values.items() if v is not None or n not in required}

    async def _look(self) -> None:
        """Show what saving would do to the bookings."""
        body = self._body()
        if not body:
            self._found.clear()
            self._save.set_text("Save")
            return
        try:
            answer = await self._visit.send(
                self._method, self._path, json=body, params={"dry_run": True}
            )
        except RefusedError as error:
            self._found.clear()
            with self._found:
                ui.label(refusal(error)).classes("sw-alert")
            return
        foreseen = answer.json()
        self._show_conflicts(foreseen)
        self._save.set_text("Save all the same" if foreseen["conflicts"] else "Save")

    async def _keep(self) -> None:
        if self._ask_about_new_tags():
            return
        async with telling():
            body = self._body()
            if body or self._method == "POST":
                headers = {"If-Match": self.etag} if self.etag else {}
                try:
                    await self._visit.send(self._method, self._path, json=body, headers=headers)
                except RefusedError as error:
                    if error.status != HTTPStatus.PRECONDITION_FAILED:
                        raise
                    await self._show_other_change()
                    return
            self._dialog.close()
            await self._editor.read()

    async def _show_other_change(self) -> None:
        """Show what somebody else has made of the row meanwhile, beside what is here."""
        answer = await self._visit.send("GET", self._path)
        self.etag, now = answer.headers["etag"], answer.json()
        mine = self._body()
        self._asked.clear()
        with self._asked:
            ui.label("Somebody else has changed this meanwhile:").classes("sw-alert")
            for name, field in self._fields.items():
                shown = _shown_by(name, now.get(name))
                theirs = _read(name, shown)
                if theirs == self._read[name]:
                    continue
                words = f"{label_of(name)}: now {self._in_words(name, theirs)}"
                if name in mine:
                    words += f", here {self._in_words(name, mine[name])}"
                else:
                    field.set_value(shown)
                self._read[name] = theirs
                ui.label(words)
            if mine:
                ui.label("Save again to keep what is written here.")

    def _in_words(self, name: str, value: Any) -> str:
        words = "" if value is None else self._editor.shown(name, value)
        return f"“{words}”" if words else "nothing"

    # Tags

    def _ask_about_new_tags(self) -> bool:
        """Ask about spellings that no row has yet; whether there is anything to answer."""
        new = list(self._new_tags())
        self._asked.clear()
        with self._asked:
            for name, tag in new:
                with ui.element("div").classes("sw-bar"):
                    self._ask_about(name, tag)
        return bool(new)

    def _new_tags(self) -> Iterator[tuple[str, str]]:
        for name in TAGS:
            if name in self._fields:
                known = self._editor.tags_in_use(name)
                for tag in _read(name, self._fields[name].value):
                    if tag not in known and (name, tag) not in self._kept_tags:
                        yield name, tag

    def _ask_about(self, name: str, tag: str) -> None:
        field = self._fields[name]
        known = {known.casefold(): known for known in sorted(self._editor.tags_in_use(name))}
        near = get_close_matches(tag.casefold(), known, 1, 0.7)
        words = f"New {TAGS[name]} “{tag}”"
        ui.label(f"{words}: did you mean “{known[near[0]]}”?" if near else f"{words}?").classes(
            "sw-alert"
        )

        async def take(instead: str) -> None:
            kept = [instead if each.strip() == tag else each for each in field.value]
            field.set_value(list(dict.fromkeys(kept)))
            self._kept_tags.add((name, instead))
            self._ask_about_new_tags()

        if near:
            ui.button(f"Take “{known[near[0]]}”", on_click=partial(take, known[near[0]])).props(
                "no-caps outline dense"
            )
        ui.button(f"Keep “{tag}”", on_click=partial(take, tag)).props("no-caps outline dense")

    def _remove_button(self, path: str) -> None:
        async def ask() -> None:
            async with telling():
                answer = await self._visit.send("DELETE", path, params={"dry_run": True})
                foreseen = answer.json()
                words = "Delete it" if foreseen["deleted"] else "Deactivate it: others refer to it"
                self._show_conflicts(foreseen)
                with self._found:
                    ui.button(words, on_click=remove).props("no-caps outline color=negative")

        async def remove() -> None:
            async with telling():
                await self._visit.send("DELETE", path)
                self._dialog.close()
                await self._editor.read()

        ui.button("Delete …", on_click=ask).props("no-caps flat")

    def _show_conflicts(self, foreseen: Row) -> None:
        """List the bookings that need a new place then, each with a way to its day."""
        conflicts = foreseen["conflicts"]
        self._found.clear()
        with self._found:
            if not conflicts:
                ui.label("No booking is in the way.").classes("sw-quiet")
                return
            rows = _by_booking(conflicts)
            count = foreseen.get("conflicting_bookings") or len(rows)
            noun = "booking" if count == 1 else "bookings"
            ui.label(f"{count} {noun} would be outside the rules:").classes("sw-alert")
            ui.html(booking_table(self._visit, rows[:MOST_CONFLICTS]), sanitize=False).classes(
                "sw-wide"
            ).props('tabindex=0 role=region aria-label="Bookings outside the rules"')

    def _field(self, name: str, value: Any) -> Any:
        label = label_of(name)
        field: Any
        if name in REFERENCES:
            options = {row["id"]: row["name"] for row in self._editor.rows[REFERENCES[name]]}
            field = ui.select(options, label=label, value=value, clearable=True)
        elif name in (choices := {"weekday": self._visit.weekdays(), **CHOICES}):
            clearable = name == "weekday"
            field = ui.select(choices[name], label=label, value=value, clearable=clearable)
        elif name in TAGS:
            field = self._tags_field(label, value)
        elif name in LEADS:
            field = LeadField(label, value)
        elif name in (NEEDS, ROLES):
            pools = {row["id"]: row["name"] for row in self._editor.rows["equipment_pools"]}
            field = RolesField(label, value) if name == ROLES else NeedsField(label, pools, value)
        elif name == KINDS:
            field = self._kinds_field(label, _shown_by(name, value))
        elif name in NUMBERS:
            field = ui.number(label, value=value, min=0, precision=0)
        elif name in TICKS:
            field = ui.checkbox(label, value=bool(value))
        elif name in DATES:
            field = date_field(label, read_date(value))
        elif name in TIMES:
            shown = _shown_by(name, value)
            field = ui.input(label, value=shown).props("type=time stack-label")
        else:
            field = ui.input(label, value=value)
        if name not in (*TICKS, *DATES, *LEADS, NEEDS, ROLES):
            field.props(f"{DENSE} debounce=300")
        field.on_value_change(self._look)
        return field

    def _kinds_field(self, label: str, value: list[str]) -> ui.select:
        """Return a choice of types: none chosen is all of them, and nobody can be chosen, too."""
        kinds = {row["id"]: row["name"] for row in self._editor.rows["appointment_types"]}
        options = {**kinds, NOBODY: "nobody"}
        return ui.select(options, label=label, value=value, multiple=True, clearable=True).props(
            'use-chips stack-label hint="Empty: everything"'
        )

    def _tags_field(self, label: str, value: Any) -> Any:
        def typed(event: events.GenericEventArguments) -> None:
            tags = field.value or []
            if event.args not in tags:
                field.set_value([*tags, event.args])

        with ui.element("div").on("focusout", typed, js_handler=ON_LEAVE):
            field = ui.input_chips(label, value=sorted(value or ()), clearable=True)
        return field


def _by_booking(conflicts: list[Row]) -> list[Row]:
    """Return what an edit answers with as ``GET /bookings/conflicts`` lists it."""
    listed: dict[str, Row] = {}
    for conflict in conflicts:
        listed.setdefault(conflict["booking_id"], {**conflict, "rules": []})["rules"].append(
            conflict
        )
    return list(listed.values())


def path(kind: str) -> str:
    """Return where rows of a kind are in the service's interface."""
    return f"/{kind.replace('_', '-')}"


def _shown_by(name: str, value: Any) -> Any:
    """Return a value as its field takes it; the browser's own for times knows no 24:00."""
    if name in TAGS:
        return sorted(value or ())
    if name == KINDS:
        return [NOBODY] if value == [] else value or []
    return "00:00" if name in TIMES and value == "24:00" else value


def _read(name: str, value: Any) -> Any:
    """Return what a field holds as the service takes it."""
    if name in TAGS:
        return sorted({tag.strip() for tag in value or ()} - {""})
    if name == KINDS:
        return sorted(set(value) - {NOBODY}) if value else None
    if isinstance(value, str):
        value = value.strip()
    if value in (None, ""):
        return None
    if name in NUMBERS:
        return int(value) if float(value).is_integer() else value  # the service refuses a fraction
    if name == "end_time" and value == "00:00":
        return "24:00"
    return value
