"""Why a request has no place in a plan, or a displaced booking none to go to.

The reasons are tried in their order, from the clinic's rows to the other requests, and each is
checked: LOST_TO_CONTENTION is given only to a request that would have a place in the book without
the plan's placements.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from solver.arrays import Bools
from solver.clinic.clock import format_time
from solver.clinic.day import Day
from solver.clinic.entities import DAY_MINUTES, AppointmentType, Booking, Span
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.request import SlotRequest
from solver.planning.problem import MAX_DAYS, Problem, Request
from solver.rules import codes as rules_codes
from solver.rules import masks as masks_module
from solver.rules.masks import Masks

TYPE_INACTIVE = "TYPE_INACTIVE"
PROVIDER_NOT_AVAILABLE = "PROVIDER_NOT_AVAILABLE"
NO_PROVIDER_WITH_SKILLS = "NO_PROVIDER_WITH_SKILLS"
NO_ROOM_WITH_EQUIPMENT = "NO_ROOM_WITH_EQUIPMENT"
OUTSIDE_ALL_WINDOWS = "OUTSIDE_ALL_WINDOWS"
TOO_SOON = rules_codes.TOO_SOON
CLOCK_CHANGE = rules_codes.CLOCK_CHANGE
NOT_YET_OPEN = rules_codes.NOT_YET_OPEN
RESERVED = rules_codes.RESERVED
SESSION_FULL = rules_codes.SESSION_FULL
EQUIPMENT_BUSY = rules_codes.EQUIPMENT_BUSY
DAILY_CAP = "DAILY_CAP"
PATIENT_BUSY = "PATIENT_BUSY"
PROVIDER_TRAVEL = rules_codes.PROVIDER_TRAVEL
ROLE_UNFILLED = rules_codes.ROLE_UNFILLED
BLOCKED_BY_BOOKINGS = "BLOCKED_BY_BOOKINGS"
LOST_TO_CONTENTION = "LOST_TO_CONTENTION"
NOT_REACHED_IN_TIME = "NOT_REACHED_IN_TIME"

_OF_ROWS = (
    rules_codes.TYPE_INACTIVE,
    rules_codes.PROVIDER_INACTIVE,
    rules_codes.PROVIDER_LACKS_SKILLS,
    rules_codes.ROOM_INACTIVE,
    rules_codes.ROOM_LACKS_EQUIPMENT,
)

_OF_HOURS = (
    rules_codes.OFF_GRID,
    rules_codes.OUTSIDE_DATE,
    rules_codes.OUTSIDE_PROVIDER_HOURS,
    rules_codes.OUTSIDE_ROOM_HOURS,
)

_EVERY = frozenset(rules_codes.IN_ORDER)

_OF_CAPS = (rules_codes.TYPE_DAILY_CAP, rules_codes.PROVIDER_DAILY_CAP)


@dataclass(frozen=True, kw_only=True)
class ExplainParams:
    """How much an explainer keeps of what it has worked out."""

    kept_masks: int = MAX_DAYS + 4
    """The masks of a book that are kept, a date each: those of one request's dates."""


DEFAULT_PARAMS = ExplainParams()


@dataclass(frozen=True, slots=True)
class Reason:
    """A code, and the same as a sentence for people."""

    code: str
    detail: str


