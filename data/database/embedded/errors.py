"""Why there is no embedded PostgreSQL."""

from __future__ import annotations


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be started; the message says why and what to do."""
