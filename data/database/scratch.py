"""Directories for as long as a process lives, and the removal of those that killed ones left.

Whoever made one holds a lock on a file inside while it lives; the system lets go of it however the
process ends.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PREFIX = "slotwright-"


LOCK = ".lock"
"""The file that is locked. A directory without it is somebody else's, or only being made."""


MEMORY = Path("/dev/shm")  # noqa: S108 - a page that a full disk has no room for kills a writer


class ScratchDirectory(tempfile.TemporaryDirectory[str]):
    """A temporary directory of this process, below `home` or where the system has such.

    Parameters
    ----------
    what
        What its name tells of its use.
    """

    def __init__(self, what: str, home: Path | None = None) -> None:
        super().__init__(prefix=f"{PREFIX}{what}-", dir=home)
        self.path = Path(self.name)
        self._lock = _hold(self.path)

    def cleanup(self) -> None:
        """Remove it."""
        super().cleanup()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def shared_memory() -> Path | None:
    """Return where directories are in memory; None where there is no such place."""
    return MEMORY if os.access(MEMORY, os.W_OK) else None


def remove_abandoned(homes: Iterable[Path] = ()) -> None:
    """Remove this user's directories whose processes are gone, from where they are made.

    No link is followed. What cannot be removed stays.
    """
    if sys.platform == "win32":
        return
    for home in {Path(tempfile.gettempdir()), MEMORY, *homes}:
        with suppress(OSError):
            _remove_from(home)


def _hold(directory: Path) -> int | None:
    """Lock a directory's file; it has its name only once it is locked."""
    if sys.platform == "win32":
        return None
    import fcntl

    new = directory / f"{LOCK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    new.rename(directory / LOCK)
    return lock


def _remove_from(home: Path) -> None:
    with os.scandir(home) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)
        ]
    for name in names:
        with suppress(OSError):  # it is in use, or has gone meanwhile
            _remove_one(home / name)


def _remove_one(directory: Path) -> None:
    """Remove a directory if nobody holds its lock.

    Raises
    ------
    OSError
        When somebody does, or it has none, or is another user's.
    """
    import fcntl

    inside = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(inside).st_uid != os.geteuid():
            return
        lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW, dir_fd=inside)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)
        finally:
            os.close(lock)
    finally:
        os.close(inside)
