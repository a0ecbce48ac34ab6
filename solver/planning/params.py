"""The constants of the search for a plan: sizes, shares of the time, and memory."""

from __future__ import annotations

from dataclasses import dataclass

MEMORY_LIMIT_BYTES = 700 * 2**20
"""What a solver may take where nobody says otherwise, the processes that help it included."""


@dataclass(frozen=True, kw_only=True)
class SearchParams:
    """How a search goes about it.

    Sizes are columns of a model; with less memory than usual they shrink by as much. Shares are
    parts of the whole time limit, but for those of the time that is left when a job begins.
    """

    greedy_share: float = 0.4
    """The part of the time that the greedy plan may take."""
    greedy_seconds: float = 1.0
    """What it may take in any case."""
    told_every_seconds: float = 0.5
    """From one word on the progress to the next, if nothing is settled between them."""
    process_bytes: int = 200 * 2**20
    """What a process takes beside the tables of the problem: what it has to load, and models of
    the sizes below."""

    # One model

    exact_columns: int = 3_000
    """What one model takes in whole."""
    whole_columns: int = 10_000
    """What one model takes in whole where bookings may move, within some minutes at least."""
    proved_columns: int = 60_000
    """What one model takes in whole at the end, to prove what neighbourhoods have found."""
    proved_columns_a_second: int = 3_000
    """For how many of those each second that is left is enough."""

    # Bookings that may move

    radii: tuple[int | None, ...] = (30, 120, None)
    """Minutes by which they may move at most, one after another; None: any distance."""
    exchanges_in_vain: int = 30
    """Neighbourhoods in a row that bring nothing before bookings may move further."""

    # The portfolio

    priority_share: float = 0.5
    """The part that is the priorities' alone; the score's neighbourhoods better them little."""
    repair_seconds: float = 10.0
    """The most that the repair of a neighbourhood takes."""
    relaxed_columns: int = 200_000
    """Up to here the relaxation is solved by column generation; beyond, a subgradient bounds it."""
    bound_priority_share: float = 1 / 8
    relaxation_share: float = 1 / 2
    generated_share: float = 1 / 2
    bound_score_share: float = 1 / 3
    """Of the time left: what the Lagrangian bound of the priority, column generation, the model of
    the generated columns, and the Lagrangian bound of the score have."""
    priced_after_share: float = 0.04
    """When the score is bounded: the multipliers tell neighbourhoods where to begin."""
    closed_columns: int = 8_000
    """With how many columns left by reduced-cost fixing one model may settle the priorities."""
    closed_until_share: float = 0.65
    """After which no model is begun that could settle the priorities."""
    score_bounded_columns: int = 12_000
    """Of how many, of plans of the greatest priority, one model may bound the score."""
    score_bounded_after_share: float = 0.5
    """When it does: until then, neighbourhoods have all processes."""
    score_bounded_seconds: float = 10.0
    """The least that has to be left then."""
    score_bounded_share: float = 0.9
    """What it has of the time left."""


DEFAULT_PARAMS = SearchParams()
