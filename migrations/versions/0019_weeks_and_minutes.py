"""The grid of starts may be any whole number of minutes from 1 to 240.

Revision ID: 0019
Revises: 0016
"""

from alembic import op

revision = "0019"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_check_constraint(op.f("ck_clinic_grid"), "clinic", "grid_minutes BETWEEN 1 AND 240")


def downgrade() -> None:
    """A grid that the older release does not know becomes its default of 15 minutes."""
    op.drop_constraint(op.f("ck_clinic_grid"), "clinic")
    op.execute(
        "UPDATE clinic SET grid_minutes = 15 WHERE grid_minutes NOT IN (5, 10, 15, 20, 30, 60)"
    )
