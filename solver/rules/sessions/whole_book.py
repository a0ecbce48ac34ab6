"""Sessions, read for all bookings of a whole book: a few operations of numpy for each date."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic
from solver.clinic.sessions.of_day import SessionsOfDay
from solver.rules.codes import RESERVED, SESSION_FULL
from solver.rules.ledger import Ledger


def within_sessions(clinic: Clinic, ledger: Ledger, ends: Ints, now: dt.datetime) -> Bools:
    """[n] which bookings obey rule 8 as they stand: no session keeps them out or has too many."""
    obeys = np.ones(len(ledger), np.bool_)
    if not clinic.sessions:
        return obeys
    days, at = np.unique(ledger.day, return_inverse=True)
    for number, ordinal in enumerate(days.tolist()):
        day = SessionsOfDay.on(clinic, dt.date.fromordinal(ordinal))
        if day.all:
            here = np.flatnonzero(at == number)
            obeys[here] = _Date(clinic, ledger.take(here), ends[here], day).obeys(now)
    return obeys


class _Date:
    """The bookings of one date beside its sessions; arrays are of shape [sessions, n]."""

    def __init__(self, clinic: Clinic, book: Ledger, ends: Ints, day: SessionsOfDay) -> None:
        self._book, self._ends, self._day = book, ends, day
        self._types = [row.id for row in clinic.appointment_types]
        self._providers = [row.id for row in clinic.providers]
        self._rooms = [row.id for row in clinic.rooms]
        admits = np.array([[s.row.admits(key) for key in self._types] for s in day.all], np.bool_)
        provider = _positions([s.row.provider_id for s in day.all], self._providers)
        room = _positions([s.row.room_id for s in day.all], self._rooms)
        self._admits: Bools = admits[:, book.kind]
        self._is_owner: Bools = (provider == -1) | (provider == book.provider)
        self._is_owner &= (room == -1) | (room == book.room)
        self._from = np.array([s.row.start for s in day.all], np.int64)[:, None]
        self._to = np.array([s.row.end for s in day.all], np.int64)[:, None]

    def obeys(self, now: dt.datetime) -> Bools:
        """[n] which bookings obey rule 8 at a moment."""
        return ~(self._is_reserved(now) | self._is_over())

    def _is_reserved(self, now: dt.datetime) -> Bools:
        """[n] which are kept out; only those are read minute by minute that touch a doubt."""
        standing = np.array([not s.is_released(now) for s in self._day.all], np.bool_)[:, None]
        touches = self._is_owner & (self._book.start < self._to) & (self._ends > self._from)
        found: Bools = (touches & standing & ~self._admits).any(axis=0)
        found &= ~self._book.overriding(RESERVED)
        for n in np.flatnonzero(found).tolist():
            type_id = self._types[int(self._book.kind[n])]
            span = int(self._book.start[n]), int(self._ends[n])
            owners = {self._day.all[s].owner for s in np.flatnonzero(touches[:, n]).tolist()}
            found[n] = any(self._day.reserves(owner, span, type_id, now) for owner in owners)
        return found

    def _is_over(self) -> Bools:
        """[n] which begin in a session that takes fewer than those that it governs and admits."""
        over = np.zeros(len(self._book), np.bool_)
        is_bound = ~self._book.overriding(SESSION_FULL)
        begins = self._is_owner & self._admits & is_bound
        begins &= (self._from <= self._book.start) & (self._book.start < self._to)
        for number, session in enumerate(self._day.all):
            most = session.row.max_bookings
            if most is None or begins[number].sum() <= most:
                continue
            bound = [
                n
                for n in np.flatnonzero(begins[number]).tolist()
                if session in self._day.governing(session.owner, int(self._book.start[n]))
            ]
            if len(bound) > most:
                over[bound] = True
        return over


def _positions(keys: Sequence[str | None], ids: Sequence[Any]) -> Ints:
    """[n, 1] the positions of keys among ids; -1 where there is no key."""
    at = {key: position for position, key in enumerate(ids)}
    return np.array([-1 if key is None else at[key] for key in keys], np.int64)[:, None]
