"""A run's result as tables for a spreadsheet, with the names that people know."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import xlsxwriter

from api.console.csv_file import write_csv
from api.what_if.call_list import WAITS, by_time
from api.what_if.figures import REASONS
from solver.whatif.run_result import PlaceResult, RunResult

type Row = list[Any]


APPOINTMENTS = (
    "scenario",
    "what",
    "request",
    "patient",
    "type",
    "provider",
    "room",
    "date",
    "start",
    "end",
    "score",
    "overbooked",
    "old date",
    "old start",
    "old provider",
    "old room",
    "reason",
)


PLACEMENT = (*APPOINTMENTS[:1], *APPOINTMENTS[2:12])


MOVE = (
    "scenario",
    "patient",
    "type",
    "old date",
    "old start",
    "old provider",
    "old room",
    "date",
    "start",
    "provider",
    "room",
    "reason",
    "booking",
)


UNPLACED = ("scenario", "request", "patient", "type", "reason", "detail")


NAMED = {"provider_id": "provider_name", "room_id": "room_name"}


KIND = ("appointment_type_id", "appointment_type_name")


def to_csv(result: RunResult, names: Mapping[str, str]) -> bytes:
    """Return what becomes of everybody in every scenario: placed, moved, lost or unplaced."""
    return write_csv(APPOINTMENTS, _appointments(result, names))


def to_xlsx(result: RunResult, names: Mapping[str, str]) -> bytes:
    """Return a workbook: the key figures, the placements, what is unplaced, what moves."""
    out = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, options) as book:
        bold = book.add_format({"bold": True})
        scenarios = [scenario["name"] for scenario in result["scenarios"]]
        sheets: tuple[tuple[str, Row, Iterator[Row]], ...] = (
            ("Figures", ["figure", *scenarios], _figures(result, scenarios)),
            ("Placements", list(PLACEMENT), _placements(result, names)),
            ("Unplaced", list(UNPLACED), _unplaced(result, names)),
            ("Moves", list(MOVE), _moves(result, names)),
        )
        for title, head, rows in sheets:
            sheet = book.add_worksheet(title)
            sheet.write_row(0, 0, head, bold)
            sheet.freeze_panes(1, 0)
            for number, row in enumerate(rows, start=1):
                sheet.write_row(number, 0, row)
            sheet.autofit()
    return out.getvalue()


def to_json(run: Mapping[str, Any], names: Mapping[str, str]) -> bytes:
    """Return the run as the service tells it, with a name beside each id."""
    named = {
        **run,
        "scenarios": [
            {
                **scenario,
                "placements": [_named(row, names) for row in scenario["placements"]],
                "unplaced": [_named(row, names) for row in scenario["unplaced"]],
                "moves": [
                    _named(move, names)
                    | {
                        end: _named(move[end], names) if move[end] else None
                        for end in ("from", "to")
                    }
                    for move in scenario["moves"]
                ],
            }
            for scenario in run["scenarios"]
        ],
    }
    return orjson.dumps(named, option=orjson.OPT_INDENT_2)


def _named(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    pairs = (KIND, *NAMED.items())
    return {**row, **{name: names.get(row[key], "") for key, name in pairs if key in row}}


def _figures(result: Mapping[str, Any], scenarios: list[str]) -> Iterator[Row]:
    for row in result["comparison"]:
        yield [row["kpi"], *(row["values"].get(name) for name in scenarios)]


def _appointments(result: RunResult, names: Mapping[str, str]) -> Iterator[Row]:
    for scenario in result["scenarios"]:
        one: RunResult = {**result, "scenarios": [scenario]}
        for name, *rest in _placements(one, names):
            yield [name, "placed", *rest, *[""] * 5]
        for name, patient, kind, *old_and_new, reason, _ in _moves(one, names):
            old, (date, start, provider, room) = old_and_new[:4], old_and_new[4:]
            what = "moved" if date else "lost"
            new = [provider, room, date, start]
            yield [name, what, "", patient, kind, *new, "", "", "", *old, reason]
        for name, request, patient, kind, reason, _ in _unplaced(one, names):
            yield [name, "unplaced", request, patient, kind, *[""] * 11, reason]


def _placements(result: RunResult, names: Mapping[str, str]) -> Iterator[Row]:
    for scenario in result["scenarios"]:
        for p in scenario["placements"]:
            yield [
                scenario["name"],
                p["request_id"],
                p.get("patient_ref") or WAITS,
                names.get(p["appointment_type_id"], ""),
                names.get(p["provider_id"], ""),
                names.get(p["room_id"], ""),
                p["date"],
                p["start_time"],
                p["end_time"],
                p["score"],
                "yes" if p["is_overbooked"] else "no",
            ]


def _unplaced(result: RunResult, names: Mapping[str, str]) -> Iterator[Row]:
    for scenario in result["scenarios"]:
        for row in scenario["unplaced"]:
            yield [
                scenario["name"],
                row["request_id"],
                row.get("patient_ref") or "",
                names.get(row.get("appointment_type_id", ""), ""),
                REASONS.get(row["reason"], row["reason"]),
                row["detail"],
            ]


def _moves(result: RunResult, names: Mapping[str, str]) -> Iterator[Row]:
    for scenario in result["scenarios"]:
        for move in by_time(scenario["moves"]):
            yield [
                scenario["name"],
                move.get("patient_ref") or "",
                names.get(move.get("appointment_type_id", ""), ""),
                *_when_and_where(move["from"], names),
                *_when_and_where(move["to"], names),
                "" if move["to"] else REASONS.get(move.get("reason", ""), move.get("detail", "")),
                move["booking_id"],
            ]


def _when_and_where(place: PlaceResult | None, names: Mapping[str, str]) -> Row:
    if place is None:
        return [""] * 4
    who, where = names.get(place["provider_id"], ""), names.get(place["room_id"], "")
    return [place["date"], place["start_time"], who, where]
