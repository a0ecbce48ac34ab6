"""The live bookings of a whole book as columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import md5
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
from solver.clinic.teams.roles import Member
from solver.rules.codes import OVERRIDABLE

PACKED = np.dtype(
    [
        ("id", "V16"),
        ("provider", "S16"),
        ("room", "S16"),
        ("kind", "S16"),
        ("day", ">i4"),
        ("start", ">i2"),
        ("duration", ">i2"),
        ("before", ">i2"),
        ("after", ">i2"),
        ("is_overbooked", "?"),
        ("overrides", ">i2"),
    ]
)
"""One booking as PostgreSQL sends it: UUIDs, days since 2000-01-01, the minute of the day.

What it overrides is a bit for each code of :data:`solver.rules.codes.OVERRIDABLE`, in its order.
"""


IN_ROLES = np.dtype([("booking", "V16"), ("key", "S16"), ("provider", "S16")])
"""One who is in a role of a booking, likewise: two UUIDs, and of the role's key the MD5 digest.

All who are in roles of the bookings that are packed are packed apart, in any order.
"""


EPOCH = dt.date(2000, 1, 1).toordinal()


FAR = 2**32
"""More minutes than lie between any two bookings."""


@dataclass(frozen=True)
class Ledger:
    """Live bookings, column by column, each of shape [n].

    Providers, rooms and types are positions in the clinic's tuples; the rows may change as long as
    these stay.
    """

    id: NDArray[np.void]
    provider: Ints
    room: Ints
    kind: Ints
    day: Ints
    """Proleptic ordinals of the dates."""
    start: Ints
    duration: Ints
    before: Ints
    after: Ints
    is_overbooked: Bools
    overrides: Ints
    team: Ints
    """[n, G] who is in the roles of its type, in their order, -1 for nobody; G as many as any has.

    Of whom the clinic has no row there is nobody in the role.
    """

    @classmethod
    def of(cls, clinic: Clinic) -> Ledger:
        """Return the live bookings of a clinic."""
        live = [b for b in clinic.bookings if b.is_live]
        rows = [
            (
                _key(b.id),
                _key(b.provider_id),
                _key(b.room_id),
                _key(b.appointment_type_id),
                b.date.toordinal() - EPOCH,
                b.start,
                kind.duration_minutes,
                kind.buffer_before,
                kind.buffer_after,
                b.is_overbooked,
                _bits_of_codes(b.overrides),
            )
            for b in live
            for kind in [clinic.kind_of(b)]
        ]
        members = [
            (_key(b.id), _digest(key), _key(provider_id))
            for b in live
            for key, provider_id in b.team
        ]
        packed = np.array(rows, PACKED).tobytes(), np.array(members, IN_ROLES).tobytes()
        return cls.unpack(clinic, *packed)

    @classmethod
    def unpack(cls, clinic: Clinic, packed: bytes, in_roles: bytes = b"") -> Ledger:
        """Return bookings that came packed, as :data:`PACKED` says, one after the other.

        And who is in their roles, as :data:`IN_ROLES` says.
        """
        rows = np.frombuffer(packed, PACKED)
        kind = _positions(rows["kind"], clinic.appointment_types)
        members = np.frombuffer(in_roles, IN_ROLES)
        return cls(
            rows["id"],
            _positions(rows["provider"], clinic.providers),
            _positions(rows["room"], clinic.rooms),
            kind,
            rows["day"].astype(np.int64) + EPOCH,
            rows["start"].astype(np.int64),
            rows["duration"].astype(np.int64),
            rows["before"].astype(np.int64),
            rows["after"].astype(np.int64),
            rows["is_overbooked"],
            rows["overrides"].astype(np.int64),
            _teams(clinic, rows["id"], kind, members),
        )

    def __len__(self) -> int:
        return len(self.start)

    def take(self, chosen: Any) -> Ledger:
        """Return some of the bookings, by position or mask."""
        return Ledger(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def ids(self) -> list[str]:
        """Return the bookings' ids."""
        keys = map(bytes.hex, self.id.tolist())
        return [f"{k[:8]}-{k[8:12]}-{k[12:16]}-{k[16:20]}-{k[20:]}" for k in keys]

    def bookings(self, clinic: Clinic) -> tuple[Booking, ...]:
        """Return the bookings as the clinic has them, without patient and status."""
        providers = [row.id for row in clinic.providers]
        rooms = [row.id for row in clinic.rooms]
        kinds = [row.id for row in clinic.appointment_types]
        columns = (
            self.provider,
            self.room,
            self.kind,
            self.day,
            self.start,
            self.is_overbooked,
            self.duration,
            self.before,
            self.after,
        )
        overrides = [frozenset(_codes_of(bits)) for bits in self.overrides.tolist()]
        teams = [
            tuple(
                Member(role.key, providers[member])
                for role, member in zip(clinic.appointment_types[kind].roles, team, strict=False)
                if member >= 0
            )
            for kind, team in zip(self.kind.tolist(), self.team.tolist(), strict=True)
        ]
        return tuple(
            Booking(
                key,
                providers[provider],
                rooms[room],
                kinds[kind],
                dt.date.fromordinal(day),
                start,
                None,
                "booked",
                *kept,
            )
            for key, provider, room, kind, day, start, *kept in zip(
                self.ids(), *(column.tolist() for column in columns), overrides, teams, strict=True
            )
        )

    def overriding(self, *codes: str) -> Bools:
        """Return a mask of the bookings that override one of the rules."""
        return (self.overrides & _bits_of_codes(codes)) > 0

    def in_order(self, chosen: Ints) -> Ints:
        """Return positions in the order of date, start and id."""
        rows = self.take(chosen)
        high, low = np.frombuffer(rows.id.tobytes(), ">u8").reshape(-1, 2).T
        return chosen[np.lexsort((low, high, rows.start, rows.day))]

    def beside(self, clinic: Clinic, chosen: Ints, broken: NDArray[np.uint16]) -> Bools:
        """Return a mask of the `chosen` and of all bookings that their broken rules involve.

        `broken` has, for each of the `chosen`, the rules to be read: ``1 << rule``.
        """
        near = np.zeros(len(self), np.bool_)
        near[chosen] = True
        for owner, rules, days in (
            (self.room, {3}, (-1, 0, 1)),
            (self.kind, {5}, (0,)),
        ):
            place = owner * FAR + self.day
            asked = place[chosen[(broken & bits_of(rules)) > 0]]
            near |= np.isin(place, np.concatenate([asked + shift for shift in days]))
        owners = np.column_stack([self.provider, self.team])
        for rules, days in (({6, 7, 9}, (-1, 0, 1)), ({11}, (0,))):
            asked = chosen[(broken & bits_of(rules)) > 0]
            whose = owners[asked] if rules & {9} else owners[asked][:, :1]
            place = owners * FAR + self.day[:, None]
            around = (whose * FAR + self.day[asked, None])[whose >= 0]
            around = np.concatenate([around + shift for shift in days])
            near |= (np.isin(place, around) & (owners >= 0)).any(axis=1)
        near |= np.isin(self.day, self.day[chosen[(broken & bits_of({8})) > 0]])
        if (asked := self.day[chosen[(broken & bits_of({10})) > 0]]).size:
            takes = np.array([bool(row.required_pools) for row in clinic.appointment_types])
            dates = np.concatenate([asked + shift for shift in (-1, 0, 1)])
            near |= takes[self.kind] & np.isin(self.day, dates)
        return near


