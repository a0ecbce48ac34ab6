"""Pools that serve one place, and the last word on the way between two.

Revision ID: 0025
Revises: 0024
"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

# As it was, but that of a pool that is at a place other rooms have nothing.
WITHIN_POOLS = """
CREATE OR REPLACE FUNCTION keep_within_pools() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    own bookings;
    own_location uuid;
    exceeded text;
BEGIN
    SELECT b.* INTO own
    FROM bookings AS b JOIN appointment_types AS t ON t.id = b.appointment_type_id
    WHERE b.id = NEW.id AND b.status <> 'cancelled' AND t.required_pools <> '[]';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT r.location_id INTO own_location FROM rooms AS r WHERE r.id = own.room_id;
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
        AND out.level > CASE
            WHEN p.active AND (p.location_id IS NULL OR p.location_id = own_location)
            THEN p.quantity ELSE 0 END
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
        OR (OLD.room_id, OLD.date, OLD.start_minute, OLD.appointment_type_id)
            IS DISTINCT FROM (NEW.room_id, NEW.date, NEW.start_minute, NEW.appointment_type_id)
        OR OLD.duration_minutes < NEW.duration_minutes
    )
)
EXECUTE FUNCTION keep_within_pools()
"""

# The last word on rule 11, whoever writes. The provider's day is locked as all writers lock it; the
# statement after that sees what others have committed meanwhile. An import, which takes what breaks
# no constraint of the book and tells of it, says so for its transaction.
TIME_TO_TRAVEL = """
CREATE FUNCTION keep_time_to_travel() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    own record;
BEGIN
    IF current_setting('slotwright.takes_what_is_too_far', true) = 'on' THEN
        RETURN NULL;
    END IF;
    SELECT b.id, b.provider_id, b.date, r.location_id, p.buffer_before, p.buffer_after,
        b.start_minute - greatest(b.buffer_before, p.buffer_before) AS begins,
        b.start_minute + b.duration_minutes + greatest(b.buffer_after, p.buffer_after) AS ends
    INTO own
    FROM bookings AS b
    JOIN rooms AS r ON r.id = b.room_id
    JOIN providers AS p ON p.id = b.provider_id
    WHERE b.id = NEW.id AND b.status <> 'cancelled' AND r.location_id IS NOT NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO resource_days (kind, resource, date)
    VALUES ('provider', CAST(own.provider_id AS text), own.date)
    ON CONFLICT (kind, resource, date) DO UPDATE SET date = excluded.date WHERE false;
    PERFORM
    FROM bookings AS b
    JOIN rooms AS r ON r.id = b.room_id AND r.location_id <> own.location_id
    LEFT JOIN travel AS way ON way.from_id = own.location_id AND way.to_id = r.location_id
    LEFT JOIN travel AS back ON back.from_id = r.location_id AND back.to_id = own.location_id
    WHERE b.provider_id = own.provider_id AND b.date = own.date AND b.id <> own.id
        AND b.status <> 'cancelled'
        AND (b.status <> 'held' OR b.expires_at > clock_timestamp())
        AND own.ends + coalesce(way.minutes, back.minutes, 0)
            > b.start_minute - greatest(b.buffer_before, own.buffer_before)
        AND b.start_minute + b.duration_minutes + greatest(b.buffer_after, own.buffer_after)
            + coalesce(back.minutes, way.minutes, 0) > own.begins;
    IF FOUND THEN
        RAISE EXCEPTION 'a provider has no time for the way'
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'bookings_time_to_travel';
    END IF;
    RETURN NULL;
END $$
"""
TRAVELS_AGAIN = """
CREATE CONSTRAINT TRIGGER bookings_time_to_travel
AFTER UPDATE ON bookings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (
    NEW.status <> 'cancelled' AND (
        OLD.status = 'cancelled'
        OR OLD.expires_at < coalesce(NEW.expires_at, 'infinity')
        OR (OLD.provider_id, OLD.room_id, OLD.date, OLD.start_minute)
            IS DISTINCT FROM (NEW.provider_id, NEW.room_id, NEW.date, NEW.start_minute)
        OR OLD.duration_minutes < NEW.duration_minutes
        OR OLD.buffer_before < NEW.buffer_before
        OR OLD.buffer_after < NEW.buffer_after
    )
)
EXECUTE FUNCTION keep_time_to_travel()
"""
TRAVELS = """
CREATE CONSTRAINT TRIGGER new_bookings_time_to_travel
AFTER INSERT ON bookings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.status <> 'cancelled')
EXECUTE FUNCTION keep_time_to_travel()
"""


def upgrade() -> None:
    op.add_column("equipment_pools", sa.Column("location_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_equipment_pools_location_id_locations"),
        "equipment_pools",
        "locations",
        ["location_id"],
        ["id"],
    )
    op.create_index(op.f("ix_equipment_pools_location_id"), "equipment_pools", ["location_id"])
    op.execute(WITHIN_POOLS)
    op.execute("DROP TRIGGER bookings_within_pools ON bookings")
    op.execute(ASKED_AGAIN)
    op.execute(TIME_TO_TRAVEL)
    op.execute(TRAVELS)
    op.execute(TRAVELS_AGAIN)


def downgrade() -> None:
    """The older release knows no pools of a place: each serves all rooms."""
    before = import_module("migrations.versions.0023_equipment_pools")
    op.execute("DROP TRIGGER bookings_time_to_travel ON bookings")
    op.execute("DROP TRIGGER new_bookings_time_to_travel ON bookings")
    op.execute("DROP FUNCTION keep_time_to_travel()")
    op.execute("DROP TRIGGER bookings_within_pools ON bookings")
    op.execute(before.WITHIN_POOLS.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    op.execute(before.ASKED_AGAIN)
    op.drop_column("equipment_pools", "location_id")
