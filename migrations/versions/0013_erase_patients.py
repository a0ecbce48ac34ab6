"""A patient can be put beyond recognition in the audit log, by its owner's function alone.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


ERASED = """
CREATE FUNCTION erased(document jsonb, spellings text[], pseudonym text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = PATH AS $$
BEGIN
    IF jsonb_typeof(document) = 'array' THEN
        RETURN (
            SELECT coalesce(jsonb_agg(erased(value, spellings, pseudonym) ORDER BY place), '[]')
            FROM jsonb_array_elements(document) WITH ORDINALITY AS each (value, place)
        );
    ELSIF jsonb_typeof(document) <> 'object' THEN
        RETURN document;
    END IF;
    IF document ->> 'patient_ref' = ANY (spellings) THEN
        document := document || jsonb_build_object('patient_ref', pseudonym);
        IF document ? 'notes' THEN
            document := document || jsonb_build_object('notes', null);
        END IF;
    END IF;
    RETURN (
        SELECT coalesce(
            jsonb_object_agg(
                key,
                CASE
                    WHEN jsonb_typeof(value) IN ('array', 'object')
                        THEN erased(value, spellings, pseudonym)
                    ELSE value
                END
            ),
            '{}'
        )
        FROM jsonb_each(document)
    );
END $$
"""
ERASE_PATIENT = """
CREATE FUNCTION erase_patient(spellings text[], pseudonym text, actor text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = PATH AS $$
DECLARE
    found bigint;
BEGIN
    IF pseudonym !~ '^erased-[0-9a-f]{12}$' THEN
        RAISE EXCEPTION 'no pseudonym';
    END IF;
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


def upgrade() -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for statement in (ERASED, ERASE_PATIENT):
        op.execute(statement.replace("PATH", f"{schema}, pg_temp"))
    op.execute("REVOKE ALL ON FUNCTION erase_patient(text[], text, text) FROM PUBLIC")
    op.execute(
        """
        CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE'
                AND current_setting('slotwright.erasing', true) = 'on'
                AND current_user = (
                    SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID
                )
            THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'the audit log only grows';
        END $$
        """
    )
    op.execute("DELETE FROM resource_days WHERE kind = 'patient'")  # they hold names; hashes now


def downgrade() -> None:
    op.execute("DELETE FROM resource_days WHERE kind = 'patient'")
    op.execute(
        """
        CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the audit log only grows';
        END $$
        """
    )
    op.execute("DROP FUNCTION erase_patient(text[], text, text)")
    op.execute("DROP FUNCTION erased(jsonb, text[], text)")
