"""Places: locations, the ways between them, and where rooms and hours are.

Revision ID: 0024
Revises: 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "locations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_locations")),
    )
    op.create_table(
        "travel",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("from_id", sa.Uuid(), nullable=False),
        sa.Column("to_id", sa.Uuid(), nullable=False),
        sa.Column("minutes", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("from_id <> to_id", name=op.f("ck_travel_way")),
        sa.CheckConstraint("minutes BETWEEN 0 AND 720", name=op.f("ck_travel_minutes")),
        sa.ForeignKeyConstraint(
            ["from_id"],
            ["locations.id"],
            name=op.f("fk_travel_from_id_locations"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["to_id"],
            ["locations.id"],
            name=op.f("fk_travel_to_id_locations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_travel")),
        sa.UniqueConstraint("from_id", "to_id", name=op.f("uq_travel_from_id_to_id")),
    )
    op.create_index(op.f("ix_travel_to_id"), "travel", ["to_id"])
    for table in ("rooms", "availability"):
        op.add_column(table, sa.Column("location_id", sa.Uuid(), nullable=True))
        op.create_foreign_key(
            op.f(f"fk_{table}_location_id_locations"),
            table,
            "locations",
            ["location_id"],
            ["id"],
        )
        op.create_index(op.f(f"ix_{table}_location_id"), table, ["location_id"])
    op.create_check_constraint(
        op.f("ck_availability_rooms_say_where"),
        "availability",
        "num_nonnulls(room_id, location_id) <= 1",
    )
    for table in ("locations", "travel"):
        op.execute(
            f"""
            CREATE TRIGGER {table}_are_changed
            AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION touch_clinic()
            """
        )


def downgrade() -> None:
    """The older release knows no places: hours count for all rooms."""
    op.drop_constraint(op.f("ck_availability_rooms_say_where"), "availability", type_="check")
    op.drop_column("availability", "location_id")
    op.drop_column("rooms", "location_id")
    op.drop_table("travel")
    op.drop_table("locations")
