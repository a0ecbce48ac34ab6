"""A planning problem laid out as arrays: what may still be placed where, and what stands already.

Bookings that may move are lifted out of the book before the masks are built, so the masks know
only what stays whatever happens. Every appointment type has one dense table over providers, dates
and starts; a *site* is a position in it. Minutes are absolute: they count from the midnight at
which the horizon begins, so that buffers that reach over midnight need no special case.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from math import lcm

import numpy as np

from solver.arrays import Ints, Small
from solver.clinic.clock import clock_changes, instant
from solver.clinic.day import Day
from solver.clinic.entities import DAY_MINUTES, AppointmentType, Booking, Span
from solver.clinic.request import SlotRequest
from solver.clinic.spans import provider_busy_span, room_busy_span, window_around
from solver.planning.instance.beside import Beside, collide
from solver.planning.instance.evaluation import gap_quarters
from solver.planning.instance.tasks import Assignment, FixedBooking, Task, Totals
from solver.planning.instance.type_table import TypeTable
from solver.planning.problem import Placement, Plan, PlanStatus, Problem, Stage, StageName
from solver.rules import masks as masks_module
from solver.scoring.parts import preference_distance, room_surplus, shortest_durations

TABLE_BYTES = 20
"""What a kind's tables hold at each site."""


COLUMNS_KEPT_BYTES = 64 * 2**20
"""What places of tasks may take of the memory, in each process."""


