"""Days of patients are named by a hash alone; those that were named in plain text go.

Revision ID: 0016
Revises: 0015
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM resource_days WHERE kind = 'patient' AND resource !~ '^[0-9a-f]{32}$'")


def downgrade() -> None:
    """Leave it so: a row is made anew when somebody locks the day."""
