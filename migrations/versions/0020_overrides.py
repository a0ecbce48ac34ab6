"""A booking keeps which rules it was made against on purpose, and the audit log keeps why.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# Erasing a patient forgets the reasons, too, which may say something of the patient
ERASE_PATIENT = """
CREATE OR REPLACE FUNCTION erase_patient(spellings text[], pseudonym text, actor text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = PATH AS $$
DECLARE
    found bigint;
BEGIN
    IF pseudonym !~ '^erased-[0-9a-f]{12}$' THEN
        RAISE EXCEPTION 'no pseudonym';
    END IF;
    IF EXISTS (
        SELECT FROM bookings WHERE patient_ref = ANY (spellings)
    ) THEN
        RAISE EXCEPTION 'a booking still names the patient';
    END IF;
    IF EXISTS (
        SELECT FROM audit_log
        WHERE entity = 'patient' AND action = 'erase' AND after ->> 'patient_ref' = pseudonym
    ) THEN
        RAISE EXCEPTION 'the pseudonym is another patient''s';
    END IF;
    PERFORM set_config('slotwright.erasing', 'on', true);
    UPDATE audit_log
    SET before = erased(before, spellings, pseudonym),
        after = erased(after, spellings, pseudonym)REASON
    WHERE EXISTS (
        SELECT FROM jsonb_path_query(
            jsonb_build_array(before, after), '$.**.patient_ref'
        ) AS named
        WHERE named #>> '{}' = ANY (spellings)
    );
    GET DIAGNOSTICS found = ROW_COUNT;
    PERFORM set_config('slotwright.erasing', 'off', true);
    INSERT INTO audit_log (actor, action, entity, after)
    VALUES (
        actor, 'erase', 'patient',
        jsonb_build_object('patient_ref', pseudonym, 'entries', found)
    );
    RETURN found;
END $$
"""


def _make_eraser(*, with_reasons: bool) -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    reason = ",\n        override_reason = NULL" if with_reasons else ""
    op.execute(ERASE_PATIENT.replace("REASON", reason).replace("PATH", f"{schema}, pg_temp"))


def upgrade() -> None:
    op.add_column(
        "bookings",
        sa.Column(
            "overrides",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
    )
    op.create_check_constraint(
        op.f("ck_bookings_overrides"), "bookings", "array_position(overrides, NULL) IS NULL"
    )
    op.execute(
        """
        CREATE TRIGGER booking_overrides_otherwise BEFORE UPDATE ON bookings FOR EACH ROW
        WHEN (NEW.version = OLD.version AND NEW.overrides IS DISTINCT FROM OLD.overrides)
        EXECUTE FUNCTION count_booking_version()
        """
    )
    op.add_column("audit_log", sa.Column("override_reason", sa.Text(), nullable=True))
    _make_eraser(with_reasons=True)


def downgrade() -> None:
    _make_eraser(with_reasons=False)
    op.drop_column("audit_log", "override_reason")
    op.execute("DROP TRIGGER booking_overrides_otherwise ON bookings")
    op.drop_column("bookings", "overrides")
