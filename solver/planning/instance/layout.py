"""Laying out a problem's bookings and requests: fixed bookings, and tasks to place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import lcm
from typing import TYPE_CHECKING

from solver.clinic.clinic import Clinic
from solver.clinic.clock import clock_changes, instant
from solver.clinic.day import Day
from solver.clinic.entities import DAY_MINUTES, AppointmentType, Booking, Room, Span
from solver.clinic.places import NOWHERE
from solver.clinic.sessions.of_day import SessionsOfDay, owners_at
from solver.clinic.spans import overlap, provider_busy_span, room_busy_span, window_around
from solver.clinic.teams.in_roles import busy_in_role, in_roles
from solver.clinic.windows import Windows
from solver.planning.instance.stay_feasibility import Beside
from solver.planning.instance.tasks import Assignment, FixedBooking, InRole, Task
from solver.planning.instance.type_table import TypeTable
from solver.planning.problem import Problem
from solver.rules.codes import OUTSIDE_PROVIDER_HOURS, OUTSIDE_ROOM_HOURS, RESERVED

if TYPE_CHECKING:
    from solver.planning.instance.tables import Instance


def may_move(problem: Problem, booking: Booking) -> bool:
    """Whether a booking may move: a movable live one of the horizon that has not begun."""
    begins = instant(problem.clinic.settings.zone, booking.date, booking.start)
    return (
        booking.id in problem.movable
        and booking.is_live
        and booking.date in problem.dates
        and begins >= problem.now
        and booking.provider_id in problem.clinic.provider_by_id
        and booking.room_id in problem.clinic.room_by_id
    )


def type_tables(instance: Instance) -> list[TypeTable]:
    """Return a table for each of the clinic's types, in its order."""
    clinic, problem, behind = instance.clinic, instance.problem, instance.days
    rows = clinic.appointment_types
    if problem.not_behind and any(row.packed for row in rows):
        staying = clinic.with_bookings(b for b in clinic.bookings if b.id not in problem.not_behind)
        behind = [Day.of(staying, date) for date in instance.dates]
    return [TypeTable.of(row, instance.days, behind, problem) for row in rows]


def fixed_booking(instance: Instance, booking: Booking) -> FixedBooking:
    """Return a booking where it is, by positions and in absolute minutes."""
    provider = instance.provider_at.get(booking.provider_id, -1)
    room = instance.room_at.get(booking.room_id, -1)
    kind = instance.clinic.kind_of(booking)
    day = (booking.date - instance.problem.start_date).days
    midnight = day * DAY_MINUTES
    at = midnight + booking.start
    appointment: Span = (at, at + kind.duration_minutes)
    busy = appointment
    window: Span | None = None
    row = instance.clinic.room_by_id.get(booking.room_id)
    if provider >= 0:
        busy = provider_busy_span(instance.providers[provider], kind, at)
        if 0 <= day < len(instance.dates):
            end = booking.start + kind.duration_minutes
            at_place = Windows.on(instance.clinic, booking.date).provider_at(
                None if row is None else row.location_id
            )
            window = window_around(at_place[booking.provider_id], booking.start, end)
            window = window and (window[0] + midnight, window[1] + midnight)
    room_busy = room_busy_span(instance.rooms[room], kind, at) if room >= 0 else (0, 0)
    number = instance.clinic.type_at[kind.id]
    location = NOWHERE if row is None else instance.clinic.places.of_room[row.id]
    roles = tuple(
        InRole(
            instance.provider_at.get(each.provider_id, -1),
            _shifted(
                busy_in_role(instance.clinic.provider_by_id.get(each.provider_id), each.span),
                midnight,
            ),
            day,
            location,
        )
        for each in in_roles(kind, booking)
    )
    return FixedBooking(
        booking, number, provider, room, day, appointment, busy, room_busy, window, location, roles
    )


def roles_of(instance: Instance, assignment: Assignment) -> tuple[InRole, ...]:
    """Return who is in the roles of an assignment; a booking that stays keeps its team."""
    if not assignment.team:
        is_stay = instance.clinic.has_roles and instance.is_stay(assignment)
        return instance.own(assignment.task).in_roles if is_stay else ()
    place, day = instance.place(assignment), assignment.day
    spans = instance.table(assignment).role_spans(assignment.provider)
    members = zip(assignment.team, spans, strict=True)
    return tuple(
        InRole(q, busy_as_member(instance, q, assignment.at, span), day, place)
        for q, span in members
    )


def busy_as_member(instance: Instance, provider: int, at: int, span: Span) -> Span:
    """Return when somebody is busy in a role, `span` being its minutes from a start `at`."""
    return _shifted(busy_in_role(instance.providers[provider], span), at)


def presences(instance: Instance, assignment: Assignment) -> tuple[InRole, ...]:
    """Return for whom an assignment keeps somebody busy, first its provider, and when."""
    if instance.is_stay(assignment):
        return instance.own(assignment.task).presences
    provider, day, place = assignment.provider, assignment.day, instance.place(assignment)
    main = InRole(provider, instance.busy(assignment), day, place)
    return main, *roles_of(instance, assignment)


def _shifted(span: Span, minutes: int) -> Span:
    return span[0] + minutes, span[1] + minutes


