"""An index of what is still booked, by date: the no-show marker reads no history.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_bookings_date_booked",
        "bookings",
        ["date"],
        unique=False,
        postgresql_where=sa.text("status = 'booked'"),
    )


def downgrade() -> None:
    op.drop_index("ix_bookings_date_booked", table_name="bookings")
