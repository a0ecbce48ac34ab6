"""What every page shares: its head, its way around, its looks, and how it tells a refusal."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import Request
from fastapi.responses import RedirectResponse
from nicegui import events, ui

from api.console.backend import DARK, DARK_COOKIE, Backend, RefusedError, Visit
from api.console.messages import refusal
from api.console.stranded_bookings import Found, booking_table
from solver.clinic.teams.roles import MAX_ROLES

PAGES = (
    ("/", "Day board"),
    ("/find", "Find a slot"),
    ("/what-if", "What if"),
    ("/statistics", "Statistics"),
    ("/clinic", "Clinic"),
    ("/benchmarks", "Benchmarks"),
)


PRIMARY = "#0b5c7a"


TOAST_SECONDS = 15.0
"""How long what has been done is told, and can be taken back by one click."""


DENSE = "dense outlined options-dense"


COUNT_SECONDS = 3.0
"""How often a page asks how many appointments need a new place."""


ON_CHOICE = """(event) => {
  const hit = event.target.closest("[data-date]");
  if (hit) emit({...hit.dataset});
}"""


SIGN_OUT = (
    '<form method="post" action="{root}/sign-out">'
    '<button type="submit" class="sw-out">Sign out</button></form>'
)


SHORTCUTS = """
<script>
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape" && event.target.closest(".sw-search")) event.target.blur();
  else if (event.target.closest("input, textarea, select, [contenteditable], [role=tab]")) return;
  if (document.querySelector(".q-dialog, .q-menu")) return;
  const meant = event.key === "/"
    ? document.querySelector(".sw-search input")
    : [...document.querySelectorAll("[data-key]")].find((e) => e.dataset.key === event.key);
  if (!meant) return;
  event.preventDefault();
  if (event.key === "/") meant.focus(); else meant.click();
});
</script>
"""
"""``/`` goes to the search and Esc out of it; a button with ``data-key`` is that key's, but not
below a dialog."""


def stylesheet() -> str:
    """Return the console's own style sheet."""
    return files("api.console").joinpath("console.css").read_text("utf-8")


async def show(
    backend: Backend,
    request: Request,
    title: str,
    draw: Callable[[Visit], Awaitable[None]],
) -> RedirectResponse | None:
    """Show a page that `draw` draws to a visitor who may see it; lead others to the sign-in."""
    visit = await Visit.of(backend, request)
    if visit is None:
        return to_sign_in(request)
    with _frame(visit, title):
        await draw(visit)
    return None


@contextmanager
def _frame(visit: Visit, title: str) -> Iterator[None]:
    """Draw a page's head and the links to the others; the block draws the page."""
    ui.colors(primary=PRIMARY)
    ui.page_title(f"{title} · Slotwright")
    dark = ui.dark_mode(visit.dark)

    def turn() -> None:
        dark.set_value({None: True, True: False, False: None}[dark.value])
        button.props(f'icon="{_icon(dark.value)}"')
        kept = f"{DARK_COOKIE}={DARK[dark.value]}; path={visit.root}; max-age=31536000"
        kept += "; samesite=strict"
        ui.run_javascript(f"document.cookie = {kept!r}")

    with ui.header(elevated=False).classes("sw-header"):
        ui.html(_links(visit, title), sanitize=False, tag="nav").props('aria-label="Pages"')
        _add_count(visit)
        button = (
            ui.button(icon=_icon(visit.dark), on_click=turn)
            .props('flat round dense color=white aria-label="Light or dark"')
            .tooltip("Light, dark, or as the system")
        )
        if visit.key:
            ui.label(visit.caller.role or "").classes("sw-who").tooltip(visit.caller.name)
            ui.html(SIGN_OUT.format(root=visit.root), sanitize=False)
    with ui.column().classes("sw-page"):
        yield


def _add_count(visit: Visit) -> None:
    """Show how many there are, when there are any; it opens the list."""
    place = ui.context.client.content
    button = ui.button(icon="warning").props("flat no-caps dense color=white").classes("sw-count")
    button.set_visibility(False)

    async def look() -> None:
        try:
            found = await visit.backend.stranded.look(visit)
        except RefusedError as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                ui.navigate.to("/sign-in")
            return  # busy: the next look may find out
        needs = "needs" if found.count == 1 else "need"
        button.set_text(f"{found.count} {needs} a new place")
        button.set_visibility(found.count > 0)

    async def show() -> None:
        async with telling():
            found = await visit.backend.stranded.look(visit)
            with place:
                _show_list(visit, found)

    button.on_click(show)
    ui.timer(COUNT_SECONDS, look)


