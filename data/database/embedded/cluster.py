"""The files of an embedded server: made by initdb, handed to the server's account, locked.

Every process of the server holds a lock on ``server.lock``, inherited from whoever started it. So
whether one lives is told by the kernel: what a power cut left behind names a process id that may be
anyone's by now, in a container nearly always. Only who runs the service may sign in (``peer``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from data.database.embedded.errors import EmbeddedPostgresError
from data.database.embedded.process import spawn
from data.database.embedded.server_user import ServerUser

POLL_SECONDS = 0.01


METHOD = "peer" if os.name == "posix" else "trust"
"""How a client shows who it is: by being a process of who runs the service."""


class Cluster:
    """What lies in the directory of an embedded server.

    Parameters
    ----------
    directory
        Where everything of the server lies: the cluster, the socket, the log.
    durable
        False gives up durability for speed, for tests.
    """

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self.directory = directory
        self.data = directory / "cluster"
        self.log = directory / "postgres.log"
        self._durable = durable

    @property
    def is_made(self) -> bool:
        """Whether initdb has been through."""
        return (self.data / "PG_VERSION").exists()

    def initialise(self, programs: Path, log: int, user: ServerUser) -> None:
        """Make an empty cluster with initdb, whole or not at all; its files will be `user`'s.

        `programs` are PostgreSQL's; `log` is an open file for what initdb says.
        """
        shutil.rmtree(self.data, ignore_errors=True)  # what an interrupted one left
        staging, whole = self.directory / "new", self.directory / "cluster.new"
        for each in (staging, whole):
            shutil.rmtree(each, ignore_errors=True)
        staging.mkdir(mode=0o700)
        account = ServerUser.with_account()
        if account.is_other:
            os.chown(staging, account.uid, account.gid)
        locale = "C.UTF-8" if sys.platform == "linux" else "C"
        with _seen_from_below(staging) as (seen, fd):
            # fmt: off
            arguments = [
                "-D", str(seen / "cluster"), "-U", "postgres", "-A", METHOD, "-E", "UTF8",
                f"--locale={locale}", "--data-checksums",
                *([] if self._durable else ["--no-sync"]),
            ]
            # fmt: on
            process = spawn(programs / "initdb", arguments, log, account, fd)
            if process.wait() != 0:
                raise EmbeddedPostgresError(f"initdb failed: {self.log_tail()}")
        if account == user:
            (staging / "cluster").rename(whole)
        else:  # files of its own, which nobody who shares the account has open
            _take_over(staging)
            shutil.copytree(staging / "cluster", whole)
            if self._durable:
                os.sync()
        shutil.rmtree(staging)
        whole.rename(self.data)

    def write_sign_in_files(self, user: ServerUser) -> None:
        """Write down who may, and let what lies in the directory be the server's."""
        if os.name == "posix":
            import pwd

            runner = pwd.getpwuid(os.geteuid()).pw_name
            (self.directory / "pg_hba.conf").write_text("local all all peer map=service\n")
            (self.directory / "pg_ident.conf").write_text(
                "".join(f'service "{name}" all\n' for name in {runner, "root"})
            )
        if user.is_other and self.data.stat().st_uid != user.uid:
            for place, _, files in os.walk(self.data, topdown=False):  # itself at the end
                for name in (*files, "."):
                    os.chown(Path(place, name), *user.ids, follow_symlinks=False)

    @contextlib.contextmanager
    def wait_until_stopped(self, deadline: float) -> Iterator[int | None]:
        """Yield the lock that the next server holds, once no process of a former one lives.

        One that nothing else ends is asked to. The lock files that a dead one left are removed.
        """
        lock = None
        if os.name == "posix":
            lock = os.open(self.directory / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            asked: int | None = None
            while True:
                status = self.status()
                is_there = status is not None and self.is_server(status[0])
                if not is_there and _is_locked(lock):
                    break
                self.give_up_after(deadline)
                if is_there and status is not None and asked != status[0]:
                    asked = status[0]
                    with contextlib.suppress(OSError):
                        os.kill(asked, signal.SIGINT)
                time.sleep(POLL_SECONDS)
            for left in (self.data / "postmaster.pid", self.directory / ".s.PGSQL.5432.lock"):
                left.unlink(missing_ok=True)
            yield lock
        finally:
            if lock is not None:
                os.close(lock)  # held on by the server, which has inherited it

    def give_up_after(self, deadline: float) -> None:
        """Raise EmbeddedPostgresError once `deadline` is over: another server is in the way."""
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                f"another PostgreSQL still uses {self.data}; stop it and try again"
            )

    def status(self) -> tuple[int, bool] | None:
        """Return the process id in the server's own pid file and whether it says ready."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]), len(lines) > 7 and lines[7].strip() == "ready"
        except (OSError, ValueError, IndexError):
            return None

    def is_server(self, pid: int) -> bool:
        """Whether `pid` is alive and, where that can be told, a server working in this cluster."""
        if sys.platform == "linux":
            process = Path(f"/proc/{pid}")
            try:
                return (process / "cwd").readlink() == self.data.resolve()
            except PermissionError:  # another user's: its name is all that is told
                with contextlib.suppress(OSError):
                    return (process / "comm").read_text() == "postgres\n"
            except OSError:
                pass
            return False
        with contextlib.suppress(OSError):
            os.kill(pid, 0)
            return True
        return False

    def log_tail(self) -> str:
        """Return the end of what the server has logged."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-2000:]
        return "no log"


def _take_over(directory: Path) -> None:
    """Let nobody but this user change what is in a directory that another account has written.

    Raises
    ------
    EmbeddedPostgresError
        When there is anything but files and directories: who shares the account put it there, and
        a link would have this user read whatever it leads to.
    """
    for place, below, files, fd in os.fwalk(directory):
        os.fchown(fd, os.geteuid(), os.getegid())
        os.fchmod(fd, 0o700)
        for name in (*below, *files):
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise EmbeddedPostgresError(
                    f"{Path(place, name)} is neither a file nor a directory; somebody else who "
                    f"runs programs as initdb's account has put it there"
                )


def _is_locked(lock: int | None) -> bool:
    """Lock the open file `lock`; return whether that was possible, as where nothing is locked."""
    if lock is None:
        return True
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _seen_from_below(directory: Path) -> Iterator[tuple[Path, int]]:
    """Yield a path to `directory` for who may not enter those above it, and what to inherit."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        yield Path(f"/proc/self/fd/{fd}") if sys.platform == "linux" else directory, fd
    finally:
        os.close(fd)
