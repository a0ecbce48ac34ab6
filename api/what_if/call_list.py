"""The moves of a plan, each with whose booking it is, as those need it who call people."""

from __future__ import annotations

from collections.abc import Iterable

from solver.clinic.entities import Booking
from solver.whatif.run_result import MoveResult

WAITS = "waits for a patient"
"""Stands for the patient of an appointment that nobody has yet."""


def with_whose(moves: Iterable[MoveResult], bookings: Iterable[Booking]) -> list[MoveResult]:
    """Return moves with patient and type, from the bookings where a move does not tell them."""
    known = {booking.id: booking for booking in bookings}
    found: list[MoveResult] = []
    for move in moves:
        booking = known.get(move["booking_id"])
        found.append(
            {
                "patient_ref": booking.patient_ref if booking else None,
                "appointment_type_id": booking.appointment_type_id if booking else "",
                **move,
            }
        )
    return found


def by_time(moves: Iterable[MoveResult]) -> list[MoveResult]:
    """Return moves in the order of the appointments that people know of, the earliest first."""
    return sorted(
        (move.copy() for move in moves),
        key=lambda move: (move["from"]["date"], move["from"]["start_time"], move["booking_id"]),
    )
