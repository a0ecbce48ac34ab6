"""A version of the clinic's rows, counted up by whatever changes them.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("providers", "rooms", "appointment_types", "availability", "overbooking_rules")


def upgrade() -> None:
    op.add_column(
        "clinic",
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
    )
    op.execute(
        """
        CREATE FUNCTION count_clinic_version() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.version := OLD.version + 1;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER clinic_is_changed BEFORE UPDATE ON clinic
        FOR EACH ROW EXECUTE FUNCTION count_clinic_version()
        """
    )
    op.execute(
        """
        CREATE FUNCTION touch_clinic() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE clinic SET version = version;
            RETURN NULL;
        END $$
        """
    )
    for table in TABLES:
        op.execute(
            f"""
            CREATE TRIGGER {table}_are_changed
            AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION touch_clinic()
            """
        )


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TRIGGER {table}_are_changed ON {table}")
    op.execute("DROP FUNCTION touch_clinic()")
    op.execute("DROP TRIGGER clinic_is_changed ON clinic")
    op.execute("DROP FUNCTION count_clinic_version()")
    op.drop_column("clinic", "version")
