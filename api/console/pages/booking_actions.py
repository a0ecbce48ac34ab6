"""What may be done to a booking on the board: buttons, and what they ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from nicegui import ui

from api.console.drawing.day import STATUS_WORDS
from api.console.layout import telling

if TYPE_CHECKING:
    from api.console.pages.day_board import _Board


def former_status(history: list[dict[str, Any]]) -> str | None:
    """Return the status before the last change of it; None where there has been none."""
    for entry in reversed(history):
        before, after = entry["before"] or {}, entry["after"] or {}
        if before.get("status") and before["status"] != after.get("status"):
            return str(before["status"])
    return None


def why_overridden(history: list[dict[str, Any]]) -> str | None:
    """Return why rules were last overridden; None to whom that is not told."""
    reasons = [entry.get("override_reason") for entry in history]
    return next((reason for reason in reversed(reasons) if reason), None)


class BookingActions:
    """What can be done to a booking, as buttons; a question takes their place."""

    def __init__(
        self,
        board: _Board,
        booking: dict[str, Any],
        former: str | None,
        dialog: ui.dialog,
        place: ui.element,
    ) -> None:
        self._board, self._booking, self._former = board, booking, former
        self._dialog, self._place = dialog, place

    def draw(self) -> None:
        """Draw what the booking's status allows."""
        match self._booking["status"]:
            case "booked":
                self._visit_button("Check in", "check-in", "checked in")
                self._button("Did not come", self._to("no-show", "did not come"))
                self._button("Reschedule", self._move)
                self._button("Edit", self._edit)
                self._cancel_button()
            case "checked_in":
                self._visit_button("Complete", "complete", "completed")
                self._back_button()
                self._button("Edit", self._edit)
                self._cancel_button()
            case "completed":
                self._back_button()
            case "no_show":
                self._visit_button("Check in late", "check-in", "checked in")
                self._back_button()
            case "held":
                self._button("Edit", self._edit)
                self._button("Release", self._to("cancel", "released"))

    def _button(self, words: str, do: Callable[[], Awaitable[None] | None]) -> None:
        ui.button(words, on_click=do).props("no-caps outline")

    def _to(self, path: str, told: str | None, **more: Any) -> Callable[[], Awaitable[None]]:
        async def do() -> None:
            async with telling():
                await self._board.change(self._booking, path, told, **more)
                self._dialog.close()

        return do

    def _ask(self, question: str, yes: str, do: Callable[[], Awaitable[None]]) -> None:
        self._place.clear()
        with self._place:
            ui.label(question).classes("sw-alert")
            self._button(yes, do)
            ui.button("No", on_click=self._dialog.close).props("no-caps flat")

    def _visit_button(self, words: str, path: str, told: str) -> None:
        """Say that the patient is there, or was: on another day only after a question."""
        if self._board.is_today(self._booking):
            self._button(words, self._to(path, told))
            return
        day = self._board.in_full(self._booking["date"])
        self._button(
            words,
            lambda: self._ask(
                f"This appointment is on {day}, not today.",
                f"{words} all the same",
                self._to(path, told, confirm=True),
            ),
        )

    def _back_button(self) -> None:
        if self._former is not None:
            self._button(f"Back to “{STATUS_WORDS[self._former]}”", self._to("undo", None))

    def _cancel_button(self) -> None:
        question = "Cancel this appointment? Its place is free at once."
        self._button(
            "Cancel appointment",
            lambda: self._ask(question, "Yes, cancel it", self._to("cancel", "cancelled")),
        )

    async def _move(self) -> None:
        self._dialog.close()
        await self._board.start_moving(self._booking)

    def _edit(self) -> None:
        self._place.clear()
        booking = self._booking
        with self._place:
            patient = ui.input("Patient", value=booking["patient_ref"]).props("outlined dense")
            notes = ui.input("Notes", value=booking["notes"]).props("outlined dense")

            async def keep() -> None:
                given = {"patient_ref": patient.value or None, "notes": notes.value or None}
                changes = {name: v for name, v in given.items() if v != booking[name]}
                async with telling():
                    if changes:
                        await self._board.amend(booking, **changes)
                    self._dialog.close()

            self._button("Save", keep)
            ui.button("Close", on_click=self._dialog.close).props("no-caps flat")
