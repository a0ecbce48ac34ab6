"""Numpy interval masks: what may still be possible, for all providers, rooms and starts at once.

The rules fall into those of a provider at a start and those of a room at a start, so nothing here
is larger than providers × starts or rooms × starts. Each booking or window becomes the range of
candidate starts that it rules out (or in); ranges are written as steps and summed up along the
starts (a difference array). Masks may pass too much, never too little: what they pass goes to the
CP-SAT model of :mod:`solver.rules.placement_model`, which decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic
from solver.clinic.clock import clock_changes, first_bookable_minute
from solver.clinic.day import NO_CAP, Day
from solver.clinic.entities import DAY_MINUTES, AppointmentType
from solver.clinic.request import SlotRequest
from solver.rules import codes
from solver.rules.start_axis import Around, StartAxis, alike, candidate_starts, in_rhythm
from solver.rules.teams.able import Able

_EVERY = np.ones((1, 1), np.bool_)


@dataclass(frozen=True)
class RuleMask:
    """Where one rule lets a candidate pass.

    Each side that is an array is broadcastable to [providers, starts] or [rooms, starts]; of most
    rules one is. What both have passes where both let it.
    """

    code: str
    provider: Bools | None = None
    room: Bools | None = None


@dataclass(frozen=True)
class Masks:
    """The masks of all rules for one request on one date, at providers whom it takes as long.

    Attributes
    ----------
    day
        The date, with these providers and all rooms that are asked about.
    kind
        The type, with the duration and the buffers that it has at these providers.
    starts
        [S] candidate starts, minutes; of all providers that are asked about.
    regular, overbooked
        [P, S] where the provider may take a regular or an overbooked placement.
    allowed
        [P, S] where an overbooking rule would cover a placement, whether or not it needs one.
    room_free
        [R, S] where the room may take the placement.
    overlaps
        [P, S] number of live bookings whose provider busy span overlaps the placement's own.
    within_capacity
        [P, S] where a placement would overlap none and be under the provider's cap.
    begin_there
        [P, S] number of live bookings of the provider that begin at that very start.
    earliest
        The first minute of the date that is still bookable.
    rules
        Each rule's mask, in the order of :data:`solver.rules.codes.IN_ORDER`.
    around
        The windows and busy spans from which :attr:`idle` is computed.
    request
        What is asked for.
    able
        Who is able to be in the roles of the type, if it has some.
    """

    day: Day
    kind: AppointmentType
    starts: Ints
    regular: Bools
    overbooked: Bools
    allowed: Bools
    room_free: Bools
    overlaps: Ints
    within_capacity: Bools
    begin_there: Ints
    earliest: int
    rules: tuple[RuleMask, ...]
    around: Around
    request: SlotRequest
    able: Able | None = None

    @cached_property
    def idle(self) -> tuple[Ints, Ints]:
        """[P, S], [P, S] minutes between a provider busy span and what is before and after it.

        That is its neighbour or the window's edge; meaningful where `regular` or `overbooked` holds
        and `overlaps` is 0.
        """
        return self.around.idle()

    @cached_property
    def provider_free(self) -> Bools:
        """[P, S] where the provider may take a placement of either kind."""
        return self.regular | self.overbooked

    def candidates(self) -> int:
        """Return the number of provider-room-start triples that there are."""
        return len(self.day.providers) * len(self.day.rooms) * len(self.starts)

    def total(self) -> int:
        """Return the number of feasible provider-room-start triples.

        A triple is feasible when its provider-start and its room-start are, so the triples at a
        start are a product and none has to be built.
        """
        providers = self.provider_free.sum(axis=0, dtype=np.int64)
        return int(providers @ self.room_free.sum(axis=0, dtype=np.int64))

    def blocked_by(self) -> dict[str, int]:
        """Count, per rule, the triples that it is the first to exclude, in the rules' order."""
        shape = len(self.starts)
        provider = np.ones((len(self.day.providers), shape), np.bool_)
        room = np.ones((len(self.day.rooms), shape), np.bool_)
        alive = self.candidates()
        counts = {}
        for rule in self.rules:
            if rule.provider is not None:
                provider &= rule.provider
            if rule.room is not None:
                room &= rule.room
            left = int(provider.sum(axis=0, dtype=np.int64) @ room.sum(axis=0, dtype=np.int64))
            if left < alive:
                counts[rule.code] = alive - left
            alive = left
        return counts

    def easiest_room(self, start: int) -> int | None:
        """Return the room that the fewest rules exclude at a start; of those alike, the first.

        An active one that has the equipment is preferred; None where there is no room at all.
        """
        unfit = np.zeros(len(self.day.rooms), np.bool_)
        excluding = np.zeros(len(self.day.rooms), np.int64)
        for rule in self.rules:
            if rule.room is not None:
                excluded = ~rule.room[:, start if rule.room.shape[1] > 1 else 0]
                excluding += excluded
                if rule.code in (codes.ROOM_INACTIVE, codes.ROOM_LACKS_EQUIPMENT):
                    unfit |= excluded
        return int(np.lexsort((excluding, unfit))[0]) if len(excluding) else None

    def broken(self, provider: int, room: int | None, start: int) -> list[str]:
        """Return the codes of every rule that excludes one triple (positions, not ids).

        With `room` None, a rule about rooms is named when it excludes every room.
        """
        found = []
        for rule in self.rules:
            passes = rule.provider is None or _cell(rule.provider, provider, start)
            if rule.room is not None:
                column = rule.room[:, start if rule.room.shape[1] > 1 else 0]
                passes &= bool(column.any() if room is None else _cell(rule.room, room, start))
            if not passes:
                found.append(rule.code)
        return found


