"""What a validation says is said in our own words."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.files.clinic_file import InvalidClinicFileError, parse_clinic_file
from data.files.run_file import InvalidRunFileError, parse_run_file
from tests.support.clinics import PROVIDER, TYPE, booking, small_clinic
from tests.support.strategies import BEFORE, MONDAY, uid

LIBRARYS = ("Input should", "Extra inputs", "Value error", "Field required", "valid ")
"""Words that a validation library uses."""


def faults_of_clinic(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidClinicFileError) as refused:
        parse_clinic_file(json.dumps(small_clinic(**changes)).encode())
    return {fault.path: fault.message for fault in refused.value.faults}


def provider(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": PROVIDER, "name": "Dr. Vega", "skills": ["gp"]} | changes]


def kind(**changes: Any) -> list[dict[str, Any]]:
    return [{"id": TYPE, "name": "Visit", "duration_minutes": 30} | changes]


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            {"providers": provider(skils=["gp"])},
            "providers[0].skils",
            "unknown field `skils`: did you mean `skills`?",
        ),
        ({"provider": []}, "provider", "unknown field `provider`: did you mean `providers`?"),
        (
            {"clinic": {"name": "x", "timezone": "Europe/Berlin", "zz": 1}},
            "clinic.zz",
            "unknown field `zz`; known are name, timezone, grid_minutes, "
            "preference_decay_minutes, min_notice_minutes",
        ),
        ({"providers": provider(daily_cap=-1)}, "providers[0].daily_cap", "must be at least 0"),
        (
            {"providers": provider(daily_minutes=-1)},
            "providers[0].daily_minutes",
            "must be at least 0",
        ),
        (
            {"providers": provider(daily_cap="9")},
            "providers[0].daily_cap",
            "must be a whole number",
        ),
        ({"providers": provider(active="yes")}, "providers[0].active", "must be true or false"),
        ({"providers": provider(name="")}, "providers[0].name", "must have at least 1 letter"),
        (
            {"providers": provider(name="x" * 201)},
            "providers[0].name",
            "must have at most 200 letters",
        ),
        ({"providers": provider(name=1)}, "providers[0].name", "must be text"),
        ({"providers": provider(skills="gp")}, "providers[0].skills", "must be a list"),
        ({"providers": ["Vega"]}, "providers[0]", "must be an object with named fields"),
        ({"rooms": [{"id": uid(2, 0)}]}, "rooms[0].name", "is missing"),
        (
            {"bookings": [booking(0, MONDAY, "09:00", duration_minutes=0)]},
            "bookings[0].duration_minutes",
            "must be at least 1",
        ),
        (
            {"bookings": [booking(0, MONDAY, "09:00", buffer_after=721)]},
            "bookings[0].buffer_after",
            "must be at most 720",
        ),
        (
            {"appointment_types": kind(start_every=0)},
            "appointment_types[0].start_every",
            "must be at least 1",
        ),
        (
            {"appointment_types": kind(start_every=50, start_offset=50)},
            "appointment_types[0].start_offset",
            "must be 0 to 49 minutes, not 50",
        ),
        (
            {"appointment_types": kind(start_offset=5)},
            "appointment_types[0].start_offset",
            "is for types with start_every; give that, or leave it out",
        ),
        (
            {"appointment_types": kind(start_anchor="noon")},
            "appointment_types[0].start_anchor",
            "must be 'midnight' or 'window'",
        ),
        (
            {"appointment_types": kind(start_every=9, start_offset=5, start_anchor="window")},
            "appointment_types[0].start_offset",
            "must be 0 where start_anchor is 'window'",
        ),
        (
            {"appointment_types": kind(packed=1)},
            "appointment_types[0].packed",
            "must be true or false",
        ),
        (
            {"clinic": {"name": "x", "timezone": "Europe/Berlin", "grid_minutes": 241}},
            "clinic.grid_minutes",
            "must be at most 240",
        ),
    ],
)
def test_faults_of_a_clinic_file(changes: dict[str, Any], path: str, message: str) -> None:
    assert faults_of_clinic(**changes)[path] == message


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"day": 3}, "day", "unknown field `day`: did you mean `days`?"),
        ({"days": 99}, "days", "must be at most 60"),
        (
            {"requests": [{"id": "r1", "appointment_type_id": TYPE, "prio": 3}]},
            "requests[0].prio",
            "unknown field `prio`: did you mean `priority`?",
        ),
    ],
)
def test_faults_of_a_run_file(changes: dict[str, Any], path: str, message: str) -> None:
    run = {"name": "x", "start_date": "2027-03-01", "days": 1} | changes
    assert faults_of_run(run)[path] == message


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        (
            {"op": "provider_outt"},
            "scenarios[1].changes[0]",
            "unknown op `provider_outt`: did you mean `provider_out`?",
        ),
        ({"date": "2027-03-01"}, "scenarios[1].changes[0]", "op is missing"),
        (
            {"op": "provider_out", "provider_id": PROVIDER, "dat": "2027-03-01"},
            "scenarios[1].changes[0].dat",
            "unknown field `dat`: did you mean `date`?",
        ),
        (
            {
                "op": "set",
                "entity": "providers",
                "id": PROVIDER,
                "field": "daily_cap",
                "value": "x",
            },
            "scenarios[1].changes[0].value",
            "must be a whole number",
        ),
    ],
)
def test_faults_of_a_change(change: dict[str, Any], path: str, message: str) -> None:
    scenarios = [{"name": "baseline"}, {"name": "x", "changes": [change]}]
    run = {"name": "x", "start_date": "2027-03-01", "days": 1, "scenarios": scenarios}
    assert faults_of_run(run)[path] == message


def faults_of_run(run: dict[str, Any]) -> dict[str, str]:
    clinic = parse_clinic_file(json.dumps(small_clinic()).encode()).to_clinic(BEFORE)
    with pytest.raises(InvalidRunFileError) as refused:
        parse_run_file(json.dumps(run).encode(), clinic, BEFORE)
    return {fault.path: fault.message for fault in refused.value.faults}


def test_no_message_is_the_librarys() -> None:
    """Every kind of wrong value in every field of a clinic file."""
    fields = json.loads((Path("docs") / "what-if" / "clinic.json").read_text())
    for wrong in (None, "", "x" * 3000, -1, 10**30, 1.5, True, [], {}, [[]], {"x": {}}):
        for name in fields:
            rows = fields[name] if isinstance(fields[name], list) else [fields[name]]
            for field in rows[0] if rows else ():
                row = {**rows[0], field: wrong}
                document = fields | {name: [row] if isinstance(fields[name], list) else row}
                try:
                    parse_clinic_file(json.dumps(document).encode())
                except InvalidClinicFileError as refused:
                    for fault in refused.faults:
                        assert not any(word in fault.message for word in LIBRARYS), fault
