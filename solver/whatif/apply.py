"""Scenarios applied: the planning problem that each poses.

A scenario is applied change by change, in order, to the clinic's rows and to the run's requests;
the result is one :class:`solver.planning.problem.Problem`. The original clinic is not changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any

from solver.clinic.clinic import Clinic
from solver.clinic.clock import HORIZON_DAYS, DateOutOfRangeError, check_date, instant
from solver.clinic.entities import AppointmentType, Availability, Provider, ProviderType, Room
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.grammar.sentences import InvalidClinicError, RowFault, require_none
from solver.clinic.places import Location, Travel
from solver.clinic.sessions.session import BEFORE_ALL, Session, SessionsRead
from solver.planning.problem import MAX_REQUESTS, Problem
from solver.rules.checked_book import BookChecker
from solver.scoring.parts import DEFAULT_WEIGHTS, Weights
from solver.whatif.changes import (
    AddLocation,
    AddOverbookingRule,
    AddPool,
    AddProvider,
    AddProviderType,
    AddRoom,
    AddSession,
    Change,
    CloseRoom,
    OpenHours,
    ProviderOut,
    Remove,
    Row,
    ScaleDemand,
    SetField,
    displace,
    forget_type,
    require_opening,
    require_own_pair,
    require_own_way,
)
from solver.whatif.run import Demand, Run, Scenario


class RunDateError(InvalidClinicError):
    """A run has a date that cannot be booked: in the past, or beyond the horizon."""


def faults(
    clinic: Clinic, run: Run, now: dt.datetime, horizon_days: int = HORIZON_DAYS
) -> list[InvalidClinicError]:
    """Return everything in `run` that does not fit `clinic`, each with its path in the run.

    `horizon_days` is how far ahead of today the last date of a run may lie.
    """
    found: list[InvalidClinicError] = []
    for name, date in (("start_date", run.dates[0]), ("days", run.dates[-1])):
        try:
            check_date(clinic.settings, date, now, horizon_days)
        except DateOutOfRangeError as error:
            found.append(RunDateError(name, str(error)))
            break
    found += _request_faults(clinic, run)
    for position, scenario in enumerate(run.scenarios):
        try:
            _Changed.by(clinic, run, scenario)
        except InvalidClinicError as error:
            for field, message in error.faults:
                found.append(InvalidClinicError(f"scenarios[{position}].{field}", message))
    return found


def _request_faults(clinic: Clinic, run: Run) -> Iterator[InvalidClinicError]:
    for position, demand in enumerate(run.demands):
        request, path = demand.request, f"requests[{position}]"
        if request.appointment_type_id not in clinic.type_by_id:
            yield InvalidClinicError(
                f"{path}.appointment_type_id",
                f"there is no {request.appointment_type_id} in appointment_types",
            )
        if request.provider_id is not None and request.provider_id not in clinic.provider_by_id:
            yield InvalidClinicError(
                f"{path}.provider_id", f"there is no {request.provider_id} in providers"
            )


def apply(
    clinic: Clinic,
    run: Run,
    scenario: Scenario,
    now: dt.datetime,
    weights: Weights = DEFAULT_WEIGHTS,
) -> Problem:
    """Return the problem that a scenario poses.

    Bookings may move, in a run that lets them, when they are booked, lie in the horizon and have
    not begun. Of these, the displaced ones break a rule once the changes are made. Those that did
    so before are left alone if the run says so.

    Raises
    ------
    InvalidClinicError
        When a change does not apply; `field` is its path in the scenario.
    """
    changed = _Changed.by(clinic, run, scenario)
    after = changed.clinic()
    around = _around(after, run.dates)
    movable = frozenset(_movable(after, run, now)) if run.existing == "movable" else frozenset()
    standing = now, run.sessions
    displaced, left = outside_the_rules(around, movable, *standing), frozenset[str]()
    if displaced and run.stranded == "leave":
        left = displaced & outside_the_rules(_around(clinic, run.dates), displaced, *standing)
    return Problem(
        around,
        run.start_date,
        run.days,
        tuple(request for demand in changed.demands for request in demand.expand()),
        now,
        movable=movable,
        displaced=displaced - left,
        left=left,
        allow_overbooking=run.allow_overbooking,
        weights=weights,
        sessions=run.sessions,
    )


def _around(clinic: Clinic, dates: Sequence[dt.date]) -> Clinic:
    """Return the clinic with the live bookings of some dates, and of the two beside them."""
    first, last = dates[0] - dt.timedelta(days=1), dates[-1] + dt.timedelta(days=1)
    return clinic.with_bookings(b for b in clinic.bookings if b.is_live and first <= b.date <= last)


def _movable(clinic: Clinic, run: Run, now: dt.datetime) -> Iterator[str]:
    dates = frozenset(run.dates)
    for b in clinic.bookings:
        if (
            b.status == "booked"
            and b.date in dates
            and instant(clinic.settings.zone, b.date, b.start) >= now
        ):
            yield b.id


def outside_the_rules(
    clinic: Clinic,
    ids: Collection[str],
    now: dt.datetime = BEFORE_ALL,
    sessions: SessionsRead = "now",
) -> frozenset[str]:
    """Return those of some bookings that break a rule (``docs/rules.md``) as they are booked."""
    if not ids:
        return frozenset()
    told = BookChecker(clinic, now, sessions).violations()
    return frozenset(v.booking.id for v in told if v.booking.id in ids)


@dataclass
class _Changed:
    """The rows of a clinic and the demand of a run while changes are made to them."""

    settings: Any
    rows: dict[str, dict[str, Any]]
    availability: list[Availability]
    demands: list[Demand]
    dates: tuple[dt.date, ...]
    run_types: frozenset[str] = field(default_factory=frozenset)
    run_providers: frozenset[str | None] = field(default_factory=frozenset)

    @classmethod
    def by(cls, clinic: Clinic, run: Run, scenario: Scenario) -> _Changed:
        """Apply a scenario's changes, naming all that do not apply."""
        changed = cls(
            settings=clinic.settings,
            rows={
                name: {row.id: row for row in getattr(clinic, name)}
                for name in (*_REFERENCES.values(), "equipment_pools", *_REFERRING)
            }
            | {"bookings": {row.id: row for row in clinic.bookings}},
            availability=list(clinic.availability),
            demands=list(run.demands),
            dates=run.dates,
            run_types=frozenset(d.request.appointment_type_id for d in run.demands),
            run_providers=frozenset(d.request.provider_id for d in run.demands),
        )
        faults: list[RowFault] = []
        for position, change in enumerate(scenario.changes):
            try:
                changed.apply(change)
            except InvalidClinicError as error:
                faults += [RowFault(f"changes[{position}].{at}", told) for at, told in error.faults]
        count = sum(demand.count for demand in changed.demands)
        if count > MAX_REQUESTS and scenario.changes and not faults:
            told = f"make {count} requests; at most {MAX_REQUESTS} are taken"
            faults.append(RowFault("changes", told))
        require_none(faults)
        return changed

    def clinic(self) -> Clinic:
        """Return the clinic as changed."""
        return Clinic(
            self.settings,
            availability=tuple(self.availability),
            **{name: tuple(rows.values()) for name, rows in self.rows.items()},
        )

    def apply(self, change: Change) -> None:
        """Make one change."""
        match change:
            case ProviderOut():
                self._find("providers", change.provider_id, "provider_id")
                self._close(change)
            case CloseRoom():
                self._find("rooms", change.room_id, "room_id")
                self._close(change)
            case OpenHours():
                self._open_hours(change)
            case AddProvider():
                self._add("providers", change.provider)
            case AddRoom():
                self._check_references(change.room)
                self._add("rooms", change.room)
            case AddOverbookingRule():
                self._check_references(change.rule)
                self._add("overbooking_rules", change.rule)
            case AddProviderType():
                self._check_references(change.row)
                require_own_pair(self.rows["provider_types"].values(), change.row)
                self._add("provider_types", change.row)
            case AddSession():
                self._check_references(change.session)
                require_opening(change.session, self.settings.zone, self.dates[0])
                self._add("sessions", change.session)
            case AddPool(pool=row) | AddLocation(location=row):
                self._check_references(row)
                self._add("equipment_pools" if isinstance(row, EquipmentPool) else "locations", row)
            case SetField():
                self._set(change)
            case Remove():
                self._remove(change)
            case ScaleDemand():
                self._scale(change)

    def _find(self, entity: str, key: str | None, path: str) -> Any:
        if key not in self.rows[entity]:
            raise InvalidClinicError(path, f"there is no {key} in {entity}")
        return self.rows[entity][key]

    def _require_date(self, date: dt.date) -> None:
        if date not in self.dates:
            raise InvalidClinicError(
                "date", f"{date} is not in the run, {self.dates[0]} to {self.dates[-1]}"
            )

    def _close(self, change: ProviderOut | CloseRoom) -> None:
        self._require_date(change.date)
        displace(self.rows["bookings"], self.rows["appointment_types"], change)
        self.availability.append(
            Availability(
                change.start,
                change.end,
                provider_id=change.provider_id if isinstance(change, ProviderOut) else None,
                room_id=change.room_id if isinstance(change, CloseRoom) else None,
                date=change.date,
                kind="closed",
            )
        )

    def _open_hours(self, change: OpenHours) -> None:
        if change.provider_id is not None:
            self._find("providers", change.provider_id, "provider_id")
        else:
            self._find("rooms", change.room_id, "room_id")
        added = Availability(
            change.start,
            change.end,
            provider_id=change.provider_id,
            room_id=change.room_id,
            date=change.date,
            weekday=change.weekday,
        )
        opening = [
            row
            for row in self.availability
            if row.kind == "open"
            and (row.provider_id, row.room_id) == (change.provider_id, change.room_id)
        ]
        if change.room_id is not None and not opening:
            return  # open all day
        if change.date is not None:
            self._require_date(change.date)
            if not any(row.date == change.date for row in opening):
                self.availability += [
                    Availability(
                        row.start,
                        row.end,
                        provider_id=row.provider_id,
                        room_id=row.room_id,
                        date=change.date,
                        location_id=row.location_id,
                    )
                    for row in opening
                    if row.applies_on(change.date, change.date.isoweekday())
                ]
        self.availability.append(added)

    def _add(self, entity: str, row: Row) -> None:
        if row.id in self.rows[entity]:
            raise InvalidClinicError("id", f"{row.id} stands in {entity} already")
        self.rows[entity][row.id] = row

    def _set(self, change: SetField) -> None:
        if change.entity == "clinic":
            row = self.settings
        else:
            row = self._find(change.entity, change.id, "id")
        if change.field == "id" or change.field not in {field.name for field in fields(row)}:
            raise InvalidClinicError("field", f"there is no '{change.field}' to set")
        try:
            changed = replace(row, **{change.field: change.value})
            self._check_references(changed)
            if isinstance(changed, Travel):
                require_own_way(self.rows["travel"].values(), changed)
            if isinstance(changed, ProviderType):
                require_own_pair(self.rows["provider_types"].values(), changed)
            if isinstance(changed, Session):
                require_opening(changed, self.settings.zone, self.dates[0])
        except InvalidClinicError as error:
            raise InvalidClinicError("value", error.message) from None
        if change.entity == "clinic":
            self.settings = changed
        else:
            self.rows[change.entity][row.id] = changed

    def _check_references(self, row: Any) -> None:
        named = [(name, entity, getattr(row, name, None)) for name, entity in _REFERENCES.items()]
        needs = getattr(row, "required_pools", ())
        named += [("required_pools", "equipment_pools", need.pool_id) for need in needs]
        if isinstance(row, Session):
            kinds = sorted(row.appointment_type_ids or ())
            named += [("appointment_type_ids", "appointment_types", key) for key in kinds]
        require_none(
            RowFault(name, f"there is no {key} in {entity}")
            for name, entity, key in named
            if key is not None and key not in self.rows[entity]
        )

    def _remove(self, change: Remove) -> None:
        if change.entity == "clinic":
            raise InvalidClinicError("entity", "the clinic itself cannot be removed")
        row = self._find(change.entity, change.id, "id")
        if self._is_referred_to(row):
            self.rows[change.entity][row.id] = replace(row, active=False)
        else:
            del self.rows[change.entity][row.id]
        self.availability = [
            row for row in self.availability if change.id not in (row.provider_id, row.room_id)
        ]
        is_gone = change.id not in self.rows[change.entity]
        for name in _REFERRING:
            if name == "travel" and not is_gone:
                continue  # who is there all the same has to get there
            self.rows[name] = {
                key: other
                for key, other in self.rows[name].items()
                if change.id not in (getattr(other, field, None) for field in _REFERENCES)
            }
        if is_gone:
            forget_type(self.rows["sessions"], change.id)

    def _is_referred_to(self, row: Row) -> bool:
        bookings = self.rows["bookings"].values()
        match row:
            case Provider():
                return row.id in self.run_providers or any(
                    row.id in (b.provider_id, *dict(b.team).values()) for b in bookings
                )
            case Room():
                return any(b.room_id == row.id for b in bookings)
            case Location():
                there = *self.rows["rooms"].values(), *self.rows["equipment_pools"].values()
                return any(one.location_id == row.id for one in (*there, *self.availability))
            case AppointmentType():
                return row.id in self.run_types or any(
                    b.appointment_type_id == row.id for b in bookings
                )
            case EquipmentPool():
                types = self.rows["appointment_types"].values()
                return any(row.id == need.pool_id for t in types for need in t.required_pools)
            case _:
                return False

    def _scale(self, change: ScaleDemand) -> None:
        if change.appointment_type_id is not None:
            self._find("appointment_types", change.appointment_type_id, "appointment_type_id")
        counted = given = 0
        for position, demand in enumerate(self.demands):
            if change.appointment_type_id not in (None, demand.request.appointment_type_id):
                continue
            counted += demand.count
            due = (change.factor * counted + Fraction(1, 2)).__floor__()
            self.demands[position] = replace(demand, count=due - given)
            given = due
        if given > MAX_REQUESTS:
            raise InvalidClinicError(
                "factor", f"makes {given} requests; at most {MAX_REQUESTS} are taken"
            )


_REFERRING = ("overbooking_rules", "provider_types", "sessions", "travel")
"""The rows that go with those that they name."""


_REFERENCES = {
    "provider_id": "providers",
    "room_id": "rooms",
    "appointment_type_id": "appointment_types",
    "location_id": "locations",
    "from_id": "locations",
    "to_id": "locations",
}
