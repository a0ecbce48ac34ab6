"""The ``slots`` command."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from api.commands import UsageError, read_moment
from api.schemas import SlotQuery, slots_body
from api.settings import read_settings
from api.tables import print_json, slot_table
from data.clinic_file import ClinicFile, faults_of, read_clinic_file
from solver.slots import LOOK_AHEAD_DAYS, SlotPage, find_slots, next_available_date
from solver.timeline import check_date


def slots(file: Path, kind: str, fields: dict[str, Any], now: str | None, *, as_json: bool) -> int:
    """Answer one slot query from a clinic file, as a table or as the body of ``GET /slots``."""
    settings = read_settings()
    read = read_clinic_file(file)
    zone = read.clinic.to_solver().zone
    moment = read_moment(now, zone)
    clinic = read.to_clinic(moment)
    query = _query(read, kind, fields)
    check_date(clinic.settings, query.date, moment, settings.horizon_days)
    request = query.to_request(moment)
    page = find_slots(
        clinic, request, limit=query.limit, rooms=query.rooms, weights=settings.weights
    )
    following = None
    if not page.slots:
        last = moment.astimezone(zone).date() + dt.timedelta(days=settings.horizon_days)
        following = next_available_date(clinic, request, last=last)
    body = slots_body(page, zone, following)
    if as_json:
        print_json(body)
    else:
        _print_slots(body, page)
    return 0


def _query(file: ClinicFile, kind: str, fields: dict[str, Any]) -> SlotQuery:
    names = {"provider": "--provider", "appointment_type": "--type"}
    given = {name: value for name, value in fields.items() if value is not None}
    given["appointment_type_id"] = _id_of(file.appointment_types, kind, names["appointment_type"])
    given["provider_id"] = [
        _id_of(file.providers, name, names["provider"]) for name in given.pop("provider")
    ]
    try:
        return SlotQuery.model_validate(given)
    except ValidationError as error:
        fault = faults_of(error)[0]
        option = fault.path.split("[", maxsplit=1)[0].replace("_", "-")
        raise UsageError(f"--{option}: {fault.message}") from None


def _id_of(rows: list[Any], name: str, option: str) -> str:
    found = [row.id for row in rows if name.lower() == row.id or name == row.name]
    if not found:
        found = [row.id for row in rows if name.casefold() == row.name.casefold()]
    if len(found) == 1:
        return str(found[0])
    choices = ", ".join(sorted(row.name for row in rows)) or "none"
    if found:
        raise UsageError(f"{option}: '{name}' names {len(found)} rows; use an id")
    raise UsageError(f"{option}: there is no '{name}'; the file has {choices}")


def _print_slots(body: dict[str, Any], page: SlotPage) -> None:
    console = Console()
    if page.slots:
        title = f"{page.kind.name} on {page.date:%A, %d %B %Y}: {page.total} places"
        console.print(slot_table(body, title))
        return
    console.print(f"No slot for {page.kind.name} on {page.date:%A, %d %B %Y}.")
    for rule, count in page.blocked_by.items():
        console.print(f"  {count:>8} places: {rule.replace('_', ' ').lower()}")
    following = body["next_available_date"]
    if following is not None:
        console.print(f"Next available: [bold]{following}[/]")
    else:
        console.print(f"Nor in the {LOOK_AHEAD_DAYS} days after.")
