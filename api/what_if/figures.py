"""The key figures of a run and what they count, in a person's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from solver.whatif.run_result import KpiComparison

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
    ("session_fill", "Sessions filled"),
    ("travel_minutes", "On the way, minutes"),
    ("moved", "Bookings moved"),
    ("lost", "Bookings lost"),
)
"""The key figures of a run that a person looks at first."""


OF_POOLS = {"pool_peak": "most out at once", "pool_utilisation": "in use"}
"""The key figures that each equipment pool has, in words that follow its name."""


ONLY_IF_ANY = ("travel_minutes",)
"""The key figures that are told only where they are more than nothing in some scenario."""


REASONS = {
    "TYPE_INACTIVE": "Type not offered",
    "PROVIDER_NOT_AVAILABLE": "Provider not available",
    "NO_PROVIDER_WITH_SKILLS": "Nobody has the skills",
    "NO_ROOM_WITH_EQUIPMENT": "No room has the equipment",
    "OUTSIDE_ALL_WINDOWS": "Outside all hours",
    "TOO_SOON": "Too soon to be booked",
    "CLOCK_CHANGE": "In a clock change",
    "NOT_YET_OPEN": "Hours not open for booking yet",
    "RESERVED": "Hours kept for other types",
    "SESSION_FULL": "Sessions are full",
    "EQUIPMENT_BUSY": "Equipment is elsewhere",
    "DAILY_CAP": "Daily cap used up",
    "PROVIDER_TRAVEL": "No time for the way",
    "ROLE_UNFILLED": "Nobody to assist",
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


SHARES = ("provider_utilisation", "room_utilisation", "session_fill", *OF_POOLS)
"""The key figures that are written in per cent."""


def figure(key: str, value: float | None, delta: float | None) -> str:
    """Write a key figure of a run, a share in per cent, and its difference to the baseline's."""
    if value is None or key.partition(".")[0] not in SHARES:
        return with_delta(value, delta)
    change = round(100 * (delta or 0), 1)
    return f"{value:.1%}" + (f" ({change:+.1f})" if change else "")


def told(
    comparison: Iterable[KpiComparison], names: Mapping[str, str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the key figures that a person looks at first: a heading and a cell a scenario.

    `names` are those of equipment pools by their ids. What an older result lacks is left out.
    """
    rows = {row["kpi"]: row for row in comparison}
    for key, heading in RUN_FIGURES:
        if key in rows and (key not in ONLY_IF_ANY or any(rows[key]["values"].values())):
            yield heading, cells(rows[key])
    for key, row in rows.items():
        group, _, pool_id = key.partition(".")
        if group in OF_POOLS:
            yield f"{names.get(pool_id, 'Equipment')}: {OF_POOLS[group]}", cells(row)


def cells(row: KpiComparison) -> list[str]:
    """Write a key figure of a run in every scenario, the baseline first."""
    values, delta = row["values"], row["delta"]
    return [figure(row["kpi"], value, delta.get(name)) for name, value in values.items()]


def with_delta(value: float | None, delta: float | None) -> str:
    """Write a figure and, where there is one, its difference to the baseline."""
    if value is None:
        return "–"
    return f"{value:g}" + (f" ({delta:+g})" if delta else "")
