"""Backups and their return as the compose file's database makes them, on a real PostgreSQL 16."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.database.embedded.programs import programs
from data.database.embedded.server_user import ServerUser
from tests.deploy.compose import DEPLOY, read_compose

INSIDE = "/usr/local/lib/slotwright"
"""Where the container has the programs of ``deploy/postgres``."""


def archive(segment: Path, target: Path) -> int:
    program = DEPLOY / "postgres" / "archive-wal"
    return subprocess.run([program, segment, target], check=False).returncode


def test_a_segment_is_kept_once_and_never_overwritten(tmp_path: Path) -> None:
    segment, kept = tmp_path / "0001", tmp_path / "0001.gz"
    segment.write_bytes(b"wal" * 1000)
    assert archive(segment, kept) == 0
    assert subprocess.check_output(["gunzip", "-c", kept]) == segment.read_bytes()
    assert archive(segment, kept) == 0  # repeated after a crash
    segment.write_bytes(b"another's")
    assert archive(segment, kept) != 0
    assert archive(tmp_path / "missing", tmp_path / "missing.gz") != 0
    assert not (tmp_path / "missing.gz").exists()


class Database:
    """What the compose file's `db` is, with directories of its own and no container around it."""

    def __init__(self, root: Path) -> None:
        self.cluster, self.backups, self.programs = root / "data", root / "backups", root / "lib"
        shutil.copytree(DEPLOY / "postgres", self.programs)
        for directory in (self.cluster, self.backups, self.backups / "wal", self.backups / "dump"):
            directory.mkdir()
        user = ServerUser.with_account()
        self._as = (
            {"user": user.uid, "group": user.gid, "extra_groups": []} if user.is_other else {}
        )
        if user.is_other:
            for each in (root, *root.rglob("*")):
                os.chown(each, user.uid, user.gid)
        self._environment = {
            "PATH": f"{programs(user)}:{os.environ['PATH']}",
            "PGDATA": str(self.cluster),
            "PGHOST": str(root),
            "PGUSER": "slotwright",
            "PGDATABASE": "postgres",
            "BACKUPS": str(self.backups),
        }
        self.root = root
        self.closed = root / "closed"
        """Where programs are run: a directory of another user, as an administrator's home is."""
        self.closed.mkdir(mode=0o700)

    def run(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs or ours to its end."""
        ours = self.programs / program
        done = subprocess.run(
            [ours if ours.exists() else program, *arguments],
            env=self._environment,
            cwd=self.closed,
            capture_output=True,
            text=True,
            check=False,
            **self._as,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def sql(self, statement: str) -> str:
        return self.run("psql", "-v", "ON_ERROR_STOP=1", "-Atc", statement)

    @property
    def command(self) -> list[str]:
        """The compose file's command, with the paths of this machine."""
        command = read_compose()["services"]["db"]["command"]
        there = [
            *command,
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=",
            "-c",
            f"unix_socket_directories={self.root}",
        ]
        here = {INSIDE: str(self.programs), "/backups": str(self.backups)}
        for path, own in here.items():
            assert any(path in each for each in command)
            there = [each.replace(path, own) for each in there]
        return there

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the server; the block begins when it takes writes, a recovery included."""
        server = subprocess.Popen(
            self.command, env=self._environment, stderr=subprocess.DEVNULL, **self._as
        )
        try:
            self.wait_for("SELECT NOT pg_is_in_recovery()", server)
            yield
        finally:
            server.terminate()
            server.wait()

    def wait_for(self, question: str, server: subprocess.Popen[bytes] | None = None) -> None:
        deadline = time.monotonic() + 60
        answer = ""
        while answer != "t":
            assert server is None or server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between two tries
            try:
                answer = self.sql(question)
            except AssertionError:
                answer = "not yet"


@pytest.fixture
def database() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="slotwright-backup-") as directory:
        database = Database(Path(directory))
        database.run("initdb", "--username=slotwright", "--auth=trust", "--no-sync")
        yield database


def test_back_to_a_moment_between_two_writes(database: Database) -> None:
    with database.running():
        database.sql("CREATE TABLE book (entry text)")
        base = database.run("backup-base")
        with pytest.raises(AssertionError, match="stop it first"):
            database.run("restore-point", base)
        database.sql("INSERT INTO book VALUES ('kept')")
        moment = database.sql("SELECT clock_timestamp()")
        database.sql("INSERT INTO book VALUES ('lost')")
        segment = database.sql("SELECT pg_walfile_name(pg_switch_wal())")
        database.wait_for(f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver")
    database.run("restore-point", base, moment)
    with database.running():
        assert database.sql("SELECT string_agg(entry, ' ') FROM book") == "kept"
        database.sql("INSERT INTO book VALUES ('written after')")
    assert list(database.backups.glob("replaced-*.tar.gz"))
    database.run("restore-point", base)
    with database.running():  # all that was archived: the history that was left is not followed
        assert "kept" in database.sql("SELECT string_agg(entry, ' ') FROM book")


def test_a_dump_comes_back_whole_or_not_at_all(database: Database) -> None:
    with database.running():
        database.run("createdb", "slotwright")
        in_it = ["psql", "-v", "ON_ERROR_STOP=1", "-d", "slotwright", "-Atc"]
        database.run(*in_it, "CREATE TABLE book (entry text); INSERT INTO book VALUES ('kept')")
        dump = Path(database.run("backup-dump", "before"))
        assert dump == database.backups / "dump" / "before.dump"
        database.run(*in_it, "INSERT INTO book VALUES ('lost')")
        broken = dump.with_name("broken.dump")
        broken.write_bytes(dump.read_bytes()[:-20])
        with pytest.raises(AssertionError, match="pg_restore: error"):
            database.run("restore-dump", str(broken))
        entries = "SELECT string_agg(entry, ' ') FROM book"
        assert database.run(*in_it, entries) == "kept lost"
        for _ in range(2):
            database.run("restore-dump", str(dump))
            assert database.run(*in_it, entries) == "kept"
        assert list(dump.parent.glob("*.part")) == []
