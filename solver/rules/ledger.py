"""The live bookings of a whole book as columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic
from solver.clinic.entities import Booking
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
        return cls.unpack(clinic, np.array(rows, PACKED).tobytes())

    @classmethod
    def unpack(cls, clinic: Clinic, packed: bytes) -> Ledger:
        """Return bookings that came packed, as :data:`PACKED` says, one after the other."""
        rows = np.frombuffer(packed, PACKED)
        return cls(
            rows["id"],
            _positions(rows["provider"], clinic.providers),
            _positions(rows["room"], clinic.rooms),
            _positions(rows["kind"], clinic.appointment_types),
            rows["day"].astype(np.int64) + EPOCH,
            rows["start"].astype(np.int64),
            rows["duration"].astype(np.int64),
            rows["before"].astype(np.int64),
            rows["after"].astype(np.int64),
            rows["is_overbooked"],
            rows["overrides"].astype(np.int64),
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
                self.ids(), *(column.tolist() for column in columns), overrides, strict=True
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
            (self.provider, {6, 7}, (-1, 0, 1)),
            (self.provider, {11}, (0,)),
            (self.room, {3}, (-1, 0, 1)),
            (self.kind, {5}, (0,)),
        ):
            place = owner * FAR + self.day
            asked = place[chosen[(broken & bits_of(rules)) > 0]]
            near |= np.isin(place, np.concatenate([asked + shift for shift in days]))
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


def _key(text: str) -> bytes:
    return UUID(text).bytes


def _positions(keys: NDArray[np.bytes_], rows: Sequence[Any]) -> Ints:
    """Return the position of each key among the ids of `rows`."""
    known = np.array([_key(row.id) for row in rows], "S16")
    order = np.argsort(known)
    return order[np.searchsorted(known[order], keys)].astype(np.int64)
