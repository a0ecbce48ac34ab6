"""A durable PostgreSQL for each test, to be stopped and killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from data.database.embedded.server import EmbeddedPostgres
from tests.support.databases import migrated_server


@pytest.fixture
def database(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with migrated_server(tmp_path / "database", durable=True) as server:
        yield server
