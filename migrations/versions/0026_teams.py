"""Teams: the roles of a type, who is in those of a booking, and that nobody is in two places.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

# What a booking says of its team, a row each, by which those who are in roles are found.
NOTE_TEAM = """
CREATE FUNCTION note_team() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM booking_roles WHERE booking_id = NEW.id;
    INSERT INTO booking_roles (booking_id, key, provider_id, date)
    SELECT NEW.id, member.key, CAST(member.value AS uuid), NEW.date
    FROM jsonb_each_text(NEW.team) AS member;
    RETURN NULL;
END $$
"""
NOTED = """
CREATE TRIGGER new_booking_has_team AFTER INSERT ON bookings FOR EACH ROW
WHEN (NEW.team <> '{}') EXECUTE FUNCTION note_team()
"""
NOTED_AGAIN = """
CREATE TRIGGER booking_has_team AFTER UPDATE ON bookings FOR EACH ROW
WHEN (OLD.team <> NEW.team OR NEW.team <> '{}' AND OLD.date <> NEW.date)
EXECUTE FUNCTION note_team()
"""

# Whom a booking keeps busy, and when, in minutes since 2000 and without buffers: its provider,
# unless it is overbooked, and each who is in a role, as its type has the role now.
KEPT_BUSY = """
CREATE FUNCTION kept_busy(own bookings)
RETURNS TABLE (provider_id uuid, key text, begins integer, ends integer) LANGUAGE sql STABLE AS $$
    SELECT own.provider_id, NULL, at.zero, at.zero + own.duration_minutes
    FROM (
        SELECT (own.date - DATE '2000-01-01') * 1440 + own.start_minute
    ) AS at (zero) WHERE NOT own.is_overbooked
    UNION ALL
    SELECT CAST(own.team ->> role.key AS uuid), role.key, at.zero + role.from_minute,
        at.zero + least(role.to_minute, own.duration_minutes)
    FROM (
        SELECT (own.date - DATE '2000-01-01') * 1440 + own.start_minute
    ) AS at (zero)
    CROSS JOIN appointment_types AS t
    CROSS JOIN jsonb_to_recordset(t.roles) AS role (
        key text, from_minute integer, to_minute integer
    )
    WHERE t.id = own.appointment_type_id AND own.team ? role.key
        AND role.from_minute < own.duration_minutes
$$
"""

# The last word on rule 9, whoever writes: nobody is in two roles at once, nor in one while a regular
# booking has them. The days of all whom the booking keeps busy are locked as all writers lock them;
# the statement after that sees what others have committed meanwhile. Holds that have run out keep
# nobody busy. Two regular bookings of a provider are another constraint's.
APART = """
CREATE FUNCTION keep_teams_apart() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    own bookings;
    met record;
BEGIN
    IF NEW.team = '{}' AND (
        NEW.is_overbooked OR NOT EXISTS (SELECT FROM appointment_types WHERE roles <> '[]')
    ) THEN
        RETURN NULL;
    END IF;
    SELECT b.* INTO own FROM bookings AS b WHERE b.id = NEW.id AND b.status <> 'cancelled';
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO resource_days (kind, resource, date)
    SELECT DISTINCT 'provider', CAST(mine.provider_id AS text), DATE '2000-01-01' + each
    FROM kept_busy(own) AS mine
    CROSS JOIN generate_series(mine.begins / 1440, (mine.ends - 1) / 1440) AS each
    ORDER BY 2, 3
    ON CONFLICT (kind, resource, date) DO UPDATE SET date = excluded.date WHERE false;
    SELECT mine.key INTO met
    FROM kept_busy(own) AS mine
    CROSS JOIN LATERAL (
        SELECT b.id, theirs.begins, theirs.ends
        FROM bookings AS b CROSS JOIN LATERAL kept_busy(b) AS theirs
        WHERE mine.key IS NOT NULL AND theirs.key IS NULL
            AND b.provider_id = mine.provider_id AND NOT b.is_overbooked
            AND b.date BETWEEN own.date - 1 AND own.date + 1 AND b.status <> 'cancelled'
            AND (b.status <> 'held' OR b.expires_at > clock_timestamp())
        UNION ALL
        SELECT b.id, theirs.begins, theirs.ends
        FROM booking_roles AS r JOIN bookings AS b ON b.id = r.booking_id
        CROSS JOIN LATERAL kept_busy(b) AS theirs
        WHERE theirs.key = r.key
            AND r.provider_id = mine.provider_id AND r.date BETWEEN own.date - 1 AND own.date + 1
            AND b.status <> 'cancelled'
            AND (b.status <> 'held' OR b.expires_at > clock_timestamp())
    ) AS other
    WHERE other.id <> own.id AND other.begins < mine.ends AND mine.begins < other.ends
    ORDER BY mine.key NULLS LAST LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF met.key IS NULL THEN
        RAISE EXCEPTION 'the provider is in a role of another booking then'
            USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'bookings_apart_from_teams';
    END IF;
    RAISE EXCEPTION 'whoever is in the role % is busy then', met.key
        USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'bookings_teams_apart';
