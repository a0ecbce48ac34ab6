"""The six tables: providers, rooms, types, availability, overbooking rules, bookings.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "providers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("no", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("skills", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("daily_cap", sa.Integer(), nullable=True),
        sa.Column("buffer_before", sa.SmallInteger(), nullable=False),
        sa.Column("buffer_after", sa.SmallInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "buffer_before >= 0 AND buffer_after >= 0", name=op.f("ck_providers_buffers")
        ),
        sa.CheckConstraint("daily_cap >= 0", name=op.f("ck_providers_daily_cap")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_providers")),
        sa.UniqueConstraint("id", "no", name=op.f("uq_providers_id_no")),
    )
    op.create_table(
        "rooms",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("no", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("equipment", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("turnover_minutes", sa.SmallInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.CheckConstraint("turnover_minutes >= 0", name=op.f("ck_rooms_turnover")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rooms")),
        sa.UniqueConstraint("id", "no", name=op.f("uq_rooms_id_no")),
    )
    op.create_table(
        "appointment_types",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("duration_minutes", sa.SmallInteger(), nullable=False),
        sa.Column("buffer_before", sa.SmallInteger(), nullable=False),
        sa.Column("buffer_after", sa.SmallInteger(), nullable=False),
        sa.Column("required_skills", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("required_equipment", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("daily_cap", sa.Integer(), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "buffer_before >= 0 AND buffer_after >= 0", name=op.f("ck_appointment_types_buffers")
        ),
        sa.CheckConstraint("daily_cap >= 0", name=op.f("ck_appointment_types_daily_cap")),
        sa.CheckConstraint(
            "duration_minutes BETWEEN 1 AND 1440", name=op.f("ck_appointment_types_duration")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appointment_types")),
    )
    op.create_table(
        "availability",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=True),
        sa.Column("room_id", sa.Uuid(), nullable=True),
        sa.Column("weekday", sa.SmallInteger(), nullable=True),
        sa.Column("date", sa.Date(), nullable=True),
        sa.Column("start_minute", sa.SmallInteger(), nullable=False),
        sa.Column("end_minute", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.CheckConstraint(
            "kind = 'closed' OR num_nonnulls(provider_id, room_id) = 1",
            name=op.f("ck_availability_clinic_closes"),
        ),
        sa.CheckConstraint("kind IN ('open', 'closed')", name=op.f("ck_availability_kind")),
        sa.CheckConstraint("end_minute <= 1440", name=op.f("ck_availability_day")),
        sa.CheckConstraint(
            "num_nonnulls(provider_id, room_id) <= 1", name=op.f("ck_availability_one_owner")
        ),
        sa.CheckConstraint(
            "num_nonnulls(weekday, date) = 1", name=op.f("ck_availability_weekday_or_date")
        ),
        sa.CheckConstraint(
            "start_minute >= 0 AND start_minute < end_minute", name=op.f("ck_availability_span")
        ),
        sa.CheckConstraint("valid_from <= valid_to", name=op.f("ck_availability_validity")),
        sa.CheckConstraint("weekday BETWEEN 1 AND 7", name=op.f("ck_availability_weekday")),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_availability_provider_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["room_id"], ["rooms.id"], name=op.f("fk_availability_room_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_availability")),
    )
    op.create_index(
        "ix_availability_date",
        "availability",
        ["date"],
        unique=False,
        postgresql_where=sa.text("date IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_availability_provider_id"), "availability", ["provider_id"], unique=False
    )
    op.create_index(op.f("ix_availability_room_id"), "availability", ["room_id"], unique=False)
    op.create_table(
        "overbooking_rules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=True),
        sa.Column("appointment_type_id", sa.Uuid(), nullable=True),
        sa.Column("weekday", sa.SmallInteger(), nullable=True),
        sa.Column("start_minute", sa.SmallInteger(), nullable=True),
        sa.Column("end_minute", sa.SmallInteger(), nullable=True),
        sa.Column("max_overlap", sa.Integer(), nullable=False),
        sa.Column("max_per_day", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "coalesce(start_minute, 0) >= 0 AND coalesce(start_minute, 0) < coalesce(end_minute, 1440) AND coalesce(end_minute, 1440) <= 1440",
            name=op.f("ck_overbooking_rules_hours"),
        ),
        sa.CheckConstraint(
            "max_overlap >= 0 AND max_per_day >= 0", name=op.f("ck_overbooking_rules_allowance")
        ),
        sa.CheckConstraint("weekday BETWEEN 1 AND 7", name=op.f("ck_overbooking_rules_weekday")),
        sa.ForeignKeyConstraint(
            ["appointment_type_id"],
            ["appointment_types.id"],
            name=op.f("fk_overbooking_rules_appointment_type_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_overbooking_rules_provider_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_overbooking_rules")),
    )
    op.create_index(
        op.f("ix_overbooking_rules_appointment_type_id"),
        "overbooking_rules",
        ["appointment_type_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_overbooking_rules_provider_id"), "overbooking_rules", ["provider_id"], unique=False
    )
    op.create_table(
        "bookings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("provider_no", sa.BigInteger(), nullable=False),
        sa.Column("room_id", sa.Uuid(), nullable=False),
        sa.Column("room_no", sa.BigInteger(), nullable=False),
        sa.Column("appointment_type_id", sa.Uuid(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.Column("start_minute", sa.SmallInteger(), nullable=False),
        sa.Column("end_minute", sa.SmallInteger(), nullable=False),
        sa.Column("patient_ref", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("is_overbooked", sa.Boolean(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("score", sa.SmallInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "provider_span",
            postgresql.INT8RANGE(),
            sa.Computed(
                "int8range(provider_no * 268435456 + (date - DATE '2000-01-01') * 1440 + start_minute, provider_no * 268435456 + (date - DATE '2000-01-01') * 1440 + end_minute)",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.Column(
            "room_span",
            postgresql.INT8RANGE(),
            sa.Computed(
                "int8range(room_no * 268435456 + (date - DATE '2000-01-01') * 1440 + start_minute, room_no * 268435456 + (date - DATE '2000-01-01') * 1440 + end_minute)",
                persisted=True,
            ),
            nullable=False,
        ),
        postgresql.ExcludeConstraint(
            (sa.column("provider_span"), "&&"),
            where=sa.text("status <> 'cancelled' AND NOT is_overbooked"),
            using="gist",
            name="ex_bookings_provider_span",
        ),
        postgresql.ExcludeConstraint(
            (sa.column("room_span"), "&&"),
            where=sa.text("status <> 'cancelled'"),
            using="gist",
            name="ex_bookings_room_span",
        ),
        sa.CheckConstraint(
            "(status = 'held') = (expires_at IS NOT NULL)", name=op.f("ck_bookings_hold_expires")
        ),
        sa.CheckConstraint(
            "date BETWEEN DATE '2000-01-01' AND DATE '2500-12-31'", name=op.f("ck_bookings_date")
        ),
        sa.CheckConstraint(
            "status IN ('held', 'booked', 'checked_in', 'completed', 'cancelled', 'no_show')",
            name=op.f("ck_bookings_status"),
        ),
        sa.CheckConstraint(
            "end_minute > start_minute AND end_minute <= 2880", name=op.f("ck_bookings_end")
        ),
        sa.CheckConstraint("start_minute BETWEEN 0 AND 1439", name=op.f("ck_bookings_start")),
        sa.ForeignKeyConstraint(
            ["appointment_type_id"],
            ["appointment_types.id"],
            name=op.f("fk_bookings_appointment_type_id"),
        ),
        sa.ForeignKeyConstraint(
            ["provider_id", "provider_no"],
            ["providers.id", "providers.no"],
            name="fk_bookings_provider",
        ),
        sa.ForeignKeyConstraint(
            ["room_id", "room_no"], ["rooms.id", "rooms.no"], name="fk_bookings_room"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bookings")),
    )
    op.create_index(
        "ix_bookings_appointment_type_id_date",
        "bookings",
        ["appointment_type_id", "date"],
        unique=False,
    )
    op.create_index("ix_bookings_date", "bookings", ["date"], unique=False)
    op.create_index(
        "ix_bookings_patient_ref_date", "bookings", ["patient_ref", "date"], unique=False
    )
    op.create_index(
        "uq_bookings_provider_id_date_start_minute",
        "bookings",
        ["provider_id", "date", "start_minute"],
        unique=True,
        postgresql_where=sa.text("status <> 'cancelled'"),
    )
    op.create_index(
        "uq_bookings_room_id_date_start_minute",
        "bookings",
        ["room_id", "date", "start_minute"],
        unique=True,
        postgresql_where=sa.text("status <> 'cancelled'"),
    )


def downgrade() -> None:
    op.drop_table("bookings")
    op.drop_table("overbooking_rules")
    op.drop_table("availability")
    op.drop_table("appointment_types")
    op.drop_table("rooms")
    op.drop_table("providers")