def booking_tasks(instance: Instance, movable: Sequence[Booking]) -> list[Task]:
    """Return a task for each booking that may move."""
    beside, problem = Beside(instance, instance.fixed), instance.problem
    tasks = []
    for own in (fixed_booking(instance, booking) for booking in movable):
        is_displaced = own.booking.id in problem.displaced
        tasks.append(
            Task(
                kind=own.kind,
                members=(own.booking.id,),
                priority=0,
                days=tuple(range(len(instance.dates))),
                provider=-1,
                preferred=None,
                patient=own.booking.patient_key,
                own=own,
                is_displaced=is_displaced,
                could_stay=is_displaced
                and _is_in_place(instance, own)
                and beside.has_place_for(own),
                is_left=own.booking.id in problem.left,
            )
        )
    return tasks


def _is_in_place(instance: Instance, own: FixedBooking) -> bool:
    """Whether a booking keeps rules 1, 2, 8 and 9 where it is, and overlaps no clock change.

    Equipment that moves comes to where it is, too, however much of it is out.

    Hours that it overrides are not asked for; of rules 8 and 9 what counts beside others is not.
    """
    kind, start = instance.clinic.kind_of(own.booking), own.booking.start
    overrides = own.booking.overrides
    provider, room = instance.providers[own.provider], instance.rooms[own.room]
    span = start, start + kind.duration_minutes
    changes = clock_changes(instance.clinic.settings.zone, own.booking.date)
    return (
        kind.active
        and provider.active
        and instance.clinic.is_in_use(room)
        and instance.clinic.offers(provider, kind)
        and room.equipment >= kind.required_equipment
        and all(pool.capacity_at(room.location_id) for pool in instance.clinic.pools_of(kind))
        and (own.window is not None or OUTSIDE_PROVIDER_HOURS in overrides)
        and (
            window_around(instance.days[own.day].room_windows[own.room], *span) is not None
            or OUTSIDE_ROOM_HOURS in overrides
        )
        and not any(overlap(span, change) for change in changes)
        and (RESERVED in overrides or not _is_reserved(instance, own, span))
        and _are_able(instance, own, kind)
    )


def _are_able(instance: Instance, own: FixedBooking, kind: AppointmentType) -> bool:
    """Whether each role of a booking has somebody who could be in it beside nothing else."""
    members, clinic = dict(own.booking.team), instance.clinic
    room = instance.rooms[own.room]
    windows = Windows.on(clinic, own.booking.date).provider_at(room.location_id)
    spans = {each.key: each.span for each in in_roles(kind, own.booking)}
    for role in kind.roles:
        person = clinic.provider_by_id.get(members.get(role.key, ""))
        if person is None or not person.active or not role.required_skills <= person.skills:
            return False
        if window_around(windows[person.id], *spans[role.key]) is None:
            return False
    return True


def _is_reserved(instance: Instance, own: FixedBooking, span: Span) -> bool:
    """Whether sessions keep a booking out of where it is (rule 8)."""
    problem, b = instance.problem, own.booking
    if problem.sessions != "now" or not instance.clinic.sessions:
        return False
    sessions = SessionsOfDay.on(instance.clinic, b.date)
    return any(
        sessions.reserves(owner, span, b.appointment_type_id, problem.now)
        for owner in owners_at(b.provider_id, b.room_id)
    )


def request_tasks(instance: Instance) -> list[Task]:
    """Return a task for each set of requests that differ in their ids alone."""
    alike: dict[tuple[object, ...], list[str]] = defaultdict(list)
    tasks: dict[tuple[object, ...], Task] = {}
    for r in instance.problem.requests:
        days = tuple(
            d for d, date in enumerate(instance.dates) if r.dates is None or date in r.dates
        )
        provider = -1
        if r.provider_id is not None:
            provider = instance.provider_at.get(r.provider_id, -1)
            days = days if provider >= 0 else ()
        kind = instance.clinic.type_at.get(r.appointment_type_id, -1)
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


def score_unit(problem: Problem, kinds: Sequence[TypeTable]) -> int:
    """Return the least n for which every weighted part of a score is a whole multiple of 1 / n."""
    weights, settings = problem.weights, problem.clinic.settings
    surpluses = {int(s) + 1 for kind in kinds for s in kind.surplus}
    return lcm(
        weights.preference.denominator * settings.preference_decay_minutes,
        weights.gap.denominator * 4,
        weights.overbook.denominator,
        weights.room.denominator * lcm(*surpluses),
    )


type PatientSpans = Mapping[tuple[str | None, int], list[tuple[Span, int]]]
"""By patient and date: appointments, in minutes of the date, each with its place."""


def patient_spans(fixed: Iterable[FixedBooking]) -> PatientSpans:
    """Return where patients are by fixed bookings."""
    spans: dict[tuple[str | None, int], list[tuple[Span, int]]] = defaultdict(list)
    for s in fixed:
        patient = s.booking.patient_key
        if patient is not None:
            midnight = s.day * DAY_MINUTES
            start, end = s.appointment
            spans[patient, s.day].append(((start - midnight, end - midnight), s.location))
    return spans


def posts_of(clinic: Clinic, rooms: Sequence[Room]) -> list[int]:
    """Return for each room the number of its place among those of all, as posts are numbered."""
    of_room = [clinic.places.of_room[room.id] for room in rooms]
    return [sorted(set(of_room)).index(place) for place in of_room]
