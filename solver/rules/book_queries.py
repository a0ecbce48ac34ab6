"""Which bookings of a book break a rule: how many there are, and what the first of them break.

Sessions are read as they are at the moment `now`. The book is packed as
:data:`solver.rules.ledger.PACKED` says, and who is in roles of it as
:data:`solver.rules.ledger.IN_ROLES`, so that all of this can run in another process.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from uuid import UUID

import numpy as np

from solver.clinic.clinic import Clinic
from solver.rules.checker import Violation
from solver.rules.ledger import Ledger, bits_of
from solver.rules.whole_book_rules import broken_rules, read_plainly

type Found = tuple[list[Violation], int]
"""What the first bookings found break, by date, start and id; and how many were found in all."""


def newly_outside(
    before: Clinic,
    after: Clinic,
    packed: bytes,
    *,
    rules: Collection[int],
    now: dt.datetime,
    since: dt.date,
    last: dt.date,
    limit: int,
    in_roles: bytes = b"",
) -> Found:
    """Find the bookings of some dates that break one of the `rules` after an edit, but not before.

    The clinics have the same providers, rooms and types, `after` perhaps one more of each.
    """
    ledger = Ledger.unpack(after, packed, in_roles)
    fresh = broken_rules(after, ledger, rules, now)
    fresh[(ledger.day < since.toordinal()) | (ledger.day > last.toordinal())] = 0
    doubted = [rule for rule in rules if (fresh & bits_of({rule})).any()]
    roles = [[kind.roles for kind in each.appointment_types] for each in (before, after)]
    earlier = ledger if roles[0] == roles[1] else Ledger.unpack(before, packed, in_roles)
    fresh &= ~broken_rules(before, earlier, doubted, now)
    flagged = np.flatnonzero(fresh)
    first = ledger.in_order(flagged)[:limit]
    return read_plainly(after, ledger, first, fresh[first], now), len(flagged)


def outside(
    clinic: Clinic,
    packed: bytes,
    *,
    now: dt.datetime,
    since: dt.date,
    last: dt.date | None = None,
    provider_id: str | None = None,
    room_id: str | None = None,
    after: tuple[dt.date, int, str] | None = None,
    limit: int,
    in_roles: bytes = b"",
) -> Found:
    """Find the bookings of some dates, a provider or a room that break a rule.

    The violations are those of the first `limit` that come after the date, start and id of `after`.
    """
    ledger = Ledger.unpack(clinic, packed, in_roles)
    broken = broken_rules(clinic, ledger, now=now)
    found = (broken > 0) & (ledger.day >= since.toordinal())
    if last is not None:
        found &= ledger.day <= last.toordinal()
    if provider_id is not None:
        ids = [row.id for row in clinic.providers]
        found &= np.isin(ledger.provider, [i for i, key in enumerate(ids) if key == provider_id])
    if room_id is not None:
        ids = [row.id for row in clinic.rooms]
        found &= np.isin(ledger.room, [i for i, key in enumerate(ids) if key == room_id])
    count = int(found.sum())
    if after is not None:
        date, start, id_ = after
        on_date = ledger.day == date.toordinal()
        found &= (ledger.day > date.toordinal()) | (on_date & (ledger.start >= start))
        same = np.flatnonzero(found & on_date & (ledger.start == start))
        found[same] = [key > id_ for key in ledger.take(same).ids()]
    wanted = ledger.in_order(np.flatnonzero(found))[:limit]
    return read_plainly(clinic, ledger, wanted, broken[wanted], now), count


def broken_by_id(
    clinic: Clinic, packed: bytes, *, now: dt.datetime, since: dt.date, in_roles: bytes = b""
) -> dict[str, int]:
    """Return the rules that bookings from a date on break: ``1 << rule``, by the id of each."""
    ledger = Ledger.unpack(clinic, packed, in_roles)
    broken = broken_rules(clinic, ledger, now=now)
    flagged = np.flatnonzero((broken > 0) & (ledger.day >= since.toordinal()))
    return dict(zip(ledger.take(flagged).ids(), broken[flagged].tolist(), strict=True))


def outside_beyond(
    clinic: Clinic,
    packed: bytes,
    *,
    now: dt.datetime,
    since: dt.date,
    or_of: bytes,
    known: Mapping[str, int],
    limit: int,
    in_roles: bytes = b"",
) -> Found:
    """Find the bookings that break a rule beyond those that are `known` of them.

    They are those from a date on and those whose ids are in `or_of`, 16 bytes each.
    """
    ledger = Ledger.unpack(clinic, packed, in_roles)
    broken = broken_rules(clinic, ledger, now=now)
    flagged = ledger.in_order(np.flatnonzero(broken))
    rows = ledger.take(flagged)
    chosen = {or_of[at : at + 16] for at in range(0, len(or_of), 16)}
    found, left = [], []
    for position, key, day in zip(flagged.tolist(), rows.ids(), rows.day.tolist(), strict=True):
        fresh = int(broken[position]) & ~known.get(key, 0)
        if fresh and (day >= since.toordinal() or UUID(key).bytes in chosen):
            found.append(position)
            left.append(fresh)
    positions = np.array(found[:limit], np.int64)
    fresh_bits = np.array(left[:limit], np.uint16)
    return read_plainly(clinic, ledger, positions, fresh_bits, now), len(found)
