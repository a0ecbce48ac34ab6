"""Filling roles: whether it can be done, and the least way to do it, each role with one person."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

import numpy as np

from solver.arrays import Bools, Ints


def can_be_filled(able: Bools, main: Ints) -> Bools:
    """[p, ...] whether all roles can be filled at once by others than the main provider.

    By Hall's theorem they can where for any of the roles together at least as many people are able
    to be in one of these as they are.

    Parameters
    ----------
    able
        [roles, people, ...] who is able to be in which role.
    main
        [p] positions among the people who are not to be in any role; -1 for one who is not there.
    """
    roles, people = able.shape[:2]
    filled = np.ones((len(main), *able.shape[2:]), np.bool_)
    nobody = np.zeros((1, *able.shape[2:]), np.bool_)
    for size in range(1, roles + 1):
        for chosen in combinations(range(roles), size):
            some = able[list(chosen)].any(axis=0) if people else nobody[:0]
            count = some.sum(axis=0, dtype=np.int64)
            filled &= count - np.concatenate([some, nobody])[main] >= size
    return filled


def teams[Person](able: Sequence[Sequence[Person]]) -> Iterator[tuple[Person, ...]]:
    """Yield the ways to fill roles, in the order of the lists of who is in each.

    `able` has for each role those who are able to be in it, in order; nobody is in two.
    """
    if not able:
        yield ()
        return
    for first in able[0]:
        rest = [[person for person in those if person != first] for those in able[1:]]
        if is_fillable(rest):
            others: tuple[Person, ...]
            for others in teams(rest):
                yield (first, *others)


def least_team[Person](able: Sequence[Sequence[Person]]) -> tuple[Person, ...] | None:
    """Return the first of :func:`teams`; None where there is none."""
    return next(teams(able), None) if is_fillable(able) else None


def is_fillable(able: Sequence[Collection[object]]) -> bool:
    """Whether each role can be given somebody, nobody two: a matching by augmenting paths."""
    role_of: dict[object, int] = {}

    def give(role: int, tried: set[object]) -> bool:
        for person in able[role]:
            if person not in tried:
                tried.add(person)
                if person not in role_of or give(role_of[person], tried):
                    role_of[person] = role
                    return True
        return False

    return all(give(role, set()) for role in range(len(able)))