class Explainer:
    """Gives the reasons of one finished plan.

    Parameters
    ----------
    problem
        The problem that the plan answers.
    finished
        The book when the plan is carried out: bookings where they end up, and placements.
    placed
        Ids of those of `finished` that are placements.
    """

    def __init__(
        self,
        problem: Problem,
        finished: Iterable[Booking],
        placed: frozenset[str],
        params: ExplainParams = DEFAULT_PARAMS,
    ) -> None:
        self._problem = problem
        book = list(finished)
        self._placements = [b for b in book if b.id in placed]
        self._before = _Book(problem, [b for b in book if b.id not in placed], params)
        self._after = _Book(problem, book, params)
        self._known: dict[tuple[object, ...], Reason] = {}

    def explain(self, request: Request) -> Reason:
        """Return the reason why `request`, which the plan does not place, has no place."""
        question = self._question(request)
        if question not in self._known:
            self._known[question] = self._answer(request)
        return self._known[question]

    def places_asked(self, requests: Iterable[Request]) -> int:
        """Return how many different sets of places some requests ask for: most of the work."""
        return len({self._question(request)[:3] for request in requests})

    def explain_all(self, requests: Sequence[Request]) -> list[Reason]:
        """Return the reason of each; those that share masks are explained one after another."""
        for request in sorted(requests, key=lambda r: (r.appointment_type_id, r.provider_id or "")):
            self.explain(request)
        return [self.explain(request) for request in requests]

    def _question(self, request: Request) -> tuple[object, ...]:
        """Return all that the reason depends on: the patient only if booked or placed elsewhere."""
        is_elsewhere = self._after.knows(request.patient_key)
        return (
            request.appointment_type_id,
            request.dates,
            request.provider_id,
            request.patient_ref if is_elsewhere else None,
        )

    def _answer(self, request: Request) -> Reason:
        clinic = self._problem.clinic
        kind = clinic.type_by_id[request.appointment_type_id]
        dates = [d for d in self._problem.dates if request.dates is None or d in request.dates]
        reason = self._rows(request, kind)
        if reason is not None:
            return reason
        reason = self._times(request, kind, dates) or self._sessions(request, kind, dates)
        if reason is not None:
            return reason
        if not self._before.has_place(request, dates):
            return self._blocked(request, kind, dates)
        if place := self._after.first_place(request, dates):
            why = "the search ended before it was tried"
            if kind.packed:
                why += ", or it is right behind what may move or the plan itself places"
            return Reason(NOT_REACHED_IN_TIME, f"{kind.name} would still fit, {place}; {why}.")
        return Reason(LOST_TO_CONTENTION, self._contention(request, kind, dates))

    # Rows, hours and bookings

    def _rows(self, request: Request, kind: AppointmentType) -> Reason | None:
        clinic = self._problem.clinic
        if not kind.active:
            return Reason(TYPE_INACTIVE, f"{kind.name} is not offered.")
        if (lack := self._lack_of_providers(request, kind)) is not None:
            return lack
        if not any(r.equipment >= kind.required_equipment for r in clinic.rooms_in_use):
            needs = _list(kind.required_equipment) or "nothing special"
            detail = f"No active room has what {kind.name} needs: {needs}."
            return Reason(NO_ROOM_WITH_EQUIPMENT, detail)
        return None

    def _lack_of_providers(self, request: Request, kind: AppointmentType) -> Reason | None:
        """Return why nobody who is asked for takes a type, whenever it is."""
        clinic = self._problem.clinic
        if request.provider_id is None:
            active = [provider for provider in clinic.providers if provider.active]
            if any(clinic.offers(provider, kind) for provider in active):
                return None
            skilled = any(kind.required_skills <= provider.skills for provider in active)
            return Reason(
                NO_PROVIDER_WITH_SKILLS,
                f"No active provider who has the skills for {kind.name} offers it."
                if skilled
                else f"No active provider has {_list(kind.required_skills) or 'any skill'} "
                f"for {kind.name}.",
            )
        asked = clinic.provider_by_id[request.provider_id]
        if not asked.active:
            detail = f"{asked.name}, who is asked for, is not available."
            return Reason(PROVIDER_NOT_AVAILABLE, detail)
        if clinic.offers(asked, kind):
            return None
        missing = kind.required_skills - asked.skills
        lacks = f"lacks {_list(missing)} for" if missing else "does not offer"
        return Reason(
            NO_PROVIDER_WITH_SKILLS, f"{asked.name}, who is asked for, {lacks} {kind.name}."
        )

    def _times(
        self, request: Request, kind: AppointmentType, dates: list[dt.date]
    ) -> Reason | None:
        """Return why no time will do, whatever is booked: the hours, the notice or the clock."""
        clinic, masks = self._problem.clinic, self._before.masks(request, dates)

        def some(*codes: str) -> bool:
            return any(_survive(m, (*_OF_ROWS, *_OF_HOURS, *codes)) for m in masks)

        if some(TOO_SOON, CLOCK_CHANGE):
            return None
        if not some():
            return Reason(OUTSIDE_ALL_WINDOWS, self._outside(request, kind, dates))
        if some(CLOCK_CHANGE):
            return Reason(TOO_SOON, _too_soon(clinic.settings.min_notice_minutes, kind, dates))
        return Reason(
            CLOCK_CHANGE,
            f"Wherever {kind.name} would lie in the open hours of {_dates(dates)}, the clock is "
            "put forward or back meanwhile.",
        )

    def _sessions(
        self, request: Request, kind: AppointmentType, dates: list[dt.date]
    ) -> Reason | None:
        """Return why sessions keep it out at all times, whatever is booked."""
        masks = self._before.masks(request, dates)
        of_times = (*_OF_ROWS, *_OF_HOURS, TOO_SOON, CLOCK_CHANGE)
        if any(_survive(m, (*of_times, RESERVED, NOT_YET_OPEN)) for m in masks):
            return None
        when = _dates(dates)
        if any(_survive(m, (*of_times, RESERVED)) for m in masks):
            detail = f"The sessions of {when} that admit {kind.name} are not open for booking yet."
            return Reason(NOT_YET_OPEN, detail)
        detail = f"Wherever {kind.name} would fit on {when}, sessions are kept for other types."
        return Reason(RESERVED, detail)

    def _outside(self, request: Request, kind: AppointmentType, dates: list[dt.date]) -> str:
        if not dates:
            return "None of its dates lies in the run."
        clinic = self._problem.clinic
        who = (
            "any provider who could take it"
            if request.provider_id is None
            else clinic.provider_by_id[request.provider_id].name
        )
        if request.provider_id is not None:
            kind = clinic.kind_at(kind.id, request.provider_id)
        return (
            f"{kind.name} takes {kind.duration_minutes} minutes; on {_dates(dates)} there is no "
            f"such stretch in the open hours of {who} and of a suitable room."
        )

    def _blocked(self, request: Request, kind: AppointmentType, dates: list[dt.date]) -> Reason:
        if self._before.has_place(request, dates, alone=True):
            detail = f"Wherever {kind.name} would fit, {request.patient_ref} has another booking."
            return Reason(PATIENT_BUSY, detail)
        when, taken = _dates(dates), self._problem.clinic.pools_of(kind)
        masks = _where_served(self._before.masks(request, dates), taken)
        pools = _names(pool.name for pool in taken)
        full = f"The sessions of {when} that admit {kind.name} have all the bookings they take."
        lacking = f"Wherever {kind.name} would fit on {when}, too little of {pools} is left."
        capped = f"The bookings of {when} have used up the daily caps for {kind.name}."
        too_far = f"Wherever {kind.name} would fit on {when}, there is no time to travel."
        alone = f"Whenever {kind.name} would fit on {when}, nobody can be in one of its roles."
        for code, codes, detail in (
            (SESSION_FULL, (SESSION_FULL,), full),
            (EQUIPMENT_BUSY, (EQUIPMENT_BUSY,), lacking),
            (DAILY_CAP, _OF_CAPS, capped),
            (PROVIDER_TRAVEL, (PROVIDER_TRAVEL,), too_far),
            (ROLE_UNFILLED, (ROLE_UNFILLED,), alone),
        ):
            if any(_survive(m, _EVERY.difference(codes)) for m in masks):
                return Reason(code, detail)
        detail = f"Existing bookings take every provider or room for {kind.name} on {when}."
        return Reason(BLOCKED_BY_BOOKINGS, detail)

    # Contention

    def _contention(self, request: Request, kind: AppointmentType, dates: list[dt.date]) -> str:
        clinic = self._problem.clinic
        providers: set[str] = set()
        rooms: set[str] = set()
        days: set[dt.date] = set()
        for masks in self._before.masks(request, dates):
            by_provider = masks.provider_free & masks.room_free.any(axis=0)
            by_room = masks.room_free & masks.provider_free.any(axis=0)
            if by_provider.any():
                days.add(masks.day.date)
            providers |= {
                p.id for p, row in zip(masks.day.providers, by_provider, strict=True) if row.any()
            }
            rooms |= {r.id for r, row in zip(masks.day.rooms, by_room, strict=True) if row.any()}
        on_days = [b for b in self._placements if b.date in days]
        after = [m for m in self._after.masks(request, dates) if m.day.date in days]
        cap = kind.daily_cap
        when = _dates(sorted(days))
        if cap is not None and all(not _survive(m, (rules_codes.TYPE_DAILY_CAP,)) for m in after):
            rivals = sum(b.appointment_type_id == kind.id for b in on_days)
            return f"The daily cap of {cap} for {kind.name} on {when} went to {_requests(rivals)}."
        if any(_survive(m, _EVERY - {SESSION_FULL}) and not m.total() for m in after):
            rivals = sum(b.provider_id in providers for b in on_days)
            return f"The sessions of {when} are full, with {_requests(rivals)} of this run there."
        if any(_survive(m, _EVERY - {ROLE_UNFILLED}) and not m.total() for m in after):
            placed = _requests(len(on_days))
            return f"Nobody is left for a role of {kind.name} on {when}, with {placed} placed."
        if any(m.total() for m in after) and self._after.knows(request.patient_key):
            rivals = sum(b.patient_key == request.patient_key for b in on_days)
            return (
                f"What is left for {kind.name} on {when} overlaps {_requests(rivals)} "
                f"of {request.patient_ref}."
            )
        if not any(m.provider_free.any() for m in after):
            rivals = sum(b.provider_id in providers for b in on_days)
            who = _names(clinic.provider_by_id[key].name for key in sorted(providers))
            codes = {rule.code for m in after for rule in m.rules}
            uncapped = codes - {rules_codes.PROVIDER_DAILY_CAP}
            full = (
                "full or at the daily cap" if any(_survive(m, uncapped) for m in after) else "full"
            )
            return f"{who} on {when}: {full}, with {_requests(rivals)} of this run placed there."
        rivals = sum(b.room_id in rooms for b in on_days)
        needs = _list(kind.required_equipment)
        what = f"with {needs} " if needs else ""
        where = _names(clinic.room_by_id[key].name for key in sorted(rooms))
        return (
            f"No room {what}({where}) on {when} is free when a provider still is: "
            f"{_requests(rivals)} of this run took them."
        )


