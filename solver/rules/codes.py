"""The codes of the rules, as answers name them."""

from __future__ import annotations

from collections.abc import Iterable

TYPE_INACTIVE = "TYPE_INACTIVE"
OFF_GRID = "OFF_GRID"
OUTSIDE_DATE = "OUTSIDE_DATE"
PROVIDER_INACTIVE = "PROVIDER_INACTIVE"
PROVIDER_LACKS_SKILLS = "PROVIDER_LACKS_SKILLS"
ROOM_INACTIVE = "ROOM_INACTIVE"
ROOM_LACKS_EQUIPMENT = "ROOM_LACKS_EQUIPMENT"
TOO_SOON = "TOO_SOON"
CLOCK_CHANGE = "CLOCK_CHANGE"
OUTSIDE_PROVIDER_HOURS = "OUTSIDE_PROVIDER_HOURS"
OUTSIDE_ROOM_HOURS = "OUTSIDE_ROOM_HOURS"
NOT_YET_OPEN = "NOT_YET_OPEN"
RESERVED = "RESERVED"
SESSION_FULL = "SESSION_FULL"
ROOM_BUSY = "ROOM_BUSY"
EQUIPMENT_BUSY = "EQUIPMENT_BUSY"
TYPE_DAILY_CAP = "TYPE_DAILY_CAP"
PROVIDER_TRAVEL = "PROVIDER_TRAVEL"
PROVIDER_BUSY = "PROVIDER_BUSY"
ROLE_UNFILLED = "ROLE_UNFILLED"
PROVIDER_DAILY_CAP = "PROVIDER_DAILY_CAP"
PATIENT_CONFLICT = "PATIENT_CONFLICT"


IN_ORDER = (
    TYPE_INACTIVE,
    OFF_GRID,
    OUTSIDE_DATE,
    PROVIDER_INACTIVE,
    PROVIDER_LACKS_SKILLS,
    ROOM_INACTIVE,
    ROOM_LACKS_EQUIPMENT,
    TOO_SOON,
    CLOCK_CHANGE,
    OUTSIDE_PROVIDER_HOURS,
    OUTSIDE_ROOM_HOURS,
    NOT_YET_OPEN,
    RESERVED,
    SESSION_FULL,
    ROOM_BUSY,
    EQUIPMENT_BUSY,
    TYPE_DAILY_CAP,
    PROVIDER_TRAVEL,
    PROVIDER_BUSY,
    ROLE_UNFILLED,
    PROVIDER_DAILY_CAP,
)
"""The order of the rules: a candidate counts for the first code that excludes it."""


POLICY = frozenset(
    {
        TOO_SOON,
        OUTSIDE_PROVIDER_HOURS,
        OUTSIDE_ROOM_HOURS,
        NOT_YET_OPEN,
        RESERVED,
        SESSION_FULL,
        TYPE_DAILY_CAP,
        PROVIDER_BUSY,
        PROVIDER_DAILY_CAP,
    }
)
"""What should not be: a booking may override these, with a reason."""


REASONS = (*IN_ORDER, PATIENT_CONFLICT)
"""The order in which a refusal lists its reasons."""


PHYSICAL = frozenset(REASONS) - POLICY
"""What cannot be: nobody may override these."""


OVERRIDABLE = tuple(code for code in REASONS if code in POLICY)
"""The codes of :data:`POLICY`, in the order of the rules."""


def in_order(codes: Iterable[str]) -> tuple[str, ...]:
    """Return codes in the order in which a refusal lists them, each once."""
    given = frozenset(codes)
    return tuple(code for code in REASONS if code in given)
