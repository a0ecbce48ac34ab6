"""Tables for a spreadsheet: whom they name, and that nothing in them is a formula."""

import csv
import io
from typing import Any

import pytest

from api.console.csv_file import write_csv
from api.console.drawing.run_export import APPOINTMENTS, to_csv
from api.console.scenario.request_csv import example_csv, read_csv

PLACE = {
    "provider_id": "p",
    "room_id": "r",
    "date": "2027-03-01",
    "start_time": "09:00",
    "end_time": "09:30",
}


NAMES = {"p": "=HYPERLINK(1)", "r": "Room 1", "t": "Visit"}


def read(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def result(**lists: Any) -> dict[str, Any]:
    scenario = {"name": "baseline", "placements": [], "moves": [], "unplaced": []} | lists
    return {"scenarios": [scenario], "comparison": []}


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_nothing_that_was_typed_is_a_formula(start: str) -> None:
    content = write_csv(["name", "score"], [[f"{start}1+1", -2.5]])
    text = content.decode("utf-8-sig")
    ((_, _), (name, score)) = csv.reader(io.StringIO(text, newline=""))
    assert (name, score) == (f"'{start}1+1", "-2.5")


def test_a_type_named_as_a_formula_is_read_from_the_example_again() -> None:
    types = [{"id": "t", "name": "=Visit"}]
    example = example_csv(types).decode("utf-8")
    assert "'=Visit" in example
    assert [r["appointment_type_id"] for r in read_csv(example, types, [])] == ["t"]


def test_everybody_is_named_with_the_old_and_the_new_place() -> None:
    whose = {"booking_id": "b", "patient_ref": "Ada", "appointment_type_id": "t", "from": PLACE}
    reason = {"reason": "DAILY_CAP", "detail": "Full."}
    moved = {**whose, "to": {**PLACE, "start_time": "11:00"}}
    placed = {
        "request_id": "r1",
        "appointment_type_id": "t",
        **PLACE,
        "score": 1.0,
        "is_overbooked": False,
    }
    content = to_csv(
        result(
            moves=[moved, {**whose, "patient_ref": "Bo", "to": None, **reason}],
            placements=[placed],
            unplaced=[
                {"request_id": "r2", "patient_ref": "Cy", "appointment_type_id": "t", **reason}
            ],
        ),
        NAMES,
    )
    rows = read(content)
    assert tuple(rows[0]) == APPOINTMENTS
    where = ("what", "patient", "type", "old start", "old provider", "start", "provider", "reason")
    told = [tuple(row[name] for name in where) for row in rows]
    formula = "'=HYPERLINK(1)"
    assert told == [
        ("placed", "waits for a patient", "Visit", "", "", "09:00", formula, ""),
        ("moved", "Ada", "Visit", "09:00", formula, "11:00", formula, ""),
        ("lost", "Bo", "Visit", "09:00", formula, "", "", "Daily cap used up"),
        ("unplaced", "Cy", "Visit", "", "", "", "", "Daily cap used up"),
    ]
