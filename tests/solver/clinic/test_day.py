"""A day laid out: what a query needs of a date."""

from dataclasses import astuple, fields, is_dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from solver.clinic.clinic import Clinic
from solver.clinic.day import Day
from tests.support.strategies import MONDAY, clinics


@given(clinics(), st.data())
def test_a_day_narrowed_is_the_day_laid_out_for_those_providers(
    clinic: Clinic, data: st.DataObject
) -> None:
    ids = frozenset(data.draw(st.sets(st.sampled_from([p.id for p in clinic.providers]))))
    narrowed = Day.of(clinic, MONDAY).narrowed(ids)
    laid_out = Day.of(clinic, MONDAY, provider_ids=ids)
    assert narrowed.providers == laid_out.providers
    assert narrowed.provider_windows == laid_out.provider_windows
    assert (narrowed.rooms, narrowed.room_windows) == (laid_out.rooms, laid_out.room_windows)
    for column in fields(laid_out.book):
        one, other = (getattr(day.book, column.name) for day in (narrowed, laid_out))
        if is_dataclass(one):
            one, other = astuple(one), astuple(other)
        assert np.array_equal(np.asarray(one), np.asarray(other)), column.name