class _Book:
    """The masks of a book, the latest of them kept, and the patients' appointments in it."""

    def __init__(
        self, problem: Problem, bookings: Sequence[Booking], params: ExplainParams
    ) -> None:
        self._now, self._sessions, self._params = problem.now, problem.sessions, params
        clinic = problem.clinic
        if not problem.allow_overbooking:
            clinic = replace(clinic, overbooking_rules=())
        self._clinic = clinic.with_bookings(bookings)
        self._masks: dict[tuple[dt.date, str, str | None], tuple[Masks, ...]] = {}
        self._of_patient: dict[str, list[Booking]] = {}
        for b in bookings:
            if (patient := b.patient_key) is not None:
                self._of_patient.setdefault(patient, []).append(b)

    def masks(self, request: Request, dates: Iterable[dt.date]) -> list[Masks]:
        """Return the masks of each date for a request."""
        return [masks for date in dates for masks in self._masks_on(date, request)]

    def _masks_on(self, date: dt.date, request: Request) -> tuple[Masks, ...]:
        key = (date, request.appointment_type_id, request.provider_id)
        if key not in self._masks:
            while len(self._masks) >= self._params.kept_masks:
                del self._masks[next(iter(self._masks))]
            day = Day.of(self._clinic, date)
            if request.provider_id is not None:
                day = day.narrowed(frozenset({request.provider_id}))
            query = SlotRequest(
                request.appointment_type_id, date, self._now, sessions=self._sessions
            )
            self._masks[key] = masks_module.build(day, query)
        return self._masks[key]

    def knows(self, patient: str | None) -> bool:
        """Whether a patient, by the key, has an appointment in the book."""
        return patient in self._of_patient

    def has_place(self, request: Request, dates: Iterable[dt.date], *, alone: bool = False) -> bool:
        """Whether the request fits somewhere; `alone`, even if its patient is elsewhere."""
        return any(
            pairs.any()
            for masks in self.masks(request, dates)
            for pairs in [self._pairs(request, masks, alone=alone)]
        )

    def first_place(self, request: Request, dates: Iterable[dt.date]) -> str | None:
        """Return the first place where the request fits, in words."""
        for masks in self.masks(request, dates):
            pairs = self._pairs(request, masks)
            if pairs.any():
                provider, start = np.argwhere(pairs)[0].tolist()
                minute = int(masks.starts[start])
                name = masks.day.providers[provider].name
                return f"at {name} on {masks.day.date} from {format_time(minute)}"
        return None

    def _pairs(self, request: Request, masks: Masks, *, alone: bool = False) -> Bools:
        """[P, S] where the provider may take the request and some room is free."""
        free = masks.provider_free & masks.room_free.any(axis=0)[None, :]
        if not alone:
            ends = masks.starts + masks.kind.duration_minutes
            for (start, end), to, back in self._appointments(request.patient_key, masks.day):
                free = free & ~((masks.starts < end + to) & (ends + back > start))[None, :]
        return free

    def _appointments(self, patient: str | None, day: Day) -> Iterator[tuple[Span, int, int]]:
        """Yield a patient's appointments, and the minutes of the ways from each and to it."""
        places = self._clinic.places
        for b in self._of_patient.get(patient, ()) if patient is not None else ():
            start = (b.date - day.date).days * DAY_MINUTES + b.start
            to, back = places.ways(b.room_id, day.place) if b.date == day.date else (0, 0)
            yield (start, start + self._clinic.kind_of(b).duration_minutes), to, back


