"""The examples of the documentation are what they say."""

import datetime as dt
import re
from pathlib import Path

import pytest

from data.files.clinic_file import parse_clinic_file, read_clinic_file
from data.files.run_file import read_run_file
from solver.clinic.request import SlotRequest
from solver.rules.checked_book import BookChecker
from solver.slots.search import find_slots
from solver.whatif.apply import apply

FOLDER = Path(__file__).parents[3] / "docs" / "what-if"


RUNS = sorted(FOLDER.glob("*.yaml"))


NOW = dt.datetime(2027, 2, 22, 7, tzinfo=dt.UTC)


def test_there_are_six_of_a_clinic_whose_book_is_in_order() -> None:
    assert len(RUNS) == 6
    clinic = read_clinic_file(FOLDER / "clinic.json").to_clinic(NOW)
    assert clinic.bookings
    assert not any(BookChecker(clinic).violations())


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_each_can_be_asked_and_has_its_report(path: Path) -> None:
    clinic = read_clinic_file(FOLDER / "clinic.json").to_clinic(NOW)
    run = read_run_file(path, clinic, NOW)
    baseline = apply(clinic, run, run.scenarios[0], NOW)
    for scenario in run.scenarios[1:]:
        problem = apply(clinic, run, scenario, NOW)
        assert (problem.clinic, problem.requests) != (baseline.clinic, baseline.requests)
    report = path.with_suffix(".html").read_text()
    assert run.name in report
    assert all(scenario.name in report for scenario in run.scenarios)
    assert "://" not in report
    named = (path.parent.parent / "what-if.md").read_text()
    assert f"what-if/{path.name}" in named


def test_where_no_hours_are_kept_it_is_as_though_sessions_were_ignored() -> None:
    clinic = read_clinic_file(FOLDER / "clinic.json").to_clinic(NOW)
    run = read_run_file(FOLDER / "6-cost-of-carve-outs.yaml", clinic, NOW)
    assert not clinic.sessions
    for scenario in run.scenarios[1:]:
        assert apply(clinic, run, scenario, NOW).clinic.sessions


def test_a_clinic_described_step_by_step_is_one_file_and_does_as_is_said() -> None:
    text = (FOLDER.parent / "describe-your-clinic.md").read_text()
    blocks = "".join(re.findall("```yaml\n(.*?)```", text, flags=re.DOTALL))
    clinic = parse_clinic_file(blocks.encode(), is_yaml=True).to_clinic(NOW)
    assert len(clinic.sessions) == 5
    assert [(row.duration_minutes, row.daily_cap) for row in clinic.provider_types] == [(40, 4)]
    (ecg,) = clinic.equipment_pools
    assert [*clinic.quantities] == [ecg.id]
    assert clinic.places.are_several
    assert {row.minutes for row in clinic.travel} == {15}
    visit = next(kind for kind in clinic.appointment_types if kind.name == "Visit")
    (vega,) = {p.id for p in clinic.providers if p.name == "Dr. Vega"}

    def from_eleven(now: str) -> int:
        moment = dt.datetime.fromisoformat(now).replace(tzinfo=clinic.settings.zone)
        day = dt.date(2027, 3, 1)
        request = SlotRequest(visit.id, day, moment, provider_ids=frozenset({vega}))
        return len({s.start for s in find_slots(clinic, request).slots if s.start >= 660})

    assert from_eleven("2027-02-28T12:00") == 0
    assert from_eleven("2027-03-01T09:00") == 4
