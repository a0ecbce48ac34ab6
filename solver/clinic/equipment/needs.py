"""What an appointment type takes from equipment pools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from solver.clinic.grammar.sentences import RowFault

MAX_POOLS = 8
"""Most pools that one appointment type may take from."""


MAX_QUANTITY = 1000
"""Most pieces that a pool has, or that an appointment takes of one."""


class PoolNeed(NamedTuple):
    """So many pieces of an equipment pool, which an appointment takes."""

    pool_id: str
    quantity: int


def needs_are_possible(row: Any) -> Iterator[RowFault]:
    """Tell what makes impossible what a type takes: too many pools, or one of them twice."""
    needs = row.required_pools
    if len(needs) > MAX_POOLS:
        yield RowFault("required_pools", f"must name at most {MAX_POOLS} pools")
    named: set[str] = set()
    for at, need in enumerate(needs):
        if need.pool_id in named:
            path = f"required_pools[{at}].pool_id"
            yield RowFault(path, "stands in the list before; add the two up")
        named.add(need.pool_id)
        if not 1 <= need.quantity <= MAX_QUANTITY:
            path = f"required_pools[{at}].quantity"
            yield RowFault(path, f"must be 1 to {MAX_QUANTITY}, not {need.quantity}")
