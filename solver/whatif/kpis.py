"""Key figures of a finished plan, and scenarios set beside the baseline, figure by figure.

Busy minutes are those of busy spans, buffers and turnover included, in roles as well, each minute
counted once however many appointments share it; utilisation is the share of open minutes that are
busy. A row that is not active is never open. Overtime is appointments' minutes, without buffers,
outside the open windows of their provider; only bookings that were there before can have any. An
idle fragment is a stretch of a provider's open window between two busy spans, or beside one, that
is shorter than any appointment the provider could take. How full sessions are is what begins in
those that take so many bookings, as a share of the sum of what they take.

Of an equipment pool, all minutes of the horizon count for which pieces are out, until they are
back. The clinic is open when some active provider is.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from solver.clinic.clinic import Clinic
from solver.clinic.entities import DAY_MINUTES, Booking, Span
from solver.clinic.places import NOWHERE
from solver.clinic.sessions.of_day import SessionsOfDay
from solver.clinic.spans import cut, merge, provider_busy_span, room_busy_span
from solver.clinic.teams.in_roles import busy_in_role, in_roles
from solver.clinic.windows import Windows
from solver.planning.problem import Plan, Problem
from solver.scoring.parts import POINTS, ScoreParts, round_half_up, shortest_durations
from solver.whatif.run_result import EquipmentFigures, KpiComparison, Kpis, MeanScores, TimeFigures
from solver.whatif.verify import PlanReading

PARTS = tuple(ScoreParts.__dataclass_fields__)


def figures(problem: Problem, plan: Plan, reading: PlanReading) -> Kpis:
    """Return the key figures of a plan, in the order in which they are shown."""
    requests = {r.id: r for r in problem.requests}
    placed = [requests[p.id] for p in plan.placements]
    by_priority = Counter(r.priority for r in placed)
    by_type = Counter(r.appointment_type_id for r in placed)
    asked_priorities = sorted({r.priority for r in problem.requests})
    asked_types = {r.appointment_type_id for r in problem.requests}
    kinds = [t.id for t in problem.clinic.appointment_types if t.id in asked_types]
    return {
        "placed": len(placed),
        "placed_by_priority": {str(p): by_priority[p] for p in reversed(asked_priorities)},
        "placed_by_type": {kind: by_type[kind] for kind in kinds},
        "unplaced": len(problem.requests) - len(placed),
        "overbooked": sum(p.is_overbooked for p in plan.placements),
        **mean_scores(problem, reading),
        **_time(problem, reading.finished),
        "session_fill": session_fill(problem.clinic, problem.dates, reading.finished),
        **equipment(problem.clinic, problem.dates, reading.finished),
        "moved": len(plan.moves),
        "lost": len(plan.lost),
        "travel_minutes": travel_minutes(problem, reading.finished),
    }


def mean_scores(problem: Problem, reading: PlanReading) -> MeanScores:
    """Return the mean score of what a plan places and the means of its parts; None without any."""
    if not reading.parts:
        return {"mean_score": None, "mean_score_parts": dict.fromkeys(PARTS)}
    means = _mean_parts(reading)
    return {
        "mean_score": decimal(mean_score(problem, reading)),
        "mean_score_parts": {name: decimal(mean) for name, mean in means.items()},
    }


def mean_score(problem: Problem, reading: PlanReading) -> Fraction:
    """Return the exact mean score of what a plan places, which is something."""
    means = _mean_parts(reading).items()
    return sum((getattr(problem.weights, part) * mean for part, mean in means), Fraction(0))


def _mean_parts(reading: PlanReading) -> dict[str, Fraction]:
    columns = zip(*reading.parts.values(), strict=True)
    means = (sum(parts, Fraction(0)) / len(reading.parts) for parts in columns)
    return dict(zip(PARTS, means, strict=True))


def _time(problem: Problem, finished: Iterable[Booking]) -> TimeFigures:
    """Return utilisation, fragments and overtime over the horizon."""
    clinic = problem.clinic
    usable = shortest_durations(clinic, clinic.providers).tolist()
    shortest = {p.id: minutes for p, minutes in zip(clinic.providers, usable, strict=True)}
    provider_busy, room_busy, appointments = _spans(clinic, finished)
    provider_days: dict[str, dict[str, float]] = {}
    room_days: dict[str, dict[str, float]] = {}
    totals = {"provider": [0, 0], "room": [0, 0]}
    fragments: list[int] = []
    overtime = 0
    active = {p.id for p in clinic.providers if p.active}
    active |= {r.id for r in clinic.rooms if clinic.is_in_use(r)}

    for day in problem.dates:
        windows = Windows.on(clinic, day)
        key = day.isoformat()
        for name, days, open_, busy in (
            ("provider", provider_days, windows.provider, provider_busy),
            ("room", room_days, windows.room, room_busy),
        ):
            days[key] = {}
            for owner, opened_at in open_.items():
                spans = opened_at if owner in active else []
                taken = busy.get((owner, day), [])
                idle = cut(spans, taken)
                opened, used = _minutes(spans), _minutes(spans) - _minutes(idle)
                if opened:
                    days[key][owner] = decimal(Fraction(used, opened))
                totals[name][0] += used
                totals[name][1] += opened
                if name == "provider":
                    overtime += _minutes(cut(appointments.get((owner, day), []), spans))
                    fragments += [
                        end - start for start, end in idle if end - start < shortest[owner]
                    ]

    return {
        "provider_utilisation": _ratio(*totals["provider"]),
        "room_utilisation": _ratio(*totals["room"]),
        "provider_utilisation_by_day": provider_days,
        "room_utilisation_by_day": room_days,
        "idle_fragments": len(fragments),
        "idle_fragment_minutes": sum(fragments),
        "overtime_minutes": overtime,
    }


def travel_minutes(problem: Problem, finished: Iterable[Booking]) -> int:
    """Return the minutes of the ways from each booking of a provider's date to the next.

    What has no place lies on no way: the next one that has a place follows the last one that had.
    """
    clinic, dates = problem.clinic, frozenset(problem.dates)
    places, total = clinic.places, 0
    at: dict[tuple[str, dt.date], int] = {}
    for b in sorted(finished, key=lambda b: (b.date, b.start, b.id)):
        place = places.of_room.get(b.room_id, NOWHERE)
        if place == NOWHERE or b.date not in dates:
            continue
        before = at.get((b.provider_id, b.date), place)
        at[b.provider_id, b.date] = place
        total += int(places.minutes[before, place])
    return total


def session_fill(
    clinic: Clinic, dates: Iterable[dt.date], finished: Iterable[Booking]
) -> float | None:
    """Return what begins in sessions that take so many bookings, as a share of all these take."""
    begun = places = 0
    if not clinic.sessions:
        return None
    on: dict[dt.date, list[Booking]] = defaultdict(list)
    for b in finished:
        on[b.date].append(b)
    for day in dates:
        for session in SessionsOfDay.on(clinic, day).all:
            if (most := session.row.max_bookings) is not None:
                places += most
                begun += sum(
                    session.contains(b.start)
                    and session.row.admits(b.appointment_type_id)
                    and session.row.provider_id in (None, b.provider_id)
                    and session.row.room_id in (None, b.room_id)
                    for b in on[day]
                )
    return _ratio(begun, places)


def equipment(
    clinic: Clinic, dates: Sequence[dt.date], finished: Iterable[Booking]
) -> EquipmentFigures:
    """Return how much of each equipment pool is out over consecutive dates."""
    first = dates[0]
    peak: dict[str, float | None] = {}
    used: dict[str, float | None] = {}
    if not clinic.equipment_pools:
        return {"pool_peak": peak, "pool_utilisation": used}
    open_minutes = sum(_minutes(_clinic_is_open(clinic, day)) for day in dates)
    appointments = [
        (kind, (b.date - first).days * DAY_MINUTES + b.start)
        for b in finished
        for kind in [clinic.kind_of(b)]
    ]
    for pool in clinic.equipment_pools:
        out = [0] * (len(dates) * DAY_MINUTES)
        for kind, start in appointments:
            for need in kind.required_pools:
                if need.pool_id == pool.id:
                    begin, end = pool.out(start, start + kind.duration_minutes)
                    for minute in range(max(0, begin), min(end, len(out))):
                        out[minute] += need.quantity
        peak[pool.id] = _ratio(max(out), pool.quantity)
        used[pool.id] = _ratio(sum(out), pool.quantity * open_minutes)
    return {"pool_peak": peak, "pool_utilisation": used}


def _clinic_is_open(clinic: Clinic, day: dt.date) -> list[Span]:
    """Return when some active provider is open on a date."""
    windows = Windows.on(clinic, day).provider
    return merge(span for p in clinic.providers if p.active for span in windows[p.id])


type _ByDay = dict[tuple[str, dt.date], list[Span]]


def _spans(clinic: Clinic, finished: Iterable[Booking]) -> tuple[_ByDay, _ByDay, _ByDay]:
    """Return, by owner and date: busy spans of providers, those of rooms, and appointments.

    They are merged and count in minutes of a date; what crosses midnight is split between two.
    """
    of_providers: _ByDay = defaultdict(list)
    of_rooms: _ByDay = defaultdict(list)
    appointments: _ByDay = defaultdict(list)
    for b in finished:
        kind = clinic.kind_of(b)
        if provider := clinic.provider_by_id.get(b.provider_id):
            for day, span in _split(b.date, provider_busy_span(provider, kind, b.start)):
                of_providers[provider.id, day].append(span)
            appointments[provider.id, b.date].append((b.start, b.start + kind.duration_minutes))
        for each in in_roles(kind, b):
            if member := clinic.provider_by_id.get(each.provider_id):
                for day, span in _split(b.date, busy_in_role(member, each.span)):
                    of_providers[member.id, day].append(span)
        if room := clinic.room_by_id.get(b.room_id):
            for day, span in _split(b.date, room_busy_span(room, kind, b.start)):
                of_rooms[room.id, day].append(span)
    first, second, third = (
        {key: merge(spans) for key, spans in found.items()}
        for found in (of_providers, of_rooms, appointments)
    )
    return first, second, third


def _split(date: dt.date, span: Span) -> Iterator[tuple[dt.date, Span]]:
    """Yield the parts of a span of a date that lie on it and on the dates beside it."""
    for ahead in (-1, 0, 1):
        start, end = (minute - ahead * DAY_MINUTES for minute in span)
        part = max(start, 0), min(end, DAY_MINUTES)
        if part[0] < part[1]:
            yield date + dt.timedelta(days=ahead), part


def _minutes(spans: Iterable[Span]) -> int:
    return sum(end - start for start, end in spans)


def _ratio(part: int, whole: int) -> float | None:
    return decimal(Fraction(part, whole)) if whole else None


def decimal(value: Fraction) -> float:
    """Return a value to four decimals, rounded half up."""
    return round_half_up(value) / POINTS


def compare(kpis: Mapping[str, Kpis]) -> list[KpiComparison]:
    """Set the key figures of scenarios, by name and the baseline first, beside one another.

    Nested figures are named with dots, as in ``placed_by_priority.9``. Figures come in the order
    of the baseline, those it lacks after them; one that a scenario lacks is null there.
    """
    flat = {name: dict(_flatten(own)) for name, own in kpis.items()}
    baseline, *others = flat
    names = dict.fromkeys(name for own in flat.values() for name in own)
    rows: list[KpiComparison] = []
    for name in names:
        values = {scenario: own.get(name) for scenario, own in flat.items()}
        base = values[baseline]
        delta = {
            scenario: None
            if base is None or values[scenario] is None
            else _difference(values[scenario], base)
            for scenario in others
        }
        rows.append({"kpi": name, "values": values, "delta": delta})
    return rows


def _difference(value: float | None, base: float | None) -> float:
    assert value is not None
    assert base is not None
    return round(value - base, 4)


def _flatten(kpis: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    for name, value in kpis.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
