"""Any grid from 1 to 240 minutes; rows of each n-th week; most minutes of a provider a day.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_check_constraint(op.f("ck_clinic_grid"), "clinic", "grid_minutes BETWEEN 1 AND 240")
    op.add_column(
        "availability",
        sa.Column("every_weeks", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_availability_every_weeks"),
        "availability",
        "every_weeks = 1 OR every_weeks BETWEEN 2 AND 8"
        " AND weekday IS NOT NULL AND valid_from IS NOT NULL",
    )
    op.add_column("providers", sa.Column("daily_minutes", sa.Integer(), nullable=True))
    op.create_check_constraint(
        op.f("ck_providers_daily_minutes"), "providers", "daily_minutes >= 0"
    )


def downgrade() -> None:
    """What the older release does not know becomes what it does.

    Another grid is its default of 15 minutes, a row of each n-th week holds in every week, and a
    provider's minutes have no limit.
    """
    op.drop_column("providers", "daily_minutes")
    op.drop_column("availability", "every_weeks")
    op.drop_constraint(op.f("ck_clinic_grid"), "clinic")
    op.execute(
        "UPDATE clinic SET grid_minutes = 15 WHERE grid_minutes NOT IN (5, 10, 15, 20, 30, 60)"
    )
