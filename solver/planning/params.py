"""The constants of the planner: sizes, shares of the time, and memory."""

from __future__ import annotations

EXACT_UP_TO = 3000
"""Columns that one model takes in whole."""
WHOLE_UP_TO = 10_000
"""Columns that one model takes in whole where bookings may move, within some minutes at least."""
PROVED_UP_TO, PROVED_A_SECOND = 60_000, 3_000
"""Columns that one model takes in whole at the end, to prove what blocks have found, if there is
time for so many."""
EXCHANGES = 30
"""Blocks in a row that bring nothing before bookings may move further."""
SIFTED_UP_TO = 200_000
"""Columns whose relaxation is sifted to the end; beyond, it is bounded by a subgradient."""
CLOSED_UP_TO = 8_000
"""Columns with which one model may settle the priorities."""
SCORE_BOUNDED_UP_TO = 12_000
"""Columns of the plans of the greatest priority whose score one model may bound."""
SCORE_BOUNDED_AFTER_SHARE, SCORE_BOUNDED_SECONDS, SCORE_BOUNDED_SHARE = 0.5, 10.0, 0.9
"""The part of the time after which it does, the least that is then left, and what it has of that:
until then, blocks have all processes."""
PRIORITY_SHARE = 0.5
"""The part of the time that is the priorities' alone; the score's blocks better them little."""
CLOSED_UNTIL_SHARE = 0.65
"""The part of the time after which no model is begun that could settle the priorities."""
PRICED_AFTER_SHARE = 0.04
"""The part of the time after which requests are priced: prices tell blocks where to begin."""
GREEDY_SHARE, GREEDY_SECONDS = 0.4, 1.0
"""The part of the time that the greedy plan may take, and what it may take in any case."""
MEMORY_LIMIT_BYTES = 700 * 2**20
"""What a solver may take where nobody says otherwise, the processes that help it included."""
PROCESS_BYTES = 200 * 2**20
"""What one of them takes beside the tables of the problem: what it has to load, and models of the
sizes above. With less memory than usual, the models are smaller by as much."""
TOLD_AFTER_SECONDS = 0.5
"""Seconds from one word on the progress to the next, if nothing is settled between them."""
