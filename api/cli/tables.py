"""Answers as tables for a terminal, and as JSON for machines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from api.what_if.figures import told

if TYPE_CHECKING:
    from solver.rules.checker import Violation
    from solver.whatif.run_result import RunResult


def counted(count: int, noun: str) -> str:
    """Write a number and its noun, in the plural where it is not one."""
    return f"{count} {noun if count == 1 else noun + 's'}"


def new_table(title: str | None = None) -> Table:
    """Return a table without columns, as :func:`print_table` takes it."""
    return Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def print_table(console: Console, table: Table) -> None:
    """Print a table of which nothing is cut, whatever the width.

    A terminal's width folds long words of text between words; where not even that fits, each row
    is told in lines of its own, a heading and a value each. A pipe has no width, so a table there
    is as wide as it needs to be.
    """
    needed = Measurement.get(console, console.options.update(max_width=10_000), table)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = max(console.width, needed.maximum)
    if needed.minimum <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(f"[italic]{table.title}[/]", soft_wrap=True)
    headings = [str(column.header) for column in table.columns]
    wide = max(map(len, headings))
    for row in zip(*(column.cells for column in table.columns), strict=True):
        console.print()
        for heading, cell in zip(headings, row, strict=True):
            if cell:
                console.print(f"[bold]{heading:<{wide}}[/]  {cell}", soft_wrap=True)


def slot_table(body: dict[str, Any], title: str, most: int | None = None) -> Table:
    """Return the slots of a slot query's body as a table, at most `most` of them."""
    slots = body["slots"][:most]
    table = new_table(title)
    table.add_column("Time", no_wrap=True)
    table.add_column("Provider", overflow="fold")
    table.add_column("Room", overflow="fold")
    for heading in ("Score", "Pref", "Gap", "Fit"):
        table.add_column(heading, justify="right", no_wrap=True)
    if any(slot["is_overbooked"] for slot in slots):
        table.add_column("Overbooked", no_wrap=True)
    for slot in slots:
        parts = slot["score_parts"]
        table.add_row(
            f"{slot['start_time']}-{slot['end_time']}",
            escape(slot["provider_name"]),
            escape(slot["room_name"]),
            *(
                f"{value:.2f}"
                for value in (slot["score"], parts["preference"], parts["gap"], parts["room"])
            ),
            *(["yes" if slot["is_overbooked"] else ""] if len(table.columns) > 7 else []),
        )
    return table


def run_table(result: RunResult, names: Mapping[str, str]) -> Table:
    """Return the key figures of a run's result as a table, a column a scenario.

    `names` are those of equipment pools by their ids.
    """
    table = new_table(escape(result["name"]))
    table.add_column("Figure")
    for scenario in result["scenarios"]:
        table.add_column(escape(scenario["name"]), justify="right")
    scenarios = result["scenarios"]
    table.add_row("Status", *(s["status"] for s in scenarios))
    table.add_row("Priority placed", *(f"{s['objective']:g}" for s in scenarios))
    table.add_row("At most", *(f"{s['bound']:g}" for s in scenarios), end_section=True)
    for heading, cells in told(result["comparison"], names):
        table.add_row(escape(heading), *cells)
    return table


def print_violations(
    console: Console, violations: Iterable[Violation], names: Mapping[str, str]
) -> None:
    """Print the bookings that break a rule and which, if any do; `names` are those of ids."""
    by_booking: dict[str, list[Violation]] = {}
    for violation in violations:
        by_booking.setdefault(violation.booking.id, []).append(violation)
    if not by_booking:
        return
    verb = "breaks" if len(by_booking) == 1 else "break"
    console.print(f"{counted(len(by_booking), 'booking')} {verb} a rule:")
    for broken in by_booking.values():
        booking = broken[0].booking
        what, who, where = (
            names.get(key, key)
            for key in (booking.appointment_type_id, booking.provider_id, booking.room_id)
        )
        patient = booking.patient_ref or "no patient"
        start = f"{booking.date} {format_minute(booking.start)}"
        for line in (
            f"\n{start}  {what}, {patient}, {who}, {where}",
            f"  booking {booking.id}",
            *(f"  rule {violation.rule}: {violation.detail}" for violation in broken),
        ):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def format_minute(minute: int) -> str:
    """Write a minute of the day as ``HH:MM``."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def print_json(body: Any) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.buffer.write(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.buffer.flush()
