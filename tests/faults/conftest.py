"""A durable PostgreSQL for each test, to be stopped and killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from data.embedded import EmbeddedPostgres


@pytest.fixture
def database(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path / "database") as server:
        yield server
