"""A whole plan read again, one placement after another, and scored as it stands when finished.

Like :mod:`solver.rules.checker`, on which it leans, it shares nothing with the masks, the model and
the objective; of the planner it knows only the words in which problem and plan are written.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from solver.clinic.entities import DAY_MINUTES, Booking, Clinic
from solver.clinic.request import SlotRequest
from solver.planning.problem import Placement, Plan, Problem, Request
from solver.rules.checker import Checker

MAXIMISED = ("saved", "priority", "score")


RULES = {
    0: "its time is not bookable",
    1: "a row is not active, or lacks the skills or the equipment",
    2: "it is outside the open windows",
    3: "the room is taken",
    5: "the type has reached its daily cap",
    7: "no overbooking rule allows it",
}


type Parts = tuple[Fraction, Fraction, Fraction, Fraction]


@dataclass(frozen=True, slots=True)
class PlanViolation:
    """Something wrong with a plan, and of which request, booking or stage."""

    id: str
    detail: str


@dataclass(frozen=True)
class PlanReading:
    """What the reader makes of a plan.

    Attributes
    ----------
    violations
        Empty for a plan that can be shown.
    standing
        The book when the plan is carried out, of the horizon and the dates beside it.
    parts
        The score parts of each placement in the finished plan, by request id.
    objectives
        What each stage reached, by name, recomputed.
    """

    violations: tuple[PlanViolation, ...]
    standing: tuple[Booking, ...]
    parts: dict[str, Parts]
    objectives: dict[str, Fraction]


def read_plan(problem: Problem, plan: Plan) -> PlanReading:
    """Read a plan: each step at its turn, then the whole.

    All bookings that move or are lost leave their places first; then the moves and the placements
    are made in their order, each beside all that stands by then. In the finished book nothing
    breaks a rule that was placed, that was moved or that could have been moved.
    """
    return _Reader(problem, plan).read()


class _Book:
    """Live bookings by owner, date and patient; what is asked of one date sees its neighbours.

    Parameters
    ----------
    bookings
        What stands by now.
    reach
        The longest time in minutes from the begin of one busy span to the begin of one that it can
        meet: of the dates beside, what is further from midnight meets nothing.
    """

    def __init__(self, bookings: Iterable[Booking], reach: int) -> None:
        self._reach = reach
        self._by_owner: dict[tuple[str, dt.date], list[Booking]] = defaultdict(list)
        self._by_patient: dict[str, list[Booking]] = defaultdict(list)
        self.all: list[Booking] = []
        for booking in bookings:
            self.add(booking)

    def add(self, b: Booking) -> None:
        self.all.append(b)
        for owner in (b.provider_id, b.room_id, b.appointment_type_id):
            self._by_owner[owner, b.date].append(b)
        if (patient := b.patient_key) is not None:
            self._by_patient[patient].append(b)

    def on(self, owner: str, date: dt.date) -> list[Booking]:
        return self._by_owner.get((owner, date), [])

    def beside(self, owner: str, date: dt.date) -> list[Booking]:
        late, early = DAY_MINUTES - self._reach, self._reach
        day = dt.timedelta(days=1)
        before = [b for b in self.on(owner, date - day) if b.start > late]
        after = [b for b in self.on(owner, date + day) if b.start < early]
        return [*before, *self.on(owner, date), *after]

    def of_patient(self, patient: str | None) -> list[Booking]:
        return [] if patient is None else self._by_patient[patient]


class _Reader:
    def __init__(self, problem: Problem, plan: Plan) -> None:
        weights = problem.weights
        self.problem, self.plan = problem, plan
        self.dates = frozenset(problem.dates)
        self.checker = Checker(
            problem.clinic, (weights.preference, weights.gap, weights.room, weights.overbook)
        )
        self.bookings = {b.id: b for b in problem.clinic.bookings if b.is_live}
        self.requests = {r.id: r for r in problem.requests}
        self.violations: list[PlanViolation] = []
        self.wishes: dict[int, Request] = {}  # by position in the book
        leaving = {move.id for move in plan.moves} | set(plan.lost)
        standing = (b for b in self.bookings.values() if b.id not in leaving)
        self.book = _Book(standing, _reach(problem.clinic))

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
        return PlanReading(tuple(self.violations), tuple(self.book.all), parts, objectives)

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
            wish = SlotRequest(before.appointment_type_id, move.date, self.problem.now)
            self._step(move, wish, before.patient_ref)

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
            wish = self._wish(request, placement.date)
            if self._step(placement, wish, request.patient_ref):
                self.wishes[len(self.book.all) - 1] = request

    def _wish(self, request: Request, date: dt.date) -> SlotRequest:
        return SlotRequest(
            request.appointment_type_id, date, self.problem.now, preferred=request.preferred
        )

    def _step(self, step: Placement, wish: SlotRequest, patient: str | None) -> bool:
        """Read one move or placement beside all that stands at its turn; let it stand if it can."""
        clinic = self.problem.clinic
        provider = clinic.provider_by_id.get(step.provider_id)
        room = clinic.room_by_id.get(step.room_id)
        if provider is None or room is None or not 0 <= step.start < DAY_MINUTES:
            self._blame(step.id, "is placed with a provider, in a room or at a time there is not")
            return False
        if step.date not in self.dates:
            self._blame(step.id, f"is placed on {step.date}, outside the horizon")
        reading = self.checker.read_among(
            wish,
            provider,
            room,
            step.start,
            at_provider=self.book.beside(provider.id, step.date),
            in_room=self.book.beside(room.id, step.date),
            of_type=self.book.on(wish.appointment_type_id, step.date),
        )
        for rule in reading.broken:
            self._blame(step.id, f"breaks rule {rule}: {RULES[rule]}")
        if not reading.broken and reading.is_overbooked != step.is_overbooked:
            truth = "overbooked" if reading.is_overbooked else "regular"
            self._blame(step.id, f"is {truth} at its turn, not as it says")
        if step.is_overbooked and not self.problem.allow_overbooking:
            self._blame(step.id, "is overbooked, which the run does not allow")
        booking = _booking(step, wish.appointment_type_id, patient)
        self._beside_the_patients_own(booking)
        self.book.add(booking)
        return True

    def _beside_the_patients_own(self, booking: Booking) -> None:
        mine = self._appointment(booking)
        for other in self.book.of_patient(booking.patient_key):
            theirs = self._appointment(other)
            if mine[0] < theirs[1] and theirs[0] < mine[1]:
                self._blame(booking.id, f"overlaps {other.id} of the same patient")

    def _appointment(self, b: Booking) -> tuple[int, int]:
        start = b.date.toordinal() * DAY_MINUTES + b.start
        return start, start + self.checker.kind_of(b).duration_minutes

    # The whole

    def _finished_book(self) -> None:
        """Read all rules again over what stands in the end.

        Bookings that may not move, and those that the run leaves alone, break what they break.
        """
        problem = self.problem
        clinic = problem.clinic
        moved = {move.id for move in self.plan.moves}
        known = [
            b
            for b in self.book.all
            if b.provider_id in clinic.provider_by_id and b.room_id in clinic.room_by_id
        ]
        finished = replace(self.checker, clinic=clinic.with_bookings(known))
        for violation in finished.violations():
            b = violation.booking
            if b.id in problem.left and b.id not in moved:
                continue
            if b is not self.bookings.get(b.id):
                self._blame(b.id, f"ends up against rule {violation.rule}: {violation.detail}")
            elif b.id in problem.movable:
                self._blame(b.id, f"stays against rule {violation.rule}: {violation.detail}")

    def _scores(self) -> tuple[dict[str, Parts], Fraction]:
        """Return the placements' parts and the sum of all scores of the horizon."""
        clinic = self.problem.clinic
        parts: dict[str, Parts] = {}
        total = Fraction(0)
        for position, b in enumerate(self.book.all):
            is_known = b.provider_id in clinic.provider_by_id and b.room_id in clinic.room_by_id
            if b.date not in self.dates or not is_known:
                continue
            others = [o for o in self.book.beside(b.provider_id, b.date) if o is not b]
            request = self.wishes.get(position)
            wish = None if request is None else self._wish(request, b.date)
            own = self.checker.standing_parts(b, others, wish)
            total += self.checker.exact(own)
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
    )
