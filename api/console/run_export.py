"""A run's result as tables for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

import xlsxwriter

type Row = list[Any]

PLACEMENT = (
    "scenario",
    "request",
    "type",
    "provider",
    "room",
    "date",
    "start",
    "end",
    "score",
    "overbooked",
)


def to_csv(result: Mapping[str, Any], names: Mapping[str, str]) -> bytes:
    """Return every placement of every scenario, a line each."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(PLACEMENT)
    writer.writerows(_placements(result, names))
    return out.getvalue().encode("utf-8-sig")  # spreadsheets know UTF-8 by this mark


def to_xlsx(result: Mapping[str, Any], names: Mapping[str, str]) -> bytes:
    """Return a workbook: the key figures, the placements, what is unplaced, what moves."""
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, options) as book:
        bold = book.add_format({"bold": True})
        scenarios = [scenario["name"] for scenario in result["scenarios"]]
        sheets: tuple[tuple[str, Row, Iterator[Row]], ...] = (
            ("Figures", ["figure", *scenarios], _figures(result, scenarios)),
            ("Placements", list(PLACEMENT), _placements(result, names)),
            ("Unplaced", ["scenario", "request", "reason", "detail"], _unplaced(result)),
            ("Moves", ["scenario", "booking", "from", "to"], _moves(result, names)),
        )
        for title, head, rows in sheets:
            sheet = book.add_worksheet(title)
            sheet.write_row(0, 0, head, bold)
            sheet.freeze_panes(1, 0)
            for number, row in enumerate(rows, start=1):
                sheet.write_row(number, 0, row)
            sheet.autofit()
    return out.getvalue()


def _figures(result: Mapping[str, Any], scenarios: list[str]) -> Iterator[Row]:
    for row in result["comparison"]:
        yield [row["kpi"], *(row["values"].get(name) for name in scenarios)]


def _placements(result: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Row]:
    for scenario in result["scenarios"]:
        for p in scenario["placements"]:
            yield [
                scenario["name"],
                p["request_id"],
                *(
                    names.get(p[f"{kind}_id"], "")
                    for kind in ("appointment_type", "provider", "room")
                ),
                p["date"],
                p["start_time"],
                p["end_time"],
                p["score"],
                "yes" if p["is_overbooked"] else "no",
            ]


def _unplaced(result: Mapping[str, Any]) -> Iterator[Row]:
    for scenario in result["scenarios"]:
        for row in scenario["unplaced"]:
            yield [scenario["name"], row["request_id"], row["reason"], row["detail"]]


def _moves(result: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Row]:
    for scenario in result["scenarios"]:
        for move in scenario["moves"]:
            yield [
                scenario["name"],
                move["booking_id"],
                place_in_words(move["from"], names),
                place_in_words(move["to"], names) if move["to"] else "lost",
            ]


def place_in_words(place: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Say where and when."""
    who, room = (names.get(place[key], place[key]) for key in ("provider_id", "room_id"))
    return f"{place['date']} {place['start_time']}, {who}, {room}"
