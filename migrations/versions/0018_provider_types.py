"""Providers who differ: a row for what one provider does otherwise than the type says.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_types",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("appointment_type_id", sa.Uuid(), nullable=False),
        sa.Column("duration_minutes", sa.SmallInteger(), nullable=True),
        sa.Column("buffer_before", sa.SmallInteger(), nullable=True),
        sa.Column("buffer_after", sa.SmallInteger(), nullable=True),
        sa.Column("daily_cap", sa.Integer(), nullable=True),
        sa.Column("offered", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "duration_minutes BETWEEN 1 AND 1440", name=op.f("ck_provider_types_duration")
        ),
        sa.CheckConstraint(
            "buffer_before BETWEEN 0 AND 720 AND buffer_after BETWEEN 0 AND 720",
            name=op.f("ck_provider_types_buffers"),
        ),
        sa.CheckConstraint("daily_cap >= 0", name=op.f("ck_provider_types_daily_cap")),
        sa.ForeignKeyConstraint(
            ["appointment_type_id"],
            ["appointment_types.id"],
            name=op.f("fk_provider_types_appointment_type_id_appointment_types"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_provider_types_provider_id_providers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_types")),
        sa.UniqueConstraint(
            "provider_id",
            "appointment_type_id",
            name=op.f("uq_provider_types_provider_id_appointment_type_id"),
        ),
    )
    op.create_index(
        op.f("ix_provider_types_appointment_type_id"), "provider_types", ["appointment_type_id"]
    )
    op.execute(
        """
        CREATE TRIGGER provider_types_are_changed
        AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON provider_types
        FOR EACH STATEMENT EXECUTE FUNCTION touch_clinic()
        """
    )


def downgrade() -> None:
    op.drop_table("provider_types")
