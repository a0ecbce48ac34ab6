"""The database engine and the migration of its schema."""

from __future__ import annotations

import logging
from importlib.resources import as_file, files
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, make_url, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from data.database import roles
from data.database.address import tls_of
from data.database.locks import SCHEMA_LOCK

POOL_SIZE = 16
"""Connections of one process, kept open: making one costs as much as several bookings."""


POOL_TIMEOUT_SECONDS = 5


LOCK_TIMEOUT = "4s"


STATEMENT_TIMEOUT = "10s"


IDLE_IN_TRANSACTION_TIMEOUT = "5s"


_log = logging.getLogger(__name__)


_NEWER = (
    "the database's schema is that of a newer version; run that one, or restore a dump from before "
    "it"
)


class SchemaError(RuntimeError):
    """The database's schema is not the one that this version works on; the message says why."""


class BarePing(PGDialect_asyncpg):
    """PostgreSQL over asyncpg, where trying a pooled connection takes one round trip.

    The driver's adapter puts a transaction around it, for connection poolers that assign a server
    by transaction: three round trips before each use, where no statement needs to follow another.
    """

    supports_statement_cache = True

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Try a connection that has no transaction; raise what the driver raises when it fails."""
        level = dbapi_connection.isolation_level
        dbapi_connection.isolation_level = "autocommit"
        try:
            dbapi_connection.ping()
        finally:
            dbapi_connection.isolation_level = level
        return True


registry.register("postgresql.bare_ping", __name__, BarePing.__name__)


def create_engine(url: str, *, pool_size: int = POOL_SIZE) -> AsyncEngine:
    """Return an engine for a ``postgresql://`` URL, whatever driver it names.

    Nothing waits for long on it: not for a connection, a lock or a statement, and a transaction
    that its client forgot is ended by the server.
    """
    address = make_url(url)
    options = {name: value for name, value in address.query.items() if isinstance(value, str)}
    tls = tls_of(options)
    return create_async_engine(
        address.set(drivername="postgresql+bare_ping").difference_update_query(
            [name for name in options if name.startswith("ssl")]
        ),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "timeout": POOL_TIMEOUT_SECONDS,
            **({} if tls is None else {"ssl": tls}),
            "server_settings": {
                "application_name": "slotwright",
                "timezone": "UTC",
                "lock_timeout": LOCK_TIMEOUT,
                "statement_timeout": STATEMENT_TIMEOUT,
                "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT,
                "jit": "off",
                "max_parallel_workers_per_gather": "0",  # nobody's question takes all the cores
            },
        },
    )


async def migrate(
    engine: AsyncEngine, *, make_roles: bool = False, service_password: str | None = None
) -> None:
    """Bring the schema to the newest version; several processes at once do it one by one.

    A role without the right to migrate, as the service's own, only checks that the schema is the
    newest. With `make_roles` an owner and the service's role are made first, see
    :mod:`data.database.roles`.

    Raises
    ------
    SchemaError
        When a newer version has been at work on the database, or this role may not bring up a
        schema that is older.
    """
    async with engine.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
        await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
        if make_roles:
            await roles.make(connection, service_password)
        owner = await roles.migration_role(connection, made=make_roles)
        if owner is None:
            await _require_newest(connection)
            return
        await connection.exec_driver_sql(f"SET LOCAL ROLE {owner}")
        await connection.run_sync(_upgrade)
        await roles.grant(connection)


async def _require_newest(connection: AsyncConnection) -> None:
    may_read = "SELECT has_table_privilege('alembic_version', 'SELECT')"
    present = None
    if await connection.scalar(text(may_read)):
        present = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    with as_file(files("migrations")) as scripts:
        directory = ScriptDirectory(str(scripts))
        if present == directory.get_current_head():
            return
        known = {each.revision for each in directory.walk_revisions()}
        if present is not None and present not in known:
            raise SchemaError(_NEWER)
    raise SchemaError(
        "the database's schema is older than this version, and the role of DATABASE_URL does not "
        "own it; run slotwright migrate with a DATABASE_URL that does"
    )


def _upgrade(connection: Connection) -> None:
    with as_file(files("migrations")) as scripts:
        config = Config()
        config.set_main_option("script_location", str(scripts))
        config.attributes["connection"] = connection
        before = MigrationContext.configure(connection).get_current_revision()
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise SchemaError(_NEWER) from error
    after = MigrationContext.configure(connection).get_current_revision()
    if after != before:
        _log.info("database prepared (schema %s)", after)
