"""A clinic as a whole: its rows by their ids, and what follows from several of them together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from solver.clinic.entities import (
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    Minutes,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
    _require,
)
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.grammar.sentences import InvalidClinicError
from solver.clinic.places import Location, Places, Travel, check_places
from solver.clinic.sessions.session import Session
from solver.clinic.teams.roles import fault_of_minutes, roles_within

OVER_CAPACITY = frozenset({"PROVIDER_BUSY", "PROVIDER_DAILY_CAP"})
"""Whoever overrides one of these books over the provider's capacity, by no overbooking rule."""


def uses_allowance(booking: Booking) -> bool:
    """Whether a booking is overbooked by an overbooking rule, and counts towards `max_per_day`."""
    return booking.is_overbooked and booking.overrides.isdisjoint(OVER_CAPACITY)


def _own_minutes(kind: AppointmentType, own: ProviderType | Booking) -> Minutes:
    """Return the duration and buffers of `own`, and where it has none those of the type."""
    duration, before, after = own.duration_minutes, own.buffer_before, own.buffer_after
    return Minutes(
        kind.duration_minutes if duration is None else duration,
        kind.buffer_before if before is None else before,
        kind.buffer_after if after is None else after,
    )


def _require_known(field: str, noun: str, key: str | None, by_id: Mapping[str, object]) -> None:
    """Require that a row of `field` refers to nothing, or to a row that is there."""
    _require(key is None or key in by_id, field, f"no {noun} {key}")


