"""The spans for which people are busy in roles of appointments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from solver.clinic.entities import AppointmentType, Booking, Provider, Span
from solver.clinic.spans import provider_busy_span
from solver.clinic.teams.roles import Team

if TYPE_CHECKING:
    from solver.clinic.clinic import Clinic


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


def people_busy(
    clinic: Clinic, kind: AppointmentType, provider_id: str, start: int, team: Team
) -> dict[str, Span]:
    """Return the busy spans of all whom an appointment takes, in minutes of its date, by their ids.

    `kind` is its type, as long as it is; of whom the clinic has no row nothing is told.
    """
    spans: dict[str, Span] = {}
    if (provider := clinic.provider_by_id.get(provider_id)) is not None:
        spans[provider_id] = provider_busy_span(provider, kind, start)
    members = dict(team)
    for role in kind.roles if team else ():
        member = clinic.provider_by_id.get(members.get(role.key, ""))
        if member is not None:
            begin, end = role.span(kind.duration_minutes)
            spans[member.id] = busy_in_role(member, (start + begin, start + end))
    return spans
