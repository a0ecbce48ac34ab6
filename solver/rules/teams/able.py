"""Who is able to be in the roles of a type, for all providers and starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solver.arrays import Bools, Ints
from solver.clinic.day import Day
from solver.clinic.entities import AppointmentType, Provider
from solver.clinic.teams.matching import can_be_filled, least_team
from solver.clinic.teams.roles import Member, Role, Team
from solver.rules.start_axis import StartAxis


@dataclass(frozen=True)
class Able:
    """Who is able to be in the roles of a type at one place, beside all that is booked (rule 9).

    Attributes
    ----------
    roles
        The roles, in their order, of an appointment as long as it is asked for.
    providers
        Those who are active and have the skills for one of the roles, by id.
    able
        [roles, Q, S] which of them is able to be in a role, when it begins at each start.
    """

    roles: tuple[Role, ...]
    providers: tuple[Provider, ...]
    able: Bools

    @classmethod
    def at(cls, day: Day, kind: AppointmentType, axis: StartAxis, named: Team = ()) -> Able:
        """Work it out for the starts on an axis; where somebody is `named`, for nobody else."""
        roles, chosen = kind.roles, dict(named)
        everybody = day.everybody
        suits = [[_suits(p, role, chosen) for p in everybody.providers] for role in roles]
        some = np.array(suits, np.bool_).reshape(len(roles), -1).any(axis=0)
        providers = tuple(p for p, is_one in zip(everybody.providers, some, strict=True) if is_one)
        there = everybody.narrowed(frozenset(p.id for p in providers))
        able = np.zeros((len(roles), len(providers), axis.size), np.bool_)
        for number, role in enumerate(roles):
            fits = np.array(suits[number], np.bool_)[some]
            able[number] = _is_free(there, role.span(kind.duration_minutes), axis) & fits[:, None]
        return cls(roles, providers, able)

    def positions(self, providers: Sequence[Provider]) -> Ints:
        """[p] the positions of some providers in :attr:`providers`, -1 of one who is not there."""
        at = {provider.id: i for i, provider in enumerate(self.providers)}
        return np.array([at.get(provider.id, -1) for provider in providers], np.int64)

    def completes(self, providers: Sequence[Provider]) -> Bools:
        """[P, S] whether there is a complete team, without the provider of the appointment."""
        return can_be_filled(self.able, self.positions(providers))

    def team(self, provider_id: str, start: int, kept: Team = ()) -> Team | None:
        """Return the team of an appointment of a provider; `start` is a position.

        It is `kept`, if that is complete and able as a whole, or else the least by the ids.
        """
        able = [
            [
                provider.id
                for provider, is_able in zip(self.providers, of_role[:, start], strict=True)
                if is_able and provider.id != provider_id
            ]
            for of_role in self.able
        ]
        members = dict(kept)
        stays = [role.key in members for role in self.roles]
        if all(stays) and len(set(members.values())) == len(members):
            old = [members[role.key] for role in self.roles]
            if all(member in those for member, those in zip(old, able, strict=True)):
                return _as_team(self.roles, old)
        least = least_team(able)
        return None if least is None else _as_team(self.roles, least)


def _as_team(roles: Sequence[Role], members: Sequence[str]) -> Team:
    return tuple(Member(role.key, member) for role, member in zip(roles, members, strict=True))


def _suits(provider: Provider, role: Role, named: dict[str, str]) -> bool:
    """Whether somebody is active and has the skills for a role, and nobody else is named for it."""
    is_asked = named.get(role.key, provider.id) == provider.id
    return is_asked and provider.active and role.required_skills <= provider.skills


def _is_free(day: Day, span: tuple[int, int], axis: StartAxis) -> Bools:
    """[Q, S] whether providers are free, and open, from a minute after the start to another.

    With their own buffers they overlap nothing that they are busy with, and there is time for the
    ways to and from other places.
    """
    (from_, to), (before, after), edges = span, day.buffers, day.provider_edges
    rows, busy = len(day.providers), day.book.busy
    known = np.flatnonzero(busy.provider >= 0)
    way, back = np.zeros(len(busy), np.int64), np.zeros(len(busy), np.int64)
    there, *ways = day.ways
    way[there], back[there] = ways
    owner = busy.provider[known]
    begins = busy.begin[known] - to - after[owner] - way[known]
    ends = busy.end[known] - from_ + before[owner] + back[known]
    opens, closes = axis.at_or_after(edges.opens - from_), axis.at_or_before(edges.closes - to)
    open_, taken = axis.counts(
        (rows, edges.owner, opens, closes),
        (rows, owner, *axis.between(begins, ends)),
    )
    free: Bools = (open_ > 0) & (taken == 0)
    return free
