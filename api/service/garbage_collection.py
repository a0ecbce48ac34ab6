"""Full rounds of Python's garbage collector, at moments in which nobody waits for them.

A full round looks at every object that is kept, bookings in caches above all, and stops the process
for some hundred milliseconds, in the middle of whatever it answers. What is not part of a cycle
goes without it, and young cycles go in the short rounds, which stay as they are.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

NEVER = 1_000_000
"""Rounds over the middle generation until Python makes a full one: more than there ever are."""


@dataclass(frozen=True)
class Pace:
    """When a full round is made."""

    look_seconds: float = 1.0
    due_after: int = 5
    """Rounds over the middle generation since the last full one; fewer leave little behind."""
    most_young: int = 1
    """Rounds over the youngest generation between two looks at a process that is quiet."""
    quiet_looks: int = 10
    """So many looks in a row have found it quiet before a round is made."""
    longest_seconds: float = 3600.0
    """A process that is never quiet makes a full round after so long all the same."""


@dataclass
class FullRounds:
    """Decides, look by look, whether to make a full round."""

    pace: Pace = field(default_factory=Pace)
    _young: int = 0
    _quiet: int = 0
    _last: float = field(default_factory=time.monotonic)

    def look(self) -> bool:
        """Make a full round if it is due and the process is quiet; return whether it was made."""
        young = gc.get_stats()[0]["collections"]
        self._quiet = self._quiet + 1 if young - self._young <= self.pace.most_young else 0
        self._young = young
        is_quiet = self._quiet >= self.pace.quiet_looks
        is_late = time.monotonic() - self._last > self.pace.longest_seconds
        if gc.get_count()[2] < self.pace.due_after or not (is_quiet or is_late):
            return False
        gc.collect()
        self._last = time.monotonic()
        return True


def freeze_existing_objects() -> None:
    """Keep all that is there by now out of the rounds: it stays as long as the process does."""
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def collecting(pace: Pace | None = None) -> AsyncIterator[None]:
    """Make full rounds at quiet moments only, while the block runs."""
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], NEVER)
    rounds = FullRounds(pace or Pace())

    async def watch() -> None:
        while True:
            await asyncio.sleep(rounds.pace.look_seconds)
            rounds.look()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        gc.set_threshold(*before)