class Instance:
    """A problem as arrays. See the module.

    Attributes
    ----------
    kinds
        A table per appointment type, in the clinic's order.
    tasks
        What is to be placed; those of bookings first.
    fixed
        Bookings that stay whatever happens, of the horizon and the dates beside it.
    unit
        The score's unit: scores are whole multiples of 1 / `unit`.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.dates = problem.dates
        movable = {b.id for b in problem.clinic.bookings if self._may_move(b)}
        self.clinic = problem.clinic.with_bookings(
            b for b in problem.clinic.bookings if b.id not in movable
        )
        days = [Day.of(self.clinic, date) for date in self.dates]
        self.providers, self.rooms = days[0].providers, days[0].rooms
        self.provider_at = {p.id: i for i, p in enumerate(self.providers)}
        self.room_at = {r.id: i for i, r in enumerate(self.rooms)}
        self.kind_at = {k.id: i for i, k in enumerate(self.clinic.appointment_types)}
        self._windows = [day.provider_windows for day in days]
        self._room_windows = [day.room_windows for day in days]
        self.shortest = shortest_durations(self.clinic, [p.skills for p in self.providers])
        self.kinds = [self._kind(days, row) for row in self.clinic.appointment_types]
        self.fixed = [self._standing(b) for b in self.clinic.bookings if b.is_live]
        lifted = [self._standing(b) for b in problem.clinic.bookings if b.id in movable]
        self.tasks = [*self._booking_tasks(lifted), *self._request_tasks()]
        self.unit = self._score_unit()
        self._columns: dict[object, Small] = {}
        self._columns_bytes = 0
        self._options: dict[object, int] = {}
        self._preferences: dict[tuple[int, Span | None], Ints] = {}
        self._kept: dict[Assignment, tuple[int, Span, Span]] = {}

    # Laying out

    def _may_move(self, booking: Booking) -> bool:
        problem = self.problem
        begins = instant(problem.clinic.settings.zone, booking.date, booking.start)
        return (
            booking.id in problem.movable
            and booking.is_live
            and booking.date in problem.dates
            and begins >= problem.now
            and booking.provider_id in problem.clinic.provider_by_id
            and booking.room_id in problem.clinic.room_by_id
        )

    def _kind(self, days: Sequence[Day], row: AppointmentType) -> TypeTable:
        by_day = [
            masks_module.build(day, SlotRequest(row.id, day.date, self.problem.now)) for day in days
        ]
        starts = by_day[0].starts
        regular = np.stack([m.regular for m in by_day], axis=1)
        allowed = np.stack([m.allowed for m in by_day], axis=1)
        room_free = np.stack([m.room_free for m in by_day], axis=1)
        some_room = room_free.any(axis=0)
        opens = np.zeros(regular.shape, np.int32)
        closes = np.zeros(regular.shape, np.int32)
        for d, day in enumerate(days):
            for p, windows in enumerate(day.provider_windows):
                for start, end in windows:
                    inside = slice(*np.searchsorted(starts, (start, end)).tolist())
                    opens[p, d, inside] = start + d * DAY_MINUTES
                    closes[p, d, inside] = end + d * DAY_MINUTES
        before = [max(row.buffer_before, p.buffer_before) for p in self.providers]
        after = [max(row.buffer_after, p.buffer_after) for p in self.providers]
        return TypeTable(
            row=row,
            starts=starts,
            regular=regular & some_room,
            allowed=allowed & some_room & self.problem.allow_overbooking,
            room_free=room_free,
            opens=opens,
            closes=closes,
            before=np.array(before, np.int64),
            after=np.array(after, np.int64) + row.duration_minutes,
            room_after=np.array(
                [max(row.buffer_after, r.turnover_minutes) for r in self.rooms], np.int64
            )
            + row.duration_minutes,
            surplus=np.array([room_surplus(row, r) for r in self.rooms], np.int64),
        )

    def _standing(self, booking: Booking) -> FixedBooking:
        provider = self.provider_at.get(booking.provider_id, -1)
        room = self.room_at.get(booking.room_id, -1)
        kind = self.clinic.type_by_id[booking.appointment_type_id]
        day = (booking.date - self.problem.start_date).days
        midnight = day * DAY_MINUTES
        at = midnight + booking.start
        busy: Span = (at, at + kind.duration_minutes)
        window: Span | None = None
        if provider >= 0:
            busy = provider_busy_span(self.providers[provider], kind, at)
            if 0 <= day < len(self.dates):
                end = booking.start + kind.duration_minutes
                window = window_around(self._windows[day][provider], booking.start, end)
                window = window and (window[0] + midnight, window[1] + midnight)
        room_busy = room_busy_span(self.rooms[room], kind, at) if room >= 0 else (0, 0)
        return FixedBooking(
            booking, self.kind_at[kind.id], provider, room, day, at, busy, room_busy, window
        )

    def _booking_tasks(self, lifted: Iterable[FixedBooking]) -> list[Task]:
        beside = Beside(self, self.fixed)
        displaced = self.problem.displaced
        return [
            Task(
                kind=own.kind,
                members=(own.booking.id,),
                priority=0,
                days=tuple(range(len(self.dates))),
                provider=-1,
                preferred=None,
                patient=own.booking.patient_key,
                own=own,
                is_displaced=own.booking.id in displaced,
                could_stay=own.booking.id in displaced
                and self._is_in_place(own)
                and beside.has_place_for(own),
                is_left=own.booking.id in self.problem.left,
            )
            for own in lifted
        ]

    def _is_in_place(self, own: FixedBooking) -> bool:
        """Whether a booking keeps rules 1 and 2 where it stands, and touches no clock change."""
        kind, start = self.kinds[own.kind].row, own.booking.start
        provider, room = self.providers[own.provider], self.rooms[own.room]
        end = start + kind.duration_minutes
        changes = clock_changes(self.clinic.settings.zone, own.booking.date)
        return (
            kind.active
            and provider.active
            and room.active
            and provider.skills >= kind.required_skills
            and room.equipment >= kind.required_equipment
            and own.window is not None
            and window_around(self._room_windows[own.day][own.room], start, end) is not None
            and not any(start < to and from_ < end for from_, to in changes)
        )

    def _request_tasks(self) -> list[Task]:
        alike: dict[tuple[object, ...], list[str]] = defaultdict(list)
        tasks: dict[tuple[object, ...], Task] = {}
        for r in self.problem.requests:
            days = tuple(
                d for d, date in enumerate(self.dates) if r.dates is None or date in r.dates
            )
            provider = -1
            if r.provider_id is not None:
                provider = self.provider_at.get(r.provider_id, -1)
                days = days if provider >= 0 else ()
            kind = self.kind_at.get(r.appointment_type_id, -1)
            key = (kind, r.priority, days, provider, r.preferred, r.patient_key)
            alike[key].append(r.id)
            tasks[key] = Task(
                kind=max(kind, 0),
                members=tuple(alike[key]),
                priority=r.priority,
                days=days if kind >= 0 else (),
                provider=provider,
                preferred=r.preferred,
                patient=r.patient_key,
            )
        return list(tasks.values())

    def _score_unit(self) -> int:
        weights = self.problem.weights
        surpluses = {int(s) + 1 for kind in self.kinds for s in kind.surplus}
        return lcm(
            weights.preference.denominator * self.clinic.settings.preference_decay_minutes,
            weights.gap.denominator * 4,
            weights.overbook.denominator,
            weights.room.denominator * lcm(*surpluses),
        )

    # Tasks and their sites

    @property
    def table_bytes(self) -> int:
        """What the kinds' tables take of the memory, about."""
        return sum(TABLE_BYTES * kind.regular.size for kind in self.kinds)

    def windows(self, provider: int, day: int) -> list[Span]:
        """Return a provider's open windows on a date, in minutes of it."""
        return self._windows[day][provider]

    def columns(self, task: int) -> Small:
        """[n] sites, positions in the kind's raveled table, where the task may be placed.

        Tasks that may go to the same places share them; what has been kept longest is worked out
        again once all of it is larger than :data:`COLUMNS_KEPT_BYTES`.
        """
        t = self.tasks[task]
        if not t.days:
            return np.empty(0, np.int32)
        key = self.places_of(t)
        known = self._columns.get(key)
        if known is None:
            known = self._columns[key] = self._work_out_columns(t)
            self._options[key] = len(known)
            self._columns_bytes += known.nbytes
            while self._columns_bytes > COLUMNS_KEPT_BYTES and len(self._columns) > 1:
                oldest = next(iter(self._columns))
                self._columns_bytes -= self._columns.pop(oldest).nbytes
        return known

    def options(self, task: int) -> int:
        """Return how many columns a task has."""
        known = self._options.get(self.places_of(self.tasks[task]))
        return len(self.columns(task)) if known is None else known

    def places_of(self, t: Task) -> tuple[object, ...]:
        """Return what decides where a task may be placed."""
        spans: tuple[object, ...] = ()
        if t.patient in self._patients_standing:
            spans = tuple(tuple(self._patient_spans.get((t.patient, d), ())) for d in t.days)
        return t.kind, t.days, t.provider, spans

    def _work_out_columns(self, t: Task) -> Small:
        kind = self.kinds[t.kind]
        open_ = np.zeros(kind.shape, np.bool_)
        rows = slice(None) if t.provider < 0 else slice(t.provider, t.provider + 1)
        for d in t.days:
            open_[rows, d] = kind.regular[rows, d] | kind.allowed[rows, d]
            for start, end in self._patient_spans.get((t.patient, d), ()):
                meets = (kind.starts < end) & (kind.starts + kind.row.duration_minutes > start)
                open_[rows, d, meets] = False
        return np.flatnonzero(open_).astype(np.int32)

    def has_patient_standing(self, task: int) -> bool:
        """Whether the task's patient has an appointment that stays whatever happens."""
        return self.tasks[task].patient in self._patients_standing

    @cached_property
    def _patients_standing(self) -> frozenset[str]:
        return frozenset(patient for patient, _ in self._patient_spans if patient is not None)

    def within(self, radius: int | None, task: int, sites: Small) -> Small:
        """Return the sites to which a booking moves by `radius` minutes at most.

        All of them without a radius, for a request, and for a booking that cannot stay.
        """
        t = self.tasks[task]
        if radius is None or t.own is None or t.is_displaced:
            return sites
        kind = self.kinds[t.kind]
        _, day, s = np.unravel_index(sites, kind.shape)
        return sites[np.abs(day * DAY_MINUTES + kind.starts[s] - t.own.at) <= radius]

    @cached_property
    def asked(self) -> dict[int, int]:
        """How many each task stands for."""
        return {i: len(task.members) for i, task in enumerate(self.tasks)}

    @cached_property
    def _patient_spans(self) -> Mapping[tuple[str | None, int], list[Span]]:
        """Appointments of patients that stay whatever happens, in minutes of their day."""
        spans: dict[tuple[str | None, int], list[Span]] = defaultdict(list)
        for s in self.fixed:
            patient = s.booking.patient_key
            if patient is not None:
                start = s.booking.start
                end = start + self.kinds[s.kind].row.duration_minutes
                spans[patient, s.day].append((start, end))
        return spans

    def preference(self, task: int) -> Ints:
        """[S] the weighted preference part of the task by its kind's starts, in score units."""
        t = self.tasks[task]
        known = self._preferences.get((t.kind, t.preferred))
        if known is None:
            kind, decay = self.kinds[t.kind], self.clinic.settings.preference_decay_minutes
            away = preference_distance(t.preferred, kind.row.duration_minutes, kind.starts)
            unit = self.units(self.problem.weights.preference / decay)
            known = unit * np.maximum(0, decay - away)
            self._preferences[t.kind, t.preferred] = known
        return known

    def units(self, score: Fraction) -> int:
        """Return a score, or a share of one, in score units."""
        scaled = score * self.unit
        assert scaled.denominator == 1
        return scaled.numerator

    @cached_property
    def most_score(self) -> int:
        """What the scores of no plan exceed, in score units."""
        return self.unit * (sum(len(t.members) for t in self.tasks) + len(self.fixed))

    @cached_property
    def gap_quarter(self) -> int:
        """A quarter of the gap part, weighted, in score units."""
        return self.units(self.problem.weights.gap / 4)

    @cached_property
    def regular_bonus(self) -> int:
        """The overbooking part of a regular placement, weighted, in score units."""
        return self.units(self.problem.weights.overbook)

    @cached_property
    def room_parts(self) -> list[list[int]]:
        """The room part, weighted, in score units, by kind and room."""
        weight = self.problem.weights.room
        return [[self.units(weight / int(1 + s)) for s in k.surplus] for k in self.kinds]

    def distance(self, task: int, day: int, start: int) -> int:
        """Return by how many minutes a booking's task moves when put there."""
        own = self.tasks[task].own
        return 0 if own is None else abs(day * DAY_MINUTES + start - own.at)

    def busy(self, assignment: Assignment) -> Span:
        """Return the provider busy span, absolute."""
        kind, at = (
            self.kinds[self.tasks[assignment.task].kind],
            assignment.day * DAY_MINUTES + assignment.start,
        )
        return at - int(kind.before[assignment.provider]), at + int(kind.after[assignment.provider])

    def room_busy(self, assignment: Assignment) -> Span:
        """Return the room busy span, absolute."""
        kind, at = (
            self.kinds[self.tasks[assignment.task].kind],
            assignment.day * DAY_MINUTES + assignment.start,
        )
        return at - kind.row.buffer_before, at + int(kind.room_after[assignment.room])

    def appointment(self, assignment: Assignment) -> Span:
        """Return the appointment itself, absolute."""
        at = assignment.day * DAY_MINUTES + assignment.start
        return at, at + self.kinds[self.tasks[assignment.task].kind].row.duration_minutes

    def window(self, assignment: Assignment) -> Span:
        """Return the provider's open window around the appointment, absolute."""
        kind = self.kinds[self.tasks[assignment.task].kind]
        s = int(np.searchsorted(kind.starts, assignment.start))
        at = (assignment.provider, assignment.day, s)
        return int(kind.opens[at]), int(kind.closes[at])

    def allowances(self, kind: int, provider: int, day: int, start: int) -> list[tuple[int, int]]:
        """Return (max_overlap, max_per_day) of the overbooking rules that cover a placement."""
        row, weekday = self.kinds[kind].row, self.dates[day].isoweekday()
        return [
            (rule.max_overlap, rule.max_per_day)
            for rule in self.clinic.overbooking_rules
            if rule.covers(self.providers[provider].id, row, weekday, start)
        ]

    # Plans

    def own(self, task: int) -> FixedBooking:
        """Return where a booking's task stood."""
        own = self.tasks[task].own
        assert own is not None
        return own

    def stay(self, task: int) -> Assignment:
        """Return what it is that a displaced booking stays: no move, though it is put down."""
        own = self.own(task)
        return Assignment(
            task, own.provider, own.room, own.day, own.booking.start, own.booking.is_overbooked
        )

    def is_stay(self, assignment: Assignment) -> bool:
        """Whether a booking is put where it stood; no move leads there."""
        own = self.tasks[assignment.task].own
        return own is not None and (
            assignment.provider,
            assignment.room,
            assignment.day,
            assignment.start,
        ) == (
            own.provider,
            own.room,
            own.day,
            own.booking.start,
        )

    def made(self, assignments: Iterable[Assignment]) -> list[Assignment]:
        """Return the moves and placements among `assignments`, without what only stays."""
        return [assignment for assignment in assignments if not self.is_stay(assignment)]

    def staying(self, assignments: Iterable[Assignment]) -> list[FixedBooking]:
        """Return the bookings that stay when `assignments` are made.

        Those are the fixed ones, those that are not displaced nor moved, and the displaced ones
        that `assignments` let stay.
        """
        assignments = list(assignments)
        put_down = {assignment.task for assignment in assignments}
        stays = {assignment.task for assignment in assignments if self.is_stay(assignment)}
        return self.fixed + [
            t.own
            for i, t in enumerate(self.tasks)
            if t.own is not None and (i in stays or not (t.is_displaced or i in put_down))
        ]

    @cached_property
    def least_to_leave(self) -> int:
        """How many displaced bookings cannot stay, at least: each of them moves or is lost.

        Those that could not even stay alone, and some of each of several sets, apart from one
        another, that are over a cap or of which two collide.
        """
        contested = [i for i, t in enumerate(self.tasks) if t.could_stay]
        contested.sort(key=lambda i: (self.own(i).at, i))
        least = sum(t.is_displaced and not t.could_stay for t in self.tasks)
        free = set(contested)
        beside = Beside(self, self.fixed)
        over: dict[object, tuple[int, list[int]]] = {}
        for i in contested:
            for key, places in beside.places_under_caps(self.own(i)):
                over.setdefault(key, (places, []))[1].append(i)
        for places, members in over.values():
            unused = [i for i in members if i in free]
            if len(unused) > places:
                least += len(unused) - places
                free.difference_update(unused)
        where: dict[object, list[int]] = defaultdict(list)
        for i in contested:
            if i in free:
                where["room", self.own(i).room].append(i)
                where["provider", self.own(i).provider].append(i)
        for i in contested:
            own = self.own(i)
            others = [*where["room", own.room], *where["provider", own.provider]]
            rival = next(
                (j for j in others if j != i and j in free and collide(own, self.own(j))), None
            )
            if i in free and rival is not None:
                least += 1
                free -= {i, rival}
        return least

    def totals(self, assignments: Sequence[Assignment]) -> Totals:
        """Work out what the finished plan is worth."""
        return self.counted(assignments)._replace(score=self.score(assignments))

    def counted(self, assignments: Iterable[Assignment]) -> Totals:
        """Work out what placements are worth to the stages before the score."""
        saved = priority = moved = distance = 0
        for assignment in assignments:
            task = self.tasks[assignment.task]
            priority += task.priority
            saved += task.is_displaced
            moved += task.own is not None and not self.is_stay(assignment)
            distance += self.distance(assignment.task, assignment.day, assignment.start)
        return Totals(saved, priority, -moved, -distance, 0)

    def score(self, assignments: Sequence[Assignment]) -> int:
        """Return the sum of scores, in score units, of placements and existing bookings."""
        total = 0
        at_provider: dict[int, list[tuple[Span, Span | None, bool]]] = defaultdict(list)
        best = self.units(self.problem.weights.preference)
        for s in self.staying(assignments):
            counts = 0 <= s.day < len(self.dates) and s.provider >= 0 and s.room >= 0
            if s.provider >= 0:
                at_provider[s.provider].append((s.busy, s.window, counts))
            if counts:
                total += best + self.room_parts[s.kind][s.room]
                total += 0 if s.booking.is_overbooked else self.regular_bonus
        for assignment in self.made(assignments):
            worth, busy, window = self._alone(assignment)
            total += worth
            at_provider[assignment.provider].append((busy, window, True))
        for provider, spans in at_provider.items():
            total += self.gap_quarter * gap_quarters(spans, int(self.shortest[provider]))
        return total

    def _alone(self, assignment: Assignment) -> tuple[int, Span, Span]:
        """Return what a placement scores but for its gap part, its busy span and its window.

        Kept, since one plan has most of its placements in common with the next.
        """
        kept = self._kept.get(assignment)
        if kept is None:
            number = self.tasks[assignment.task].kind
            s = int(np.searchsorted(self.kinds[number].starts, assignment.start))
            worth = (
                int(self.preference(assignment.task)[s]) + self.room_parts[number][assignment.room]
            )
            worth += 0 if assignment.is_overbooked else self.regular_bonus
            kept = self._kept[assignment] = worth, self.busy(assignment), self.window(assignment)
        return kept

    def ordered(self, assignments: Iterable[Assignment]) -> list[Assignment]:
        """Return placements in an order in which they can be made, each called what it is then.

        What stays is there before. Moves go before placements and regular ones before overbooked
        ones; overbooked ones keep their order. One that meets nothing at its turn, under the cap,
        is regular after all; since it meets none that are made before it, they overlap no more when
        it goes first.
        """
        assignments = list(assignments)
        standing = self.staying(assignments)
        stays = [assignment for assignment in assignments if self.is_stay(assignment)]
        assignments = self.made(assignments)
        spans: dict[int, list[Span]] = defaultdict(list)
        regulars: dict[tuple[int, int], int] = defaultdict(int)
        for s in standing:
            spans[s.provider].append(s.busy)
            regulars[s.provider, s.day] += not s.booking.is_overbooked
        order = stays
        for is_move in (True, False):
            phase = [p for p in assignments if (self.tasks[p.task].own is not None) == is_move]
            late: list[Assignment] = []
            for asked in sorted(phase, key=lambda p: p.is_overbooked):
                is_late = asked.is_overbooked and not is_move
                is_late = is_late and not self._is_regular(asked, spans, regulars)
                assignment = asked if is_move else asked._replace(is_overbooked=is_late)
                (late if is_late else order).append(assignment)
                spans[assignment.provider].append(self.busy(assignment))
                regulars[assignment.provider, assignment.day] += not assignment.is_overbooked
            order += late
        return order

    def _is_regular(
        self,
        assignment: Assignment,
        spans: dict[int, list[Span]],
        regulars: dict[tuple[int, int], int],
    ) -> bool:
        cap = self.providers[assignment.provider].daily_cap
        start, end = self.busy(assignment)
        return (cap is None or regulars[assignment.provider, assignment.day] < cap) and not any(
            from_ < end and start < to for from_, to in spans[assignment.provider]
        )

    def plan(
        self,
        assignments: Iterable[Assignment],
        *,
        status: PlanStatus,
        bounds: Totals,
        seconds: float,
        size: tuple[int, int] = (0, 0),
    ) -> Plan:
        """Return the plan of these assignments; `bounds` are proven, in the terms of the totals."""
        order = self.ordered(assignments)
        moves, placements = self.placements(order)
        totals = self.totals(order)
        kept = {
            self.tasks[assignment.task].members[0]
            for assignment in order
            if self.tasks[assignment.task].own
        }
        displaced = [t.members[0] for t in self.tasks if t.is_displaced]
        return Plan(
            status=status,
            moves=tuple(moves),
            placements=tuple(placements),
            lost=tuple(id_ for id_ in displaced if id_ not in kept),
            stages=tuple(self._stage(name, totals, bounds) for name in self.stages),
            seconds=seconds,
            variables=size[0],
            constraints=size[1],
        )

    @cached_property
    def stages(self) -> tuple[StageName, ...]:
        """What there is to decide, in its order.

        Nothing moves where no booking may, and none is saved where none is displaced.
        """
        if all(t.own is None for t in self.tasks):
            return ("priority", "score")
        if any(t.is_displaced for t in self.tasks):
            return ("saved", "priority", "moved", "distance", "score")
        return ("priority", "moved", "distance", "score")

    def _stage(self, name: StageName, totals: Totals, bounds: Totals) -> Stage:
        unit = self.unit if name == "score" else 1
        sign = -1 if name in {"moved", "distance"} else 1
        value, bound = sign * getattr(totals, name), sign * getattr(bounds, name)
        return Stage(name, Fraction(value, unit), Fraction(bound, unit))

    def _lost_to_caps(self, able: Collection[int]) -> int:
        """How many displaced bookings of those that could go somewhere find no place, at least.

        The bookings of a type are no more than its cap leaves on all dates together; none but
        displaced ones are lost.
        """
        lost = 0
        for number, kind in enumerate(self.kinds):
            tasks = [t for i, t in enumerate(self.tasks) if t.kind == number and i in able]
            bookings = [t.own for t in tasks if t.own is not None and not t.is_left]
            displaced = sum(t.is_displaced for t in tasks)
            cap = kind.row.daily_cap
            if cap is None or not displaced:
                continue
            open_ = (kind.regular | kind.allowed).any(axis=(0, 2))
            days = {*np.flatnonzero(open_).tolist()}
            days |= {t.own.day for t in tasks if t.own and (t.could_stay or not t.is_displaced)}
            fixed = Counter(s.day for s in self.fixed if s.kind == number)
            places = sum(max(0, cap - fixed[day]) for day in days)
            lost += min(displaced, max(0, len(bookings) - places))
        return lost

    def easy_bounds(self) -> Totals:
        """Return what no plan exceeds, stage by stage, without solving anything."""
        able = {
            i
            for i, t in enumerate(self.tasks)
            if t.could_stay or t.stays_if_not_moved or self.options(i)
        }
        best = self.regular_bonus + 4 * self.gap_quarter
        best += self.units(self.problem.weights.preference)
        score = 0
        for s in self.fixed:
            if 0 <= s.day < len(self.dates) and s.provider >= 0 and s.room >= 0:
                score += best + self.room_parts[s.kind][s.room]
        for i in able:
            task = self.tasks[i]
            parts = self.room_parts[task.kind]
            room = max(parts) if self.options(i) else parts[self.own(i).room]
            score += len(task.members) * (best + room)
        return Totals(
            saved=sum(self.tasks[i].is_displaced for i in able) - self._lost_to_caps(able),
            priority=sum(self.tasks[i].priority * len(self.tasks[i].members) for i in able),
            moved=0,
            distance=0,
            score=score,
        )

    def placements(
        self, assignments: Sequence[Assignment]
    ) -> tuple[list[Placement], list[Placement]]:
        """Return the moves and the placements of ordered `assignments`, by their ids."""
        members = {i: iter(t.members) for i, t in enumerate(self.tasks)}
        moves: list[Placement] = []
        placements: list[Placement] = []
        for assignment in self.made(assignments):
            placement = Placement(
                next(members[assignment.task]),
                self.providers[assignment.provider].id,
                self.rooms[assignment.room].id,
                self.dates[assignment.day],
                assignment.start,
                assignment.is_overbooked,
            )
            (placements if self.tasks[assignment.task].own is None else moves).append(placement)
        return moves, placements
