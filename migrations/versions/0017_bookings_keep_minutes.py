"""A booking keeps the duration and the buffers that it was made with.

Until now its end was what the constraints guarded: what its type said when it was made, or later
where nothing was in the way. That is its duration from now on.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

SPANS = (
    ("provider_span", "provider_no", "ex_bookings_provider_span", " AND NOT is_overbooked"),
    ("room_span", "room_no", "ex_bookings_room_span", ""),
)

TOLD = [
    "provider_id",
    "room_id",
    "appointment_type_id",
    "date",
    "start_minute",
    "patient_ref",
    "status",
    "is_overbooked",
    "notes",
]


def upgrade() -> None:
    for name in ("duration_minutes", "buffer_before", "buffer_after"):
        op.add_column("bookings", sa.Column(name, sa.SmallInteger(), nullable=True))
    op.execute(
        """
        UPDATE bookings AS b SET duration_minutes = least(b.end_minute - b.start_minute, 1440),
            buffer_before = t.buffer_before, buffer_after = t.buffer_after
        FROM appointment_types AS t WHERE t.id = b.appointment_type_id
        """
    )
    for name in ("duration_minutes", "buffer_before", "buffer_after"):
        op.alter_column("bookings", name, nullable=False)
    op.create_check_constraint("duration", "bookings", "duration_minutes BETWEEN 1 AND 1440")
    op.create_check_constraint(
        "buffers", "bookings", "buffer_before BETWEEN 0 AND 720 AND buffer_after BETWEEN 0 AND 720"
    )
    _replace_spans("start_minute + duration_minutes")
    op.drop_constraint("end", "bookings", type_="check")
    op.drop_column("bookings", "end_minute")
    _count_versions_of([*TOLD, "duration_minutes", "buffer_before", "buffer_after"])


def downgrade() -> None:
    _count_versions_of(TOLD)
    op.add_column("bookings", sa.Column("end_minute", sa.SmallInteger(), nullable=True))
    op.execute("UPDATE bookings SET end_minute = start_minute + duration_minutes")
    op.alter_column("bookings", "end_minute", nullable=False)
    op.create_check_constraint(
        "end", "bookings", "end_minute > start_minute AND end_minute <= 2880"
    )
    _replace_spans("end_minute")
    for name in ("duration", "buffers"):
        op.drop_constraint(name, "bookings", type_="check")
    for name in ("duration_minutes", "buffer_before", "buffer_after"):
        op.drop_column("bookings", name)


def _replace_spans(end: str) -> None:
    """Work out the spans that the constraints compare from another end."""
    for column, number, constraint, but in SPANS:
        op.drop_constraint(constraint, "bookings")
        op.drop_column("bookings", column)
        minute = f"{number} * 268435456 + (date - DATE '2000-01-01') * 1440"
        span = f"int8range({minute} + start_minute, {minute} + {end})"
        op.add_column(
            "bookings",
            sa.Column(
                column, postgresql.INT8RANGE(), sa.Computed(span, persisted=True), nullable=False
            ),
        )
        op.execute(
            f"ALTER TABLE bookings ADD CONSTRAINT {constraint} EXCLUDE USING gist "
            f"({column} WITH &&) WHERE (status <> 'cancelled'{but})"
        )


def _count_versions_of(names: list[str]) -> None:
    """Let the trigger that counts versions look at these columns."""
    op.execute("DROP TRIGGER booking_is_changed ON bookings")
    old, new = (", ".join(f"{row}.{name}" for name in names) for row in ("OLD", "NEW"))
    op.execute(
        f"""
        CREATE TRIGGER booking_is_changed BEFORE UPDATE ON bookings FOR EACH ROW
        WHEN (NEW.version = OLD.version AND ({old}) IS DISTINCT FROM ({new}))
        EXECUTE FUNCTION count_booking_version()
        """
    )
