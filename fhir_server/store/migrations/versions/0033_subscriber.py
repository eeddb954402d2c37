"""Subscriptions are seen by who made them, and no more by all of their organisation."""

from alembic import op

revision = "0033"
down_revision = "0029"
branch_labels = None
depends_on = None

# As `access.gate.party` writes it; none was made with scopes for one patient alone until now.
TO_MAKER = """
UPDATE current AS c SET organizations = ARRAY(
    SELECT concat_ws(' ', coalesce(s.principal::json->>1, ''), s.principal::json->>0,
        coalesce(s.principal::json->>5, ''))
    FROM subscription AS s WHERE s.id = c.id AND s.principal <> '')
WHERE c.type = 'Subscription'
"""
TO_ORGANIZATION = """
UPDATE current AS c SET organizations = ARRAY(
    SELECT s.organization FROM subscription AS s WHERE s.id = c.id)
WHERE c.type = 'Subscription'
"""


def upgrade() -> None:
    """Let each be its maker's."""
    op.execute(TO_MAKER)


def downgrade() -> None:
    """Let each be its organisation's again."""
    op.execute(TO_ORGANIZATION)
