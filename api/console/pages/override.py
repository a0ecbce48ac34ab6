"""Places that the clinic's rules are against: asked for by hand, and given all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import ui

from api.console.backend import RefusedError, Visit
from api.console.messages import REFUSED, refusal
from solver.rules.codes import POLICY

type Take = Callable[..., Awaitable[None]]
"""Takes a place, given what more there is to say to the service; raises what refuses it."""


LEAST_LETTERS = 3
"""Of a reason."""


def may_override(visit: Visit) -> bool:
    """Whether a visitor may give a place against the rules of policy."""
    return visit.caller.may(visit.backend.context.settings.override_role)


def overridable(visit: Visit, error: RefusedError) -> list[str]:
    """Return the rules that this visitor could override to be granted what was refused."""
    reasons: list[str] = error.problem.get("reasons") or []
    return reasons if may_override(visit) and POLICY.issuperset(reasons) else []


def ask_to_override(place: ui.element, codes: list[str], take: Take) -> None:
    """Ask in `place` which rules to override, and why; then take the place all the same."""
    place.clear()
    with place:
        ui.label("The clinic's rules are against it:").classes("sw-alert").props("role=alert")
        ticks = {code: ui.checkbox(REFUSED[code].capitalize()) for code in codes}
        if len(codes) > 1:

            def tick_all() -> None:
                for tick in ticks.values():
                    tick.set_value(True)

            ui.button("Tick them all", on_click=tick_all).props("no-caps flat dense")
        why = ui.input("Why all the same?").props("outlined dense").classes("w-full")
        wrong = ui.label().classes("sw-alert max-w-80").props("role=alert")

        async def go() -> None:
            reason = (why.value or "").strip()
            if not all(tick.value for tick in ticks.values()):
                wrong.set_text("Tick each rule that is to be broken.")
            elif len(reason) < LEAST_LETTERS:
                wrong.set_text("Say why, in a few words; it is kept in the history.")
            else:
                try:
                    await take(override=codes, override_reason=reason, accept_overbooked=True)
                except RefusedError as error:
                    wrong.set_text(refusal(error))

        ui.button("Book all the same", on_click=go).props("no-caps")


def insist(visit: Visit, error: RefusedError, take: Take, page: ui.element) -> bool:
    """Ask in a dialog whether to take a refused place all the same, if this visitor may."""
    codes = overridable(visit, error)
    if codes:
        with page, ui.dialog(value=True) as dialog, ui.card().classes("min-w-80"):
            dialog.on("hide", dialog.delete)

            async def taken(**more: Any) -> None:
                await take(**more)
                dialog.close()

            ask_to_override(ui.element("div"), codes, taken)
            ui.button("Leave it", on_click=dialog.close).props("no-caps flat")
    return bool(codes)


class PlaceByHand:
    """A dialog that asks for a provider, a room and a time, whether or not they are on offer."""

    def __init__(
        self,
        visit: Visit,
        providers: Mapping[str, str],
        rooms: Mapping[str, str],
        take: Take,
        provider: str | None = None,
    ) -> None:
        self._visit, self._take = visit, take
        with ui.dialog(value=True) as self._dialog, ui.card().classes("min-w-80"):
            self._dialog.on("hide", self._dialog.delete)
            ui.label("Another time").classes("text-lg").props("role=heading aria-level=2")
            self._provider = ui.select(dict(providers), label="With", value=provider)
            self._room = ui.select(dict(rooms), label="In", clearable=True)
            for field in (self._provider, self._room):
                field.props("outlined dense options-dense").classes("w-full")
            self._time = ui.input("At").props("outlined dense type=time stack-label")
            self._told = ui.element("div").classes("sw-told")
            with ui.element("div").classes("sw-bar"):
                ui.button("Take it", on_click=self._try).props("no-caps")
                ui.button("Leave it", on_click=self._dialog.close).props("no-caps flat")

    async def _try(self) -> None:
        self._told.clear()
        if not (self._provider.value and self._time.value):
            self._tell("With whom, and at what time?")
            return
        try:
            await self._taken(accept_overbooked=True)
        except RefusedError as error:
            if codes := overridable(self._visit, error):
                ask_to_override(self._told, codes, self._taken)
            else:
                self._tell(refusal(error))

    async def _taken(self, **more: Any) -> None:
        await self._take(
            provider_id=self._provider.value,
            room_id=self._room.value,
            start_time=self._time.value,
            **more,
        )
        self._dialog.close()

    def _tell(self, words: str) -> None:
        with self._told:
            ui.label(words).classes("sw-alert max-w-80").props("role=alert")
