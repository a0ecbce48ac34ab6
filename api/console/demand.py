"""Requests of a what-if from a table: a CSV file that a person has, or can make."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = (
    "type",
    "count",
    "priority",
    "dates",
    "provider",
    "preferred_start",
    "preferred_end",
    "patient",
)
"""Only ``type`` has to be there; several dates are set apart by spaces."""


class DemandError(ValueError):
    """A table that cannot be read; the message names the line and what is wrong."""


def read_csv(
    text: str, types: Iterable[Mapping[str, Any]], providers: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the table's lines as requests of a run file.

    Types and providers may be given by name or id; separators are commas, semicolons or tabs.

    Raises
    ------
    DemandError
        At the first line that makes no sense.
    """
    text = text.removeprefix("\ufeff")
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    rows = csv.DictReader(io.StringIO(text), delimiter=separator)
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    if "type" not in names:
        raise DemandError(f"The first line must name the columns: {', '.join(COLUMNS)}.")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise DemandError(f"There is no column {unknown[0]}; known are {', '.join(COLUMNS)}.")
    rows.fieldnames = names
    by_type, by_provider = _by_name(types), _by_name(providers)
    return [
        _request(line, row, by_type, by_provider)
        for line, row in enumerate(rows, start=2)
        if any(value for value in row.values())
    ]


def _request(
    line: int, row: Mapping[str, Any], types: Mapping[str, str], providers: Mapping[str, str]
) -> dict[str, Any]:
    given = {name: str(value).strip() for name, value in row.items() if name and value}
    request: dict[str, Any] = {
        "id": f"line {line}",
        "appointment_type_id": _known(line, "type", given.get("type", ""), types),
    }
    for name in ("count", "priority"):
        if name in given:
            if not given[name].isdecimal():
                raise DemandError(f"Line {line}: {name} must be a whole number.")
            request[name] = int(given[name])
    if "dates" in given:
        request["dates"] = given["dates"].split()
    if "provider" in given:
        request["provider_id"] = _known(line, "provider", given["provider"], providers)
    if "patient" in given:
        request["patient_ref"] = given["patient"]
    for name in ("preferred_start", "preferred_end"):
        if name in given:
            request[name] = given[name].zfill(5)
    return request


def _by_name(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    known: dict[str, str] = {}
    for row in rows:
        known |= {row["id"]: row["id"], row["name"].casefold(): row["id"]}
    return known


def _known(line: int, what: str, name: str, known: Mapping[str, str]) -> str:
    if name.casefold() not in known:
        raise DemandError(f"Line {line}: there is no {what} “{name}”.")
    return known[name.casefold()]
