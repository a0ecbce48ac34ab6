"""The run file: what is taken, and every fault named with its place."""

import datetime as dt
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from data.files.run_file import (
    InvalidRunDatesError,
    InvalidRunFileError,
    json_schema,
    parse_run,
    parse_run_file,
)
from tests.support.strategies import BEFORE, MONDAY, uid
from tests.support.what_if import (
    PLAIN,
    SCAN,
    VEGA,
    VISIT,
    a_run,
    asked,
    clinic_of_two,
    run_document,
)

UNKNOWN = uid(9, 9)


OUT = {"op": "provider_out", "provider_id": VEGA, "date": "2027-03-01"}


def faults(document: Any) -> list[str]:
    with pytest.raises(InvalidRunFileError) as caught:
        parse_run(document, clinic_of_two(), BEFORE)
    return [fault.path for fault in caught.value.faults]


def test_what_is_left_out_takes_its_default() -> None:
    document = {"name": "Short", "start_date": "2027-03-01", "days": 1, "requests": [asked("r1")]}
    run = parse_run(document, clinic_of_two(), BEFORE)
    assert [s.name for s in run.scenarios] == ["baseline"]
    assert (run.existing, run.time_limit_seconds, run.seed) == ("fixed", 30, 0)
    assert run.allow_overbooking
    request = run.demands[0].request
    assert (request.priority, request.dates, request.preferred) == (1, None, None)


def test_a_request_is_read_whole() -> None:
    row = asked(
        "r1",
        priority=9,
        dates=["2027-03-01"],
        provider_id=VEGA.upper(),
        preferred_start="09:00",
        preferred_end="12:00",
        patient_ref="P",
    )
    request = a_run(clinic_of_two(), requests=[row]).demands[0].request
    assert request.dates == {MONDAY}
    assert request.provider_id == VEGA
    assert request.preferred == (540, 720)
    open_ended = asked("r1", preferred_start="09:00")
    assert a_run(clinic_of_two(), requests=[open_ended]).demands[0].request.preferred == (540, 1440)


