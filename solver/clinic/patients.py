"""Who a patient reference names: people write one name in more than one way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, overload
from unicodedata import normalize

if TYPE_CHECKING:
    import datetime as dt

    from solver.clinic.clinic import Clinic
    from solver.clinic.entities import Booking, Span

_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What Unicode calls default ignorable: letters that take no place on a screen."""


@overload
def patient_key(text: str) -> str: ...


@overload
def patient_key(text: None) -> None: ...


@overload
def patient_key(text: str | None) -> str | None: ...


def patient_key(text: str | None) -> str | None:
    """Return what two references of one patient have in common, empty for a blank one.

    References compare NFKC-normalised and case-folded, without letters that cannot be seen,
    trimmed, and with one space for any white space within. What was typed is to be kept beside
    this, which is made for comparing and not for showing.
    """
    if text is None:
        return None
    folded = text.casefold()
    if not text.isascii():  # as Unicode defines it, for normalising undoes some of the folding
        once = normalize("NFKC", normalize("NFD", text).casefold())
        folded = normalize("NFKC", _UNSEEN.sub("", once.casefold()))
    return " ".join(folded.split())


def booking_of_patient(
    clinic: Clinic,
    patient: str | None,
    day: dt.date,
    span: Span,
    room_id: str | None = None,
    ignored: str | None = None,
) -> Booking | None:
    """Return the first other live booking of a patient at that time, as far as `clinic` tells.

    Or one between which and the room there is no time for the way. `patient` is what patients are
    compared by.
    """
    if patient is None:
        return None

    def is_then(other: Booking) -> bool:
        theirs = other.start, other.start + clinic.kind_of(other).duration_minutes
        in_time = clinic.places.are_rooms_apart((room_id, span), (other.room_id, theirs))
        return (theirs[0] < span[1] and span[0] < theirs[1]) or not in_time

    found = [
        other
        for other in clinic.bookings
        if other.date == day and other.is_live and other.patient_key == patient
        if other.id != ignored and is_then(other)
    ]
    return min(found, key=lambda other: (other.start, other.id), default=None)
