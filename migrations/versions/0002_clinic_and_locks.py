"""The clinic's settings, and the rows that bookings lock.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clinic",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("grid_minutes", sa.SmallInteger(), nullable=False),
        sa.Column("preference_decay_minutes", sa.SmallInteger(), nullable=False),
        sa.Column("min_notice_minutes", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_clinic_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clinic")),
    )
    op.create_table(
        "resource_days",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "resource", "date", name=op.f("pk_resource_days")),
    )
    op.execute("INSERT INTO clinic VALUES (1, 'Clinic', 'UTC', 15, 240, 0)")


def downgrade() -> None:
    op.drop_table("resource_days")
    op.drop_table("clinic")
