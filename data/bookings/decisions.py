"""Whether a place can be taken, by the function of the slot query."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from data.audit import ANONYMOUS
from data.bookings.index import (
    able_in_roles,
    patient_owner,
    pool_keys,
    session_keys,
)
from data.clinic.in_sql import pooled_types as types
from data.clinic.snapshot import ClinicSelection, load_clinic
from data.database.days_to_lock import days_to_lock
from data.database.locks import DayKey
from data.errors import (
    InvalidFieldsError,
    NotFoundError,
    PatientConflictError,
    RequestError,
    SlotUnavailableError,
)
from data.files.faults import Fault
from solver.clinic.clinic import OVER_CAPACITY, Clinic
from solver.clinic.clock import DateOutOfRangeError, check_date
from solver.clinic.entities import (
    AppointmentType,
    Booking,
    Minutes,
    Provider,
    Room,
    Span,
)
from solver.clinic.patients import booking_of_patient, patient_key
from solver.clinic.request import SlotRequest
from solver.clinic.teams.roles import Member, Team
from solver.rules.codes import PATIENT_CONFLICT, ROOM_BUSY, in_order
from solver.scoring.parts import Weights
from solver.slots.judge import Verdict, judge
from solver.slots.query import Slot

WOULD_BE_OVERBOOKED = "WOULD_BE_OVERBOOKED"


UNDO_MINUTES = 30
"""How long a change of status can be taken back where no setting says otherwise."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a decision depends on but for the book: the moment, the settings, who asks."""

    now: dt.datetime
    weights: Weights
    horizon_days: int
    actor: str = ANONYMOUS
    undo_minutes: int = UNDO_MINUTES


@dataclass(frozen=True, slots=True)
class Place:
    """Where an appointment is wanted; without `room_id` in the best free room."""

    appointment_type_id: str
    provider_id: str
    date: dt.date
    start: int
    room_id: str | None = None
    accept_overbooked: bool = False
    team: Team = ()  # who is wanted in which role


