"""The ``keys`` commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape
from sqlalchemy.ext.asyncio import AsyncEngine

from api.cli.tables import new_table, print_json, print_table
from api.server.database import on_database, on_existing_database
from api.service.error_messages import UsageError
from data import api_keys as keys
from data.api_keys import KnownKey, Role
from data.audit import OPERATOR
from data.database.transaction import run
from data.files.wording import worded


def create_key(role: Role, name: str | None, data_dir: Path | None) -> int:
    """Make a key and print it; only the key goes to standard output.

    Where it cannot be written it is revoked: nobody would ever know it.
    """
    if name is not None:
        try:
            name = TypeAdapter[str](keys.Name).validate_python(name)
        except ValidationError as error:
            raise UsageError(f"--name: {worded(error.errors()[0])}") from None
    known, secret = on_database(
        data_dir, lambda engine: run(engine, lambda c: keys.create(c, role, name, OPERATOR))
    )
    told = f"Key {known.name} ({known.id}), {role}. It is not shown again:"
    Console(stderr=True).print(told, markup=False, highlight=False, soft_wrap=True)
    try:
        sys.stdout.write(f"{secret}\n")
        sys.stdout.flush()
    except OSError:
        on_existing_database(
            data_dir, lambda engine: run(engine, lambda c: keys.revoke(c, known.id, OPERATOR))
        )
        told = f"Key {known.name} could not be shown, and was revoked."
        Console(stderr=True).print(told, markup=False, highlight=False, soft_wrap=True)
        raise
    return 0


def list_keys(data_dir: Path | None, *, as_json: bool) -> int:
    """Print every key ever made."""
    known = on_existing_database(data_dir, keys.every)
    if as_json:
        print_json([asdict(key) for key in known])
        return 0
    console = Console()
    if not known:
        console.print("No key was ever made; slotwright keys create makes one.")
        return 0
    table = new_table()
    table.add_column("Id", no_wrap=True)
    table.add_column("Name", overflow="fold")
    for heading in ("Role", "Made", "Revoked"):
        table.add_column(heading, no_wrap=True)
    for key in known:
        revoked = "" if key.revoked_at is None else f"{key.revoked_at:%Y-%m-%d}"
        table.add_row(key.id, escape(key.name), key.role, f"{key.created_at:%Y-%m-%d}", revoked)
    print_table(console, table)
    return 0


def revoke_key(told: str, data_dir: Path | None) -> int:
    """Revoke a key, named by its id, by how its id begins, or by its name."""

    async def revoke(engine: AsyncEngine) -> KnownKey:
        key = _key_named(told, await keys.every(engine)).id
        return await run(engine, lambda connection: keys.revoke(connection, key, OPERATOR))

    known = on_existing_database(data_dir, revoke)
    Console().print(f"Revoked {known.name} ({known.id}).", markup=False, highlight=False)
    return 0


def _key_named(told: str, known: Sequence[KnownKey]) -> KnownKey:
    """Return the one key that is meant.

    Raises
    ------
    UsageError
        When it could be none or several.
    """
    by_name = [key for key in known if told in (key.name, key.id)]
    by_beginning = [key for key in known if told and key.id.startswith(told.lower())]
    found = by_name or by_beginning
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{key.id} ({key.name})" for key in found)
        raise UsageError(f"{told}: could be {names}; write more of the id")
    raise UsageError(f"{told}: no key has this id or name; slotwright keys list shows them")