END $$
"""
ASKED = """
CREATE CONSTRAINT TRIGGER new_bookings_teams_apart
AFTER INSERT ON bookings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.status <> 'cancelled')
EXECUTE FUNCTION keep_teams_apart()
"""
ASKED_AGAIN = """
CREATE CONSTRAINT TRIGGER bookings_teams_apart
AFTER UPDATE ON bookings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (
    NEW.status <> 'cancelled' AND (
        OLD.status = 'cancelled'
        OR OLD.expires_at < coalesce(NEW.expires_at, 'infinity')
        OR (OLD.date, OLD.start_minute, OLD.appointment_type_id, OLD.provider_id, OLD.team)
            <> (NEW.date, NEW.start_minute, NEW.appointment_type_id, NEW.provider_id, NEW.team)
        OR OLD.duration_minutes < NEW.duration_minutes
        OR OLD.is_overbooked AND NOT NEW.is_overbooked
    )
)
EXECUTE FUNCTION keep_teams_apart()
"""


def upgrade() -> None:
    op.add_column(
        "appointment_types",
        sa.Column("roles", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_appointment_types_roles"), "appointment_types", "jsonb_typeof(roles) = 'array'"
    )
    op.add_column(
        "bookings",
        sa.Column("team", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_bookings_team"),
        "bookings",
        "jsonb_typeof(team) = 'object' AND (team = '{}' OR NOT jsonb_path_exists("
        "team, '$.* ? (@ == $main)', jsonb_build_object('main', provider_id)))",
    )
    op.create_table(
        "booking_roles",
        sa.Column("booking_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("date", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(
            ["booking_id"],
            ["bookings.id"],
            name=op.f("fk_booking_roles_booking_id_bookings"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"],
            ["providers.id"],
            name=op.f("fk_booking_roles_provider_id_providers"),
        ),
        sa.PrimaryKeyConstraint("booking_id", "key", name=op.f("pk_booking_roles")),
        sa.UniqueConstraint(
            "booking_id", "provider_id", name=op.f("uq_booking_roles_booking_id_provider_id")
        ),
    )
    op.create_index("ix_booking_roles_provider_id_date", "booking_roles", ["provider_id", "date"])
    for statement in (NOTE_TEAM, NOTED, NOTED_AGAIN, KEPT_BUSY, APART, ASKED, ASKED_AGAIN):
        op.execute(statement)
    op.execute(
        """
        CREATE TRIGGER booking_has_another_team BEFORE UPDATE ON bookings FOR EACH ROW
        WHEN (NEW.version = OLD.version AND NEW.team <> OLD.team)
        EXECUTE FUNCTION count_booking_version()
        """
    )


def downgrade() -> None:
    """The older release knows no teams: whoever is in a role is free then."""
    for trigger in (
        "booking_has_another_team",
        "bookings_teams_apart",
        "new_bookings_teams_apart",
        "booking_has_team",
        "new_booking_has_team",
    ):
        op.execute(f"DROP TRIGGER {trigger} ON bookings")
    op.execute("DROP FUNCTION keep_teams_apart()")
    op.execute("DROP FUNCTION kept_busy(bookings)")
    op.execute("DROP FUNCTION note_team()")
    op.drop_table("booking_roles")
    op.drop_column("bookings", "team")
    op.drop_column("appointment_types", "roles")
