"""Which bookings of a book are outside the rules: of how many, and what the first of them break.

The book is packed as :data:`solver.rules.ledger.PACKED` says. All of this may run in another
process.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from uuid import UUID

import numpy as np

from solver.clinic.entities import Clinic
from solver.rules.checker import Violation
from solver.rules.ledger import Ledger, bits_of
from solver.rules.whole_book import broken_rules, read_plainly

type Told = tuple[list[Violation], int]
"""What bookings break, by date, start and id, and how many such bookings there are."""


def newly_outside(
    before: Clinic,
    after: Clinic,
    packed: bytes,
    *,
    rules: Collection[int],
    since: dt.date,
    last: dt.date,
    limit: int,
) -> Told:
    """Tell which bookings of some dates break one of the `rules` after an edit, but not before.

    The clinics have the same providers, rooms and types, `after` perhaps one more of each.
    """
    ledger = Ledger.unpack(after, packed)
    fresh = broken_rules(after, ledger, rules)
    fresh[(ledger.day < since.toordinal()) | (ledger.day > last.toordinal())] = 0
    doubted = [rule for rule in rules if (fresh & bits_of({rule})).any()]
    fresh &= ~broken_rules(before, ledger, doubted)
    flagged = np.flatnonzero(fresh)
    told = ledger.in_order(flagged)[:limit]
    return read_plainly(after, ledger, told, fresh[told]), len(flagged)


def outside(
    clinic: Clinic,
    packed: bytes,
    *,
    since: dt.date,
    last: dt.date | None = None,
    provider_id: str | None = None,
    room_id: str | None = None,
    after: tuple[dt.date, int, str] | None = None,
    limit: int,
) -> Told:
    """Tell which bookings of some dates, a provider or a room are outside the rules.

    The first `limit` are told that come after the date, start and id of `after`.
    """
    ledger = Ledger.unpack(clinic, packed)
    broken = broken_rules(clinic, ledger)
    told = (broken > 0) & (ledger.day >= since.toordinal())
    if last is not None:
        told &= ledger.day <= last.toordinal()
    if provider_id is not None:
        ids = [row.id for row in clinic.providers]
        told &= np.isin(ledger.provider, [i for i, key in enumerate(ids) if key == provider_id])
    if room_id is not None:
        ids = [row.id for row in clinic.rooms]
        told &= np.isin(ledger.room, [i for i, key in enumerate(ids) if key == room_id])
    count = int(told.sum())
    if after is not None:
        date, start, id_ = after
        on_date = ledger.day == date.toordinal()
        told &= (ledger.day > date.toordinal()) | (on_date & (ledger.start >= start))
        same = np.flatnonzero(told & on_date & (ledger.start == start))
        told[same] = [key > id_ for key in ledger.take(same).ids()]
    wanted = ledger.in_order(np.flatnonzero(told))[:limit]
    return read_plainly(clinic, ledger, wanted, broken[wanted]), count


def broken_by_id(clinic: Clinic, packed: bytes, *, since: dt.date) -> dict[str, int]:
    """Return what each booking outside the rules from a date on breaks: ``1 << rule``, by id."""
    ledger = Ledger.unpack(clinic, packed)
    broken = broken_rules(clinic, ledger)
    flagged = np.flatnonzero((broken > 0) & (ledger.day >= since.toordinal()))
    return dict(zip(ledger.take(flagged).ids(), broken[flagged].tolist(), strict=True))


def outside_beyond(
    clinic: Clinic,
    packed: bytes,
    *,
    since: dt.date,
    or_of: bytes,
    known: Mapping[str, int],
    limit: int,
) -> Told:
    """Tell which bookings from a date on, or of certain ids, break more than is `known` of them.

    The ids, `or_of`, are 16 bytes each, one after the other.
    """
    ledger = Ledger.unpack(clinic, packed)
    broken = broken_rules(clinic, ledger)
    flagged = ledger.in_order(np.flatnonzero(broken))
    rows = ledger.take(flagged)
    chosen = {or_of[at : at + 16] for at in range(0, len(or_of), 16)}
    told, left = [], []
    for position, key, day in zip(flagged.tolist(), rows.ids(), rows.day.tolist(), strict=True):
        fresh = int(broken[position]) & ~known.get(key, 0)
        if fresh and (day >= since.toordinal() or UUID(key).bytes in chosen):
            told.append(position)
            left.append(fresh)
    positions = np.array(told[:limit], np.int64)
    return read_plainly(clinic, ledger, positions, np.array(left[:limit], np.uint8)), len(told)
