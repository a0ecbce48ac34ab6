"""The embedded PostgreSQL."""

import os
import pwd
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from data.database.embedded.errors import EmbeddedPostgresError
from data.database.embedded.process import spawn
from data.database.embedded.programs import programs
from data.database.embedded.server import EmbeddedPostgres
from data.database.embedded.server_user import OWN_ACCOUNT, ServerUser
from data.database.engine import create_engine, migrate
from tests.support.service import servers_of, wait_until_gone


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


def test_two_long_paths_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / ("t" * 100)
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    with pytest.raises(EmbeddedPostgresError, match="choose a shorter --data-dir, or TMPDIR"):
        EmbeddedPostgres(tmp_path / ("d" * 100), durable=False).start()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to give up root")
async def test_root_reaches_a_directory_that_only_root_may_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with EmbeddedPostgres(tmp_path / "inside") as server:
        assert await answer(server.admin_url, "SELECT current_setting('is_superuser')") == "on"
        assert server.pid is not None
        uid = Path(f"/proc/{server.pid}").stat().st_uid
        assert uid != 0
        assert {found.stat().st_uid for found in (tmp_path / "inside" / "cluster").rglob("*")} == {
            uid
        }
        if OWN_ACCOUNT not in {entry.pw_name for entry in pwd.getpwall()}:
            assert uid not in {entry.pw_uid for entry in pwd.getpwall()}
    with EmbeddedPostgres(tmp_path / "inside") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == uid
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to be another")
def test_only_who_runs_the_service_may_sign_in() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="slotwright-test-") as directory,
        EmbeddedPostgres(Path(directory), durable=False),
    ):
        Path(directory).chmod(0o711)
        Path(directory, ".s.PGSQL.5432").chmod(0o777)
        psql = [programs(ServerUser(65534, 65534)) / "psql", "-h", directory, "-U", "postgres"]
        command = [*psql, "-Atc", "SELECT 1", "postgres"]
        assert subprocess.check_output(command) == b"1\n"
        refused = subprocess.run(
            command, user=65534, group=65534, cwd="/", capture_output=True, text=True, check=False
        )
        assert "Peer authentication failed" in refused.stderr


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root to give up root")
def test_root_reads_nothing_that_initdbs_account_points_it_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of root")

    def planted(program: Path, *rest: Any) -> subprocess.Popen[bytes]:
        process = spawn(program, *rest)
        if program.name == "initdb":  # whoever shares its account reaches what it writes
            process.wait()
            (tmp_path / "inside/new/cluster/base/link").symlink_to(secret)
        return process

    monkeypatch.setattr("data.database.embedded.cluster.spawn", planted)
    server = EmbeddedPostgres(tmp_path / "inside", durable=False)
    with pytest.raises(EmbeddedPostgresError, match="base/link is neither"):
        server.start()
    assert not (tmp_path / "inside/cluster").exists()


STARTER = """
import sys, time
from pathlib import Path
from data.database.embedded.server import EmbeddedPostgres
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


async def test_a_process_id_that_is_anothers_by_now_is_no_server(tmp_path: Path) -> None:
    for _ in range(2):
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"up\n"
        user = (tmp_path / "cluster").stat().st_uid
        for pid in (starter.pid, *servers_of(tmp_path)):  # the power is cut
            os.kill(pid, signal.SIGKILL)
        starter.communicate()
        wait_until_gone(tmp_path)
        stranger = subprocess.Popen(
            ["sleep", "600"], **({} if user == os.geteuid() else {"user": user})
        )
        try:
            for left in (tmp_path / "cluster/postmaster.pid", tmp_path / ".s.PGSQL.5432.lock"):
                _, rest = left.read_text().split("\n", 1)
                left.write_text(f"{stranger.pid}\n{rest}")
            with EmbeddedPostgres(tmp_path) as server:
                assert await answer(server.admin_url) == 42
            assert stranger.poll() is None
            (tmp_path / "cluster/postmaster.pid").write_text("")  # not written to its end
            with EmbeddedPostgres(tmp_path) as server:
                assert await answer(server.admin_url) == 42
        finally:
            stranger.kill()
            stranger.wait()


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nothing but the process id is known")
async def test_never_two_servers_on_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        (tmp_path / "owner.lock").unlink()  # as if its owner, in another container, were gone
        known = tmp_path / "cluster/postmaster.pid"
        before = known.read_text()
        known.write_text(f"{os.getpid()}\n{before.split(chr(10), 1)[1]}")
        monkeypatch.setattr("data.database.embedded.server.START_SECONDS", 1.0)
        with pytest.raises(EmbeddedPostgresError, match="another PostgreSQL still uses"):
            EmbeddedPostgres(tmp_path, durable=False).start()
        assert known.exists()
        known.write_text(before)
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
