"""The ``migrate`` command."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from api.server.database import bring_up, open_database
from api.service.settings import read_settings


def migrate_database(data_dir: Path | None, *, make_roles: bool) -> int:
    """Bring the schema to the newest version, and make the owner and the service's role."""
    settings = read_settings()
    if make_roles and settings.database_url is not None:
        password = settings.service_password
        bring_up(
            settings.database_url,
            make_roles=True,
            service_password=None if password is None else password.get_secret_value(),
        )
    else:
        with open_database(settings, data_dir):
            pass
    Console().print("The schema is up to date.")
    return 0
