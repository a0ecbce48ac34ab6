"""Files that a command writes, on disks that fill up."""

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.cli.whole_files import write_file
from api.service.error_messages import UsageError


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("before", [None, b"good"])
def test_a_file_that_does_not_fit_leaves_what_was_there(
    tmp_path: Path, before: bytes | None
) -> None:
    file = tmp_path / "result.json"
    if before is not None:
        file.write_bytes(before)
    with room_for(4096), pytest.raises(UsageError) as refused:
        write_file(file, bytes(10_000), "--out")
    assert str(refused.value) == f"--out: {file}: File too large"
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [before] * (before is not None)


def test_the_reason_is_told_where_a_device_is_full() -> None:
    with pytest.raises(UsageError, match=r"^/dev/full: No space left on device$"):
        write_file(Path("/dev/full"), b"x")


def test_a_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_file(link, b"new")
    assert link.is_symlink()
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o640)
    assert sorted(tmp_path.iterdir()) == [file, link]


def test_a_new_file_has_the_mode_that_the_user_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "file", b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EBUSY])
def test_what_nothing_can_take_the_place_of_is_written_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    file = tmp_path / "mounted"
    file.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", refuse)
    write_file(file, b"new")
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"new"]
    with pytest.raises(UsageError):
        write_file(tmp_path / "another", b"new")
