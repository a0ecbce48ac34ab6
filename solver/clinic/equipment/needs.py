"""What an appointment type takes from equipment pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MAX_POOLS = 8
"""Most pools that one appointment type may take from."""


MAX_QUANTITY = 1000
"""Most pieces that a pool has, or that an appointment takes of one."""


class PoolNeed(NamedTuple):
    """So many pieces of an equipment pool, which an appointment takes."""

    pool_id: str
    quantity: int


def fault_of_needs(needs: Sequence[PoolNeed]) -> tuple[str, str] | None:
    """Return the field that makes what a type takes impossible, and what would be right there."""
    pools = [pool_id for pool_id, _ in needs]
    if len(needs) > MAX_POOLS:
        return "required_pools", f"must name at most {MAX_POOLS} pools"
    for at, (pool_id, quantity) in enumerate(needs):
        if pool_id in pools[:at]:
            return f"required_pools[{at}].pool_id", "stands in the list before; add the two up"
        if not 1 <= quantity <= MAX_QUANTITY:
            path = f"required_pools[{at}].quantity"
            return path, f"must be 1 to {MAX_QUANTITY}, not {quantity}"
    return None