def _show_list(visit: Visit, found: Found) -> None:
    def go(event: events.GenericEventArguments) -> None:
        chosen = event.args
        moved = f"&move={chosen['move']}" if chosen.get("move") else ""
        ui.navigate.to(f"/?date={chosen['date']}{moved}")

    with ui.dialog(value=True) as dialog, ui.card().classes("sw-form"):
        dialog.on("hide", dialog.delete)
        ui.label("Appointments that need a new place").classes("text-lg").props(
            "role=heading aria-level=2"
        )
        ui.html(booking_table(visit, found.rows, may_move=True), sanitize=False).classes(
            "sw-wide"
        ).props('tabindex=0 role=region aria-label="Appointments"').on(
            "click", go, js_handler=ON_CHOICE
        )
        if found.count > len(found.rows):
            ui.label(f"and {found.count - len(found.rows)} more").classes("sw-quiet")
        with ui.element("div").classes("sw-bar sw-buttons"):
            ui.button("Close", on_click=dialog.close).props("no-caps flat")


@contextmanager
def bare() -> Iterator[None]:
    """Draw a page that leads nowhere else."""
    ui.colors(primary=PRIMARY)
    ui.dark_mode().auto()
    with ui.column().classes("sw-page sw-narrow"):
        yield


def date_field(label: str, value: dt.date | None = None) -> ui.input:
    """Return the browser's own field for a date: it writes dates as its user does."""
    return (
        ui.input(label, value=value.isoformat() if value else None)
        .props("type=date dense outlined stack-label hide-bottom-space")
        .classes("sw-date")
    )


class LeadField:
    """An instant before a session: none, so many minutes, or a time days before."""

    def __init__(self, label: str, value: Mapping[str, Any] | None) -> None:
        with ui.element("div").classes("sw-lead").props(f'role=group aria-label="{label}: when"'):
            self._form = ui.select({"": ALWAYS[label], **LEADS}, label=label).props(DENSE)
            self._form.classes("w-48")
            self._count = ui.number("How many", min=0, precision=0)
            self._count.props(f"{DENSE} debounce=300").classes("w-24")
            self._at = ui.input("at").props(f"{DENSE} type=time stack-label")
        self.set_value(value)
        self._count.bind_visibility_from(self._form, "value", bool)
        self._at.bind_visibility_from(self._form, "value", lambda form: form == "days_before")

    @property
    def value(self) -> dict[str, Any] | None:
        """What it holds, as the service takes it."""
        form, count = self._form.value, self._count.value
        if not form:
            return None
        lead: dict[str, Any] = {form: int(count or 0)}
        return lead | {"at": self._at.value or None} if form == "days_before" else lead

    def set_value(self, value: Mapping[str, Any] | None) -> None:
        """Show another one."""
        lead = value or {}
        form = next((name for name in LEADS if name in lead), "")
        self._count.set_value(lead.get(form))
        self._at.set_value(lead.get("at"))
        self._form.set_value(form)

    def on_value_change(self, told: Callable[[], Awaitable[None]]) -> None:
        """Tell of whatever is changed in it."""
        for field in (self._form, self._count, self._at):
            field.on_value_change(told)


class NeedsField:
    """What a type takes of equipment pools: how many pieces of each, or none."""

    def __init__(self, label: str, pools: Mapping[str, str], value: Sequence[Mapping[str, Any]]):
        with ui.element("div").classes("sw-needs").props(f'role=group aria-label="{label}"'):
            self._pieces = {
                key: ui.number(f"{name}: pieces", min=1, precision=0).props(
                    f"{DENSE} debounce=300 clearable"
                )
                for key, name in pools.items()
            }
            if not pools:
                ui.label("No equipment that moves yet: add it under Equipment.").classes("sw-quiet")
        self.set_value(value)

    @property
    def value(self) -> list[dict[str, Any]]:
        """What it holds, as the service takes it."""
        return [
            {"pool_id": key, "quantity": int(field.value)}
            for key, field in self._pieces.items()
            if field.value
        ]

    def set_value(self, value: Sequence[Mapping[str, Any]]) -> None:
        """Show another one."""
        taken = {need["pool_id"]: need["quantity"] for need in value or ()}
        for key, field in self._pieces.items():
            field.set_value(taken.get(key))

    def on_value_change(self, told: Callable[[], Awaitable[None]]) -> None:
        """Tell of whatever is changed in it."""
        for field in self._pieces.values():
            field.on_value_change(told)


