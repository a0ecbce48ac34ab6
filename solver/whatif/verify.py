"""The reader of plans: every step read again at its turn, then the finished book and its score.

It shares nothing with what makes plans, nor with the checker of :mod:`solver.rules`: the rules are
written out for it in :mod:`solver.whatif.plain_rules`, and of the planner it knows only the types
in which problem and plan are written.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Booking, ProviderType
from solver.planning.problem import Placement, Plan, Problem, Request
from solver.whatif.plain_rules import Appointment, is_regular, patient_is_elsewhere
from solver.whatif.plain_score import Parts, PlainScores

MAXIMISED = ("saved", "priority", "score")
"""The stages whose bound is at least their objective; that of the others is at most it."""


RULES = {
    0: "its time is not bookable",
    1: "a row is not active, or lacks the skills or the equipment",
    2: "it is outside the open windows",
    3: "the room is taken",
    5: "the type has reached its daily cap",
    6: "the provider has reached the daily cap for the type",
    7: "no overbooking rule allows it",
    11: "there is no time to travel to or from another place",
    8: "a session keeps it out, or is full",
    9: "its team is not complete, or somebody in it is not able to be",
    10: "too little of the equipment is there",
}
"""What is wrong with a step that breaks a rule, by its number in ``docs/rules.md``."""


EVERYBODY = ""
"""The owner of all appointments."""


@dataclass(frozen=True, slots=True)
class PlanViolation:
    """Something wrong with a plan, and of which request, booking or stage."""

    id: str
    detail: str


@dataclass(frozen=True)
class PlanReading:
    """What the reader finds of a plan.

    Attributes
    ----------
    violations
        Empty for a plan that can be shown.
    finished
        The book when the plan is carried out, of the horizon and the dates beside it.
    parts
        The score parts of each placement in the finished plan, by request id.
    objectives
        What each stage reached, by name, recomputed.
    """

    violations: tuple[PlanViolation, ...]
    finished: tuple[Booking, ...]
    parts: dict[str, Parts]
    objectives: dict[str, Fraction]


def read_plan(problem: Problem, plan: Plan) -> PlanReading:
    """Read a plan: each step at its turn, then the finished book.

    All bookings that move or are lost leave their places first; then the moves and the placements
    are made in their order, each read beside the book as it is by then. In the finished book, what
    was placed, what was moved and what could have been moved breaks no rule.
    """
    return _Reader(problem, plan).read()


class _Book:
    """Live appointments by owner, date and patient; what is asked of one date sees its neighbours.

    Parameters
    ----------
    reach
        The longest time in minutes from the begin of one busy span to the begin of one that it can
        overlap: what lies further from midnight than that overlaps nothing of the date beside.
    """

    def __init__(self, reach: int) -> None:
        self._reach = reach
        self._by_owner: dict[tuple[str, dt.date], list[Appointment]] = defaultdict(list)
        self._by_patient: dict[str, list[Appointment]] = defaultdict(list)
        self._by_pool: dict[tuple[str, dt.date], list[Appointment]] = defaultdict(list)
        self.all: list[Appointment] = []
        self.in_roles: dict[Appointment, Sequence[Appointment]] = {}
        """Those of whoever is in a role of an appointment."""

    def add(self, a: Appointment, in_roles: Sequence[Appointment] = ()) -> None:
        if in_roles:
            self.in_roles[a] = in_roles
        members = dict(a.booking.team)
        for each in in_roles:
            self._by_owner[members[each.role or ""], a.booking.date].append(each)
        self.all.append(a)
        b = a.booking
        for owner in (b.provider_id, b.room_id, b.appointment_type_id, EVERYBODY):
            self._by_owner[owner, b.date].append(a)
        for need in a.kind.required_pools:
            self._by_pool[need.pool_id, b.date].append(a)
        if (patient := b.patient_key) is not None:
            self._by_patient[patient].append(a)

    def on(self, owner: str, date: dt.date, *, but: Appointment) -> list[Appointment]:
        """Return the appointments of an owner on a date, without one of them."""
        return [a for a in self._by_owner.get((owner, date), ()) if a is not but]

    def beside(self, owner: str, a: Appointment) -> list[Appointment]:
        """Return the other appointments of an owner that count for `a` or may overlap it."""
        date, day = a.booking.date, dt.timedelta(days=1)
        before, after = (self._by_owner.get((owner, date + days), ()) for days in (-day, day))
        same_date = self.on(owner, date, but=a)
        is_apart = all(o.booking.start <= DAY_MINUTES - self._reach for o in before) and all(
            o.booking.start >= self._reach for o in after
        )
        return same_date if is_apart else [*before, *same_date, *after]

    def of_pools(self, a: Appointment) -> list[Appointment]:
        """Return the others that take from a pool of `a`, of its date and those beside it."""
        found: dict[int, Appointment] = {}
        for need in a.kind.required_pools:
            for days in (-1, 0, 1):
                date = a.booking.date + dt.timedelta(days=days)
                found |= {id(o): o for o in self._by_pool.get((need.pool_id, date), ())}
        found.pop(id(a), None)
        return list(found.values())

    def of_patient(self, patient: str | None) -> list[Appointment]:
        return [] if patient is None else self._by_patient[patient]


class _Reader:
    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.dates = frozenset(problem.dates)
        self.rules = PlainScores(problem)
        self.bookings = {b.id: b for b in problem.clinic.bookings if b.is_live}
        self.requests = {r.id: r for r in problem.requests}
        self.violations: list[PlanViolation] = []
        self.fulfilled: dict[int, Request] = {}  # by position in the book
        self.book = _Book(_reach(problem.clinic))
        leaving = {move.id for move in plan.moves} | set(plan.lost)
        for key, booking in self.bookings.items():
            if key not in leaving:
                a = self.rules.appointment(booking)
                self.book.add(a, self.rules.in_roles(a))

    def read(self) -> PlanReading:
        self._moves()
        self._placements()
        if not self.violations:
            self._finished_book()
        parts, score = self._scores()
        objectives = {
            "saved": Fraction(len(self.problem.displaced) - len(self.plan.lost)),
            "priority": Fraction(
                sum(self.requests[p.id].priority for p in self.plan.placements if p.id in parts)
            ),
            "moved": Fraction(len(self.plan.moves)),
            "distance": Fraction(sum(map(self._distance, self.plan.moves))),
            "score": score,
        }
        self._stages(objectives)
        finished = tuple(a.booking for a in self.book.all)
        return PlanReading(tuple(self.violations), finished, parts, objectives)

    def _blame(self, key: str, detail: str) -> None:
        self.violations.append(PlanViolation(key, detail))

    # Step by step

    def _moves(self) -> None:
        moved = [move.id for move in self.plan.moves]
        for key in sorted({key for key in moved if moved.count(key) > 1} | self._both_ways()):
            self._blame(key, "is moved twice, or moved and lost")
        for key in sorted(set(self.plan.lost) - self.problem.displaced):
            self._blame(key, "is lost though it could have stayed")
        for move in self.plan.moves:
            before = self.bookings.get(move.id)
            if before is None or move.id not in self.problem.movable:
                self._blame(move.id, "is no booking that may move")
                continue
            place = (move.provider_id, move.room_id, move.date, move.start)
            if place == (before.provider_id, before.room_id, before.date, before.start):
                self._blame(move.id, "is moved to where it was")
            self._step(move, before.appointment_type_id, before.patient_ref)

    def _both_ways(self) -> set[str]:
        return {move.id for move in self.plan.moves} & set(self.plan.lost)

    def _placements(self) -> None:
        placed: set[str] = set()
        for placement in self.plan.placements:
            request = self.requests.get(placement.id)
            if request is None or placement.id in placed:
                self._blame(placement.id, "is no request, or is placed twice")
                continue
            placed.add(placement.id)
            if request.dates is not None and placement.date not in request.dates:
                self._blame(placement.id, f"is placed on {placement.date}, which it does not allow")
            if request.provider_id not in (None, placement.provider_id):
                self._blame(placement.id, "is placed with another provider than it asks for")
            if self._step(placement, request.appointment_type_id, request.patient_ref):
                self.fulfilled[len(self.book.all) - 1] = request

    def _step(self, step: Placement, kind: str, patient: str | None) -> bool:
        """Read one move or placement beside all before it, and book it where there is the place."""
        clinic = self.problem.clinic
        is_placed = step.provider_id in clinic.provider_by_id and step.room_id in clinic.room_by_id
        if not is_placed or not 0 <= step.start < DAY_MINUTES:
            self._blame(step.id, "is placed with a provider, in a room or at a time there is not")
            return False
        if step.date not in self.dates:
            self._blame(step.id, f"is placed on {step.date}, outside the horizon")
        people = [step.provider_id, *(member for _, member in step.team)]
        if len(set(people)) < len(people):
            self._blame(step.id, "has somebody twice in its team, or its provider")
            return False
        a = self.rules.appointment(_booking(step, kind, patient))
        broken, is_overbooked = self._broken(a)
        for rule in broken:
            self._blame(step.id, f"breaks rule {rule}: {RULES[rule]}")
        if not broken and is_overbooked != step.is_overbooked:
            truth = "overbooked" if is_overbooked else "regular"
            self._blame(step.id, f"is {truth} at its turn, not as it says")
        if step.is_overbooked and not self.problem.allow_overbooking:
            self._blame(step.id, "is overbooked, which the run does not allow")
        for other in self.book.of_patient(a.booking.patient_key):
            if patient_is_elsewhere(self.problem.clinic, a, other):
                self._blame(step.id, f"overlaps {other.booking.id} of the same patient, or its way")
        self.book.add(a, self.rules.in_roles(a))
        return True

    def _broken(self, a: Appointment) -> tuple[list[int], bool]:
        """Return the rules that a new appointment breaks at its turn, and whether it overbooks."""
        rules, b = self.rules, a.booking
        at_provider = self.book.beside(b.provider_id, a)
        in_room = self.book.beside(b.room_id, a)
        of_type = self.book.on(b.appointment_type_id, b.date, but=a)
        on_date = self._on_date_of(a, self.book)
        is_overbooked = any(rules.regular_within_capacity(a, at_provider))
        obeyed = {
            0: rules.time_is_bookable(a, at_provider),
            1: not any(rules.active_with_skills_and_equipment(a)),
            2: not any(rules.within_open_windows(a)),
            3: not any(rules.room_is_free(a, in_room)),
            5: not any(rules.type_under_its_cap(a, of_type)),
            6: not any(rules.provider_type_under_its_cap(a, at_provider)),
            7: not is_overbooked or self._may_overbook(a, at_provider),
            11: not any(rules.time_to_travel(a, at_provider)),
            8: not any(rules.within_sessions(a, is_new=True))
            and not any(rules.has_place_in_sessions(a, on_date, is_new=True)),
            10: not any(rules.equipment_is_free(a, self.book.of_pools(a))),
            9: not any(rules.roles_are_filled(a, rules.in_roles(a), self.book.beside, is_new=True)),
        }
        return [rule for rule, is_obeyed in obeyed.items() if not is_obeyed], is_overbooked

    def _on_date_of(self, a: Appointment, book: _Book) -> list[Appointment]:
        """Return the others of a date, whosever they are, where sessions count them."""
        has_sessions = self.problem.clinic.sessions
        return book.on(EVERYBODY, a.booking.date, but=a) if has_sessions else []

    def _may_overbook(self, a: Appointment, at_provider: list[Appointment]) -> bool:
        rules = self.rules
        return not any(rules.starts_by_itself(a, at_provider)) and rules.is_allowed(a, at_provider)

    # The whole

    def _finished_book(self) -> None:
        """Read all rules again over the book that the plan leaves.

        Bookings that may not move, and those that the run leaves alone, may go on to break rules.
        """
        moved = {move.id for move in self.plan.moves}
        known = [a for a in self.book.all if self.rules.is_known(a.booking)]
        book = _Book(_reach(self.problem.clinic))
        for a in known:
            book.add(a, self.rules.in_roles(a))
        for a in sorted(known, key=lambda a: (a.booking.date, a.booking.start, a.booking.id)):
            b = a.booking
            is_old = b is self.bookings.get(b.id)
            if b.id in self.problem.left and b.id not in moved:
                continue
            if is_old and b.id not in self.problem.movable:
                continue
            verb = "stays" if is_old else "ends up"
            for rule, detail in self._broken_in(book, a):
                self._blame(b.id, f"{verb} against rule {rule}: {detail}")

    def _broken_in(self, book: _Book, a: Appointment) -> Iterator[tuple[int, str]]:
        """Yield each rule that an appointment breaks beside all others, and in which words.

        A set of bookings has no order: overbooked ones may have come after a regular one that they
        overlap, and are allowed if some order of booking them allows each; one that overrides a cap
        for its type may have come after all the others.
        """
        rules, b = self.rules, a.booking
        at_provider = book.beside(b.provider_id, a)
        in_room = book.beside(b.room_id, a)
        of_type = [
            o
            for o in book.on(b.appointment_type_id, b.date, but=a)
            if "TYPE_DAILY_CAP" not in o.booking.overrides
        ]
        unforced = [
            o for o in self._on_date_of(a, book) if "SESSION_FULL" not in o.booking.overrides
        ]
        regular = [o for o in at_provider if is_regular(o)]
        within = [o for o in at_provider if "PROVIDER_DAILY_CAP" not in o.booking.overrides]
        for rule, details in (
            (0, rules.outside_clock_changes(a)),
            (1, rules.active_with_skills_and_equipment(a)),
            (2, rules.within_open_windows(a)),
            (3, rules.room_is_free(a, in_room)),
            (5, rules.type_under_its_cap(a, of_type)),
            (6, rules.provider_type_under_its_cap(a, within)),
            (7, rules.starts_by_itself(a, at_provider)),
            (8, rules.within_sessions(a, is_new=False)),
            (8, rules.has_place_in_sessions(a, unforced, is_new=False)),
            (7, rules.overbooked_by_allowance(a, at_provider))
            if b.is_overbooked
            else (6, rules.regular_within_capacity(a, regular)),
            (11, rules.time_to_travel(a, at_provider)),
            (9, rules.roles_are_filled(a, book.in_roles.get(a, ()), book.beside, is_new=False)),
            (10, rules.equipment_is_free(a, book.of_pools(a))),
        ):
            yield from ((rule, detail) for detail in details)

    def _scores(self) -> tuple[dict[str, Parts], Fraction]:
        """Return the placements' parts and the sum of all scores of the horizon."""
        parts: dict[str, Parts] = {}
        total = Fraction(0)
        for position, a in enumerate(self.book.all):
            if a.booking.date not in self.dates or not self.rules.is_known(a.booking):
                continue
            request = self.fulfilled.get(position)
            preferred = None if request is None else request.preferred
            own = self.rules.parts(a, self.book.beside(a.booking.provider_id, a), preferred)
            total += self.rules.score(own)
            if request is not None:
                parts[request.id] = own
        return parts, total

    def _distance(self, move: Placement) -> int:
        before = self.bookings.get(move.id)
        if before is None:
            return 0
        days = (move.date - before.date).days
        return abs(days * DAY_MINUTES + move.start - before.start)

    def _stages(self, objectives: dict[str, Fraction]) -> None:
        for stage in self.plan.stages:
            reached = objectives[stage.name]
            if stage.objective != reached:
                self._blame(stage.name, f"is {float(reached):g}, not {float(stage.objective):g}")
            is_bound = (
                stage.bound >= stage.objective
                if stage.name in MAXIMISED
                else stage.bound <= stage.objective
            )
            if not is_bound:
                self._blame(stage.name, f"{float(stage.bound):g} bounds it from the wrong side")
        if self.plan.status == "optimal" and not all(s.is_proved for s in self.plan.stages):
            self._blame("status", "is optimal though a stage is not proved")


def _reach(clinic: Clinic) -> int:
    """Return what no busy span is longer than, the time that another one keeps free included."""
    longest = before = after = 0
    for kind in clinic.appointment_types:
        longest = max(longest, kind.duration_minutes)
        before, after = max(before, kind.buffer_before), max(after, kind.buffer_after)
    rows: list[Booking | ProviderType] = [*clinic.bookings, *clinic.provider_types]
    for row in rows:
        longest = max(longest, row.duration_minutes or 0)
        before, after = max(before, row.buffer_before or 0), max(after, row.buffer_after or 0)
    for provider in clinic.providers:
        before, after = max(before, provider.buffer_before), max(after, provider.buffer_after)
    for room in clinic.rooms:
        after = max(after, room.turnover_minutes)
    return before + longest + after


def _booking(step: Placement, kind: str, patient: str | None) -> Booking:
    return Booking(
        step.id,
        step.provider_id,
        step.room_id,
        kind,
        step.date,
        step.start,
        patient_ref=patient,
        is_overbooked=step.is_overbooked,
        team=step.team,
    )
