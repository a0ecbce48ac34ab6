"""What suites measure is what it was."""

import pytest

from benchmarks.clinics import digest, known


@pytest.mark.parametrize("row", known(), ids=lambda row: f"{row['providers']} at {row['load']}")
def test_the_clinics_are_what_the_file_says(row: dict[str, object]) -> None:
    assert digest(row) == row["sha256"]
