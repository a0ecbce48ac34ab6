"""What patients are compared by, beside what was typed; a blank name becomes none.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from solver.clinic.patients import patient_key

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BATCH = 10_000
"""Names written in one statement."""
FILL = sa.text(
    """
    UPDATE bookings SET patient_key = nullif(known.key, ''),
        patient_ref = CASE WHEN known.key <> '' THEN bookings.patient_ref END
    FROM unnest(:names, :keys) AS known (name, key)
    WHERE bookings.patient_ref = known.name
    """
).bindparams(
    sa.bindparam("names", type_=ARRAY(sa.Text)), sa.bindparam("keys", type_=ARRAY(sa.Text))
)


def upgrade() -> None:
    op.add_column("bookings", sa.Column("patient_key", sa.Text(), nullable=True))
    connection = op.get_bind()
    names = connection.scalars(
        sa.text("SELECT DISTINCT patient_ref FROM bookings WHERE patient_ref IS NOT NULL")
    ).all()
    for first in range(0, len(names), BATCH):
        some = names[first : first + BATCH]
        keys = [patient_key(name) for name in some]
        connection.execute(FILL, {"names": list(some), "keys": keys})
    op.create_check_constraint(
        op.f("ck_bookings_patient_key"),
        "bookings",
        "(patient_ref IS NULL) = (patient_key IS NULL) AND patient_key <> ''",
    )
    op.drop_index("ix_bookings_patient_ref_date", table_name="bookings")
    op.create_index("ix_bookings_patient_key_date", "bookings", ["patient_key", "date"])


def downgrade() -> None:
    op.drop_index("ix_bookings_patient_key_date", table_name="bookings")
    op.create_index("ix_bookings_patient_ref_date", "bookings", ["patient_ref", "date"])
    op.drop_constraint(op.f("ck_bookings_patient_key"), "bookings")
    op.drop_column("bookings", "patient_key")