def test_yaml_and_json_say_the_same() -> None:
    document = run_document(OUT)
    yaml = f"""
name: Test
start_date: 2027-03-01
days: 2
requests:
  - {{id: r1, appointment_type_id: {VISIT}}}
  - {{id: r2, appointment_type_id: {VISIT}, count: 2}}
  - {{id: r3, appointment_type_id: {SCAN}}}
scenarios:
  - name: baseline
  - name: changed
    changes:
      - {{op: provider_out, provider_id: {VEGA}, date: 2027-03-01}}
time_limit_seconds: 5
"""
    clinic = clinic_of_two()
    by_yaml = parse_run_file(yaml.encode(), clinic, BEFORE, is_yaml=True)
    assert by_yaml == parse_run_file(orjson.dumps(document), clinic, BEFORE)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"start_date": "2027-01-31"}, "start_date"),
        ({"start_date": "soon"}, "start_date"),
        ({"days": 0}, "days"),
        ({"days": 61}, "days"),
        ({"existing": "gone"}, "existing"),
        ({"time_limit_seconds": 0}, "time_limit_seconds"),
        ({"time_limit_seconds": 3601}, "time_limit_seconds"),
        ({"time_limit_seconds": float("inf")}, "time_limit_seconds"),
        ({"seed": -1}, "seed"),
        ({"allow_overbooking": "yes"}, "allow_overbooking"),
        ({"more": 1}, "more"),
        ({"scenarios": []}, "scenarios"),
        ({"scenarios": [{"name": "x", "changes": [OUT]}]}, "scenarios[0].changes"),
        ({"scenarios": [{"name": "x"}, {"name": "x"}]}, "scenarios[1].name"),
        (
            {"requests": [asked("r1", appointment_type_id=UNKNOWN)]},
            "requests[0].appointment_type_id",
        ),
        ({"requests": [asked("r1", provider_id=UNKNOWN)]}, "requests[0].provider_id"),
        ({"requests": [asked("r1", priority=10)]}, "requests[0].priority"),
        ({"requests": [asked("r1", patient_ref=" \u200b")]}, "requests[0].patient_ref"),
        ({"requests": [asked("r1", priority=True)]}, "requests[0].priority"),
        ({"requests": [asked("r1", count=0)]}, "requests[0].count"),
        ({"requests": [asked("r1", dates=[])]}, "requests[0].dates"),
        ({"requests": [asked("r1", dates=["2027-02-30"])]}, "requests[0].dates[0]"),
        ({"requests": [asked("r1#1")]}, "requests[0].id"),
        ({"requests": [asked(" ")]}, "requests[0].id"),
        ({"name": "\t"}, "name"),
        ({"scenarios": [{"name": "\u200b"}]}, "scenarios[0].name"),
        ({"stranded": "forget"}, "stranded"),
        ({"requests": [asked("r1"), asked("r1")]}, "requests[1].id"),
        ({"requests": [asked("r1", count=15_000), asked("r2", count=5_001)]}, "requests"),
        (
            {"requests": [asked("r1", preferred_start="12:00", preferred_end="12:00")]},
            "requests[0].preferred_end",
        ),
    ],
)
def test_faults_of_a_run_are_named(fields: dict[str, Any], path: str) -> None:
    assert faults(run_document(**fields)) == [path]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("not a change", None),
        ({"op": "explode"}, None),
        (OUT | {"provider_id": UNKNOWN}, "provider_id"),
        (OUT | {"provider_id": PLAIN}, "provider_id"),
        (OUT | {"date": "2027-03-03"}, "date"),
        (OUT | {"start_time": "10:00", "end_time": "10:00"}, "end_time"),
        (OUT | {"start_time": 9}, "start_time"),
        ({"op": "close_room", "room_id": VEGA, "date": "2027-03-01"}, "room_id"),
        (
            {"op": "open_hours", "weekday": 1, "start_time": "09:00", "end_time": "10:00"},
            "provider_id",
        ),
        (
            {"op": "open_hours", "room_id": PLAIN, "start_time": "09:00", "end_time": "10:00"},
            "weekday",
        ),
        (
            {"op": "open_hours", "room_id": UNKNOWN, "weekday": 1}
            | {"start_time": "09:00", "end_time": "10:00"},
            "room_id",
        ),
        ({"op": "add_provider", "skills": ["gp"]}, "name"),
        ({"op": "add_provider", "id": VEGA, "name": "Twice"}, "id"),
        ({"op": "add_room", "name": "Room", "turnover_minutes": 721}, "turnover_minutes"),
        ({"op": "add_overbooking_rule", "provider_id": UNKNOWN}, "provider_id"),
        (
            {"op": "add_overbooking_rule", "start_time": "10:00", "end_time": "09:00"},
            "end_time",
        ),
        ({"op": {}}, None),
        ({"op": "remove", "entity": "rooms", "id": UNKNOWN}, "id"),
        ({"op": "remove", "entity": "availability", "id": UNKNOWN}, "entity"),
        ({"op": "remove", "entity": "nurses", "id": UNKNOWN}, "entity"),
        ({"op": "remove", "entity": "clinic", "id": UNKNOWN}, "entity"),
        ({"op": "scale_demand", "factor": -1}, "factor"),
        ({"op": "scale_demand", "factor": 101}, "factor"),
        ({"op": "scale_demand", "factor": float("nan")}, "factor"),
        (
            {"op": "scale_demand", "factor": 2, "appointment_type_id": UNKNOWN},
            "appointment_type_id",
        ),
    ],
)
def test_a_change_that_does_not_apply_is_named(change: Any, field: str | None) -> None:
    scale = {"op": "scale_demand", "factor": 1}
    place = "scenarios[1].changes[1]"
    assert faults(run_document(scale, change)) == [f"{place}.{field}" if field else place]


@pytest.mark.parametrize(
    ("entity", "key", "field", "value", "wrong"),
    [
        ("providers", UNKNOWN, "name", "x", "id"),
        ("providers", None, "name", "x", "id"),
        ("clinic", VEGA, "grid_minutes", 5, "id"),
        ("clinic", None, "grid_minutes", 241, "value"),
        ("clinic", None, "timezone", "Nowhere", "value"),
        ("providers", VEGA, "id", UNKNOWN, "field"),
        ("providers", VEGA, "salary", 1, "field"),
        ("providers", VEGA, "daily_cap", "many", "value"),
        ("providers", VEGA, "skills", [""], "value"),
        ("rooms", PLAIN, "active", None, "value"),
        ("appointment_types", VISIT, "duration_minutes", 0, "value"),
        ("overbooking_rules", uid(4, 0), "end_time", "08:00", "value"),
        ("overbooking_rules", uid(4, 0), "provider_id", UNKNOWN, "value"),
        ("bookings", uid(5, 0), "notes", "x", "field"),
    ],
)
def test_a_value_that_cannot_be_set_is_named(
    entity: str, key: str | None, field: str, value: object, wrong: str
) -> None:
    clinic = clinic_of_two(overbooking_rules=[{"id": uid(4, 0), "start_time": "09:00"}])
    change = {"op": "set", "entity": entity, "id": key, "field": field, "value": value}
    with pytest.raises(InvalidRunFileError) as caught:
        parse_run(run_document(change), clinic, BEFORE)
    unknown = ["id"] if entity == "bookings" else []  # it has none
    paths = [f"scenarios[1].changes[0].{field}" for field in (wrong, *unknown)]
    assert [f.path for f in caught.value.faults] == paths


