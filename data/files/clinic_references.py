"""What is wrong between the rows of a clinic file, whatever else may be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from data.files.faults import Fault

type ExistingRows = Mapping[str, frozenset[str]]
"""The rows that those of a file may also refer to: their ids, by list."""


NO_EXISTING_ROWS: ExistingRows = {}


_REFERENCES = {
    "provider_id": "providers",
    "room_id": "rooms",
    "appointment_type_id": "appointment_types",
}


TARGETS = tuple(_REFERENCES.values())
"""The lists that others refer to."""


def faults_between_rows(document: object, known: ExistingRows) -> Iterator[Fault]:
    """Tell what is wrong between the rows of a document, whatever else may be wrong.

    That is ids and pairs that stand twice, and references to nothing.
    """
    ids: dict[str, set[str]] = {}
    for name in (*TARGETS, "overbooking_rules", "provider_types", "bookings"):
        ids[name] = set()
        for position, row in _rows(document, name):
            key = row.get("id")
            if isinstance(key, str):
                if key.lower() in ids[name]:
                    yield Fault(f"{name}[{position}].id", f"{key} stands twice in {name}")
                ids[name].add(key.lower())
    present = {name: ids[name] | known.get(name, frozenset()) for name in _REFERENCES.values()}
    yield from _pair_faults(document)
    for name in ("availability", "overbooking_rules", "provider_types", "bookings"):
        for position, row in _rows(document, name):
            for field, target in _REFERENCES.items():
                key = row.get(field)
                if isinstance(key, str) and key.lower() not in present[target]:
                    yield Fault(f"{name}[{position}].{field}", f"there is no {key} in {target}")


def _pair_faults(document: object) -> Iterator[Fault]:
    """Tell rows of ``provider_types`` that are of one provider and type."""
    pairs: set[tuple[str, str]] = set()
    for position, row in _rows(document, "provider_types"):
        provider_id, type_id = row.get("provider_id"), row.get("appointment_type_id")
        if isinstance(provider_id, str) and isinstance(type_id, str):
            pair = provider_id.lower(), type_id.lower()
            if pair in pairs:
                yield Fault(
                    f"provider_types[{position}].appointment_type_id",
                    "has a row of this provider before; one row is enough",
                )
            pairs.add(pair)


def _rows(document: object, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = document.get(name) if isinstance(document, dict) else None
    for position, row in enumerate(rows if isinstance(rows, list) else ()):
        if isinstance(row, dict):
            yield position, row