def _cell(mask: Bools, row: int, column: int) -> bool:
    return bool(mask[row if mask.shape[0] > 1 else 0, column if mask.shape[1] > 1 else 0])


def earliest_start(clinic: Clinic, request: SlotRequest) -> int:
    """Return the first minute of the date that is still bookable, 0 where the place is given."""
    if request.is_given:
        return 0
    zone, notice = clinic.settings.zone, clinic.settings.min_notice_minutes
    return first_bookable_minute(zone, request.date, request.moment, notice)


def build(day: Day, request: SlotRequest, starts: Ints | None = None) -> tuple[Masks, ...]:
    """Compute the masks of one request; `day` has only the providers and rooms that it allows.

    Providers whom the type takes as long, with the same buffers, share theirs at each place; all
    have the same starts: those given, that of the request, or else all there are. Without any
    provider there is one that has none.
    """
    parts = alike(day, request)
    if request.start is not None:
        starts = np.array([request.start], np.int64)
    elif starts is None:
        starts = candidate_starts(parts)
    return tuple(_build(part, request, kind, starts) for kind, part in parts)


def starts_of(day: Day, request: SlotRequest) -> Ints:
    """[S] the starts of a request on one date, of all providers of the day."""
    return candidate_starts(alike(day, request))


def _build(day: Day, request: SlotRequest, kind: AppointmentType, starts: Ints) -> Masks:
    asked = _Asked(day, request, kind, starts)
    allowed = overbooked_by_allowance(asked)
    masks = {
        mask.code: mask
        for mask in (
            *time_is_bookable(asked),
            *active_with_skills_and_equipment(asked),
            *within_open_windows(asked),
            *within_sessions(asked),
            *room_is_free(asked),
            *equipment_is_free(asked),
            *type_under_its_cap(asked),
            *time_to_travel(asked),
            *regular_within_capacity(asked, allowed),
            *roles_are_filled(asked),
        )
    }
    rules = tuple(masks[code] for code in codes.IN_ORDER if code in masks)
    open_to_provider = np.ones(allowed.shape, np.bool_)
    room_free = np.ones((len(day.rooms), len(asked.starts)), np.bool_)
    for rule in rules:
        if rule.provider is not None:
            open_to_provider &= rule.provider
        if rule.room is not None:
            room_free &= rule.room
    under_caps = asked.under_cap & provider_type_under_its_cap(asked)
    within_capacity = (asked.overlaps == 0) & under_caps[:, None]
    return Masks(
        day=day,
        kind=asked.kind,
        starts=asked.starts,
        regular=within_capacity & open_to_provider,
        overbooked=allowed & ~within_capacity & open_to_provider,
        allowed=allowed & open_to_provider,
        room_free=room_free,
        overlaps=asked.overlaps,
        within_capacity=within_capacity,
        begin_there=asked.begin_there,
        earliest=asked.earliest,
        rules=rules,
        around=asked.around,
        request=request,
        able=asked.able,
    )


