"""Equipment that moves: pools, what types take from them, and that no more is out than there is.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# The last word on rule 10, whoever writes. The days of the pools are locked as all writers lock
# them; the statement after that sees what others have committed meanwhile. Holds that have run out
# have nothing. Only what is out while the booking itself has some is asked, of the bookings of its
# date and the two beside it, as everywhere. Where as much is taken and brought back at one moment,
# it is brought back first.
WITHIN_POOLS = """
CREATE FUNCTION keep_within_pools() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    own bookings;
    exceeded text;
BEGIN
    SELECT b.* INTO own
    FROM bookings AS b JOIN appointment_types AS t ON t.id = b.appointment_type_id
    WHERE b.id = NEW.id AND b.status <> 'cancelled' AND t.required_pools <> '[]';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO resource_days (kind, resource, date)
    SELECT 'equipment_pool', CAST(p.id AS text), own.date + ahead
    FROM appointment_types AS t
    CROSS JOIN jsonb_to_recordset(t.required_pools) AS need (pool_id uuid)
    JOIN equipment_pools AS p ON p.id = need.pool_id
    CROSS JOIN generate_series(
        0, (own.start_minute + own.duration_minutes + p.return_minutes - 1) / 1440
    ) AS ahead
    WHERE t.id = own.appointment_type_id
    ORDER BY CAST(p.id AS text), ahead
    ON CONFLICT (kind, resource, date) DO UPDATE SET date = excluded.date WHERE false;
    SELECT p.name INTO exceeded
    FROM appointment_types AS t
    CROSS JOIN jsonb_to_recordset(t.required_pools) AS need (pool_id uuid)
    JOIN equipment_pools AS p ON p.id = need.pool_id
    CROSS JOIN LATERAL (
        SELECT sum(step.change) OVER (ORDER BY step.moment, step.change) AS level
        FROM bookings AS b
        JOIN appointment_types AS other ON other.id = b.appointment_type_id
        CROSS JOIN jsonb_to_recordset(other.required_pools) AS takes (
            pool_id uuid, quantity integer
        )
        CROSS JOIN LATERAL (
            SELECT (b.date - own.date) * 1440 + b.start_minute AS begins,
                (b.date - own.date) * 1440 + b.start_minute + b.duration_minutes
                    + p.return_minutes AS ends
        ) AS has
        CROSS JOIN LATERAL (
            VALUES (greatest(has.begins, own.start_minute), takes.quantity),
                (has.ends, -takes.quantity)
        ) AS step (moment, change)
        WHERE b.date BETWEEN own.date - 1 AND own.date + 1 AND b.status <> 'cancelled'
            AND (b.status <> 'held' OR b.expires_at > clock_timestamp() OR b.id = own.id)
            AND takes.pool_id = p.id AND has.ends > own.start_minute
            AND has.begins < own.start_minute + own.duration_minutes + p.return_minutes
    ) AS out
    WHERE t.id = own.appointment_type_id
        AND out.level > CASE WHEN p.active THEN p.quantity ELSE 0 END
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'more of % is out at once than there is', exceeded
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'bookings_within_pools';
    END IF;
    RETURN NULL;
END $$
"""
ASKED_AGAIN = """
CREATE CONSTRAINT TRIGGER bookings_within_pools
AFTER UPDATE ON bookings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (
    NEW.status <> 'cancelled' AND (
        OLD.status = 'cancelled'
        OR OLD.expires_at < coalesce(NEW.expires_at, 'infinity')
        OR (OLD.date, OLD.start_minute, OLD.appointment_type_id)
            <> (NEW.date, NEW.start_minute, NEW.appointment_type_id)
        OR OLD.duration_minutes < NEW.duration_minutes
    )
)
EXECUTE FUNCTION keep_within_pools()
"""
ASKED = """
CREATE CONSTRAINT TRIGGER new_bookings_within_pools
AFTER INSERT ON bookings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.status <> 'cancelled')
EXECUTE FUNCTION keep_within_pools()
"""


def upgrade() -> None:
    op.create_table(
        "equipment_pools",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("quantity", sa.SmallInteger(), nullable=False),
        sa.Column("return_minutes", sa.SmallInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.CheckConstraint("quantity BETWEEN 0 AND 1000", name=op.f("ck_equipment_pools_quantity")),
        sa.CheckConstraint(
            "return_minutes BETWEEN 0 AND 1440", name=op.f("ck_equipment_pools_return")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_equipment_pools")),
    )
    op.execute(
        """
        CREATE TRIGGER equipment_pools_are_changed
        AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON equipment_pools
        FOR EACH STATEMENT EXECUTE FUNCTION touch_clinic()
        """
    )
    op.add_column(
        "appointment_types",
        sa.Column(
            "required_pools", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False
        ),
    )
    op.create_check_constraint(
        op.f("ck_appointment_types_required_pools"),
        "appointment_types",
        "jsonb_typeof(required_pools) = 'array'",
    )
    op.execute(WITHIN_POOLS)
    op.execute(ASKED)
    op.execute(ASKED_AGAIN)


def downgrade() -> None:
    op.execute("DROP TRIGGER bookings_within_pools ON bookings")
    op.execute("DROP TRIGGER new_bookings_within_pools ON bookings")
    op.execute("DROP FUNCTION keep_within_pools()")
    op.drop_column("appointment_types", "required_pools")
    op.drop_table("equipment_pools")
