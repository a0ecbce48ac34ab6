"""The service's codes as sentences for the people at the desk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.console.backend import RefusedError

BLOCKED = {
    "TYPE_INACTIVE": "The appointment type is not offered any more.",
    "PROVIDER_INACTIVE": "Other providers are no longer active.",
    "PROVIDER_LACKS_SKILLS": "Other providers do not have the skills it takes.",
    "ROOM_INACTIVE": "Other rooms are no longer in use.",
    "ROOM_LACKS_EQUIPMENT": "Other rooms do not have the equipment it takes.",
    "TOO_SOON": "The time has passed, or is too soon.",
    "CLOCK_CHANGE": "The clocks change at that time.",
    "OUTSIDE_PROVIDER_HOURS": "The providers who could do it are not in then.",
    "OUTSIDE_ROOM_HOURS": "The rooms that would do are closed then.",
    "ROOM_BUSY": "The rooms that would do are taken.",
    "TYPE_DAILY_CAP": "The clinic does no more of this type on that day.",
    "PROVIDER_BUSY": "The providers who could do it have other appointments.",
    "PROVIDER_DAILY_CAP": "The providers who could do it have all they take in a day.",
}
"""What kept a whole day from having a slot."""
ALONE = {
    "PROVIDER_INACTIVE": "No provider is active.",
    "PROVIDER_LACKS_SKILLS": "No provider has the skills it takes.",
    "ROOM_INACTIVE": "No room is in use.",
    "ROOM_LACKS_EQUIPMENT": "No room has the equipment it takes.",
}
"""The same, where nothing else did."""
REFUSED = {
    "TYPE_INACTIVE": "the type is not offered any more",
    "OFF_GRID": "the time is off the clinic's grid",
    "PROVIDER_INACTIVE": "the provider is no longer active",
    "PROVIDER_LACKS_SKILLS": "the provider does not have the skills",
    "ROOM_INACTIVE": "the room is no longer in use",
    "ROOM_LACKS_EQUIPMENT": "the room does not have the equipment",
    "TOO_SOON": "the time has passed, or is too soon",
    "CLOCK_CHANGE": "the clocks change at that time",
    "OUTSIDE_PROVIDER_HOURS": "the provider is not in then",
    "OUTSIDE_ROOM_HOURS": "the room is closed then",
    "ROOM_BUSY": "the room is taken",
    "TYPE_DAILY_CAP": "the clinic does no more of this type on that day",
    "PROVIDER_BUSY": "the provider has another appointment",
    "PROVIDER_DAILY_CAP": "the provider has all they take in a day",
    "WOULD_BE_OVERBOOKED": "it would be overbooked",
    "GONE": "the booking is no longer there",
    "BOOKING_CHANGED": "the booking has changed meanwhile",
    "PATIENT_CONFLICT": "the patient is elsewhere then",
    "NOT_FOUND": "something it refers to is no longer there",
    "DATE_OUT_OF_RANGE": "the day has passed, or is too far ahead",
}
"""What kept one place from being given, or is wrong with the place that a booking has."""

OTHERWISE = "The clinic's rules do not allow it."
SOMETHING = "the clinic's rules do not allow it"
"""What is said for codes that have no words here yet."""


def why_blocked(blocked_by: Mapping[str, int]) -> list[str]:
    """Return what kept a day from having a slot, the most frequent first."""
    codes = sorted(blocked_by, key=lambda code: -blocked_by[code])
    if len(codes) == 1:
        return [ALONE.get(codes[0], BLOCKED.get(codes[0], OTHERWISE))]
    return list(dict.fromkeys(BLOCKED.get(code, OTHERWISE) for code in codes))


def reasons_in_words(codes: Iterable[str]) -> str:
    """Return why one place was not given, or is none any more."""
    return ", ".join(dict.fromkeys(REFUSED.get(code, SOMETHING) for code in codes))


def refusal(error: RefusedError) -> str:
    """Return what the service said when it refused."""
    reasons = reasons_in_words(error.problem.get("reasons") or ())
    return f"{error} ({reasons})" if reasons else str(error)
