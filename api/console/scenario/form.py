"""One scenario of a what-if being composed: its name, and what changes in sentences."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from api.console.backend import Visit, read_date
from api.console.layout import DENSE, date_field
from api.console.scenario.change_templates import SENTENCES, Blank, Rows, Sentence, Setting

LONGEST_NAME = 80


NUMBERS = {"factor": 1.2, "max_overlap": 1, "max_per_day": 2}
"""What blanks for numbers begin with; that of the blank ``number`` is up to the sentence."""


WHO = {
    "provider_id": ("providers", "Provider", "any provider"),
    "room_id": ("rooms", "Room", "any room"),
    "appointment_type_id": ("appointment_types", "Type", "all types"),
}
"""By blank: the rows to choose from, its label, and what it means when it stays empty."""


TAGS = {
    "skill": (("providers", "skills"), ("appointment_types", "required_skills")),
    "equipment": (("rooms", "equipment"), ("appointment_types", "required_equipment")),
}
"""By blank: where the clinic's rows have such tags."""


class ScenarioForm:
    """One scenario in a card of its own.

    Parameters
    ----------
    number
        Tells it apart from the others until it has a name.
    first
        The day that blanks for dates begin with.
    """

    def __init__(self, visit: Visit, number: int, rows: Rows, first: dt.date | None) -> None:
        self._visit, self._rows, self._first = visit, rows, first
        self._lines: list[tuple[Sentence, dict[str, Any]]] = []
        self.is_gone = False
        with ui.card().classes("w-full") as card:
            with ui.element("div").classes("sw-bar"):
                self._name = (
                    ui.input("Scenario", placeholder="named after what changes")
                    .props(f"{DENSE} stack-label")
                    .classes("w-72")
                )

                def drop() -> None:
                    self.is_gone = True
                    card.delete()

                ui.button(icon="close", on_click=drop).props(
                    f'flat round dense aria-label="Leave out scenario {number}"'
                )
            self._sentences = ui.column().classes("w-full")
            titles = {key: sentence.title for key, sentence in SENTENCES.items()}
            choice = ui.select(titles, label="What changes").props(DENSE).classes("w-72")

            def chosen() -> None:
                if choice.value is not None:
                    with self._sentences:
                        self._add(SENTENCES[choice.value])
                    choice.set_value(None)

            choice.on_value_change(chosen)

    @property
    def name(self) -> str:
        """What the visitor called it, or else what changes."""
        words = "; ".join(self._in_words(*line) for line in self._lines)
        name = (self._name.value or "").strip() or words or "Nothing changes"
        return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"

    def changes(self, dates: list[dt.date]) -> list[dict[str, Any]] | None:
        """Return the changes as a run file has them; None where a blank is empty."""
        setting = Setting(self._rows, dates)
        changes: list[dict[str, Any]] = []
        for sentence, fields in self._lines:
            values = {name: _read(name, field.value) for name, field in fields.items()}
            if any(values[b.name] is None and not b.is_optional for b in sentence.blanks()):
                return None
            changes += sentence.changes(values, setting)
        return changes

    def _add(self, sentence: Sentence) -> None:
        fields: dict[str, Any] = {}
        line = (sentence, fields)
        self._lines.append(line)
        with ui.element("div").classes("sw-bar sw-sentence") as row:
            for words, blank in sentence.pieces():
                if words.strip():
                    ui.label(words.strip())
                if blank is not None:
                    fields[blank.name] = self._field(blank, sentence)

            def drop() -> None:
                self._lines.remove(line)
                row.delete()

            ui.button(icon="close", on_click=drop).props(
                'flat round dense size=sm aria-label="Leave out this change"'
            )

    def _field(self, blank: Blank, sentence: Sentence) -> Any:
        name = blank.name
        if name in WHO:
            kind, label, nothing = WHO[name]
            return (
                ui.select(
                    {row["id"]: row["name"] for row in self._rows[kind]},
                    label=nothing if blank.is_optional else label,
                    clearable=blank.is_optional,
                )
                .props(DENSE)
                .classes("w-40")
            )
        if name in TAGS:
            tags = {t for kind, field in TAGS[name] for row in self._rows[kind] for t in row[field]}
            return ui.select(sorted(tags), label=name.capitalize()).props(DENSE).classes("w-40")
        if name in ("date", "last_date"):
            return date_field("Date" if name == "date" else "Last date", self._first)
        if name == "weekday":
            return ui.select(self._visit.weekdays(), label="Weekday").props(DENSE).classes("w-36")
        if name in NUMBERS or name == "number":
            label = name.replace("_", " ")
            value = NUMBERS.get(name, sentence.number)
            return ui.number(value=value, min=0).props(f'{DENSE} aria-label="{label}"')
        label = "all day" if blank.is_optional else name.removesuffix("_time")
        return ui.input(label).props(f"{DENSE} type=time stack-label")

    def _in_words(self, sentence: Sentence, fields: Mapping[str, Any]) -> str:
        words = ""
        for text, blank in sentence.pieces():
            if blank is None:
                words += text
                continue
            shown = self._shown(blank.name, _read(blank.name, fields[blank.name].value))
            words += text + shown if shown else ""
        return words.strip()

    def _shown(self, name: str, value: Any) -> str:
        if name in WHO:
            kind, _, nothing = WHO[name]
            return next((str(r["name"]) for r in self._rows[kind] if r["id"] == value), nothing)
        if value is None:
            return ""
        if name in ("date", "last_date"):
            return self._visit.short_day(value)
        if name == "weekday":
            return self._visit.weekdays()[value]
        return self._visit.time(value) if name.endswith("_time") else str(value)


def _read(name: str, value: Any) -> Any:
    """Return what a blank holds as a run file writes it; None while it is empty."""
    if value in (None, ""):
        return None
    if name in ("date", "last_date"):
        day = read_date(value)
        return None if day is None else day.isoformat()
    if name != "factor" and isinstance(value, float):
        return int(value)
    return value
