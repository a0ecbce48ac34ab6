"""Files that a command writes: whole, or as they were before."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

from api.service.error_messages import UsageError
from api.service.interrupt import raises

FIXED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY}
"""Why no file can take another's place that could be written where it is."""


def write_file(file: Path, content: bytes, option: str | None = None) -> None:
    """Write a file beside its place and put it there once it is whole.

    Where nothing can be put in its place, it is written where it is: a device, a pipe, a file that
    is mounted by itself or lies in a directory that takes no other.

    Raises
    ------
    UsageError
        When it cannot be written; the message names the option, the file and the reason.
    """
    try:
        with raises():
            _write(file.resolve(), content)
    except BrokenPipeError:
        raise  # whoever read it has seen enough
    except OSError as error:
        raise UsageError(f"{told(option, file)}: {error.strerror or error}") from None


def told(option: str | None, file: Path) -> str:
    """Return how a message names a file that an option, or an argument, told of."""
    return str(file) if option is None else f"{option}: {file}"


def _write(file: Path, content: bytes) -> None:
    before = file.stat() if file.exists() else None
    if before is not None and not stat.S_ISREG(before.st_mode):
        file.write_bytes(content)
        return
    beside = file.with_name(f".slotwright-{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        if before is not None:
            _make_like(beside, before)
        beside.replace(file)
    except OSError as error:
        if before is None or error.errno not in FIXED:
            raise
        file.write_bytes(content)
    finally:
        beside.unlink(missing_ok=True)


def _make_like(file: Path, other: os.stat_result) -> None:
    """Give a file the owner, group and mode of the one whose place it takes."""
    own = file.stat()
    if (own.st_uid, own.st_gid) != (other.st_uid, other.st_gid):
        os.chown(file, other.st_uid, other.st_gid)  # or it is written where it is
    file.chmod(stat.S_IMODE(other.st_mode))
