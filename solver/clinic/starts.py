"""What the candidate starts of an appointment type can be: its rhythm."""

from __future__ import annotations

from typing import Literal

MAX_GRID_MINUTES = 240
"""The most minutes from one candidate start to the next; the fewest are 1."""


type StartAnchor = Literal["midnight", "window"]
"""What starts are counted from: midnight, or where each open window of the provider opens."""


def fault_of_rhythm(every: int | None, offset: int, anchor: StartAnchor) -> tuple[str, str] | None:
    """Return the field that makes a type's rhythm impossible, and what would be right there."""
    if every is not None and not 1 <= every <= MAX_GRID_MINUTES:
        return "start_every", f"must be 1 to {MAX_GRID_MINUTES} minutes, not {every}"
    if anchor not in ("midnight", "window"):
        return "start_anchor", "must be 'midnight' or 'window'"
    if every is None and offset:
        return "start_offset", "is for types with start_every; give that, or leave it out"
    if every is not None and not 0 <= offset < every:
        return "start_offset", f"must be 0 to {every - 1} minutes, not {offset}"
    if offset and anchor == "window":
        return "start_offset", "must be 0 where start_anchor is 'window'"
    return None
