"""Directories of processes that live, and of some that were killed."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.database import scratch
from data.database.scratch import ScratchDirectory, remove_abandoned

MAKES_ONE = """
import sys
from data.database.scratch import ScratchDirectory
with ScratchDirectory("door") as directory:
    print(directory, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "MEMORY", tmp_path / "memory")
    return tmp_path


@contextlib.contextmanager
def another(home: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that keeps a directory, and the directory."""
    with subprocess.Popen(
        [sys.executable, "-c", MAKES_ONE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(home)},
    ) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_stays(home: Path) -> None:
    with another(home) as (process, left):
        (left / "inside").mkdir()
        remove_abandoned()
        assert left.exists()
        process.kill()
        process.wait()
        assert left.exists()
        with ScratchDirectory("console") as mine:
            remove_abandoned()
            assert list(home.iterdir()) == [Path(mine)]
    assert list(home.iterdir()) == []


def test_a_process_that_ends_leaves_nothing(home: Path) -> None:
    with another(home) as (process, kept):
        process.communicate()
        assert not kept.exists()


def test_links_and_what_nobody_ever_held_stay(home: Path) -> None:
    with another(home) as (process, left):
        process.kill()
        process.wait()
    kept = left.rename(home / "kept")  # as if it were something of the user's
    (home / "slotwright-link").symlink_to(kept)
    strange = home / "slotwright-strange"
    strange.mkdir()
    (strange / ".lock").symlink_to(kept / ".lock")
    (home / "slotwright-new").mkdir()
    before = sorted(home.rglob("*"))
    remove_abandoned()
    assert sorted(home.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_users_directory_stays(home: Path) -> None:
    with another(home) as (process, left):
        process.kill()
        process.wait()
    os.chown(left, 65534, 65534)
    remove_abandoned()
    assert left.exists()
