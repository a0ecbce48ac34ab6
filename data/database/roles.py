"""Who the database knows: an owner that migrations act as, and the service's own role.

The owner holds the tables and cannot log in. The service's role reads and writes rows, and that is
all: it adds to the audit log and never changes it, makes keys and revokes them and changes nothing
else of one, alters no table, and runs no program on the server.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

OWNER = "slotwright_owner"


SERVICE = "slotwright_service"


type _Rights = Mapping[str, Collection[str]]
"""Rights on a table, each with its columns; none named: all, future ones included."""


_ALL: _Rights = {"SELECT": (), "INSERT": (), "UPDATE": (), "DELETE": ()}


_LESS: Mapping[str, _Rights] = {
    "alembic_version": {"SELECT": ()},
    "api_keys": {
        "SELECT": (),
        "INSERT": ("id", "name", "role", "key_hash"),
        "UPDATE": ("revoked_at",),
    },
    "audit_log": {
        "SELECT": (),
        "INSERT": (
            "actor",
            "action",
            "entity",
            "entity_id",
            "before",
            "after",
            "override_reason",
        ),
    },
}
"""What the service may do with a table where that is not everything.

The number and the time of an entry, by which a history is in order, are the database's to say.
"""


_MAKE = f"""
DO $$
DECLARE
    found record;
BEGIN
    BEGIN
        CREATE ROLE {OWNER} NOLOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
    BEGIN
        CREATE ROLE {SERVICE} LOGIN;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT {OWNER} TO %I', current_user);
    END IF;
    IF NOT has_schema_privilege('{OWNER}', current_schema(), 'CREATE') THEN
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO {OWNER}', current_schema());
    END IF;
    FOR found IN
        SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
          AND relowner <> '{OWNER}'::regrole
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {OWNER}', found.name);
    END LOOP;
    FOR found IN
        SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace
          AND proowner <> '{OWNER}'::regrole
          AND NOT EXISTS (
              SELECT FROM pg_depend
              WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
          )
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO {OWNER}', found.name);
    END LOOP;
END $$
"""  # noqa: S608 - the names are ours


_ACTS_AS = text(
    """
    SELECT CASE
        WHEN known.oid IS NULL
            THEN CASE
                WHEN has_schema_privilege(current_schema(), 'CREATE') THEN quote_ident(current_user)
            END
        WHEN pg_has_role(known.relowner, 'MEMBER') THEN known.relowner::regrole::text
    END
    FROM (SELECT to_regclass('alembic_version') AS name) AS schema
    LEFT JOIN pg_class AS known ON known.oid = schema.name
    """
)


_GRANTED = text(
    """
    SELECT relname, kind, array(
        SELECT CAST(attname AS text) FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attnum > 0
          AND NOT has_table_privilege(CAST(:role AS text), pg_class.oid, kind)
          AND has_column_privilege(
              CAST(:role AS text), pg_class.oid, attnum, nullif(kind, 'DELETE')
          )
    ) AS named, has_table_privilege(CAST(:role AS text), pg_class.oid, kind) AS is_whole
    FROM pg_class CROSS JOIN unnest(CAST(:kinds AS text[])) AS kind
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
      AND pg_has_role(relowner, 'MEMBER')
    ORDER BY relname
    """
).bindparams(role=SERVICE, kinds=sorted(_ALL))


_RESERVED_FUNCTIONS = text(
    """
    SELECT oid::regprocedure::text FROM pg_proc
    WHERE pronamespace = current_schema()::regnamespace AND prosecdef
      AND pg_has_role(proowner, 'MEMBER')
      AND NOT has_function_privilege(CAST(:role AS text), oid, 'EXECUTE')
    """
).bindparams(role=SERVICE)


async def make(connection: AsyncConnection, password: str | None) -> None:
    """Make both roles and hand this database's tables to the owner; what is so already stays.

    It takes a superuser, or a role that may make roles and owns the tables. With a `password` it
    becomes the service's.
    """
    await connection.exec_driver_sql(_MAKE)
    if password is not None:
        quote = text(f"SELECT format('ALTER ROLE {SERVICE} PASSWORD %L', CAST(:it AS text))")
        statement = await connection.scalar(quote, {"it": password})
        await connection.exec_driver_sql(str(statement))


async def migration_role(connection: AsyncConnection, *, made: bool) -> str | None:
    """Return the role to set before migrating, quoted for SQL; None if this login may not.

    It is the owner of the tables there are. Of a database without any it is this role, or, if the
    roles were `made`, the owner.
    """
    acts_as = await connection.scalar(_ACTS_AS)
    if made and await connection.scalar(text("SELECT to_regclass('alembic_version') IS NULL")):
        return OWNER
    return None if acts_as is None else str(acts_as)


async def grant(connection: AsyncConnection) -> None:
    """Give the service's role, where there is one, its rights on every table, and no others."""
    if not await connection.scalar(text(f"SELECT to_regrole('{SERVICE}') IS NOT NULL")):
        return
    granted: dict[str, dict[str, Collection[str]]] = {}
    for row in (await connection.execute(_GRANTED)).all():
        rights = granted.setdefault(row.relname, {})
        if row.is_whole or row.named:
            rights[row.kind] = row.named
    for table, present in granted.items():
        wanted = _LESS.get(table, _ALL)
        if _comparable(present) != _comparable(wanted):
            await connection.exec_driver_sql(f'REVOKE ALL ON "{table}" FROM {SERVICE}')
            rights_in_sql = ", ".join(map(_in_sql, wanted.items()))
            await connection.exec_driver_sql(f'GRANT {rights_in_sql} ON "{table}" TO {SERVICE}')
    for function in (await connection.scalars(_RESERVED_FUNCTIONS)).all():
        await connection.exec_driver_sql(f"GRANT EXECUTE ON FUNCTION {function} TO {SERVICE}")


def _comparable(rights: _Rights) -> dict[str, frozenset[str]]:
    return {kind: frozenset(columns) for kind, columns in rights.items()}


def _in_sql(right: tuple[str, Collection[str]]) -> str:
    kind, columns = right
    named = ", ".join(f'"{column}"' for column in columns)
    return f"{kind} ({named})" if named else kind


async def owns_the_log(connection: AsyncConnection) -> bool:
    """Return whether this connection's role could rewrite the audit log."""
    query = "SELECT pg_has_role(relowner, 'MEMBER') FROM pg_class WHERE oid = 'audit_log'::regclass"
    return bool(await connection.scalar(text(query)))