def test_too_many_requests_by_scaling_are_refused() -> None:
    requests = [asked("r1", count=300)]
    document = run_document({"op": "scale_demand", "factor": 100}, requests=requests)
    assert faults(document) == ["scenarios[1].changes[0].factor"]


def test_every_fault_is_told_at_once() -> None:
    document = run_document(
        OUT | {"provider_id": UNKNOWN}, start_date="2027-01-01", requests=[asked("r1", priority=0)]
    )
    document["days"] = 0
    out = "scenarios[1].changes[0].provider_id"
    assert faults(document) == ["days", "requests[0].priority", out]
    document = run_document(
        OUT | {"provider_id": UNKNOWN},
        {"op": "add_session", "session": {"name": "x", "provider_id": UNKNOWN} | NINE | WEEKLY},
        {"op": "remove", "entity": "room", "id": UNKNOWN},
        start_date="2027-01-01",
        requests=[asked("r", provider_id=UNKNOWN), asked("r", appointment_type_id=UNKNOWN)],
    )
    told = {
        *("start_date", "requests[0].provider_id", "requests[1].id"),
        *("requests[1].appointment_type_id", out),
        *("scenarios[1].changes[1].provider_id", "scenarios[1].changes[2].id"),
    }
    assert set(faults(document)) == told
    document["requests"][0]["priority"] = document["scenarios"][1]["changes"][0]["what"] = 0
    also = {"requests[0].priority", "scenarios[1].changes[0].what"}
    assert set(faults(document)) == told - {"start_date"} | also
    window = {"preferred_start": "12:00", "preferred_end": "11:00", "priority": 0}
    backwards = OUT | {"start_time": "12:00", "end_time": "11:00", "what": 0}
    document = run_document(backwards, requests=[asked("r", **window)])
    assert set(faults(document)) == {
        *("requests[0].priority", "requests[0].preferred_end"),
        *("scenarios[1].changes[0].what", "scenarios[1].changes[0].end_time"),
    }


NINE = {"start_time": "09:00", "end_time": "10:00"}


WEEKLY = {"weekday": 1}


def test_what_is_no_document_is_refused_with_its_place() -> None:
    for text, is_yaml in ((b"{", False), (b"a: [", True)):
        with pytest.raises(InvalidRunFileError) as caught:
            parse_run_file(text, clinic_of_two(), BEFORE, is_yaml=is_yaml)
        assert caught.value.faults[0].path.startswith("line ")


def test_today_is_the_clinics() -> None:
    late = dt.datetime(2027, 3, 1, 23, 30, tzinfo=dt.UTC)  # Tuesday in Berlin
    with pytest.raises(InvalidRunFileError):
        parse_run(run_document(), clinic_of_two(), late)


def test_a_run_beyond_the_horizon_is_refused_as_one_in_the_past_is() -> None:
    clinic, week = clinic_of_two(), {"start_date": "2027-03-02", "days": 7}
    last = dt.date(2027, 3, 8) - BEFORE.date()
    assert parse_run(run_document(**week), clinic, BEFORE, last.days)
    with pytest.raises(InvalidRunDatesError, match="days: 2027-03-08 is too far ahead"):
        parse_run(run_document(**week), clinic, BEFORE, last.days - 1)
    with pytest.raises(InvalidRunDatesError, match="start_date: 2027-03-02 is too far ahead"):
        parse_run(run_document(**week), clinic, BEFORE, 1)
    with pytest.raises(InvalidRunDatesError, match="start_date: 2027-01-01 is in the past"):
        parse_run(run_document(start_date="2027-01-01"), clinic, BEFORE)
    with pytest.raises(InvalidRunDatesError):
        parse_run(run_document(start_date="2029-01-01"), clinic, BEFORE)


def test_the_schema_takes_what_the_reader_takes() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    taken = run_document(
        OUT,
        {"op": "add_provider", "name": "Dr. New"},
        {"op": "set", "entity": "room", "id": PLAIN, "field": "active", "value": False},
        {"op": "scale_demand", "factor": 1.25},
    )
    assert validator.is_valid(taken)
    assert a_run(clinic_of_two(), *taken["scenarios"][1]["changes"])
    for wrong in ({"op": "explode"}, OUT | {"extra": 1}, {"op": "scale_demand", "factor": "2"}):
        assert not validator.is_valid(run_document(wrong))
