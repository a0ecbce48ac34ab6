"""Whether a place can be taken, by the function of the slot query: one place, or many in turn."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from data.audit import ANONYMOUS
from data.errors import NotFoundError, PatientConflictError, RequestError, SlotUnavailableError
from data.snapshot import Part, load_clinic
from data.transaction import DayKey
from solver.clinic import (
    DAY_MINUTES,
    AppointmentType,
    Booking,
    Clinic,
    Provider,
    Room,
    SlotRequest,
    Span,
)
from solver.masks import ROOM_BUSY
from solver.objective import Weights
from solver.slots import Slot, judge
from solver.timeline import DateOutOfRangeError, check_date, provider_busy_span, room_busy_span

WOULD_BE_OVERBOOKED = "WOULD_BE_OVERBOOKED"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a decision depends on beside the book: the moment, the settings, who asks."""

    now: dt.datetime
    weights: Weights
    horizon_days: int
    actor: str = ANONYMOUS


@dataclass(frozen=True, slots=True)
class Place:
    """Where an appointment is wanted; without `room_id` in the best free room."""

    appointment_type_id: str
    provider_id: str
    date: dt.date
    start: int
    room_id: str | None = None
    accept_overbooked: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """A place asked for, and whose it would be.

    The bookings `aside` do not count; the room `room_before` is taken if it is free.
    """

    place: Place
    policy: Policy
    patient_ref: str | None
    allow_patient_overlap: bool
    aside: frozenset[str] = frozenset()
    room_before: str | None = None

    async def look(
        self,
        connection: AsyncConnection,
        *,
        room: Room | None = None,
        refused: frozenset[str] = frozenset(),
        beside: tuple[Booking, ...] = (),
        certify: bool = False,
    ) -> Seen:
        """Read the rows and decide as the book stands, in `room` if given.

        Rooms `refused` are left out; bookings `beside` count as though they were there. Without
        `certify` only the masks decide: what they refuse is refused for good.
        """
        clinic = await load_around(connection, [self], room)
        if self.aside or beside:
            standing = (b for b in clinic.bookings if b.id not in self.aside)
            clinic = clinic.with_bookings([*standing, *beside])
        room_id = self.place.room_id if room is None else room.id
        return self.decide(clinic, room_id=room_id, refused=refused, certify=certify)

    def decide(
        self,
        clinic: Clinic,
        *,
        room_id: str | None,
        refused: frozenset[str] = frozenset(),
        certify: bool = True,
    ) -> Seen:
        """Decide in `clinic`, which holds the rows that matter and only bookings that count."""
        place = self.place
        kind, provider, _ = self.rows(clinic, room_id)
        check_date(clinic.settings, place.date, self.policy.now, self.policy.horizon_days)
        slot = self._slot(clinic, room_id, refused, certify=certify)
        seen = Seen(clinic, kind, provider, slot, self.patient_ref)
        if not self.allow_patient_overlap:
            refuse_patient_overlap(clinic, self.patient_ref, slot.date, (slot.start, slot.end))
        return seen

    def rows(
        self, clinic: Clinic, room_id: str | None
    ) -> tuple[AppointmentType, Provider, Room | None]:
        """Return the rows that the wish names.

        Raises
        ------
        NotFoundError
            When one is not there.
        """
        place = self.place
        kind = clinic.type_by_id.get(place.appointment_type_id)
        provider = clinic.provider_by_id.get(place.provider_id)
        room = None if room_id is None else clinic.room_by_id.get(room_id)
        if kind is None:
            raise NotFoundError(f"There is no appointment type {place.appointment_type_id}.")
        if provider is None:
            raise NotFoundError(f"There is no provider {place.provider_id}.")
        if room is None and room_id is not None:
            raise NotFoundError(f"There is no room {room_id}.")
        return kind, provider, room

    def _slot(
        self, clinic: Clinic, room_id: str | None, refused: frozenset[str], *, certify: bool
    ) -> Slot:
        """Return the best slot at the place asked for, or say why there is none."""
        place = self.place
        request = SlotRequest(
            place.appointment_type_id,
            place.date,
            self.policy.now,
            provider_ids=frozenset({place.provider_id}),
            room_id=room_id,
            start=place.start,
        )
        limit = 1 + len(refused) if self.room_before is None else max(1, len(clinic.rooms))
        weights = self.policy.weights
        verdict = judge(clinic, request, limit=limit, weights=weights, certify=certify)
        free = [slot for slot in verdict.slots if slot.room.id not in refused]
        if not free:
            reasons = list(verdict.reasons) or [ROOM_BUSY]
            raise SlotUnavailableError("This place cannot be booked.", reasons=reasons)
        slot = next((slot for slot in free if slot.room.id == self.room_before), free[0])
        if slot.is_overbooked and not place.accept_overbooked:
            raise SlotUnavailableError(
                "This place could only be overbooked; send accept_overbooked to take it.",
                reasons=[WOULD_BE_OVERBOOKED],
            )
        return slot


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at a wish found: the clinic around it, and the slot to take."""

    clinic: Clinic
    kind: AppointmentType
    provider: Provider
    slot: Slot
    patient_ref: str | None

    def keys(self) -> set[DayKey]:
        """Return the days to lock: those whose bookings the rules count or compare."""
        slot = self.slot
        return _keys(self.kind, self.provider, slot.room, (slot.date, slot.start), self.patient_ref)

    def as_booking(self, key: str) -> Booking:
        """Return the booking that taking the slot makes."""
        slot = self.slot
        return Booking(
            key,
            slot.provider.id,
            slot.room.id,
            self.kind.id,
            slot.date,
            slot.start,
            self.patient_ref,
            is_overbooked=slot.is_overbooked,
        )


def _keys(
    kind: AppointmentType,
    provider: Provider,
    room: Room,
    time: tuple[dt.date, int],
    patient_ref: str | None,
) -> set[DayKey]:
    day, start = time
    keys: set[DayKey] = set()
    if kind.daily_cap is not None:
        keys.add(("appointment_type", kind.id, day))
    if patient_ref is not None:
        keys.add(("patient", patient_ref, day))
    span = provider_busy_span(provider, kind, start)
    keys |= {("provider", provider.id, each) for each in _days(day, span)}
    span = room_busy_span(room, kind, start)
    return keys | {("room", room.id, each) for each in _days(day, span)}


def _days(day: dt.date, span: Span) -> Iterable[dt.date]:
    """Yield the dates that a busy span touches; spans that meet touch one in common."""
    for ahead in range(span[0] // DAY_MINUTES, (span[1] - 1) // DAY_MINUTES + 1):
        yield day + dt.timedelta(days=ahead)


def refuse_patient_overlap(
    clinic: Clinic,
    patient_ref: str | None,
    day: dt.date,
    span: Span,
    aside: str | None = None,
) -> None:
    """Refuse a time at which the patient has another live booking, as far as `clinic` tells.

    Raises
    ------
    PatientConflictError
        Naming the other booking.
    """
    if patient_ref is None:
        return
    for other in clinic.bookings:
        if other.patient_ref != patient_ref or other.date != day or not other.is_live:
            continue
        end = other.start + clinic.type_by_id[other.appointment_type_id].duration_minutes
        if other.id != aside and other.start < span[1] and span[0] < end:
            raise PatientConflictError(
                "The patient has another booking at that time; "
                "send allow_patient_overlap to book all the same.",
                booking_id=other.id,
            )


async def load_around(
    connection: AsyncConnection, wishes: Sequence[Wish], room: Room | None = None
) -> Clinic:
    """Read what decides on wishes of one date, in `room` or in the rooms that they name."""
    rooms = {wish.place.room_id if room is None else room.id for wish in wishes}
    part = Part(
        provider_ids={wish.place.provider_id for wish in wishes},
        room_ids=None if None in rooms else {key for key in rooms if key is not None},
        capped_type_ids={wish.place.appointment_type_id for wish in wishes},
        patient_refs={wish.patient_ref for wish in wishes if wish.patient_ref is not None},
    )
    (day,) = {wish.place.date for wish in wishes}
    return await load_clinic(connection, day, day, part)


type Outcome = Seen | RequestError | DateOutOfRangeError
"""A place won, or why it was not."""


def decide_in_turn(
    clinic: Clinic, wishes: Iterable[Wish], *, certify: bool = True
) -> Iterator[Outcome]:
    """Decide on each wish beside all that were won before it."""
    wishes = list(wishes)
    aside = {key for wish in wishes for key in wish.aside}
    ledger = Ledger(clinic, (b for b in clinic.bookings if b.id not in aside))
    for number, wish in enumerate(wishes):
        try:
            won = wish.decide(ledger.around(wish), room_id=wish.place.room_id, certify=certify)
        except (RequestError, DateOutOfRangeError) as error:
            yield error
            continue
        yield won
        ledger.add(won.as_booking(f"won {number}"))


def keys_of(outcomes: Iterable[Outcome]) -> set[DayKey]:
    """Return the days to lock for all that were won."""
    return {key for won in outcomes if isinstance(won, Seen) for key in won.keys()}  # noqa: SIM118


def foresee_keys(clinic: Clinic, wishes: Sequence[Wish]) -> set[DayKey]:
    """Return the days to lock before deciding on wishes, as far as can be told beforehand."""
    if any(wish.place.room_id is None for wish in wishes):
        return keys_of(decide_in_turn(clinic, wishes, certify=False))
    keys: set[DayKey] = set()
    for wish in wishes:
        with suppress(NotFoundError):
            kind, provider, room = wish.rows(clinic, wish.place.room_id)
            assert room is not None
            place = wish.place
            keys |= _keys(kind, provider, room, (place.date, place.start), wish.patient_ref)
    return keys


class Ledger:
    """A clinic whose bookings are found by what they take, so that one place needs few rows."""

    def __init__(self, clinic: Clinic, bookings: Iterable[Booking]) -> None:
        self._clinic = clinic
        self._by_owner: dict[tuple[str, dt.date], list[Booking]] = defaultdict(list)
        for booking in bookings:
            self.add(booking)

    def add(self, booking: Booking) -> None:
        """Put one more booking in."""
        for owner in (
            booking.provider_id,
            booking.room_id,
            booking.appointment_type_id,
            f"patient {booking.patient_ref}",
        ):
            self._by_owner[owner, booking.date].append(booking)

    def around(self, wish: Wish) -> Clinic:
        """Return what decides on a wish, and nothing else."""
        clinic, place = self._clinic, wish.place
        dates = [place.date + dt.timedelta(days=days) for days in (-1, 0, 1)]
        rooms = [r for r in clinic.rooms if place.room_id in (None, r.id)]
        owners = (
            place.provider_id,
            *(room.id for room in rooms),
            place.appointment_type_id,
            f"patient {wish.patient_ref}",
        )
        found = {b.id: b for owner in owners for date in dates for b in self._by_owner[owner, date]}
        return Clinic(
            clinic.settings,
            tuple(p for p in clinic.providers if p.id == place.provider_id),
            tuple(rooms),
            clinic.appointment_types,
            tuple(
                row
                for row in clinic.availability
                if row.provider_id in (None, place.provider_id)
                and (row.room_id is None or place.room_id in (None, row.room_id))
            ),
            tuple(
                rule
                for rule in clinic.overbooking_rules
                if rule.provider_id in (None, place.provider_id)
            ),
            tuple(found.values()),
        )
