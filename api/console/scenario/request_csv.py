"""Requests of a what-if: from a CSV file that a person has or can make, or as usual."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.console.csv_file import write_csv
from models.tables import BOOKINGS

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


COLUMNS_IN_WORDS = ", ".join(COLUMNS).replace("_", " ")
"""A space in a column's name does as well as an underscore."""
"""Only ``type`` has to be there; several dates are set apart by spaces."""


LINE = "line "
"""What the ids of requests from a file begin with."""


NOON = 12 * 60


HALVES = {
    True: {"preferred_start": "08:00", "preferred_end": "12:00"},
    False: {"preferred_start": "13:00", "preferred_end": "17:00"},
}
"""The preferred window of those who come before noon, and of those who come after."""


type Mix = Counter[tuple[str, bool]]
"""How many there are of each appointment type before noon and after."""


class DemandError(ValueError):
    """A table that cannot be read; the message names the line and what is wrong."""


def read_csv(
    content: str, types: Iterable[Mapping[str, Any]], providers: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the table's lines as requests of a run file.

    Types and providers may be given by name or id; separators are commas, semicolons or tabs.

    Raises
    ------
    DemandError
        At the first line that makes no sense.
    """
    content = content.removeprefix("\ufeff")
    head = content.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    rows = csv.DictReader(io.StringIO(content), delimiter=separator)
    names = [name.strip().lower().replace(" ", "_") for name in rows.fieldnames or ()]
    if "type" not in names:
        raise DemandError(f"The first line must name the columns: {COLUMNS_IN_WORDS}.")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise DemandError(
            f"There is no column “{unknown[0].replace('_', ' ')}”; known are {COLUMNS_IN_WORDS}."
        )
    rows.fieldnames = names
    by_type, by_provider = _by_name(types), _by_name(providers)
    return [
        _request(line, row, by_type, by_provider)
        for line, row in enumerate(rows, start=2)
        if any(value for value in row.values())
    ]


async def booked_mix(engine: AsyncEngine, first: dt.date, last: dt.date) -> Mix:
    """Return what was booked from `first` to `last`, both included."""
    c = BOOKINGS.c
    query = (
        select(c.appointment_type_id, c.start_minute < NOON, func.count())
        .where(c.date.between(first, last), c.status.not_in(("cancelled", "held")))
        .group_by(text("1, 2"))
    )
    async with engine.connect() as connection:
        rows = await connection.execute(query)
        return Counter({(str(kind), early): count for kind, early, count in rows})


def as_usual(mix: Mix, count: int) -> list[dict[str, Any]]:
    """Return requests for `count` appointments in a mix, the most frequent first.

    Each part gets its share rounded down, and those with the largest remainders one more.
    """
    total = mix.total()
    shares = {part: divmod(count * number, total) for part, number in mix.items()}
    left = count - sum(whole for whole, _ in shares.values())
    by_rest = sorted(shares, key=lambda part: (-shares[part][1], part))
    counts = {part: shares[part][0] + (part in by_rest[:left]) for part in shares}
    return [
        {"appointment_type_id": kind, "count": counts[kind, early], **HALVES[early]}
        for kind, early in sorted(counts, key=lambda part: (-counts[part], part))
        if counts[kind, early]
    ]


def example_csv(types: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a table to fill in, with a line for each type."""
    example = {"count": 10, "priority": 1}
    rows = ({"type": row["name"], **example} for row in types)
    return write_csv(COLUMNS, ([row.get(name, "") for name in COLUMNS] for row in rows))


def _request(
    line: int, row: Mapping[str, Any], types: Mapping[str, str], providers: Mapping[str, str]
) -> dict[str, Any]:
    given = {name: str(value).strip() for name, value in row.items() if name and value}
    request: dict[str, Any] = {
        "id": f"{LINE}{line}",
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
    key = name.casefold()
    key = key if key in known else key.removeprefix("'")  # as the example writes a formula
    if key not in known:
        raise DemandError(f"Line {line}: there is no {what} “{name}”.")
    return known[key]
