"""A run keeps the clinic that it was solved for, and who carried it out.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

RESULT = "ck_what_if_runs_result"


def upgrade() -> None:
    for name in ("clinic", "applied"):
        op.add_column(
            "what_if_runs", sa.Column(name, postgresql.JSON(none_as_null=True), nullable=True)
        )
    op.drop_constraint(op.f(RESULT), "what_if_runs", type_="check")
    op.create_check_constraint(
        op.f(RESULT),
        "what_if_runs",
        "CASE status WHEN 'done' THEN result IS NOT NULL WHEN 'stopped' THEN true"
        " ELSE result IS NULL END",
    )


def downgrade() -> None:
    op.drop_constraint(op.f(RESULT), "what_if_runs", type_="check")
    op.execute("DELETE FROM what_if_runs WHERE status = 'stopped' AND result IS NULL")
    op.create_check_constraint(
        op.f(RESULT), "what_if_runs", "(status IN ('done', 'stopped')) = (result IS NOT NULL)"
    )
    for name in ("applied", "clinic"):
        op.drop_column("what_if_runs", name)
