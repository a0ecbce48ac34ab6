"""Answers as tables for a terminal, and as JSON for machines."""

from __future__ import annotations

import sys
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
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


RUN_FIGURES = (
    ("placed", "Placed"),
    ("unplaced", "Unplaced"),
    ("overbooked", "Overbooked"),
    ("mean_score", "Mean score"),
    ("provider_utilisation", "Provider utilisation"),
    ("room_utilisation", "Room utilisation"),
    ("idle_fragments", "Idle fragments"),
    ("idle_fragment_minutes", "Idle fragments, minutes"),
    ("overtime_minutes", "Overtime, minutes"),
    ("moved", "Bookings moved"),
    ("lost", "Bookings lost"),
)
"""The key figures of a run that a person looks at first."""

REASONS = {
    "TYPE_INACTIVE": "Type not offered",
    "PROVIDER_NOT_AVAILABLE": "Provider not available",
    "NO_PROVIDER_WITH_SKILLS": "Nobody has the skills",
    "NO_ROOM_WITH_EQUIPMENT": "No room has the equipment",
    "OUTSIDE_ALL_WINDOWS": "Outside all hours",
    "TOO_SOON": "Too soon to be booked",
    "CLOCK_CHANGE": "In a clock change",
    "DAILY_CAP": "Daily cap used up",
    "PATIENT_BUSY": "Patient is elsewhere",
    "BLOCKED_BY_BOOKINGS": "Blocked by bookings",
    "LOST_TO_CONTENTION": "Lost to other requests",
    "NOT_REACHED_IN_TIME": "Not reached in time",
}
"""Why a request stays unplaced, in a few words."""

STAGES = {
    "saved": "Displaced bookings saved",
    "priority": "Priority placed",
    "moved": "Bookings moved",
    "distance": "Minutes moved",
    "score": "Sum of scores",
}
"""What the stages of a search count."""


def run_table(result: dict[str, Any]) -> Table:
    """Return the key figures of a run's result as a table, a column a scenario."""
    table = Table(title=escape(result["name"]), title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("")
    for scenario in result["scenarios"]:
        table.add_column(escape(scenario["name"]), justify="right")
    scenarios = result["scenarios"]
    table.add_row("Status", *(s["status"] for s in scenarios))
    table.add_row("Priority placed", *(f"{s['objective']:g}" for s in scenarios))
    table.add_row("At most", *(f"{s['bound']:g}" for s in scenarios), end_section=True)
    rows = {row["kpi"]: row for row in result["comparison"]}
    for key, heading in RUN_FIGURES:
        values, delta = rows[key]["values"], rows[key]["delta"]
        table.add_row(
            heading, *(with_delta(values[s["name"]], delta.get(s["name"])) for s in scenarios)
        )
    return table


def with_delta(value: float | None, delta: float | None) -> str:
    """Write a figure and, where there is one, its difference to the baseline."""
    if value is None:
        return "–"
    return f"{value:g}" + (f" ({delta:+g})" if delta else "")


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
