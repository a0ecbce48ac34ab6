"""What is asked of a slot query."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    DAY_MINUTES,
    AppointmentType,
    Minutes,
    Span,
    _require,
)
from solver.clinic.sessions.session import SessionsRead
from solver.clinic.teams.roles import Team


@dataclass(frozen=True, slots=True)
class SlotRequest:
    """A wish for one appointment on one date.

    `provider_ids`, `room_id`, `location_ids` and `start` narrow what is asked for (unset: any).
    The preferred window counts in the score and hides nothing. `now` decides what is still
    bookable, unless the place `is_given` already: then its start may lie off the grid, and be near
    or past. An
    appointment that was made before keeps its `minutes`; unset, it is as its type has it now. The
    rules whose codes are in `override` do not keep one start that is judged from being taken. With
    `as_of` given, notice and sessions are asked about as they will be then; `sessions` says whether
    they are asked about at all.

    Whom `team` names is in that role, or nobody is: ROLE_UNFILLED. The whole of `kept_team` stays
    where it is able to, as far as `team` says nothing else; else the team is the least that is.
    For both the clinic has all who may be in a role, with their rows and all that they are in.
    """

    appointment_type_id: str
    date: dt.date
    now: dt.datetime
    provider_ids: frozenset[str] | None = None
    room_id: str | None = None
    start: int | None = None
    preferred: Span | None = None
    is_given: bool = False
    minutes: Minutes | None = None
    override: frozenset[str] = frozenset()
    location_ids: frozenset[str] | None = None
    as_of: dt.datetime | None = None
    sessions: SessionsRead = "now"
    team: Team = ()
    kept_team: Team = ()

    def __post_init__(self) -> None:
        _require(self.now.tzinfo is not None, "now", "must carry a UTC offset")
        if self.as_of is not None:
            _require(self.as_of.tzinfo is not None, "as_of", "must carry a UTC offset")
            _require(self.as_of >= self.now, "as_of", "must not be before now")
        if self.preferred is not None:
            start, end = self.preferred
            _require(0 <= start < DAY_MINUTES, "preferred_start", "must be 00:00 to 23:59")
            _require(
                start < end <= DAY_MINUTES, "preferred_end", "must be later than preferred_start"
            )

    @property
    def moment(self) -> dt.datetime:
        """The moment as of which notice and sessions are asked about."""
        return self.now if self.as_of is None else self.as_of

    def kind_at(self, clinic: Clinic, provider_id: str) -> AppointmentType:
        """Return the type that is asked for, with the minutes that it takes at one provider."""
        kind = clinic.kind_at(self.appointment_type_id, provider_id)
        return kind if self.minutes is None else clinic.with_minutes(kind, self.minutes)

    def room_ids(self, clinic: Clinic) -> frozenset[str] | None:
        """Return the rooms that it allows; None: any."""
        if self.location_ids is None:
            return None if self.room_id is None else frozenset({self.room_id})
        return frozenset(
            room.id
            for room in clinic.rooms
            if room.location_id in self.location_ids and self.room_id in (None, room.id)
        )