class _Asked:
    """A request on one date, and the counts at each of its starts that the rules are read from.

    All counts are made in one pass over the starts: of provider windows, overlapping bookings and
    bookings that begin there, [P, S], of room windows and room busy spans, [R, S].
    """

    def __init__(self, day: Day, request: SlotRequest, kind: AppointmentType, starts: Ints) -> None:
        clinic, book = day.clinic, day.book
        self.kind, self.starts = kind, starts
        self.day, self.date, self.request = day, request.date, request
        self.earliest = earliest_start(clinic, request)
        axis, duration = StartAxis(self.starts), kind.duration_minutes

        before = np.maximum(kind.buffer_before, day.buffers[0])
        after = np.maximum(kind.buffer_after, day.buffers[1])
        turnover = np.maximum(kind.buffer_after, day.turnover)
        provider_open = axis.windows(day.provider_edges, duration)
        room_open = axis.windows(day.room_edges, duration)
        in_room = np.flatnonzero(book.room >= 0)
        room_owner = book.room[in_room]
        in_the_rooms = axis.between(
            book.room_busy[0][in_room] - duration - turnover[room_owner],
            book.room_busy[1][in_room] + kind.buffer_before,
        )
        of_provider = np.flatnonzero(book.provider >= 0)
        owner, begun = book.provider[of_provider], book.start[of_provider]
        spans = book.busy[np.flatnonzero(book.busy.provider >= 0)]
        busy, of_span = (spans.begin, spans.end), spans.provider
        overlapping = axis.between(busy[0] - duration - after[of_span], busy[1] + before[of_span])
        providers, rooms = len(day.providers), len(day.rooms)
        self.windows, self.overlaps, self.begin_there, self.room_windows, self.room_busy = (
            axis.counts(
                (providers, provider_open.owner, provider_open.first, provider_open.last),
                (providers, of_span, *overlapping),
                (providers, owner, axis.at_or_after(begun), axis.at_or_before(begun)),
                (rooms, room_open.owner, room_open.first, room_open.last),
                (rooms, room_owner, *in_the_rooms),
            )
        )
        todays, is_overbooked = book.on_date[of_provider], book.is_overbooked[of_provider]
        of_regular = owner[todays & ~is_overbooked]
        booked = book.minutes[of_provider][todays & ~is_overbooked]
        by_allowance = todays & book.uses_allowance[of_provider]
        self.overbooked_count = np.bincount(owner[by_allowance], minlength=providers)
        of_type = book.appointment_type[of_provider] == clinic.type_at[kind.id]
        self.of_type_count = np.bincount(owner[todays & of_type], minlength=providers)
        self.under_cap = np.bincount(of_regular, minlength=providers) < day.daily_caps
        minutes = np.bincount(of_regular, booked, minlength=providers)
        self.under_cap &= minutes + duration <= day.daily_minutes
        self.able = Able.at(day, kind, axis, request.team) if kind.roles else None
        self.missed: Ints | None = None
        """[P, S] bookings at other places to or from which there is no time to travel."""
        there, to, back = day.ways
        of = book.busy.provider[there]
        there, to, back, of = there[of >= 0], to[of >= 0], back[of >= 0], of[of >= 0]
        if len(there):
            begins, ends = book.busy.begin[there], book.busy.end[there]
            near = axis.between(begins - duration - after[of] - to, ends + back + before[of])
            (self.missed,) = axis.counts((providers, of, *near))
        self.around = Around(axis, provider_open, of_span, busy, duration, (before, after))


