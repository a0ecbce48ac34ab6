"""Requests as usual, and from a table."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.console.scenario.request_csv import HALVES, DemandError, as_usual, example_csv, read_csv

TYPES = [{"id": "t1", "name": "Visit"}, {"id": "t2", "name": "Scan, long"}]


PROVIDERS = [{"id": "p1", "name": "Dr. Vega"}]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans()),
        st.integers(1, 50),
        min_size=1,
    ),
    st.integers(1, 500),
)
def test_a_usual_mix_has_the_shares_of_what_was(
    booked: dict[tuple[str, bool], int], count: int
) -> None:
    wishes = as_usual(Counter(booked), count)
    assert sum(wish["count"] for wish in wishes) == count
    for wish in wishes:
        early = wish["preferred_start"] == HALVES[True]["preferred_start"]
        share = booked[wish["appointment_type_id"], early] / sum(booked.values())
        assert abs(wish["count"] - share * count) < 1
        assert wish["count"] > 0
    assert [w["count"] for w in wishes] == sorted((w["count"] for w in wishes), reverse=True)


def test_the_example_is_a_table_that_is_read() -> None:
    requests = read_csv(example_csv(TYPES).decode("utf-8"), TYPES, PROVIDERS)
    assert [request["appointment_type_id"] for request in requests] == ["t1", "t2"]
    assert {request["count"] for request in requests} == {10}


def test_a_table_as_spreadsheets_write_it() -> None:
    content = "\ufeffType;Priority;Dates;Provider;Preferred_start;Patient\r\n"
    content += "visit;9;2027-03-01 2027-03-02;dr. vega;9:00;Ada\r\n;;;;;\r\n"
    (request,) = read_csv(content, TYPES, PROVIDERS)
    assert request == {
        "id": "line 2",
        "appointment_type_id": "t1",
        "priority": 9,
        "dates": ["2027-03-01", "2027-03-02"],
        "provider_id": "p1",
        "preferred_start": "09:00",
        "patient_ref": "Ada",
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("count\n3\n", "must name the columns"),
        ("type,colour\nVisit,red\n", "no column “colour”"),
        ("type,count\nVisit,many\n", "Line 2: count must be a whole number"),
        ("type,provider\nVisit,\nVisit,Dr. No\n", "Line 3: there is no provider “Dr. No”"),
    ],
)
def test_a_table_that_makes_no_sense(content: str, complaint: str) -> None:
    with pytest.raises(DemandError, match=complaint):
        read_csv(content, TYPES, PROVIDERS)
