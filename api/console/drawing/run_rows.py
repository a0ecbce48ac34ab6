"""The rows that a run is about, by name: as it was solved for, whatever became of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from api.console.backend import Visit
from data.clinic.snapshot import load_clinic
from data.files.run_file import horizon_of
from data.what_if import queue
from solver.clinic.entities import Clinic
from solver.whatif.changes import AddProvider, AddRoom
from solver.whatif.run import Run


@dataclass(frozen=True)
class KnownRows:
    """A run's clinic and the names of its rows, those that scenarios add included."""

    clinic: Clinic
    names: Mapping[str, str]


async def known_rows(
    engine: AsyncEngine, run_id: str, document: Mapping[str, Any], asked: Run
) -> KnownRows:
    """Return the clinic that a run was solved for, or the present one where none was kept."""
    clinic = await queue.clinic_of(engine, run_id)
    if clinic is None:
        first, last = horizon_of(document, dt.datetime.now(dt.UTC).date())
        async with engine.connect() as connection:
            clinic = await load_clinic(connection, first, last)
    names = {
        **{row.id: row.name for row in clinic.providers},
        **{row.id: row.name for row in clinic.rooms},
        **{row.id: row.name for row in clinic.appointment_types},
    }
    for change in (change for scenario in asked.scenarios for change in scenario.changes):
        if isinstance(change, AddProvider):
            names[change.provider.id] = change.provider.name
        elif isinstance(change, AddRoom):
            names[change.room.id] = change.room.name
    return KnownRows(clinic, names)


def place_in_words(place: Mapping[str, Any], names: Mapping[str, str], visit: Visit) -> str:
    """Say when, with whom and where."""
    who, room = (names.get(place[key], "") for key in ("provider_id", "room_id"))
    return f"{visit.short_day(place['date'])}, {visit.time(place['start_time'])}, {who}, {room}"
