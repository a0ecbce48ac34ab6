"""The open windows of providers and rooms on a date."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.spans import cut, merge

ALL_DAY: Span = (0, DAY_MINUTES)


type ByOwner = dict[str, list[Span]]
"""By the id of a provider or a room."""


type _Located = list[tuple[Span, str | None]]
"""Spans, each with the location that it is at, None for anywhere."""


@dataclass(frozen=True)
class Windows:
    """The open windows of one date: per resource id, sorted, disjoint and not touching.

    A provider has some for rooms without a location, and others for the rooms of each one.
    """

    provider: ByOwner
    room: ByOwner
    at_location: Mapping[str, ByOwner]

    def provider_at(self, location_id: str | None) -> ByOwner:
        """Return the providers' windows for rooms of a location, or of none."""
        return self.provider if location_id is None else self.at_location[location_id]

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
        dated: dict[str, _Located] = defaultdict(list)
        weekly: dict[str, _Located] = defaultdict(list)
        cuts: dict[str, _Located] = defaultdict(list)
        closures: _Located = []
        scheduled_rooms: set[str] = set()
        for row in clinic.availability:
            owner = row.provider_id or row.room_id
            if row.kind == "open" and row.room_id is not None:
                scheduled_rooms.add(row.room_id)
            if not row.applies_on(day, weekday):
                continue
            span = (row.start, row.end), row.location_id
            if owner is None:
                closures.append(span)
            elif row.kind == "closed":
                cuts[owner].append(span)
            elif row.date is None:
                weekly[owner].append(span)
            else:
                dated[owner].append(span)

        def windows(owner: str, location: str | None, default: list[Span]) -> list[Span]:
            """Return windows for rooms of a location; for those of none, its open rows are all."""
            opened = default
            if rows := dated.get(owner) or weekly.get(owner):
                opened = [s for s, at in rows if location is None or at in (None, location)]
            closed = [*cuts.get(owner, ()), *closures] if opened else []
            own_cuts = [span for span, at in closed if at in (None, location)]
            if own_cuts:
                return cut(merge(opened), own_cuts)
            return merge(opened) if len(opened) > 1 else opened

        all_day, never = [ALL_DAY], list[Span]()
        at: list[str | None] = [None, *(location.id for location in clinic.locations)]
        of_providers = {
            location: {p.id: windows(p.id, location, never) for p in clinic.providers}
            for location in at
        }
        return cls(
            of_providers.pop(None),
            {
                room.id: windows(
                    room.id, room.location_id, never if room.id in scheduled_rooms else all_day
                )
                for room in clinic.rooms
            },
            {key: spans for key, spans in of_providers.items() if key is not None},
        )
