"""Sessions: time that is kept for some types or a number of bookings, and its release.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def _lead(name: str) -> list[sa.Column[int]]:
    return [
        sa.Column(f"{name}_minutes_before", sa.Integer(), nullable=True),
        sa.Column(f"{name}_days_before", sa.SmallInteger(), nullable=True),
        sa.Column(f"{name}_at", sa.SmallInteger(), nullable=True),
    ]


def _is_lead(name: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(
        f"num_nonnulls({name}_minutes_before, {name}_days_before) <= 1"
        f" AND num_nonnulls({name}_days_before, {name}_at) IN (0, 2)"
        f" AND {name}_minutes_before BETWEEN 0 AND 527040 IS NOT FALSE"
        f" AND {name}_days_before BETWEEN 0 AND 366 IS NOT FALSE"
        f" AND {name}_at BETWEEN 0 AND 1439 IS NOT FALSE",
        name=op.f(f"ck_sessions_{name}"),
    )


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=True),
        sa.Column("room_id", sa.Uuid(), nullable=True),
        sa.Column("weekday", sa.SmallInteger(), nullable=True),
        sa.Column("date", sa.Date(), nullable=True),
        sa.Column("start_minute", sa.SmallInteger(), nullable=False),
        sa.Column("end_minute", sa.SmallInteger(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("every_weeks", sa.SmallInteger(), nullable=False),
        sa.Column("appointment_type_ids", sa.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("max_bookings", sa.Integer(), nullable=True),
        *_lead("opens"),
        *_lead("releases"),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "num_nonnulls(provider_id, room_id) <= 1", name=op.f("ck_sessions_one_owner")
        ),
        sa.CheckConstraint(
            "num_nonnulls(weekday, date) = 1", name=op.f("ck_sessions_weekday_or_date")
        ),
        sa.CheckConstraint("weekday BETWEEN 1 AND 7", name=op.f("ck_sessions_weekday")),
        sa.CheckConstraint(
            "start_minute >= 0 AND start_minute < end_minute", name=op.f("ck_sessions_span")
        ),
        sa.CheckConstraint("end_minute <= 1440", name=op.f("ck_sessions_day")),
        sa.CheckConstraint("valid_from <= valid_to", name=op.f("ck_sessions_validity")),
        sa.CheckConstraint(
            "every_weeks = 1 OR every_weeks BETWEEN 2 AND 8"
            " AND weekday IS NOT NULL AND valid_from IS NOT NULL",
            name=op.f("ck_sessions_every_weeks"),
        ),
        sa.CheckConstraint("max_bookings >= 0", name=op.f("ck_sessions_max_bookings")),
        sa.CheckConstraint(
            "array_position(appointment_type_ids, NULL) IS NULL",
            name=op.f("ck_sessions_appointment_type_ids"),
        ),
        _is_lead("opens"),
        _is_lead("releases"),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_sessions_provider_id_providers"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["room_id"],
            ["rooms.id"],
            name=op.f("fk_sessions_room_id_rooms"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_provider_id"), "sessions", ["provider_id"])
    op.create_index(op.f("ix_sessions_room_id"), "sessions", ["room_id"])
    op.create_index(op.f("ix_sessions_date"), "sessions", ["date"])
    op.execute(
        """
        CREATE TRIGGER sessions_are_changed
        AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON sessions
        FOR EACH STATEMENT EXECUTE FUNCTION touch_clinic()
        """
    )
    op.execute(
        """
        CREATE FUNCTION forget_type() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE sessions
            SET appointment_type_ids = array_remove(appointment_type_ids, OLD.id)
            WHERE OLD.id = ANY (appointment_type_ids);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER sessions_forget_types AFTER DELETE ON appointment_types
        FOR EACH ROW EXECUTE FUNCTION forget_type()
        """
    )


def downgrade() -> None:
    """The older release knows no sessions: what they keep for some types is anybody's."""
    op.execute("DROP TRIGGER sessions_forget_types ON appointment_types")
    op.execute("DROP FUNCTION forget_type()")
    op.drop_table("sessions")
