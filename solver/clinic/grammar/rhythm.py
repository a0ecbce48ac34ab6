"""What the candidate starts of an appointment type can be: its rhythm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from solver.clinic.grammar.sentences import RowFault

MAX_GRID_MINUTES = 240
"""The most minutes from one candidate start to the next; the fewest are 1."""


type StartAnchor = Literal["midnight", "window"]
"""What starts are counted from: midnight, or where each open window of the provider opens."""


def rhythm_is_possible(row: Any) -> Iterator[RowFault]:
    """Tell what makes a type's rhythm impossible."""
    every, offset, anchor = row.start_every, row.start_offset, row.start_anchor
    if every is not None and not 1 <= every <= MAX_GRID_MINUTES:
        yield RowFault("start_every", f"must be 1 to {MAX_GRID_MINUTES} minutes, not {every}")
        return
    if anchor not in ("midnight", "window"):
        yield RowFault("start_anchor", "must be 'midnight' or 'window'")
    if every is None and offset:
        fault = "is for types with start_every; give that, or leave it out"
        yield RowFault("start_offset", fault)
    elif every is not None and not 0 <= offset < every:
        yield RowFault("start_offset", f"must be 0 to {every - 1} minutes, not {offset}")
    elif offset and anchor == "window":
        yield RowFault("start_offset", "must be 0 where start_anchor is 'window'")
