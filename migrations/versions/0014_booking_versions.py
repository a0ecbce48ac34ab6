"""A booking's version grows with every change that a caller can see, whoever makes it.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TOLD = (
    "provider_id",
    "room_id",
    "appointment_type_id",
    "date",
    "start_minute",
    "patient_ref",
    "status",
    "is_overbooked",
    "notes",
)


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION count_booking_version() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.version := OLD.version + 1;
            NEW.updated_at := now();
            RETURN NEW;
        END $$
        """
    )
    old, new = (", ".join(f"{row}.{name}" for name in TOLD) for row in ("OLD", "NEW"))
    op.execute(
        f"""
        CREATE TRIGGER booking_is_changed BEFORE UPDATE ON bookings FOR EACH ROW
        WHEN (NEW.version = OLD.version AND ({old}) IS DISTINCT FROM ({new}))
        EXECUTE FUNCTION count_booking_version()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER booking_is_changed ON bookings")
    op.execute("DROP FUNCTION count_booking_version()")