@dataclass(frozen=True)
class Clinic:
    """A clinic, or as much of it as a question needs.

    References between its rows have been followed, save that a booking may name a provider or a
    room that was left out.

    Raises
    ------
    InvalidClinicError
        When two rows share an id, or a row refers to one that is not there.
    """

    settings: ClinicSettings
    providers: tuple[Provider, ...] = ()
    rooms: tuple[Room, ...] = ()
    appointment_types: tuple[AppointmentType, ...] = ()
    availability: tuple[Availability, ...] = ()
    overbooking_rules: tuple[OverbookingRule, ...] = ()
    bookings: tuple[Booking, ...] = field(default=(), repr=False)
    provider_types: tuple[ProviderType, ...] = ()
    sessions: tuple[Session, ...] = ()
    equipment_pools: tuple[EquipmentPool, ...] = ()
    locations: tuple[Location, ...] = ()
    travel: tuple[Travel, ...] = ()
    elsewhere: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Rooms that were left out, as (id, location id), whose bookings were not."""

    def __post_init__(self) -> None:
        providers, rooms, types = self.provider_by_id, self.room_by_id, self.type_by_id
        for name, rows, by_id in (
            ("providers", self.providers, providers),
            ("rooms", self.rooms, rooms),
            ("appointment_types", self.appointment_types, types),
            ("equipment_pools", self.equipment_pools, self.pool_by_id),
        ):
            _require(len(rows) == len(by_id), name, "two rows share an id")
        for row in self.availability:
            _require_known("availability", "provider", row.provider_id, providers)
            _require_known("availability", "room", row.room_id, rooms)
            _require_known("availability", "location", row.location_id, self.location_by_id)
        for room in self.rooms:
            _require_known("rooms", "location", room.location_id, self.location_by_id)
        for pool in self.equipment_pools:
            _require_known("equipment_pools", "location", pool.location_id, self.location_by_id)
        check_places(self.locations, self.travel, self.location_by_id)
        for own in self.provider_types:
            _require_known("provider_types", "provider", own.provider_id, providers)
            _require_known("provider_types", "appointment type", own.appointment_type_id, types)
            minutes = own.duration_minutes or types[own.appointment_type_id].duration_minutes
            for role in types[own.appointment_type_id].roles:
                fault = fault_of_minutes(role, minutes)
                _require(fault is None, "provider_types", f"role {role.key}: {fault}")
        _require(
            len(self.provider_types) == len(self._provider_type_by_pair),
            "provider_types",
            "two rows are of one provider and type",
        )
        for rule in self.overbooking_rules:
            _require_known("overbooking_rules", "provider", rule.provider_id, providers)
            _require_known("overbooking_rules", "appointment type", rule.appointment_type_id, types)
        for session in self.sessions:
            _require_known("sessions", "provider", session.provider_id, providers)
            _require_known("sessions", "room", session.room_id, rooms)
            for type_id in sorted(session.appointment_type_ids or ()):
                _require_known("sessions", "appointment type", type_id, types)
        _require(
            len(self.sessions) == len({session.id for session in self.sessions}),
            "sessions",
            "two rows share an id",
        )
        for kind in self.appointment_types:
            for pool_id, _ in kind.required_pools:
                _require_known("appointment_types", "equipment pool", pool_id, self.pool_by_id)
        self._check_bookings()

    def _check_bookings(self) -> None:
        types = self.type_by_id
        for booking in self.bookings:
            if booking.appointment_type_id not in types:
                raise InvalidClinicError(
                    "bookings",
                    f"booking {booking.id}: no appointment type {booking.appointment_type_id}",
                )

    @cached_property
    def provider_by_id(self) -> Mapping[str, Provider]:
        """Providers by id."""
        return {row.id: row for row in self.providers}

    @cached_property
    def room_by_id(self) -> Mapping[str, Room]:
        """Rooms by id."""
        return {row.id: row for row in self.rooms}

    @cached_property
    def type_by_id(self) -> Mapping[str, AppointmentType]:
        """Appointment types by id."""
        return {row.id: row for row in self.appointment_types}

    @cached_property
    def pool_by_id(self) -> Mapping[str, EquipmentPool]:
        """Equipment pools by id."""
        return {row.id: row for row in self.equipment_pools}

    @cached_property
    def quantities(self) -> Mapping[str, Mapping[str, int]]:
        """By equipment pool that some type takes from: how many pieces each such type takes."""
        found: dict[str, dict[str, int]] = {}
        for kind in self.appointment_types:
            for pool_id, quantity in kind.required_pools:
                found.setdefault(pool_id, {})[kind.id] = quantity
        return found

    def pools_of(self, kind: AppointmentType) -> list[EquipmentPool]:
        """Return the equipment pools that a type takes from."""
        return [self.pool_by_id[need.pool_id] for need in kind.required_pools]

    @cached_property
    def location_by_id(self) -> Mapping[str, Location]:
        """Locations by id."""
        return {row.id: row for row in self.locations}

    @cached_property
    def places(self) -> Places:
        """Where the rooms are, and the ways between these places."""
        return Places(self.locations, self.travel, self.location_of_room)

    @cached_property
    def location_of_room(self) -> Mapping[str, str | None]:
        """The id of each room's location, those that were left out among them."""
        return {**dict(self.elsewhere), **{room.id: room.location_id for room in self.rooms}}

    def located_but(
        self, room_ids: Collection[str | None] | Collection[str]
    ) -> tuple[tuple[str, str], ...]:
        """Return all rooms with a location but some, as (id, location id)."""
        at = self.location_of_room.items()
        return tuple((id_, key) for id_, key in at if key is not None and id_ not in room_ids)

    def is_in_use(self, room: Room) -> bool:
        """Whether a room is active, and the location that it is in."""
        location = None if room.location_id is None else self.location_by_id[room.location_id]
        return room.active and (location is None or location.active)

    @cached_property
    def rooms_in_use(self) -> tuple[Room, ...]:
        """The rooms that are."""
        return tuple(room for room in self.rooms if self.is_in_use(room))

    @cached_property
    def type_at(self) -> Mapping[str, int]:
        """The position of each appointment type, by its id."""
        return {row.id: i for i, row in enumerate(self.appointment_types)}

    @cached_property
    def has_roles(self) -> bool:
        """Whether a type has roles, so that bookings may have teams."""
        return any(kind.roles for kind in self.appointment_types)

    @cached_property
    def _provider_type_by_pair(self) -> Mapping[tuple[str, str], ProviderType]:
        return {(row.provider_id, row.appointment_type_id): row for row in self.provider_types}

    def provider_type(self, provider_id: str, type_id: str) -> ProviderType | None:
        """Return a provider's own row for a type, if there is one."""
        return self._provider_type_by_pair.get((provider_id, type_id))

    def offers(self, provider: Provider, kind: AppointmentType) -> bool:
        """Whether a provider has the skills for a type, and no row says that it is not offered."""
        own = self.provider_type(provider.id, kind.id) if self.provider_types else None
        return kind.required_skills <= provider.skills and (own is None or own.offered)

    def kind_at(self, type_id: str, provider_id: str) -> AppointmentType:
        """Return a type as one provider does it: with the provider's duration and buffers."""
        kind = self.type_by_id[type_id]
        own = self.provider_type(provider_id, type_id) if self.provider_types else None
        return kind if own is None else self.with_minutes(kind, _own_minutes(kind, own))

    def minutes_of(self, booking: Booking) -> Minutes:
        """Return what a booking takes: what it has kept, else what it would take now."""
        duration = booking.duration_minutes
        before, after = booking.buffer_before, booking.buffer_after
        if duration is None or before is None or after is None:
            kind = self.kind_at(booking.appointment_type_id, booking.provider_id)
            return _own_minutes(kind, booking)
        return Minutes(duration, before, after)

    def keeping(self, booking: Booking) -> Booking:
        """Return a booking that keeps what it takes now, whatever becomes of its type."""
        duration, before, after = self.minutes_of(booking)
        return replace(booking, duration_minutes=duration, buffer_before=before, buffer_after=after)

    def kind_of(self, booking: Booking) -> AppointmentType:
        """Return a booking's type with the duration and buffers that the booking takes."""
        kind = self.type_by_id[booking.appointment_type_id]
        return self.with_minutes(kind, self.minutes_of(booking))

    def start_every(self, kind: AppointmentType) -> int:
        """Return how many minutes apart the starts of a type are that its rhythm has."""
        return self.settings.grid_minutes if kind.start_every is None else kind.start_every

    def with_minutes(self, kind: AppointmentType, minutes: Minutes) -> AppointmentType:
        """Return a type with another duration and other buffers; the same one if they are equal."""
        duration, before, after = minutes
        if minutes == (kind.duration_minutes, kind.buffer_before, kind.buffer_after):
            return kind
        known: AppointmentType | None = self.remembered.get((kind.id, minutes))
        if known is None:
            known = self.remembered[kind.id, minutes] = replace(
                kind,
                duration_minutes=duration,
                buffer_before=before,
                buffer_after=after,
                roles=roles_within(kind.roles, duration),
            )
        return known

    @cached_property
    def remembered(self) -> dict[object, Any]:
        """What has been worked out from the rows, bookings aside; shared by :meth:`with_bookings`.

        For those who work it out: a key of their own, and a value that nobody changes.
        """
        return {}

    @cached_property
    def remembered_of_book(self) -> dict[object, Any]:
        """What has been worked out from the rows and the bookings, likewise; never shared."""
        return {}

    def apart(self) -> Clinic:
        """Return the same clinic, without what is remembered of the book.

        What is remembered refers to this one, so that no clinic is kept by itself: such circles go
        only when the garbage collector makes a full round.
        """
        assert self.remembered is not None  # so that both have the same
        other = copy(self)
        vars(other).pop("remembered_of_book", None)
        return other

    def with_bookings(self, bookings: Iterable[Booking]) -> Clinic:
        """Return the same clinic with another book; what is known of its rows is kept."""
        other = self.apart()
        object.__setattr__(other, "bookings", tuple(bookings))
        other._check_bookings()  # noqa: SLF001 - one of us
        return other