def bits_of(rules: Iterable[int]) -> np.uint16:
    """Return rules as bits: ``1 << rule``."""
    return np.uint16(sum(1 << rule for rule in set(rules)))


def _bits_of_codes(codes: Container[str]) -> int:
    """Return a bit for each code of :data:`solver.rules.codes.OVERRIDABLE` that is in `codes`."""
    return sum(1 << bit for bit, code in enumerate(OVERRIDABLE) if code in codes)


def _codes_of(bits: int) -> Iterator[str]:
    """Yield the codes whose bits are set."""
    for i, code in enumerate(OVERRIDABLE):
        if bits >> i & 1:
            yield code


def _teams(clinic: Clinic, ids: NDArray[np.void], kind: Ints, members: NDArray[np.void]) -> Ints:
    """[n, G] who is in the roles of bookings of some types, as :attr:`Ledger.team` has it."""
    most = max((len(row.roles) for row in clinic.appointment_types), default=0)
    team = np.full((len(ids), most), -1, np.int64)
    if not most or not len(members):
        return team
    keys = [[_digest(role.key) for role in row.roles] for row in clinic.appointment_types]
    key = np.array([[*of_type, *[b""] * (most - len(of_type))] for of_type in keys], "S16")
    known = np.array([_key(row.id) for row in clinic.providers], "S16")
    there = np.isin(members["provider"], known)
    members = members[there]
    plain = np.frombuffer(np.ascontiguousarray(ids).tobytes(), "S16")
    order = np.argsort(plain)
    of = np.frombuffer(np.ascontiguousarray(members["booking"]).tobytes(), "S16")
    found = np.minimum(np.searchsorted(plain[order], of), len(plain) - 1)
    booking = order[found]
    is_known = plain[booking] == of
    number, role = np.nonzero((key[kind[booking]] == members["key"][:, None]) & is_known[:, None])
    provider = _positions(members["provider"], clinic.providers)
    team[booking[number], role] = provider[number]
    return team


def _digest(key: str) -> bytes:
    """Return what a role's key is told by: its MD5 digest."""
    return md5(key.encode(), usedforsecurity=False).digest()


def _key(text: str) -> bytes:
    return UUID(text).bytes


def _positions(keys: NDArray[np.bytes_], rows: Sequence[Any]) -> Ints:
    """Return the position of each key among the ids of `rows`."""
    known = np.array([_key(row.id) for row in rows], "S16")
    order = np.argsort(known)
    return order[np.searchsorted(known[order], keys)].astype(np.int64)
