"""The constants of the search for a plan: sizes, shares of the time, and memory."""

from __future__ import annotations

from dataclasses import dataclass

MEMORY_LIMIT_BYTES = 700 * 2**20
"""What a solver may take where nobody says otherwise, the processes that help it included."""


@dataclass(frozen=True, kw_only=True)
class SearchParams:
    """When the search does what, and how large its models are.

    Sizes are columns of a model; with less memory than usual they shrink in proportion. Shares are
    parts of the whole time limit, but for those of the time that is left.
    """

    greedy_share: float = 0.4
    """The part of the time that the greedy plan may take."""
    greedy_seconds: float = 1.0
    """Seconds that it may take even where that is more than its share."""
    told_every_seconds: float = 0.5
    """Seconds between two reports of progress, but for the one at the end of a stage."""
    process_bytes: int = 200 * 2**20
    """Memory of a process beside the tables of the problem: its modules, and models of the sizes
    below."""

    unpacked_share: float = 0.3
    """Where types are packed, the part for the bounds, of a problem with more starts."""
    unpacked_positions: int = 2_000_000
    """Up to so many places of one type, by provider, date and start, that problem is solved."""

    # One model

    exact_columns: int = 3_000
    """Up to here a problem is one model."""
    whole_columns: int = 10_000
    """The same where bookings may move, if only within some minutes."""
    proved_columns: int = 60_000
    """Up to here one model of the whole problem may prove at the end what neighbourhoods found."""
    proved_columns_a_second: int = 3_000
    """Columns of that model for each second that is left, at most."""

    # Bookings that may move

    radii: tuple[int | None, ...] = (30, 120, None)
    """Minutes by which they may move at most, one after another; None: any distance."""
    exchanges_in_vain: int = 30
    """Neighbourhoods in a row without an improvement after which bookings may move further."""

    # The portfolio

    priority_share: float = 0.5
    """The part that neighbourhoods for the priority have to themselves."""
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
    """After which the Lagrangian of the score is bounded; it also gives opportunity costs."""
    closed_columns: int = 8_000
    """With how many columns left by reduced-cost fixing one model may prove the priority."""
    closed_until_share: float = 0.65
    """After which no such model is begun."""
    score_bounded_columns: int = 12_000
    """With how many left by reduced-cost fixing, at the proved priority, one model may bound the
    score."""
    score_bounded_after_share: float = 0.5
    """After which it does: until then, neighbourhoods have all processes."""
    score_bounded_seconds: float = 10.0
    """The least time that has to be left then."""
    score_bounded_share: float = 0.9
    """The part of the time left that it may take."""


DEFAULT_PARAMS = SearchParams()
