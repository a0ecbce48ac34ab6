"""The service's codes as sentences for the people at the desk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from solver.clinic.grammar.recurrence import MAX_EVERY_WEEKS
from solver.rules.codes import in_order

if TYPE_CHECKING:
    from api.console.backend import RefusedError


BLOCKED = {
    "TYPE_INACTIVE": "The appointment type is not offered any more.",
    "PROVIDER_INACTIVE": "Other providers are no longer active.",
    "PROVIDER_LACKS_SKILLS": "Other providers do not have the skills it takes.",
    "ROOM_INACTIVE": "Other rooms, or the places that they are in, are no longer in use.",
    "ROOM_LACKS_EQUIPMENT": "Other rooms do not have the equipment it takes.",
    "OFF_GRID": "Other providers start it at other times.",
    "TOO_SOON": "The time has passed, or is too soon.",
    "CLOCK_CHANGE": "The clocks change at that time.",
    "OUTSIDE_PROVIDER_HOURS": "The providers who could do it are not in then.",
    "OUTSIDE_ROOM_HOURS": "The rooms that would do are closed then.",
    "NOT_YET_OPEN": "The hours for it are not open for booking yet.",
    "RESERVED": "The hours are kept for other appointments.",
    "SESSION_FULL": "The sessions have all the bookings they take.",
    "ROOM_BUSY": "The rooms that would do are taken.",
    "EQUIPMENT_BUSY": "The equipment that it takes is elsewhere.",
    "TYPE_DAILY_CAP": "The clinic does no more of this type on that day.",
    "PROVIDER_TRAVEL": "The providers who could do it have no time to get there and on again.",
    "PROVIDER_BUSY": "The providers who could do it have other appointments.",
    "ROLE_UNFILLED": "Those who could assist are not free.",
    "PROVIDER_DAILY_CAP": "The providers who could do it have all they take in a day.",
}
"""What kept a whole day from having a slot."""


ALONE = {
    "PROVIDER_INACTIVE": "No provider is active.",
    "PROVIDER_LACKS_SKILLS": "No provider has the skills it takes.",
    "ROOM_INACTIVE": "No room is in use, or no place that has one.",
    "ROOM_LACKS_EQUIPMENT": "No room has the equipment it takes.",
    "ROLE_UNFILLED": "Nobody who could assist is free.",
}
"""The same, where nothing else did."""


NOTHING_TO_TRY = "There is nobody who could start it on that day."
"""What is said where a day has no time at all at which it could start."""


REFUSED = {
    "TYPE_INACTIVE": "the type is not offered any more",
    "OFF_GRID": "it does not start at such a time",
    "OUTSIDE_DATE": "it would end on the next day",
    "PROVIDER_INACTIVE": "the provider is no longer active",
    "PROVIDER_LACKS_SKILLS": "the provider does not have the skills",
    "ROOM_INACTIVE": "the room, or the place that it is in, is no longer in use",
    "ROOM_LACKS_EQUIPMENT": "the room does not have the equipment",
    "TOO_SOON": "the time has passed, or is too soon",
    "CLOCK_CHANGE": "the clocks change at that time",
    "OUTSIDE_PROVIDER_HOURS": "the provider is not in then",
    "OUTSIDE_ROOM_HOURS": "the room is closed then",
    "NOT_YET_OPEN": "the hours are not open for booking yet",
    "RESERVED": "the hours are kept for other appointments",
    "SESSION_FULL": "the session has all the bookings it takes",
    "ROOM_BUSY": "the room is taken",
    "EQUIPMENT_BUSY": "the equipment that it takes is elsewhere",
    "TYPE_DAILY_CAP": "the clinic does no more of this type on that day",
    "PROVIDER_TRAVEL": "the provider has no time to get there and on again",
    "PROVIDER_BUSY": "the provider has another appointment",
    "ROLE_UNFILLED": "somebody who is to assist cannot, or nobody is there to",
    "PROVIDER_DAILY_CAP": "the provider has all they take in a day",
    "WOULD_BE_OVERBOOKED": "it would be overbooked",
    "HELD": "it is held for somebody at this moment",
    "CARRIED_OUT": "a plan of this what-if has been carried out already",
    "GONE": "the booking is no longer there",
    "BOOKING_CHANGED": "the booking has changed meanwhile",
    "PATIENT_CONFLICT": "the patient is elsewhere then, or on the way",
    "NOT_FOUND": "something it refers to is no longer there",
    "DATE_OUT_OF_RANGE": "the day has passed, or is too far ahead",
}
"""What kept one place from being given, or is wrong with the place that a booking has."""


OVERRIDDEN = {
    "TOO_SOON": "at short notice",
    "OUTSIDE_PROVIDER_HOURS": "outside the provider's hours",
    "OUTSIDE_ROOM_HOURS": "outside the room's hours",
    "NOT_YET_OPEN": "before the hours are open for booking",
    "RESERVED": "in hours kept for other appointments",
    "SESSION_FULL": "beyond what the session takes",
    "TYPE_DAILY_CAP": "beyond what the clinic does of this type in a day",
    "PROVIDER_BUSY": "beside another appointment of the provider",
    "PROVIDER_DAILY_CAP": "beyond what the provider takes in a day",
}
"""How a booking stands that was made against a rule, on purpose."""


OTHERWISE = "The clinic's rules do not allow it."


SOMETHING = "the clinic's rules do not allow it"
"""What is said for codes that have no words here yet."""


SENTENCES = {
    "SLOT_UNAVAILABLE": "That place cannot be given",
    "PATIENT_CONFLICT": "The patient has another appointment that overlaps in time, or that leaves "
    "none for the way.",
    "INVALID_STATE": "What has become of the appointment meanwhile does not allow that.",
    "STALE_VERSION": "Somebody else has changed it meanwhile. Please look at it again.",
    "PLAN_STALE": "The book has changed since the plan was made.",
    "NOT_FOUND": "It is no longer there.",
    "DATE_OUT_OF_RANGE": "The day has passed, or is too far ahead.",
    "FORBIDDEN": "Your key does not allow that.",
    "UNAUTHENTICATED": "Your key is no longer good.",
    "RATE_LIMITED": "That was a lot at once. Please wait a minute.",
    "TEMPORARILY_UNAVAILABLE": "The service is busy. Please try again in a moment.",
    "INTERNAL_ERROR": "Something went wrong. It has been logged.",
}
"""What is said of a problem by its code; of any other what the service says, in plain words."""


LABELS = {
    "patient_ref": "Patient",
    "accept_overbooked": "Overbooked",
    "override": "Rules that are broken",
    "override_reason": "Why all the same",
    "daily_cap": "Most a day",
    "daily_minutes": "Most minutes a day",
    "buffer_before": "Buffer before, minutes",
    "buffer_after": "Buffer after, minutes",
    "turnover_minutes": "Turnover, minutes",
    "quantity": "Pieces",
    "return_minutes": "Back after, minutes",
    "required_pools": "Equipment brought to it",
    "roles": "Team",
    "duration_minutes": "Duration, minutes",
    "max_overlap": "Most at once",
    "max_per_day": "Most a day",
    "provider_id": "Provider",
    "room_id": "Room",
    "appointment_type_id": "Type",
    "location_id": "Place",
    "from_id": "From",
    "to_id": "To",
    "appointment_type_ids": "Kept for",
    "max_bookings": "Most bookings",
    "opens": "Can be booked from",
    "releases": "Kept until",
    "start_time": "From",
    "end_time": "Until",
    "kind": "Open or closed",
    "valid_from": "From date",
    "valid_to": "To date",
    "every_weeks": "In which weeks",
    "grid_minutes": "Grid, minutes",
    "start_every": "Starts every, minutes",
    "start_offset": "First start after midnight, minutes",
    "start_anchor": "Starts counted from",
    "packed": "Also right behind other appointments",
    "preference_decay_minutes": "Preference decays over, minutes",
    "min_notice_minutes": "Least notice, minutes",
}
"""What fields are called where their names with spaces would not do."""


EVERY_WEEKS = {1: "every week", 2: "every other week"} | {
    n: f"every {n} weeks" for n in range(3, MAX_EVERY_WEEKS + 1)
}
"""In which weeks a row with a weekday holds."""


START_ANCHORS = {"midnight": "midnight", "window": "the provider's hours"}
"""From where the starts of a type are counted."""


FIELD = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")


CODE = re.compile(r"\b[A-Z]{2,}(?:_[A-Z0-9]+)+\b")


def why_blocked(blocked_by: Mapping[str, int]) -> list[str]:
    """Return what kept a day from having a slot, the most frequent first."""
    codes = sorted(blocked_by, key=lambda code: -blocked_by[code])
    if not codes:
        return [NOTHING_TO_TRY]
    if len(codes) == 1:
        return [ALONE.get(codes[0], BLOCKED.get(codes[0], OTHERWISE))]
    return list(dict.fromkeys(BLOCKED.get(code, OTHERWISE) for code in codes))


def reasons_in_words(codes: Iterable[str]) -> str:
    """Return why one place was not given, or is none any more."""
    return ", ".join(dict.fromkeys(REFUSED.get(code, SOMETHING) for code in codes))


def overridden_in_words(codes: Iterable[str]) -> str:
    """Return how a booking stands by the rules that it overrides; empty where it overrides none."""
    return ", ".join(OVERRIDDEN.get(code, SOMETHING) for code in in_order(codes))


def refusal(error: RefusedError) -> str:
    """Return in the desk's words why the service refused."""
    problem = error.problem
    sentence = SENTENCES.get(error.code)
    if faults := problem.get("errors"):
        told = (f"{label_of(fault['field'])}: {plainly(fault['message'])}" for fault in faults)
        sentence = sentence or "; ".join(told)
    sentence = sentence or plainly(str(error))
    reasons = reasons_in_words(problem.get("reasons") or ())
    return f"{sentence.rstrip('.')}: {reasons}." if reasons else sentence


def plainly(text: str) -> str:
    """Return what the service says without the names that only programs use."""
    text = CODE.sub(lambda code: REFUSED.get(code[0], code[0].replace("_", " ").lower()), text)
    return FIELD.sub(lambda name: f"“{label_of(name[0])}”", text)


def label_of(name: str) -> str:
    """Return what a field is called on the pages; of one inside others, the last."""
    name = name.rpartition(".")[2].partition("[")[0]
    return LABELS.get(name, name.replace("_", " ").capitalize())