# The rules, each under the name that it has in the placement model


def time_is_bookable(asked: _Asked) -> Iterator[RuleMask]:
    """Rule 0: in the type's rhythm, in its date, not too soon, and in no change of the clock."""
    starts, settings = asked.starts, asked.day.clinic.settings
    ends = starts + asked.kind.duration_minutes
    steady = np.ones(len(starts), np.bool_)
    for from_, to in clock_changes(settings.zone, asked.date):
        steady &= (ends <= from_) | (starts >= to)
    on_grid = _EVERY if asked.request.is_given else in_rhythm(asked.day, asked.kind, starts)
    yield RuleMask(codes.OFF_GRID, provider=on_grid)
    yield RuleMask(codes.OUTSIDE_DATE, provider=(ends <= DAY_MINUTES)[None, :])
    yield RuleMask(codes.TOO_SOON, provider=(starts >= asked.earliest)[None, :])
    yield RuleMask(codes.CLOCK_CHANGE, provider=steady[None, :])


def active_with_skills_and_equipment(asked: _Asked) -> Iterator[RuleMask]:
    """Rule 1: type, provider and room are in use, and have what the type needs."""
    day, kind = asked.day, asked.kind
    skilled = _flags(day.clinic.offers(p, kind) for p in day.providers)
    equipped = _flags(kind.required_equipment <= r.equipment for r in day.rooms)
    yield RuleMask(codes.TYPE_INACTIVE, provider=_EVERY & kind.active)
    yield RuleMask(codes.PROVIDER_INACTIVE, provider=day.active[0][:, None])
    yield RuleMask(codes.PROVIDER_LACKS_SKILLS, provider=skilled[:, None])
    yield RuleMask(codes.ROOM_INACTIVE, room=day.active[1][:, None])
    yield RuleMask(codes.ROOM_LACKS_EQUIPMENT, room=equipped[:, None])


def within_open_windows(asked: _Asked) -> Iterator[RuleMask]:
    """Rule 2: the appointment lies in one open window of the provider, and in one of the room."""
    yield RuleMask(codes.OUTSIDE_PROVIDER_HOURS, provider=asked.windows > 0)
    yield RuleMask(codes.OUTSIDE_ROOM_HOURS, room=asked.room_windows > 0)


def within_sessions(asked: _Asked) -> Iterator[RuleMask]:
    """Rule 8: sessions admit it, those that do are open, and where it begins none is full."""
    sessions, request = asked.day.sessions, asked.request
    if sessions is not None and request.sessions != "ignored":
        passes = sessions.passes(asked.kind, asked.starts, request.moment)
        if request.sessions == "now" and not request.is_given:
            yield RuleMask(codes.NOT_YET_OPEN, *passes.open)
        if request.sessions == "now":
            yield RuleMask(codes.RESERVED, *passes.admitted)
        yield RuleMask(codes.SESSION_FULL, *passes.with_places)


def room_is_free(asked: _Asked) -> Iterator[RuleMask]:
    """Rule 3: a room's busy spans never overlap."""
    yield RuleMask(codes.ROOM_BUSY, room=asked.room_busy == 0)


