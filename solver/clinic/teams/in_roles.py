"""The spans for which people are busy in roles of appointments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from solver.clinic.entities import AppointmentType, Booking, Provider, Span


class InRole(NamedTuple):
    """Somebody in a role of an appointment, in minutes of its date, without buffers."""

    key: str
    provider_id: str
    span: Span


def in_roles(kind: AppointmentType, booking: Booking) -> Iterator[InRole]:
    """Yield who is in a role of a booking and when; `kind` is its type, as long as it is."""
    if not booking.team:
        return
    members = dict(booking.team)
    for role in kind.roles:
        if (member := members.get(role.key)) is not None:
            begin, end = role.span(kind.duration_minutes)
            yield InRole(role.key, member, (booking.start + begin, booking.start + end))


def busy_in_role(provider: Provider | None, span: Span) -> Span:
    """Return a role's span with the buffers of whoever is in it; the type's do not count."""
    if provider is None:
        return span
    return span[0] - provider.buffer_before, span[1] + provider.buffer_after
