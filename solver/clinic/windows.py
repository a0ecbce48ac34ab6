"""The open windows of providers and rooms on a date."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass

from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.spans import cut, merge

ALL_DAY: Span = (0, DAY_MINUTES)


@dataclass(frozen=True)
class Windows:
    """The open windows of one date: per resource id, sorted, disjoint and not touching."""

    provider: dict[str, list[Span]]
    room: dict[str, list[Span]]

    @classmethod
    def on(cls, clinic: Clinic, day: dt.date) -> Windows:
        """Return every provider's and room's windows on `day`, worked out once for a clinic."""
        known = clinic.remembered.get((cls, day))
        if known is None:
            known = clinic.remembered[cls, day] = cls._work_out(clinic, day)
        windows: Windows = known
        return windows

    @classmethod
    def _work_out(cls, clinic: Clinic, day: dt.date) -> Windows:
        weekday = day.isoweekday()
        dated: dict[str, list[Span]] = defaultdict(list)
        weekly: dict[str, list[Span]] = defaultdict(list)
        cuts: dict[str, list[Span]] = defaultdict(list)
        closures: list[Span] = []
        scheduled_rooms: set[str] = set()
        for row in clinic.availability:
            owner = row.provider_id or row.room_id
            if row.kind == "open" and row.room_id is not None:
                scheduled_rooms.add(row.room_id)
            if not row.applies_on(day, weekday):
                continue
            span = (row.start, row.end)
            if owner is None:
                closures.append(span)
            elif row.kind == "closed":
                cuts[owner].append(span)
            elif row.date is None:
                weekly[owner].append(span)
            else:
                dated[owner].append(span)

        def windows(owner: str, default: list[Span]) -> list[Span]:
            opened = dated.get(owner) or weekly.get(owner) or default
            own_cuts = cuts.get(owner)
            if opened and (own_cuts or closures):
                return cut(merge(opened), (own_cuts or []) + closures)
            return merge(opened) if len(opened) > 1 else opened

        all_day, never = [ALL_DAY], list[Span]()
        return cls(
            {provider.id: windows(provider.id, never) for provider in clinic.providers},
            {
                room.id: windows(room.id, never if room.id in scheduled_rooms else all_day)
                for room in clinic.rooms
            },
        )