@dataclass(frozen=True, slots=True)
class BookingRequest:
    """A place asked for, and whose it would be.

    Bookings whose ids are `ignored` do not count. The room `room_before` is preferred where it is
    free. A place that `is_given` was granted before: grid, notice and limits of dates do not apply.
    An appointment that was made before and stays as it is keeps its `minutes`.
    The rules whose codes are in `override` do not refuse it. Its `kept_team` stays if it can, as
    far as the place does not name others; where it `must_keep` it, it is refused otherwise.
    """

    place: Place
    policy: Policy
    patient_ref: str | None
    allow_patient_overlap: bool
    ignored: frozenset[str] = frozenset()
    room_before: str | None = None
    is_given: bool = False
    minutes: Minutes | None = None
    override: frozenset[str] = frozenset()
    kept_team: Team = ()
    must_keep: bool = False

    @property
    def people(self) -> set[str]:
        """Who is wanted in some role, or was in one."""
        return {member for _, member in (*self.place.team, *self.kept_team)}

    def people_in(self, clinic: Clinic) -> set[str]:
        """Return who may come to be in a role."""
        return self.people | able_in_roles(clinic, self.place.appointment_type_id)

    @property
    def patient_key(self) -> str | None:
        """What the patient is compared by."""
        return patient_key(self.patient_ref)

    def in_room(self, room_id: str | None) -> BookingRequest:
        """Return the same request for one room; with None, the request as it is."""
        return (
            self if room_id is None else replace(self, place=replace(self.place, room_id=room_id))
        )

    async def look(
        self,
        connection: AsyncConnection,
        *,
        room: Room | None = None,
        refused: frozenset[str] = frozenset(),
        beside: tuple[Booking, ...] = (),
        certify: bool = False,
    ) -> Decision:
        """Read the rows and decide as the book is now.

        Parameters
        ----------
        room
            The only room that is considered; all of them without it.
        refused
            Ids of rooms that are left out.
        beside
            Bookings that count as though they were in the book.
        certify
            Whether the CP-SAT model decides. Without it the masks do: what they refuse is refused,
            what they pass is to be looked at again.
        """
        clinic = await load_around(connection, [self], room)
        return await asyncio.to_thread(
            self.decide, clinic, refused=refused, beside=beside, certify=certify
        )

    def decide(
        self,
        clinic: Clinic,
        *,
        refused: frozenset[str] = frozenset(),
        beside: tuple[Booking, ...] = (),
        certify: bool = True,
    ) -> Decision:
        """Decide in `clinic`, which holds the rows that matter; see :meth:`look`."""
        if self.ignored or beside:
            standing = (b for b in clinic.bookings if b.id not in self.ignored)
            clinic = clinic.with_bookings([*standing, *beside])
        slot_request = self.slot_request(clinic)
        limit = max(1 + len(refused), self.most_rooms(clinic))
        weights = self.policy.weights
        verdict = judge(clinic, slot_request, limit=limit, weights=weights, certify=certify)
        return self.settle(clinic, verdict, refused)

    def slot_request(self, clinic: Clinic) -> SlotRequest:
        """Return the question that decides on the request.

        Raises
        ------
        NotFoundError, DateOutOfRangeError
            When there is no such row or date to ask about.
        """
        place, policy = self.place, self.policy
        kind, *_ = self.rows(clinic)
        if place.team:
            _check_team(clinic, kind, place)
        named = dict(place.team)
        if self.must_keep:
            keys = {role.key for role in kind.roles}
            named = {key: who for key, who in self.kept_team if key in keys} | named
        if not self.is_given:
            check_date(clinic.settings, place.date, policy.now, policy.horizon_days)
        return SlotRequest(
            place.appointment_type_id,
            place.date,
            policy.now,
            provider_ids=frozenset({place.provider_id}),
            room_id=place.room_id,
            start=place.start,
            is_given=self.is_given,
            minutes=self.minutes,
            override=self.override,
            team=tuple(Member(*each) for each in named.items()),
            kept_team=self.kept_team,
        )

    def most_rooms(self, clinic: Clinic) -> int:
        """Return how many of the free rooms must be known to choose one.

        All of them where one was taken before, or where the patient may have to be at a place.
        """
        may_differ = self.patient_ref is not None and clinic.places.are_several
        is_any = self.room_before is None and not may_differ
        return 1 if is_any else max(1, len(clinic.rooms))

    def rows(self, clinic: Clinic) -> tuple[AppointmentType, Provider, Room | None]:
        """Return the rows that the request names.

        Raises
        ------
        NotFoundError
            When one is not there; it names all that are not.
        """
        place = self.place
        kind = clinic.type_by_id.get(place.appointment_type_id)
        provider = clinic.provider_by_id.get(place.provider_id)
        room = None if place.room_id is None else clinic.room_by_id.get(place.room_id)
        is_no_room = room is None and place.room_id is not None
        if kind is None or provider is None or is_no_room:
            unknown = (
                (kind is None, f"There is no appointment type {place.appointment_type_id}."),
                (provider is None, f"There is no provider {place.provider_id}."),
                (is_no_room, f"There is no room {place.room_id}."),
            )
            raise NotFoundError(" ".join(told for is_unknown, told in unknown if is_unknown))
        kind = clinic.kind_at(kind.id, provider.id)
        if self.minutes is not None:
            kind = clinic.with_minutes(kind, self.minutes)
        return kind, provider, room

    def settle(
        self, clinic: Clinic, verdict: Verdict, refused: frozenset[str] = frozenset()
    ) -> Decision:
        """Return the best slot at the place asked for, or say why there is none.

        Raises
        ------
        SlotUnavailableError, PatientConflictError
            When there is none that can be taken.
        """
        place, (kind, *_) = self.place, self.rows(clinic)
        won = verdict.slots or verdict.overriding
        free = [slot for slot in won if slot.room.id not in refused]
        span = place.start, place.start + kind.duration_minutes

        def elsewhere(room_id: str | None) -> Booking | None:
            if self.allow_patient_overlap:
                return None
            return booking_of_patient(clinic, self.patient_key, place.date, span, room_id)

        if not free:
            taken = [ROOM_BUSY] if won else []
            raise _refusal([*verdict.reasons, *taken], elsewhere(place.room_id))
        clear = [slot for slot in free if elsewhere(slot.room.id) is None]
        if not clear:
            raise _refusal(free[0].overrides, elsewhere(free[0].room.id))
        fewest = [slot for slot in clear if len(slot.overrides) == len(clear[0].overrides)]
        slot = next((slot for slot in fewest if slot.room.id == self.room_before), fewest[0])
        is_accepted = place.accept_overbooked or not self.override.isdisjoint(OVER_CAPACITY)
        if slot.is_overbooked and not is_accepted:
            raise SlotUnavailableError(
                "This place could only be overbooked; send accept_overbooked to take it.",
                reasons=[WOULD_BE_OVERBOOKED],
            )
        return Decision(clinic, slot, self.patient_ref)

    def claims(self, clinic: Clinic) -> frozenset[str]:
        """Return the index keys whose bookings the request counts, or would be found under."""
        place = self.place
        rooms = [room.id for room in clinic.rooms] if place.room_id is None else [place.room_id]
        kind = clinic.type_by_id.get(place.appointment_type_id)
        is_capped = kind is not None and kind.daily_cap is not None
        return frozenset(
            [
                place.provider_id,
                *rooms,
                *([place.appointment_type_id] if is_capped else ()),
                *(() if self.patient_ref is None else [patient_owner(self.patient_key)]),
                *pool_keys(clinic, place.appointment_type_id),
                *session_keys(clinic, place.appointment_type_id, place.date, place.start),
                *self.people_in(clinic),
            ]
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """A slot that may be taken, and the clinic that it was judged in."""

    clinic: Clinic
    slot: Slot
    patient_ref: str | None

    def lock_keys(self) -> set[DayKey]:
        """Return the days to lock: those whose bookings the rules count or compare."""
        slot = self.slot
        patient = patient_key(self.patient_ref)
        time = slot.date, slot.start
        place = slot.kind, slot.provider, slot.room, time
        return days_to_lock(self.clinic, *place, patient, slot.team)

    def as_booking(self, key: str) -> Booking:
        """Return the booking that taking the slot makes."""
        slot = self.slot
        return Booking(
            key,
            slot.provider.id,
            slot.room.id,
            slot.kind.id,
            slot.date,
            slot.start,
            self.patient_ref,
            "booked",
            slot.is_overbooked,
            slot.kind.duration_minutes,
            slot.kind.buffer_before,
            slot.kind.buffer_after,
            frozenset(slot.overrides),
            slot.team,
        )


def _check_team(clinic: Clinic, kind: AppointmentType, place: Place) -> None:
    """Refuse a team that nobody could have; whether those who are named are able is a rule's.

    Raises
    ------
    InvalidFieldsError
        With all that is wrong.
    """
    keys = [role.key for role in kind.roles]
    faults = []
    before: set[str] = set()
    for key, member in place.team:
        if key not in keys:
            known = f"; known are {', '.join(keys)}" if keys else ", which has none"
            faults.append(Fault(f"team.{key}", f"is no role of this type{known}"))
        elif member == place.provider_id:
            faults.append(Fault(f"team.{key}", "must be somebody else than the provider"))
        elif member in before:
            faults.append(Fault(f"team.{key}", "is in another role already; nobody fills two"))
        elif member not in clinic.provider_by_id:
            faults.append(Fault(f"team.{key}", f"there is no provider {member}"))
        before.add(member)
    if faults:
        raise InvalidFieldsError(faults)


def _refusal(reasons: Iterable[str], elsewhere: Booking | None) -> RequestError:
    """Return the error that refuses a place: for all `reasons`, and where the patient then is."""
    if elsewhere is None:
        return SlotUnavailableError("This place cannot be booked.", reasons=[*in_order(reasons)])
    told = {"reasons": [*in_order([*reasons, PATIENT_CONFLICT])], "booking_id": elsewhere.id}
    if reasons:
        return SlotUnavailableError("This place cannot be booked.", **told)
    return PatientConflictError(_PATIENT_IS_ELSEWHERE, **told)


_PATIENT_IS_ELSEWHERE = (
    "The patient has another booking at that time, or too near to it for the way; send"
    " allow_patient_overlap to book all the same."
)


def refuse_patient_overlap(
    clinic: Clinic,
    patient: str | None,
    day: dt.date,
    span: Span,
    room_id: str,
    ignored: str | None = None,
) -> None:
    """Refuse a time at which the patient has another live booking, as far as `clinic` tells.

    `patient` is what patients are compared by.

    Raises
    ------
    PatientConflictError
        Naming the other booking.
    """
    elsewhere = booking_of_patient(clinic, patient, day, span, room_id, ignored)
    if elsewhere is not None:
        raise _refusal((), elsewhere)


async def load_around(
    connection: AsyncConnection, requests: Sequence[BookingRequest], room: Room | None = None
) -> Clinic:
    """Read what decides on requests of one date, in `room` or in the rooms that they name."""
    rooms = {request.place.room_id if room is None else room.id for request in requests}
    part = ClinicSelection(
        provider_ids={request.place.provider_id for request in requests}.union(
            *(request.people for request in requests)
        ),
        room_ids=None if None in rooms else {key for key in rooms if key is not None},
        type_ids={request.place.appointment_type_id for request in requests},
        patient_keys={key for request in requests if (key := request.patient_key) is not None},
    )
    (day,) = {request.place.date for request in requests}
    clinic = await load_clinic(connection, day, day, part)
    if not any(has_roles(clinic, request) for request in requests):
        return clinic
    able = map(str, await connection.scalars(types.able_in_roles(part.type_ids)))
    part = replace(part, provider_ids={*(part.provider_ids or ()), *able})
    return await load_clinic(connection, day, day, part)


def has_roles(clinic: Clinic, request: BookingRequest) -> bool:
    """Whether the type asked for, if it is there, has roles."""
    kind = clinic.type_by_id.get(request.place.appointment_type_id)
    return kind is not None and bool(kind.roles)


type Outcome = Decision | RequestError | DateOutOfRangeError
"""A slot that may be taken, or the error that refuses it."""
