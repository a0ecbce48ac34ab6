"""A type has starts of its own: every so many minutes, from midnight or a window, or packed.

Revision ID: 0022
Revises: 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("start_every", sa.SmallInteger(), nullable=True),
        sa.Column("start_offset", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("start_anchor", sa.Text(), server_default=sa.text("'midnight'"), nullable=False),
        sa.Column("packed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    ):
        op.add_column("appointment_types", column)
    op.create_check_constraint(
        op.f("ck_appointment_types_starts"),
        "appointment_types",
        "coalesce(start_every, 1) BETWEEN 1 AND 240"
        " AND start_offset BETWEEN 0 AND coalesce(start_every, 1) - 1"
        " AND start_anchor IN ('midnight', 'window')"
        " AND (start_offset = 0 OR start_anchor = 'midnight')",
    )


def downgrade() -> None:
    """Every type starts on the clinic's grid, which is all that the older release knows."""
    for column in ("packed", "start_anchor", "start_offset", "start_every"):
        op.drop_column("appointment_types", column)
