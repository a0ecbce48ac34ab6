"""Who may do what in the database: the owner migrates, the service's role reads and writes rows."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from data import api_keys
from data.database.embedded.server import EmbeddedPostgres
from data.database.engine import SchemaError, create_engine, migrate
from data.database.roles import OWNER, SERVICE, owns_the_log
from tests.support.databases import migrated

DENIED = "42501"


RAISED = "P0001"


async def refusal(engine: AsyncEngine, *statements: str) -> str | None:
    """The SQLSTATE that the last of the statements is refused with."""
    async with engine.connect() as connection:
        for statement in statements[:-1]:
            await connection.execute(text(statement))
        try:
            await connection.execute(text(statements[-1]))
        except DBAPIError as error:
            return str(getattr(error.orig, "sqlstate", None))
        return None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'x'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_log_only_grows ON audit_log",
        "DROP TABLE audit_log",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE sql AS ''",
        "INSERT INTO audit_log (at, actor, action, entity) VALUES ('2020-01-01', 'a', 'b', 'c')",
        "INSERT INTO audit_log (id, actor, action, entity) OVERRIDING SYSTEM VALUE"
        " VALUES (-1, 'a', 'b', 'c')",
        "SELECT setval('audit_log_id_seq', 1)",
        "DELETE FROM api_keys",
        "UPDATE api_keys SET role = 'admin'",
        "UPDATE api_keys SET name = 'x'",
        "UPDATE api_keys SET key_hash = ''",
        "UPDATE api_keys SET created_at = now()",
        "INSERT INTO api_keys (id, name, role, key_hash, created_at)"
        " VALUES (gen_random_uuid(), 'x', 'admin', '', '2020-01-01')",
        "TRUNCATE bookings",
        "UPDATE alembic_version SET version_num = '0001'",
        "CREATE TABLE mine ()",
        "CREATE ROLE mine",
        f"SET ROLE {OWNER}",
        "SET SESSION AUTHORIZATION postgres",
        "COPY bookings TO PROGRAM 'cat'",
        "COPY bookings FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
    ],
)
async def test_the_services_role_may_not(engine: AsyncEngine, statement: str) -> None:
    assert await refusal(engine, statement) == DENIED


async def test_an_entry_has_the_databases_time_whoever_writes_it(admin_engine: AsyncEngine) -> None:
    insert = text(
        "INSERT INTO audit_log (at, actor, action, entity) VALUES ('2020-01-01', 'a', 'b', 'c')"
        " RETURNING at BETWEEN now() AND clock_timestamp()"
    )
    async with admin_engine.connect() as connection:
        assert await connection.scalar(insert) is True


async def test_a_key_is_revoked_for_good(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        known, _ = await api_keys.create(connection, "viewer", None, "a")
        await api_keys.revoke(connection, known.id, "a")
    for change in ("NULL", "now() + interval '1 day'"):
        assert await refusal(engine, f"UPDATE api_keys SET revoked_at = {change}") == RAISED
    (after,) = await api_keys.every(engine)
    assert after.revoked_at is not None


async def test_the_services_role_owns_nothing(
    engine: AsyncEngine, admin_engine: AsyncEngine
) -> None:
    query = text(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname = ANY (:names)"
    )
    names = text(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    )
    async with engine.connect() as connection:
        tables = list(await connection.scalars(names))
        assert list(await connection.scalars(query, {"names": tables})) == [OWNER]
        assert await connection.scalar(text("SELECT current_user")) == SERVICE
        assert not await owns_the_log(connection)
        rights = text(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication"
            " FROM pg_roles WHERE rolname = current_user"
        )
        assert await connection.scalar(rights) is False
    async with admin_engine.connect() as connection:
        assert await owns_the_log(connection)


async def test_an_older_database_is_handed_over_and_what_it_lacks_is_said(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        admin = create_engine(server.admin_url, pool_size=1)
        await migrate(admin)  # as it was done before there were roles
        async with admin.begin() as connection:
            await connection.execute(text("UPDATE clinic SET name = 'Kept'"))
        service = create_engine(migrated(server), pool_size=1)
        async with service.begin() as connection:
            assert await connection.scalar(text("SELECT name FROM clinic")) == "Kept"
        assert await refusal(service, "TRUNCATE audit_log") == DENIED
        await migrate(service)  # nothing is to do

        async with admin.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        with pytest.raises(SchemaError, match="run slotwright migrate"):
            await migrate(service)
        async with admin.begin() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(SchemaError, match="of a newer version"):
            await migrate(service)
        await service.dispose()
        await admin.dispose()


async def test_a_table_that_comes_later_is_the_services_to_use(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        service = create_engine(migrated(server), pool_size=1)
        admin = create_engine(server.admin_url, pool_size=1)
        async with admin.begin() as connection:
            await connection.execute(text(f"SET LOCAL ROLE {OWNER}"))
            await connection.execute(text("CREATE TABLE later (id int)"))
            await connection.execute(text(f"GRANT UPDATE ON audit_log TO {SERVICE}"))
            await connection.execute(text(f"GRANT UPDATE (role) ON api_keys TO {SERVICE}"))
        assert await refusal(service, "SELECT * FROM later") == DENIED
        await migrate(admin)  # by whoever may act as the owner
        assert await refusal(service, "INSERT INTO later VALUES (1)") is None
        assert await refusal(service, "UPDATE audit_log SET actor = ''") == DENIED
        assert await refusal(service, "UPDATE api_keys SET role = 'admin'") == DENIED
        await service.dispose()
        await admin.dispose()


def test_the_command_makes_roles_for_a_database_of_ones_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from api.cli.main import main; main()", "migrate"]
    with EmbeddedPostgres(tmp_path, durable=False) as server:

        def run(url: str, *options: str) -> subprocess.CompletedProcess[str]:
            environment = {"DATABASE_URL": url, "SLOTWRIGHT_SERVICE_PASSWORD": "it's a secret"}
            return subprocess.run(
                [*command, *options], env=environment, capture_output=True, text=True, check=False
            )

        made = run(server.admin_url, "--make-roles")
        assert (made.returncode, made.stdout) == (0, "The schema is up to date.\n")
        again = run(server.url)
        assert again.returncode == 0
        refused = run(server.url, "--make-roles")
        assert refused.returncode == 2
        assert "permission denied" in refused.stderr

        async def kept() -> str:
            engine = create_engine(server.admin_url, pool_size=1)
            async with engine.connect() as connection:
                query = text("SELECT rolpassword FROM pg_authid WHERE rolname = :role")
                found = await connection.scalar(query, {"role": SERVICE})
            await engine.dispose()
            return str(found)

        assert asyncio.run(kept()).startswith("SCRAM-SHA-256$")