def _survive(masks: Masks, codes: Iterable[str]) -> bool:
    """Whether some provider, room and start pass the rules of these codes."""
    provider = np.ones((len(masks.day.providers), len(masks.starts)), np.bool_)
    room = np.ones((len(masks.day.rooms), len(masks.starts)), np.bool_)
    for rule in masks.rules:
        if rule.code in codes:
            if rule.provider is not None:
                provider &= rule.provider
            if rule.room is not None:
                room &= rule.room
    return bool((provider.any(axis=0) & room.any(axis=0)).any())


def _too_soon(notice: int, kind: AppointmentType, dates: list[dt.date]) -> str:
    ahead = f", {notice} minutes before the start" if notice else ""
    hours = f"The open hours of {_dates(dates)} in which {kind.name} would fit"
    return f"{hours} begin too soon to be booked{ahead}."


def _where_served(masks: list[Masks], pools: Sequence[EquipmentPool]) -> list[Masks]:
    """Return those of places that are open and that all pools serve; all where there is none."""
    codes = (*_OF_ROWS, *_OF_HOURS, TOO_SOON, CLOCK_CHANGE)
    served = [m for m in masks if all(pool.capacity_at(m.day.location_id) for pool in pools)]
    return [m for m in served if _survive(m, codes)] or masks


def _list(tags: Iterable[str]) -> str:
    return ", ".join(sorted(tags))


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    shown = ", ".join(listed[:3])
    return shown if len(listed) <= 3 else f"{shown} and {len(listed) - 3} more"


def _dates(dates: Sequence[dt.date]) -> str:
    first, last = dates[0], dates[-1]
    if len(dates) > 2 and (last - first).days == len(dates) - 1:
        return f"{first} to {last}"
    shown = ", ".join(date.isoformat() for date in dates[:5])
    return shown if len(dates) <= 5 else f"{shown} and {len(dates) - 5} more"


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"
