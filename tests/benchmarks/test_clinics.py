"""What suites measure is what it was."""

import datetime as dt

import pytest

from benchmarks.hospital.book import hospital_clinic
from benchmarks.support.clinics import digest, known
from solver.rules.checked_book import BookChecker


@pytest.mark.parametrize("row", known(), ids=lambda row: f"{row['providers']} at {row['load']}")
def test_the_clinics_are_what_the_file_says(row: dict[str, object]) -> None:
    assert digest(row) == row["sha256"]


def test_a_hospital_is_legal_and_nobody_is_in_two_places() -> None:
    clinic = hospital_clinic(dt.date(2027, 3, 1), providers=5, bookings=600)
    assert len(clinic.bookings) == 600
    assert not any(BookChecker(clinic).violations())
    patients = [(b.date, b.patient_ref) for b in clinic.bookings]
    assert len(set(patients)) == len(patients)