class RolesField:
    """Who takes part in an appointment besides its provider: as many roles as have a name."""

    def __init__(self, label: str, value: Sequence[Mapping[str, Any]]) -> None:
        with ui.element("div").classes("sw-needs").props(f'role=group aria-label="{label}"'):
            self._rows = [_role_fields(number) for number in range(1, MAX_ROLES + 1)]
        self.set_value(value)
        for row in self._rows:
            row[0].on_value_change(self._show)

    @property
    def value(self) -> list[dict[str, Any]]:
        """What it holds, as the service takes it."""
        return [
            {
                "key": key.value.strip(),
                "required_skills": sorted({tag.strip() for tag in skills.value.split(",")} - {""}),
                "from_minute": int(begin.value or 0),
                "to_minute": None if end.value is None else int(end.value),
            }
            for key, skills, begin, end in self._rows
            if (key.value or "").strip()
        ]

    def set_value(self, value: Sequence[Mapping[str, Any]]) -> None:
        """Show another one."""
        for number, fields in enumerate(self._rows):
            role = value[number] if value and number < len(value) else {}
            shown = (
                role.get("key"),
                ", ".join(role.get("required_skills", ())),
                role.get("from_minute"),
                role.get("to_minute"),
            )
            for field, each in zip(fields, shown, strict=True):
                field.set_value(each)
        self._show()

    def _show(self) -> None:
        """Show the roles that there are, and room for one more."""
        count = max((n for n, row in enumerate(self._rows, 1) if row[0].value), default=0)
        for number, row in enumerate(self._rows):
            for field in row:
                field.set_visibility(number <= count)

    def on_value_change(self, told: Callable[[], Awaitable[None]]) -> None:
        """Tell of whatever is changed in it."""
        for row in self._rows:
            for field in row:
                field.on_value_change(told)


def _role_fields(number: int) -> tuple[Any, ...]:
    """Return what a role is made of: its name, its skills, from which minute and until which."""
    props = f"{DENSE} debounce=300"
    return (
        ui.input(f"Role {number}").props(props),
        ui.input(f"Role {number}: skills, with commas").props(props),
        ui.number(f"Role {number}: from minute", min=0, precision=0).props(props),
        ui.number(f"Role {number}: until minute", min=1, precision=0).props(f"{props} clearable"),
    )


LEADS = {"minutes_before": "minutes before", "days_before": "days before"}


ALWAYS = {"Can be booked from": "any time", "Kept until": "its end"}
"""What it means that there is no such instant."""


def _icon(dark: bool | None) -> str:
    return {None: "brightness_auto", True: "dark_mode", False: "light_mode"}[dark]


def _links(visit: Visit, title: str) -> str:
    return '<span class="sw-brand">Slotwright</span>' + "".join(
        f'<a href="{visit.root}{path}"'
        + (' aria-current="page"' if name == title else "")
        + f">{name}</a>"
        for path, name in PAGES
    )


def toast(place: ui.element, words: str, undo: Callable[[], Awaitable[None]] | None = None) -> None:
    """Tell what has been done, in place of what was told before, with a way back if there is one.

    Parameters
    ----------
    place
        What outlasts the dialog in which it was done: the page's content.
    """
    for former in [each for each in place if "sw-toast" in each.classes]:
        former.delete()
    with place, ui.element("div").classes("sw-toast").props("role=status") as shown:
        ui.label(words)
        if undo is not None:

            async def take_back() -> None:
                with place:
                    shown.delete()
                    await undo()

            ui.button("Undo", on_click=take_back).props("flat no-caps dense color=white")
        ui.timer(TOAST_SECONDS, shown.delete, once=True)


@asynccontextmanager
async def telling() -> AsyncIterator[None]:
    """Tell the visitor why the service refused what the block asked of it.

    Whoever has no key any more is led to where keys are entered.
    """
    try:
        yield
    except RefusedError as error:
        if error.status == HTTPStatus.UNAUTHORIZED:
            ui.navigate.to("/sign-in")
            return
        ui.notify(refusal(error), type="negative", multi_line=True, timeout=8000)


def to_sign_in(request: Request) -> RedirectResponse:
    """Lead a visitor without a key to where keys are entered."""
    return RedirectResponse(f"{request.scope['root_path']}/sign-in", 303)
