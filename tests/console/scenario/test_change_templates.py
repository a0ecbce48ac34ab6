"""Every sentence of a scenario is one that the service understands."""

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from api.console.scenario.change_templates import SENTENCES, Setting
from data.files.clinic_file import ClinicFile
from data.files.run_file import parse_run
from solver.clinic.clinic import Clinic
from solver.whatif.run import Scenario
from tests.console.conftest import VISIT, clinic_of_two
from tests.support.clinics import coming_monday
from tests.support.strategies import uid

MONDAY = coming_monday()


DATES = [MONDAY + dt.timedelta(days=ahead) for ahead in range(5)]


TUESDAY = DATES[1].isoformat()


VALUES = {
    "provider_id": uid(1, 0),
    "room_id": uid(2, 0),
    "appointment_type_id": VISIT,
    "date": TUESDAY,
    "last_date": (MONDAY + dt.timedelta(days=9)).isoformat(),
    "weekday": 2,
    "start_time": "16:00",
    "end_time": "18:00",
    "skill": "scan",
    "equipment": "scanner",
    "number": 10,
    "factor": 1.5,
    "max_overlap": 1,
    "max_per_day": 2,
}


OPS = {
    "provider_out",
    "close_room",
    "open_hours",
    "add_provider",
    "add_room",
    "add_overbooking_rule",
    "add_session",
    "set",
    "remove",
    "scale_demand",
}


NOW = dt.datetime.combine(MONDAY, dt.time(), dt.UTC) - dt.timedelta(days=7)


def rows() -> dict[str, Any]:
    rule = {"id": uid(4, 0), "provider_id": uid(1, 0), "max_overlap": 1, "max_per_day": 1}
    kept = {"id": uid(7, 0), "name": "Kept", "weekday": 1, "start_time": "09:00"}
    more = {"overbooking_rules": [rule], "sessions": [kept | {"end_time": "10:00"}]}
    file = ClinicFile.model_validate(clinic_of_two() | more)
    document: dict[str, Any] = file.model_dump(mode="json")
    return document


def said(key: str, *, with_optional: bool) -> list[dict[str, Any]]:
    blanks = SENTENCES[key].blanks()
    values = {
        blank.name: VALUES[blank.name] if with_optional or not blank.is_optional else None
        for blank in blanks
    }
    return SENTENCES[key].changes(values, Setting(rows(), DATES))


def understood(changes: list[dict[str, Any]]) -> Scenario:
    document = {
        "name": "What if",
        "start_date": MONDAY.isoformat(),
        "days": len(DATES),
        "requests": [{"id": "r1", "appointment_type_id": VISIT}],
        "scenarios": [{"name": "baseline", "changes": []}, {"name": "other", "changes": changes}],
    }
    clinic: Clinic = ClinicFile.model_validate(rows()).to_clinic(NOW)
    return parse_run(document, clinic, NOW).scenarios[1]


@pytest.mark.parametrize("with_optional", [True, False])
@pytest.mark.parametrize("key", SENTENCES)
def test_the_service_understands(key: str, with_optional: bool) -> None:
    changes = said(key, with_optional=with_optional)
    assert len(understood(changes).changes) == len(changes) > 0


def test_there_is_a_sentence_for_every_kind_of_change() -> None:
    ops = {change["op"] for key in SENTENCES for change in said(key, with_optional=True)}
    assert ops == OPS


def test_days_away_are_those_of_the_run() -> None:
    away = said("away", with_optional=True)
    assert [change["date"] for change in away] == [day.isoformat() for day in DATES[1:]]
    assert [change["date"] for change in said("never-on", with_optional=True)] == [TUESDAY]


def test_a_closed_practice_has_nobody_in() -> None:
    out = said("holiday", with_optional=False)
    assert {change["provider_id"] for change in out} == {uid(1, 0), uid(1, 1)}


def test_another_provider_has_the_hours_of_the_first() -> None:
    added, *hours = said("another-provider", with_optional=True)
    assert UUID(added["id"]) != UUID(uid(1, 0))
    assert added["skills"] == ["gp", "scan"]
    weekly = [row for row in rows()["availability"] if row["provider_id"] == uid(1, 0)]
    assert len(hours) == len(weekly) == 10
    assert {hour["provider_id"] for hour in hours} == {added["id"]}


def test_another_provider_is_in_on_those_days_of_the_run_that_the_first_is() -> None:
    document = rows()
    row = next(row for row in document["availability"] if row["provider_id"] == uid(1, 0))
    row |= {"weekday": 2, "valid_from": MONDAY.isoformat(), "every_weeks": 2}
    document["availability"] = [row]
    setting = Setting(document, [*DATES, *(day + dt.timedelta(days=7) for day in DATES)])
    _, *hours = SENTENCES["another-provider"].changes(VALUES, setting)
    assert [(hour.get("weekday"), hour.get("date")) for hour in hours] == [(None, TUESDAY)]
