"""The embedded PostgreSQL."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from data.embedded import EmbeddedPostgres
from data.engine import create_engine, migrate
from tests.faults.service import servers_of, wait_until_gone


async def answer(url: str, statement: str = "SELECT 41 + 1") -> object:
    engine = create_engine(url)
    try:
        async with engine.begin() as connection:
            return (await connection.execute(text(statement))).scalar()
    finally:
        await engine.dispose()


async def test_start_join_stop_and_start_again(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server:
        assert await answer(server.admin_url) == 42
        with EmbeddedPostgres(tmp_path) as joined:
            assert not joined.owned
            assert await answer(joined.admin_url) == 42
        assert await answer(server.admin_url) == 42  # the one that joined has not stopped it
    assert servers_of(tmp_path) == []
    with EmbeddedPostgres(tmp_path) as server:
        assert server.owned
        assert await answer(server.admin_url) == 42


async def test_a_directory_with_a_long_path(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60) / "with blanks and ü"
    with EmbeddedPostgres(deep) as server:
        assert await answer(server.admin_url) == 42


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to give up root")
async def test_root_reaches_a_directory_that_only_root_may_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with EmbeddedPostgres(tmp_path / "inside") as server:
        assert await answer(server.admin_url, "SELECT current_setting('is_superuser')") == "on"
        assert server.pid is not None
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert tmp_path.stat().st_mode & 0o777 == 0o700


STARTER = """
import sys, time
from pathlib import Path
from data.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print("up", flush=True)
time.sleep(600)
"""


async def test_a_killed_starter_takes_the_server_along(tmp_path: Path) -> None:
    for _ in range(2):  # the second starts while the first may still be going
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"up\n"
        starter.send_signal(signal.SIGKILL)
        starter.communicate()
    wait_until_gone(tmp_path)
    with EmbeddedPostgres(tmp_path) as server:
        assert await answer(server.admin_url) == 42


async def test_several_processes_migrate_one_by_one(tmp_path: Path) -> None:
    import asyncio

    with EmbeddedPostgres(tmp_path, durable=False) as server:
        engines = [create_engine(server.admin_url) for _ in range(4)]
        await asyncio.gather(*(migrate(engine) for engine in engines))
        for engine in engines:
            await engine.dispose()
        newest = ScriptDirectory("migrations").get_current_head()
        assert await answer(server.admin_url, "SELECT version_num FROM alembic_version") == newest
