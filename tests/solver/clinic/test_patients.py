"""What two ways of writing one patient have in common."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.clinic.entities import Booking
from solver.clinic.patients import patient_key
from solver.planning.problem import Request
from tests.support.strategies import MONDAY, uid


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("Anna", "anna "),
        ("Anna", "\tANNA\n"),
        ("Anna Berg", " anna \u00a0 berg"),
        ("José", unicodedata.normalize("NFD", "JOSÉ")),
        ("Straße", "STRASSE"),
        ("P-4711", "Ｐ－４７１１"),
        ("ﬁlia", "FILIA"),
        ("Anna", "An\u200bna\ufeff"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ],
)
def test_one_patient_written_in_two_ways(one: str, another: str) -> None:
    assert patient_key(one) == patient_key(another) != ""


@pytest.mark.parametrize(("one", "another"), [("Anna", "Ana"), ("P-1", "P 1"), ("José", "Jose")])
def test_two_patients(one: str, another: str) -> None:
    assert patient_key(one) != patient_key(another)


@pytest.mark.parametrize(
    "blank", ["", " ", "\n\t", "\u00a0\u3000", "\u200b", "\u2060\ufeff \u00ad"]
)
def test_blanks_name_nobody(blank: str) -> None:
    assert not patient_key(blank)


@given(st.text(max_size=30))
def test_a_key_is_its_own_key_and_that_of_any_spelling(text: str) -> None:
    key = patient_key(text)
    assert patient_key(key) == key
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert patient_key(unicodedata.normalize(form, text)) == key
    assert patient_key(f"  {text}\n") == key


def test_bookings_and_requests_know_theirs() -> None:
    booking = Booking(uid(5, 0), uid(1, 0), uid(2, 0), uid(3, 0), MONDAY, 600, " Anna")
    assert booking.patient_key == Request("r1", uid(3, 0), patient_ref="ANNA").patient_key == "anna"
    assert Request("r1", uid(3, 0)).patient_key is None
