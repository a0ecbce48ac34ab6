"""The rows that a run is about, by name: as it was solved for, whatever became of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from api.console.backend import Visit
from api.what_if.picture import names_of
from data.clinic.snapshot import FOR_PLANS, load_clinic
from data.files.run_file import horizon_of
from data.what_if import queue
from solver.clinic.clinic import Clinic
from solver.whatif.run import Run
from solver.whatif.run_result import PlaceResult


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
            clinic = await load_clinic(connection, first, last, FOR_PLANS)
    return KnownRows(clinic, names_of(asked, clinic))


def place_in_words(place: PlaceResult, names: Mapping[str, str], visit: Visit) -> str:
    """Say when, with whom and where."""
    who, room = names.get(place["provider_id"], ""), names.get(place["room_id"], "")
    return f"{visit.short_day(place['date'])}, {visit.time(place['start_time'])}, {who}, {room}"
