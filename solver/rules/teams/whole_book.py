"""Who is in the roles of all bookings of a book, as columns (rule 9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.clinic import Clinic
from solver.rules.ledger import FAR, Ledger


@dataclass(frozen=True)
class InRoles:
    """Everybody in a role of a booking for some minutes, each column of shape [m].

    Attributes
    ----------
    booking, provider
        Positions in the ledger and in the clinic.
    start, end
        The minutes of the booking's date, without buffers.
    begins, ends
        The busy spans, on one line of minutes, each provider's far from all others'.
    fits
        Whether they are active and have the skills, and take part in the booking just once.
    complete
        [n] of each booking of the ledger, whether there is somebody in each role.
    """

    booking: Ints
    provider: Ints
    start: Ints
    end: Ints
    begins: Ints
    ends: Ints
    fits: Bools
    complete: Bools

    @classmethod
    def of(cls, clinic: Clinic, ledger: Ledger) -> InRoles:
        """Read them from a ledger."""
        most = max((len(row.roles) for row in clinic.appointment_types), default=0)
        shape = len(clinic.appointment_types), most
        first, last = np.full(shape, FAR, np.int64), np.full(shape, FAR, np.int64)
        fits = np.zeros((*shape, len(clinic.providers)), np.bool_)
        for k, row in enumerate(clinic.appointment_types):
            for g, role in enumerate(row.roles):
                first[k, g] = role.from_minute
                last[k, g] = FAR if role.to_minute is None else role.to_minute
                fits[k, g] = [
                    p.active and role.required_skills <= p.skills for p in clinic.providers
                ]
        team, kind = ledger.team, ledger.kind
        is_needed = first[kind] < ledger.duration[:, None]
        booking, which = np.nonzero(is_needed & (team >= 0))
        provider, of = team[booking, which], kind[booking]
        start = ledger.start[booking] + first[of, which]
        end = ledger.start[booking] + np.minimum(last[of, which], ledger.duration[booking])
        before = np.array([row.buffer_before for row in clinic.providers], np.int64)[provider]
        after = np.array([row.buffer_after for row in clinic.providers], np.int64)[provider]
        midnight = provider * FAR + ledger.day[booking] * 1440
        others = (team[booking] == provider[:, None]) & is_needed[booking]
        is_once = (others.sum(axis=1) == 1) & (ledger.provider[booking] != provider)
        return cls(
            booking,
            provider,
            start,
            end,
            midnight + start - before,
            midnight + end + after,
            fits[of, which, provider] & is_once,
            ~(is_needed & (team < 0)).any(axis=1),
        )

    def __len__(self) -> int:
        return len(self.booking)
