"""The exact gap parts of placements beside one another."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

from solver.clinic.entities import Span
from solver.scoring.parts import side_quarters


def gap_quarters(spans: list[tuple[Span, Span | None, bool]], shortest: int) -> int:
    """Sum up the gap parts, in quarters, of those of one provider's spans that count."""
    starts = sorted(span[0] for span, _, _ in spans)
    ends = sorted(span[1] for span, _, _ in spans)
    idle: list[int] = []
    for (start, end), window, counts in spans:
        if not counts or window is None:
            continue
        ended, begun = bisect_right(ends, start), bisect_left(starts, end)
        if begun - ended > 1:
            continue
        earlier = max(window[0], ends[ended - 1]) if ended else window[0]
        later = min(window[1], starts[begun]) if begun < len(starts) else window[1]
        idle += [start - earlier, later - end]
    return int(side_quarters(np.array(idle, np.int64), shortest).sum())
