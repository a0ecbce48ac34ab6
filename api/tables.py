"""Answers as tables for a terminal, and as JSON for machines."""

from __future__ import annotations

import sys
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from api.schemas import MAX_LIMIT, Conflict


def slot_table(body: dict[str, Any], title: str, most: int = MAX_LIMIT) -> Table:
    """Return the slots of a slot query's body as a table, `most` of them."""
    table = Table(title=title, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("Time", no_wrap=True)
    table.add_column("Provider", no_wrap=True)
    table.add_column("Room", no_wrap=True)
    for heading in ("Score", "Pref", "Gap", "Fit"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len("0.0000"))
    table.add_column("", no_wrap=True)
    for slot in body["slots"][:most]:
        parts = slot["score_parts"]
        table.add_row(
            f"{slot['start_time']}-{slot['end_time']}",
            slot["provider_name"],
            slot["room_name"],
            f"{slot['score']:.4f}",
            f"{parts['preference']:.4f}",
            f"{parts['gap']:.4f}",
            f"{parts['room']:.4f}",
            "overbooked" if slot["is_overbooked"] else "",
        )
    return table


def print_conflicts(console: Console, conflicts: list[Conflict]) -> None:
    """Print the rules that bookings break, if any are."""
    if not conflicts:
        return
    table = Table(title=f"{len(conflicts)} broken rules", title_justify="left")
    for heading in ("Booking", "Date", "Start", "Rule", "What is wrong"):
        table.add_column(heading, overflow="fold")
    for c in conflicts:
        table.add_row(c.booking_id, str(c.date), c.start_time, str(c.rule), c.detail)
    console.print(table)


def print_json(body: Any) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.buffer.write(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.buffer.flush()
