"""The examples of the documentation are what they say."""

import datetime as dt
from pathlib import Path

import pytest

from data.files.clinic_file import read_clinic_file
from data.files.run_file import read_run_file
from solver.rules.checked_book import BookChecker
from solver.whatif.apply import apply

FOLDER = Path(__file__).parents[3] / "docs" / "what-if"


RUNS = sorted(FOLDER.glob("*.yaml"))


NOW = dt.datetime(2027, 2, 22, 7, tzinfo=dt.UTC)


def test_there_are_five_of_a_clinic_whose_book_is_in_order() -> None:
    assert len(RUNS) == 5
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
