"""An audit entry has the database's time, a revoked key stays so, and erasing has conditions.

Which columns of them the service's role writes at all, :mod:`data.roles` grants.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

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
    CHECKS
    PERFORM set_config('slotwright.erasing', 'on', true);
    UPDATE audit_log
    SET before = erased(before, spellings, pseudonym),
        after = erased(after, spellings, pseudonym)
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
CHECKS = """
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
"""


def _make_eraser(checks: str) -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    whole = ERASE_PATIENT.replace("CHECKS", checks)
    op.execute(whole.replace("PATH", f"{schema}, pg_temp"))


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION tell_audit_time() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.at := clock_timestamp();
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER audit_log_tells_the_time BEFORE INSERT ON audit_log FOR EACH ROW
        EXECUTE FUNCTION tell_audit_time()
        """
    )
    op.execute(
        """
        CREATE FUNCTION refuse_key_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'a key that was revoked stays so';
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER api_key_stays_revoked BEFORE UPDATE ON api_keys FOR EACH ROW
        WHEN (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at)
        EXECUTE FUNCTION refuse_key_change()
        """
    )
    _make_eraser(CHECKS)


def downgrade() -> None:
    _make_eraser("")
    op.execute("DROP TRIGGER api_key_stays_revoked ON api_keys")
    op.execute("DROP FUNCTION refuse_key_change()")
    op.execute("DROP TRIGGER audit_log_tells_the_time ON audit_log")
    op.execute("DROP FUNCTION tell_audit_time()")
