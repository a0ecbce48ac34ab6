"""A planning problem and its answer: many requests, one clinic, some days.

A plan is legal when its moves and then its placements can be made one after another, in the order
in which they are listed, each feasible at its turn with all before it live.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Span
from solver.clinic.grammar.sentences import InvalidClinicError
from solver.clinic.patients import patient_key
from solver.clinic.sessions.session import SessionsRead
from solver.clinic.teams.roles import Team
from solver.scoring.parts import DEFAULT_WEIGHTS, Weights

MAX_PRIORITY = 9


MAX_DAYS = 60


MAX_REQUESTS = 20_000


type PlanStatus = Literal["optimal", "feasible", "infeasible", "stopped"]
"""``optimal``: every stage is proved; ``infeasible``: no request can be placed even alone."""


type StageName = Literal["saved", "priority", "moved", "distance", "score"]


@dataclass(frozen=True, slots=True)
class Request:
    """A wish for one appointment on one of some days.

    `dates` and `provider_id` narrow where it may go (unset: any). The preferred window counts in
    the score and hides nothing. Requests of one patient never overlap each other or that
    patient's bookings.
    """

    id: str
    appointment_type_id: str
    priority: int = 1
    dates: frozenset[dt.date] | None = None
    provider_id: str | None = None
    preferred: Span | None = None
    patient_ref: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.priority <= MAX_PRIORITY:
            raise InvalidClinicError("priority", f"must be 1 to {MAX_PRIORITY}")
        if self.preferred is not None:
            start, end = self.preferred
            if not 0 <= start < DAY_MINUTES:
                raise InvalidClinicError("preferred_start", "must be 00:00 to 23:59")
            if not start < end <= DAY_MINUTES:
                raise InvalidClinicError("preferred_end", "must be later than preferred_start")

    @property
    def patient_key(self) -> str | None:
        """What the patient is compared by."""
        return patient_key(self.patient_ref)


@dataclass(frozen=True)
class Problem:
    """Requests to place in a clinic on `days` dates from `start_date`.

    Attributes
    ----------
    clinic
        The clinic with the live bookings of these dates and of the two beside them.
    now
        Decides what is still bookable; carries a UTC offset.
    movable
        Ids of the bookings that may move within the horizon; all others stay.
    displaced
        Those of `movable` that break a rule where they are: each moves, is lost, or stays where the
        moves of others make that legal.
    left
        Those of `movable` that break a rule where they are and may go on to do so.
    not_behind
        Ids of bookings that stay here and may move in the problem that this is a part of: behind
        them nothing is packed, as behind those of `movable`.
    sessions
        How sessions are read: as they are at `now`; as though all were released, by their
        `max_bookings` alone; or not at all.
    """

    clinic: Clinic
    start_date: dt.date
    days: int
    requests: tuple[Request, ...]
    now: dt.datetime
    movable: frozenset[str] = frozenset()
    displaced: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    not_behind: frozenset[str] = frozenset()
    allow_overbooking: bool = True
    weights: Weights = DEFAULT_WEIGHTS
    sessions: SessionsRead = "now"

    @property
    def dates(self) -> tuple[dt.date, ...]:
        """The dates of the horizon, in order."""
        return tuple(self.start_date + dt.timedelta(days=ahead) for ahead in range(self.days))


@dataclass(frozen=True, slots=True)
class Placement:
    """The new place of a request, or of a booking that moves."""

    id: str
    """The request's or the booking's."""
    provider_id: str
    room_id: str
    date: dt.date
    start: int
    is_overbooked: bool
    team: Team = ()


def relative_gap[Number: (float, Fraction)](objective: Number, bound: Number) -> Number:
    """Return how far an objective is from its bound, as a share of the bound."""
    return abs(bound - objective) / abs(bound) if bound else objective * 0


@dataclass(frozen=True, slots=True)
class Stage:
    """One objective of the lexicographic order, with what is proved of it.

    ``saved`` (displaced bookings that have a place, old or new), ``priority`` and ``score`` are
    maximised: `bound` is at least the optimum. ``moved`` (bookings) and ``distance`` (minutes, all
    moves together) are minimised: `bound` is at most the optimum. A bound holds for the stage given
    the objectives that the stages before it reached.
    """

    name: StageName
    objective: Fraction
    bound: Fraction

    @property
    def is_proved(self) -> bool:
        """Whether nothing better exists."""
        return self.objective == self.bound


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known at one moment of a solve."""

    seconds: float
    stage: StageName
    objective: float
    bound: float
    placed: int


@dataclass(frozen=True)
class Plan:
    """The best plan found, and how good it is.

    Attributes
    ----------
    moves
        Bookings at their new places, made before the placements.
    placements
        Requests in an order in which they can be booked.
    lost
        Ids of displaced bookings for which there was no place.
    stages
        In their order; ``saved``, ``moved`` and ``distance`` only where bookings may move.
    variables, constraints
        Of the largest model that was solved.
    """

    status: PlanStatus
    moves: tuple[Placement, ...]
    placements: tuple[Placement, ...]
    lost: tuple[str, ...]
    stages: tuple[Stage, ...]
    seconds: float
    variables: int
    constraints: int