def equipment_is_free(asked: _Asked) -> Iterator[RuleMask]:
    """Rule 10: beside what is out at once, as many pieces of each pool are left as it takes.

    Of a pool that is at another location than the rooms none are.
    """
    day, free = asked.day, _EVERY
    if not asked.kind.required_pools:
        return
    for pool_id, quantity in asked.kind.required_pools:
        pool = day.clinic.pool_by_id[pool_id]
        out = day.most_out(pool, asked.starts, asked.kind.duration_minutes)
        free = free & (out + quantity <= pool.capacity_at(day.location_id))[None, :]
    yield RuleMask(codes.EQUIPMENT_BUSY, provider=free)


def type_under_its_cap(asked: _Asked) -> Iterator[RuleMask]:
    """Rule 5: fewer of the type are booked on the date than its daily cap."""
    book, cap = asked.day.book, asked.kind.daily_cap
    of_type = asked.day.clinic.type_at[asked.kind.id]
    booked = int((book.on_date & (book.appointment_type == of_type)).sum())
    yield RuleMask(codes.TYPE_DAILY_CAP, provider=_EVERY & (cap is None or booked < cap))


def time_to_travel(asked: _Asked) -> Iterator[RuleMask]:
    """Rule 11: what is booked at other places lies at least the way there, or back, away."""
    if (missed := asked.missed) is not None:
        yield RuleMask(codes.PROVIDER_TRAVEL, provider=missed == 0)


def regular_within_capacity(asked: _Asked, allowed: Bools) -> Iterator[RuleMask]:
    """Rule 6: a regular placement overlaps none of the provider's, and fits under both caps.

    What an overbooking rule would allow, [P, S], is not excluded here but for the cap that a
    provider has for the type, which holds for any placement.
    """
    under_cap = (allowed | asked.under_cap[:, None]) & provider_type_under_its_cap(asked)[:, None]
    yield RuleMask(codes.PROVIDER_BUSY, provider=allowed | (asked.overlaps == 0))
    yield RuleMask(codes.PROVIDER_DAILY_CAP, provider=under_cap)


def roles_are_filled(asked: _Asked) -> Iterator[RuleMask]:
    """Rule 9: a team is complete of others than the provider, each able to be in one role."""
    if asked.able is not None:
        yield RuleMask(codes.ROLE_UNFILLED, provider=asked.able.completes(asked.day.providers))


def provider_type_under_its_cap(asked: _Asked) -> Bools:
    """[P] where fewer of the type are booked with the provider than the provider's cap for it."""
    clinic, kind = asked.day.clinic, asked.kind
    if not clinic.provider_types:
        return np.ones(len(asked.day.providers), np.bool_)
    own = (clinic.provider_type(p.id, kind.id) for p in asked.day.providers)
    caps = [NO_CAP if row is None or row.daily_cap is None else row.daily_cap for row in own]
    return asked.of_type_count < np.array(caps, np.int64)


def overbooked_by_allowance(asked: _Asked) -> Bools:
    """[P, S] where rule 7 covers one more: some overbooking rule, and no booking begins there."""
    day, overlaps = asked.day, asked.overlaps
    allowed = np.zeros(overlaps.shape, np.bool_)
    position = {provider.id: i for i, provider in enumerate(day.providers)}
    for rule in day.clinic.overbooking_rules:
        if rule.appointment_type_id not in (None, asked.kind.id):
            continue
        if rule.weekday not in (None, day.date.isoweekday()):
            continue
        rows = slice(None)
        if rule.provider_id is not None:
            if rule.provider_id not in position:
                continue
            rows = slice(position[rule.provider_id], position[rule.provider_id] + 1)
        opens, closes = rule.hours
        in_hours = (asked.starts >= opens) & (asked.starts + asked.kind.duration_minutes <= closes)
        allowed[rows] |= (
            in_hours[None, :]
            & (overlaps[rows] <= rule.max_overlap)
            & (asked.overbooked_count[rows] < rule.max_per_day)[:, None]
        )
    allowed &= asked.begin_there == 0
    return allowed


def _flags(values: Iterable[bool]) -> Bools:
    return np.array(list(values), np.bool_)
