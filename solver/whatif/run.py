"""A run: the requests, the dates and the scenarios of one what-if."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from solver.clinic.grammar.sentences import InvalidClinicError
from solver.clinic.sessions.session import SessionsRead
from solver.planning.problem import MAX_DAYS, Request
from solver.whatif.changes import Change

MAX_SCENARIOS = 50


MAX_TIME_LIMIT_SECONDS = 3600


type Existing = Literal["fixed", "movable"]


type Stranded = Literal["save", "leave"]


# The run


@dataclass(frozen=True)
class Scenario:
    """The clinic with changes."""

    name: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Demand:
    """A request and how many there are of it.

    The first of a single one keeps its id, even if a scenario repeats it; all others are numbered,
    ``r1#2`` and so on.
    """

    request: Request
    count: int = 1
    is_numbered: bool = False

    @classmethod
    def of(cls, request: Request, count: int) -> Demand:
        """Return what a run asks for: `count` of a request, numbered from ``#1`` if several."""
        return cls(request, count, is_numbered=count > 1)

    def expand(self) -> Iterator[Request]:
        """Return its requests one by one."""
        for number in range(1, self.count + 1):
            if number == 1 and not self.is_numbered:
                yield self.request
            else:
                yield replace(self.request, id=f"{self.request.id}#{number}")


@dataclass(frozen=True)
class Run:
    """One what-if: requests over some days, in several scenarios.

    The first scenario is the baseline and changes nothing.
    """

    name: str
    start_date: dt.date
    days: int
    demands: tuple[Demand, ...]
    existing: Existing = "fixed"
    stranded: Stranded = "save"
    """Whether movable bookings that break a rule before any change are saved or left alone."""
    scenarios: tuple[Scenario, ...] = (Scenario("baseline"),)
    time_limit_seconds: float = 30
    """For all scenarios together."""
    seed: int = 0
    allow_overbooking: bool = True
    sessions: SessionsRead = "now"
    """How rule 8 is read: as sessions are at the moment, as though all were released, or not."""

    def __post_init__(self) -> None:
        if not 1 <= self.days <= MAX_DAYS:
            raise InvalidClinicError("days", f"must be 1 to {MAX_DAYS}")
        if not 0 < self.time_limit_seconds <= MAX_TIME_LIMIT_SECONDS:
            raise InvalidClinicError(
                "time_limit_seconds", f"must be more than 0, at most {MAX_TIME_LIMIT_SECONDS}"
            )
        if not self.scenarios or self.scenarios[0].changes:
            raise InvalidClinicError(
                "scenarios", "the first scenario is the baseline and has no changes"
            )
        if self.start_date > dt.date.max - dt.timedelta(days=MAX_DAYS):
            raise InvalidClinicError("start_date", "is too far ahead")

    @property
    def dates(self) -> tuple[dt.date, ...]:
        """The dates of the horizon, in order."""
        return tuple(self.start_date + dt.timedelta(days=ahead) for ahead in range(self.days))
