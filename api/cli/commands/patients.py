"""The ``patients`` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine

from api.cli.tables import counted, print_json
from api.server.database import on_existing_database
from data import patients
from data.audit import OPERATOR
from data.database.transaction import run


def export_patient(reference: str, data_dir: Path | None) -> int:
    """Print all that is stored of a patient."""

    async def read(engine: AsyncEngine) -> dict[str, Any]:
        async with engine.connect() as connection:
            return await patients.export(connection, reference)

    print_json(on_existing_database(data_dir, read))
    return 0


def erase_patient(reference: str, data_dir: Path | None) -> int:
    """Replace a patient by a pseudonym."""
    pseudonym, count = on_existing_database(
        data_dir, lambda engine: run(engine, lambda c: patients.erase(c, reference, OPERATOR))
    )
    Console().print(
        f"{counted(count, 'booking')} and all that told of the patient now name {pseudonym}.",
        soft_wrap=True,
    )
    return 0
