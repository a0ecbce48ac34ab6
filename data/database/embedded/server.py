"""A real PostgreSQL from a wheel, as a child process of the service.

The server belongs to the process that starts it: it stops with it, in order when asked, and by a
parent-death signal when that process is killed (Linux). A second process that names the same data
directory joins the running server instead. A server that dies is started again by its owner; where
the owner died, one of those that joined takes over.

On Linux the server is told its directory as ``/proc/self/fd/N``, an open directory that it
inherits. So a server that has to give up root still reaches a data directory below directories
that only root may enter, and no mode of theirs is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout
from sqlalchemy import URL

from data.database.embedded.cluster import POLL_SECONDS, Cluster
from data.database.embedded.errors import EmbeddedPostgresError
from data.database.embedded.process import spawn
from data.database.embedded.programs import programs
from data.database.embedded.server_user import ServerUser
from data.database.roles import SERVICE
from data.database.scratch import ScratchDirectory

START_SECONDS = 60.0


STOP_SECONDS = 20.0


WATCH_SECONDS = 0.25


LONGEST_PAUSE_SECONDS = 8.0
"""Between two tries to start a server that does not come up, on a full disk say."""


LONGEST_SOCKET_PATH = 80
"""Socket paths are limited to about 100 bytes; a longer directory is reached by a short link."""


BOOT_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "unix_socket_permissions": "0700",
    "log_line_prefix": "%m [%p] ",
}


_log = logging.getLogger(__name__)


class EmbeddedPostgres:
    """One embedded server; a context manager.

    Parameters
    ----------
    directory
        Where everything of the server lies: the cluster, the socket, the log.
    durable
        False gives up durability for speed, for tests.
    """

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self.directory = directory.absolute()
        self.owned = False
        self._cluster = Cluster(self.directory, durable=durable)
        self._durable = durable
        self._user = ServerUser()
        self._lock = FileLock(self.directory / "owner.lock", thread_local=False)
        self._process: subprocess.Popen[bytes] | None = None
        self._directory_fd: int | None = None
        self._socket_directory = self.directory
        self._is_wanted = False
        self._changing = threading.Lock()
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="postgres", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._is_over.set()
        self._watcher.join()

    @property
    def url(self) -> str:
        """The ``postgresql://`` URL of the server's one database, as the service's own role.

        The role is there once :func:`data.database.engine.migrate` has made it.
        """
        return self._url(SERVICE)

    @property
    def admin_url(self) -> str:
        """The same of the server's superuser, who makes the roles and migrates."""
        return self._url("postgres")

    def _url(self, role: str) -> str:
        return URL.create(
            "postgresql",
            username=role,
            database="postgres",
            query={"host": str(self._socket_directory)},
        ).render_as_string()

    @property
    def pid(self) -> int | None:
        """The server's process id, if this process started it."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server, or join one that another process runs on this directory.

        Returns when connections are accepted. Call it from a thread that lives as long as the
        process: on Linux the server stops with the thread that started it. Within a ``with`` block
        a server that dies is started again.

        Raises
        ------
        EmbeddedPostgresError
            When the server does not come up.
        """
        with self._changing:
            self._make_directory()
            self._socket_directory = _short_path(self.directory)
            if not self._become_owner():
                self._wait_until_ready(None)
            else:
                try:
                    self._start_own()
                except BaseException:
                    self._stop_own()
                    raise
            self._is_wanted = True

    def stop(self) -> None:
        """Stop the server if this process started it; a joined one is left alone."""
        with self._changing:
            self._is_wanted = False
            self._stop_own()

    def _become_owner(self) -> bool:
        """Whether this process owns the directory, from now on if no other does."""
        if not self.owned:
            with contextlib.suppress(Timeout):
                self._lock.acquire(timeout=0)
                self.owned = True
        return self.owned

    def _stop_own(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)  # fast shutdown
                try:
                    self._process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.send_signal(signal.SIGQUIT)  # immediate; recovers on start
                    self._process.wait()
            self._process = None
        if self._directory_fd is not None:
            os.close(self._directory_fd)
            self._directory_fd = None
        self._lock.release()
        self.owned = False

    def _watch(self) -> None:
        """Start a server again that died, and take one over whose owner did."""
        pause = WATCH_SECONDS
        while not self._is_over.wait(pause):
            with self._changing:
                is_running = self._process is not None and self._process.poll() is None
                if is_running or not self._is_wanted or not self._become_owner():
                    pause = WATCH_SECONDS
                else:
                    pause = self._start_again(pause)

    def _start_again(self, pause: float) -> float:
        """Try to start the server; return the pause before the next look, twice `pause` if in vain.

        One warning tells that it is gone, one why it does not start, and one that it is back.
        """
        is_first = pause == WATCH_SECONDS
        if is_first:
            _log.warning("the embedded PostgreSQL is gone; starting it again")
        try:
            self._start_own()
        except (EmbeddedPostgresError, OSError) as error:
            if is_first:
                _log.warning("the embedded PostgreSQL does not start, it is tried on: %s", error)
            return min(2 * pause, LONGEST_PAUSE_SECONDS)
        if not is_first:
            _log.warning("the embedded PostgreSQL is back")
        return WATCH_SECONDS

    # Starting

    def _make_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o755)

    def _start_own(self) -> None:
        self._user = ServerUser.for_server(self.directory)
        self.directory.chmod(0o700)
        if sys.platform == "linux" and self._directory_fd is None:
            self._directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        unpacked = programs(self._user)
        with self._cluster.log.open("ab") as log:
            if not self._cluster.is_made:
                self._cluster.initialise(unpacked, log.fileno(), self._user)
            self._cluster.write_sign_in_files(self._user)
            deadline = time.monotonic() + START_SECONDS
            while True:
                with self._cluster.wait_until_stopped(deadline) as lock:
                    if self._launch(unpacked, log.fileno(), lock):
                        return
                # The processes of a killed server may hold its memory a moment longer.
                self._cluster.give_up_after(deadline)
                time.sleep(0.1)

    def _launch(self, programs: Path, log: int, lock: int | None) -> bool:
        """Start the server and wait for it; False when a killed one is still in its way."""
        settings = dict(BOOT_SETTINGS)
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        if os.name == "posix":
            settings["hba_file"] = str(self._seen_by_server / "pg_hba.conf")
            settings["ident_file"] = str(self._seen_by_server / "pg_ident.conf")
        here = self._seen_by_server if sys.platform == "linux" else self._socket_directory
        arguments = ["-D", str(self._seen_by_server / "cluster"), "-k", str(here)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        begin = self._cluster.log.stat().st_size
        inherited = [fd for fd in (self._directory_fd, lock) if fd is not None]
        process = spawn(programs / "postgres", arguments, log, self._user, *inherited)
        if self._wait_until_ready(process):
            self._process = process
            return True
        message = self._cluster.log.read_bytes()[begin:].decode(errors="replace")
        if "is still in use" in message or "lock file" in message:
            return False
        raise EmbeddedPostgresError(f"PostgreSQL did not start: {message[-2000:]}")

    @property
    def _seen_by_server(self) -> Path:
        """The directory as the server is told it."""
        if self._directory_fd is None:
            return self.directory
        return Path(f"/proc/self/fd/{self._directory_fd}")

    def _wait_until_ready(self, process: subprocess.Popen[bytes] | None) -> bool:
        """Wait for the server of `process`, or a joined one; False when `process` ended."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process is not None and process.poll() is not None:
                return False
            status = self._cluster.status()
            if status is not None and status[1] and self._is_awaited(status[0], process):
                return True
            time.sleep(POLL_SECONDS)
        raise EmbeddedPostgresError(f"PostgreSQL is not ready: {self._cluster.log_tail()}")

    def _is_awaited(self, pid: int, process: subprocess.Popen[bytes] | None) -> bool:
        return self._cluster.is_server(pid) if process is None else pid == process.pid


def _short_path(directory: Path) -> Path:
    """Return `directory`, or a link to it where its own path is too long for a socket."""
    if len(os.fsencode(directory)) <= LONGEST_SOCKET_PATH:
        return directory
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    link = Path(tempfile.gettempdir()) / f"slotwright-{digest}"
    if len(os.fsencode(link)) > LONGEST_SOCKET_PATH:
        raise EmbeddedPostgresError(
            f"the paths of {directory} and of {link.parent}, where temporary files go, are "
            f"both longer than a socket's may be; choose a shorter --data-dir, or TMPDIR"
        )
    with contextlib.suppress(FileExistsError):
        link.symlink_to(directory, target_is_directory=True)
    info = link.lstat()
    mine = not hasattr(os, "getuid") or info.st_uid == os.getuid()
    if not (link.is_symlink() and mine and link.readlink() == directory):
        raise EmbeddedPostgresError(f"{link} is in the way; remove it or choose a shorter path")
    return link


def main(command: list[str]) -> int:
    """Run `command` with DATABASE_URL naming a throw-away server."""
    with (
        ScratchDirectory("database") as directory,
        EmbeddedPostgres(Path(directory), durable=False) as server,
    ):
        return subprocess.run(
            command, env={**os.environ, "DATABASE_URL": server.admin_url}, check=False
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
