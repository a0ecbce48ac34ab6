"""What is wrong between the rows of a clinic file, whatever else may be wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from data.files.faults import Fault
from data.files.role_rows import RoleRow
from data.files.session_row import fault_of_releases
from solver.clinic.teams.roles import Role, fault_of_minutes
from solver.time_zones import time_zones

type ExistingRows = Mapping[str, frozenset[str]]
"""The rows that those of a file may also refer to: their ids, by list."""


NO_EXISTING_ROWS: ExistingRows = {}


_REFERENCES = {
    "provider_id": "providers",
    "room_id": "rooms",
    "appointment_type_id": "appointment_types",
    "location_id": "locations",
    "from_id": "locations",
    "to_id": "locations",
}


_LISTS_OF_REFERENCES = {"appointment_type_ids": "appointment_types"}


_ROWS_OF_REFERENCES = (("required_pools", "pool_id", "equipment_pools"),)
"""The lists of rows within a row, their field that refers to others, and these."""


REFERRING = ("overbooking_rules", "provider_types", "sessions", "travel")
"""The lists whose rows have an id, and refer to others."""


ROLES = "roles"
"""Under this name existing rows have the roles of appointment types: a type's id and a key each."""


TARGETS = (*dict.fromkeys(_REFERENCES.values()), "equipment_pools")
"""The lists that others refer to."""


def faults_between_rows(document: object, known: ExistingRows) -> Iterator[Fault]:
    """Tell what is wrong between the rows of a document, whatever else may be wrong.

    That is ids and pairs that stand twice, references to nothing, sessions that are released
    before they open, and roles that last longer than an appointment with some provider.
    """
    ids: dict[str, set[str]] = {}
    for name in (*TARGETS, *REFERRING, "bookings"):
        ids[name] = set()
        for position, row in rows_of(document, name):
            key = row.get("id")
            if isinstance(key, str):
                if key.lower() in ids[name]:
                    yield Fault(f"{name}[{position}].id", f"{key} stands twice in {name}")
                ids[name].add(key.lower())
    present = {name: ids[name] | known.get(name, frozenset()) for name in TARGETS}
    yield from _pair_faults(document)
    yield from _session_faults(document)
    yield from _minute_faults(document)
    yield from _team_faults(document, present["providers"], known.get(ROLES, frozenset()))
    for name in (
        "rooms",
        "equipment_pools",
        "appointment_types",
        "availability",
        *REFERRING,
        "bookings",
    ):
        for position, row in rows_of(document, name):
            for field, key, target in references_of(row):
                if key.lower() not in present[target]:
                    yield Fault(f"{name}[{position}].{field}", f"there is no {key} in {target}")


def references_of(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield where a row, as it is written, refers to another one, that one's id, and its list."""
    for field, target in _REFERENCES.items():
        if isinstance(key := row.get(field), str):
            yield field, key, target
    for field, target in _LISTS_OF_REFERENCES.items():
        keys = row.get(field)
        for position, key in enumerate(keys if isinstance(keys, list) else ()):
            if isinstance(key, str):
                yield f"{field}[{position}]", key, target
    for field, inner, target in _ROWS_OF_REFERENCES:
        for position, each in rows_of(row, field):
            if isinstance(key := each.get(inner), str):
                yield f"{field}[{position}].{inner}", key, target


def _session_faults(document: object) -> Iterator[Fault]:
    """Tell sessions that do not open before they are released."""
    clinic = document.get("clinic") if isinstance(document, dict) else None
    timezone = clinic.get("timezone") if isinstance(clinic, dict) else None
    if not isinstance(timezone, str) or timezone not in time_zones():
        return
    for position, row in rows_of(document, "sessions"):
        if fault := fault_of_releases(row, ZoneInfo(timezone)):
            yield Fault(f"sessions[{position}].releases", fault)


def _pair_faults(document: object) -> Iterator[Fault]:
    """Tell rows of one provider and type, or of one way, that stand twice."""
    for name, first, second, before in (
        ("provider_types", "provider_id", "appointment_type_id", "a row of this provider"),
        ("travel", "from_id", "to_id", "a row of this way"),
    ):
        pairs: set[tuple[str, str]] = set()
        for position, row in rows_of(document, name):
            one, other = row.get(first), row.get(second)
            if isinstance(one, str) and isinstance(other, str):
                pair = one.lower(), other.lower()
                if pair in pairs:
                    fault = f"has {before} before; one row is enough"
                    yield Fault(f"{name}[{position}].{second}", fault)
                pairs.add(pair)


def _minute_faults(document: object) -> Iterator[Fault]:
    """Tell durations with one provider in which a role of the type does not end."""
    roles: dict[str, list[Role]] = {}
    for _, row in rows_of(document, "appointment_types"):
        with suppress(ValidationError):
            kept = [RoleRow.model_validate(role).to_solver() for _, role in rows_of(row, "roles")]
            roles[str(row.get("id")).lower()] = kept
    for position, row in rows_of(document, "provider_types"):
        minutes = row.get("duration_minutes")
        if type(minutes) is not int:
            continue
        for role in roles.get(str(row.get("appointment_type_id")).lower(), ()):
            if fault := fault_of_minutes(role, minutes):
                path = f"provider_types[{position}].duration_minutes"
                yield Fault(path, f"of the role {role.key}, {fault[0]} {fault[1]}")


def _team_faults(
    document: object, providers: Collection[str], existing: Collection[str]
) -> Iterator[Fault]:
    """Tell roles that a booking's type has not, and members who are not there."""
    roles = {
        str(row.get("id")).lower(): {str(role.get("key")) for _, role in rows_of(row, "roles")}
        for _, row in rows_of(document, "appointment_types")
    }
    for position, row in rows_of(document, "bookings"):
        if not isinstance(team := row.get("team"), dict):
            continue
        kind = str(row.get("appointment_type_id")).lower()
        for key, member in team.items():
            is_known = key in roles[kind] if kind in roles else f"{kind} {key}" in existing
            path = f"bookings[{position}].team.{key}"
            if not is_known:
                yield Fault(path, "is no role of the booking's appointment type")
            elif isinstance(member, str) and member.lower() not in providers:
                yield Fault(path, f"there is no {member} in providers")


def rows_of(document: object, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a list of a document that are objects, with their positions."""
    rows = document.get(name) if isinstance(document, dict) else None
    for position, row in enumerate(rows if isinstance(rows, list) else ()):
        if isinstance(row, dict):
            yield position, row
