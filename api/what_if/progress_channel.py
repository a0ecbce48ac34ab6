"""The line between the processes that solve and the one that asked.

A solving process opens one connection to the :class:`ProgressServer` of the process that asked,
tells its progress on it, and hears on it when to stop. A line that breaks means the same as being
told to stop: nobody is left who would want the answer.

On this machine the line is a socket in a folder that only this user may enter; only a cluster needs
one of the network. Whoever calls has to know a key, which each run makes anew, and to show it
within seconds; nobody else is kept waiting meanwhile.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import orjson

from data.database.scratch import ScratchDirectory
from solver.planning.problem import Progress

HANDSHAKE_SECONDS = 5.0
"""How long a caller may take to show that it knows the key."""


MOST_STRANGERS = 64
"""Callers who have not shown it yet, at most; others are hung up on."""


PAUSE_SECONDS = 0.1
"""How long the server waits before it takes calls again, after one that failed."""


type OnProgress = Callable[[str, Progress], None]
"""Called with a scenario's name and its progress, from any thread."""


@dataclass(frozen=True)
class ProgressClient:
    """A solving process's end of the line; picklable."""

    address: tuple[str, int] | str
    """Host and port, or the path of a socket of this machine."""
    key: bytes

    def tell(self, scenario: str, progress: Progress) -> None:
        """Tell what is known by now."""
        connection = _connection(self)
        if connection is not None:
            with suppress(OSError):
                connection.send_bytes(orjson.dumps([scenario, asdict(progress)]))

    def is_stopped(self) -> bool:
        """Whether to end with the best found."""
        connection = _connection(self)
        if connection is None:
            return True
        try:
            return connection.poll()
        except (OSError, EOFError):
            return True


@cache
def _connection(line: ProgressClient) -> Connection | None:
    """Open the line, once in each process."""
    try:
        return Client(line.address, authkey=line.key)
    except (OSError, EOFError, multiprocessing.AuthenticationError):
        return None


class ProgressServer:
    """The asking process's end of all lines; a context manager.

    Parameters
    ----------
    on_progress
        Called with the progress that solving processes send.
    host
        The address to listen on, which solving processes elsewhere can reach; without one only
        those of this machine can, in a folder of this user's own.
    """

    def __init__(self, on_progress: OnProgress, host: str | None = None) -> None:
        self._on_progress = on_progress
        self._key = secrets.token_bytes(32)
        self._folder: ScratchDirectory | None = None
        address: tuple[str, int] | str
        if host is not None:
            address = (host, 0)
        else:
            self._folder = ScratchDirectory("solving")
            address = str(self._folder.path / "line")
        self._listener = Listener(address, backlog=MOST_STRANGERS)
        self._connections: list[Connection] = []
        self._callers: list[Connection] = []
        self._listening: list[threading.Thread] = []
        self._changing = threading.Lock()
        self._strangers = threading.BoundedSemaphore(MOST_STRANGERS)
        self._is_stopped = False
        self._over = threading.Event()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        with suppress(OSError):  # wake the thread that waits for a caller
            _reach(self.line.address).close()
        self._acceptor.join()
        self._listener.close()
        with self._changing:
            for connection in self._connections:
                _hang_up(connection)
        for listening in self._listening:
            listening.join()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def line(self) -> ProgressClient:
        """What a solving process needs to call here."""
        address: tuple[str, int] | str = self._listener.address
        return ProgressClient(address, self._key)

    def stop(self) -> None:
        """Tell all who solve, and all who will, to end with the best found."""
        with self._changing:
            self._is_stopped = True
            for connection in self._callers:
                _tell_to_stop(connection)

    def _accept(self) -> None:
        """Take calls, each to a thread of its own: nobody who is slow holds up another."""
        while not self._over.is_set():
            try:
                connection = self._listener.accept()
            except OSError:  # a caller who is gone already, or no file descriptor left
                self._over.wait(PAUSE_SECONDS)
                continue
            if not self._strangers.acquire(blocking=False):
                connection.close()
                continue
            with self._changing:
                self._connections.append(connection)
            listening = threading.Thread(target=self._listen, args=(connection,), daemon=True)
            self._listening = [thread for thread in self._listening if thread.is_alive()]
            self._listening.append(listening)
            listening.start()

    def _listen(self, connection: Connection) -> None:
        try:
            with suppress(OSError, EOFError, multiprocessing.AuthenticationError):
                try:
                    self._let_in(connection)
                finally:
                    self._strangers.release()
                while True:
                    scenario, progress = orjson.loads(connection.recv_bytes())
                    self._on_progress(scenario, Progress(**progress))
        finally:
            with self._changing:
                self._connections.remove(connection)
                if connection in self._callers:
                    self._callers.remove(connection)
                connection.close()

    def _let_in(self, connection: Connection) -> None:
        """Make a caller show the key in time; each side proves that it knows it."""
        deadline = threading.Timer(HANDSHAKE_SECONDS, _hang_up, [connection])
        deadline.daemon = True
        deadline.start()
        try:
            deliver_challenge(connection, self._key)
            answer_challenge(connection, self._key)
        finally:
            deadline.cancel()
        with self._changing:
            self._callers.append(connection)
            if self._is_stopped:
                _tell_to_stop(connection)


def _reach(address: tuple[str, int] | str) -> socket.socket:
    """Return a connection to a listener of this process."""
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout=1)
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(1)
    line.connect(address)
    return line


def _hang_up(connection: Connection) -> None:
    """End a connection, so that who reads it closes it: closed meanwhile, it would not be read."""
    with suppress(OSError, ValueError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _tell_to_stop(connection: Connection) -> None:
    with suppress(OSError):
        connection.send_bytes(b"stop")


def host_for(cluster: str | None) -> str | None:
    """Return the address to listen on for those who solve elsewhere; None where nobody does."""
    if cluster is None:
        return None
    scheduler = urlsplit(cluster)
    with socket.create_connection((scheduler.hostname or "", scheduler.port or 0)) as reached:
        address: str = reached.getsockname()[0]
        return address
