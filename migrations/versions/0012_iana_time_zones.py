"""A clinic's time zone is one of IANA's, the same on any machine.

Names that only some machines know, or that PostgreSQL reads as an abbreviation without summer time,
become the zone that they stood for.

Revision ID: 0012
Revises: 0011
"""

from pathlib import Path
from zoneinfo import TZPATH

import sqlalchemy as sa
from alembic import op

from solver.time_zones import time_zones

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STOOD_FOR = {
    "CET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "MET": "Europe/Brussels",
    "WET": "Europe/Lisbon",
}


def _iana(name: str) -> str:
    prefix, _, rest = name.partition("/")
    named = rest if prefix in ("posix", "right") else STOOD_FOR.get(name, name)
    if named in time_zones():
        return named
    return _same_as(name)  # localtime, say: a file of this machine


def _same_as(name: str) -> str:
    """Return the zone whose file is the same as that of `name` on this machine, or UTC."""
    for path in map(Path, TZPATH):
        content = _content(path / name)
        for zone in sorted(time_zones(), key=lambda zone: ("/" not in zone, zone)):
            if content is not None and _content(path / zone) == content:
                return zone
    return "UTC"


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def upgrade() -> None:
    connection = op.get_bind()
    name = connection.scalar(sa.text("SELECT timezone FROM clinic"))
    if name is not None and name not in time_zones():
        connection.execute(sa.text("UPDATE clinic SET timezone = :zone"), {"zone": _iana(name)})


def downgrade() -> None:
    pass
