"""The time zones that a clinic may have."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

ABBREVIATIONS = {
    "CET": "Europe/Berlin",
    "EET": "Europe/Athens",
    "MET": "Europe/Berlin",
    "WET": "Europe/Lisbon",
}
"""IANA's names that no clinic may have, and for each a place whose clocks it may have meant.

Elsewhere, as in PostgreSQL, they are abbreviations without summer time: whoever reads the clinic's
file or tables with other software would be an hour off.
"""


@cache
def time_zones() -> frozenset[str]:
    """Return the names of the time zones that a clinic may have: IANA's, the same on any machine.

    :data:`ABBREVIATIONS` are left out, and the one that stands for a clock that was never set.
    """
    names = files("tzdata").joinpath("zones").read_text().split()
    return frozenset(names) - ABBREVIATIONS.keys() - {"Factory"}
