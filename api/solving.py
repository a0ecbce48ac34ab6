"""Where scenarios are solved: processes of this machine or a cluster, with a line back.

The cluster is Dask's; its address is that of the scheduler (``tcp://host:8786``). Both are reached
through :class:`concurrent.futures.Executor`, and both talk back the same way: the
solving process opens one connection to an :class:`Exchange` of the process that asked, tells its
progress on it, and hears on it when to stop. A line that breaks means the same as being told to
stop: nobody is left who would want the answer.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing.connection import Client, Connection, Listener
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

from data.postgres_launcher import end_with_parent
from solver.clinic import Clinic
from solver.objective import Weights
from solver.problem import Progress
from solver.scenario import Run
from solver.whatif import solve_run

NICENESS = 10
"""Solvers give way to everything that someone waits for."""
LOOPBACK = "127.0.0.1"

type Told = Callable[[str, Progress], None]
"""Called with a scenario's name and its progress, from any thread."""


@dataclass(frozen=True)
class Line:
    """A solving process's end of the line; picklable."""

    address: tuple[str, int]
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
def _connection(line: Line) -> Connection | None:
    """Open the line, once in each process."""
    try:
        return Client(line.address, authkey=line.key)
    except (OSError, EOFError, multiprocessing.AuthenticationError):
        return None


class Exchange:
    """The asking process's end of all lines; a context manager.

    Parameters
    ----------
    told
        Called with what solving processes tell.
    host
        The address to listen on, which solving processes can reach.
    """

    def __init__(self, told: Told, host: str = LOOPBACK) -> None:
        self._told = told
        self._key = secrets.token_bytes(32)
        self._listener = Listener((host, 0), authkey=self._key)
        self._connections: list[Connection] = []
        self._listening: list[threading.Thread] = []
        self._changing = threading.Lock()
        self._is_stopped = False
        self._is_over = False
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
        self._is_over = True
        with suppress(OSError):  # wake the thread that waits for a caller
            socket.create_connection(self.line.address, timeout=1).close()
        self._acceptor.join()
        self._listener.close()
        with self._changing:
            for connection in self._connections:
                _hang_up(connection)
        for listening in self._listening:
            listening.join()

    @property
    def line(self) -> Line:
        """What a solving process needs to call here."""
        address: tuple[str, int] = self._listener.address
        return Line(address, self._key)

    def stop(self) -> None:
        """Tell all who solve, and all who will, to end with the best found."""
        with self._changing:
            self._is_stopped = True
            for connection in self._connections:
                _tell_to_stop(connection)

    def _accept(self) -> None:
        while not self._is_over:
            try:
                connection = self._listener.accept()
            except (OSError, EOFError, multiprocessing.AuthenticationError):
                continue  # a caller that is none of ours
            with self._changing:
                self._connections.append(connection)
                if self._is_stopped:
                    _tell_to_stop(connection)
            listening = threading.Thread(target=self._listen, args=(connection,), daemon=True)
            listening.start()
            self._listening.append(listening)

    def _listen(self, connection: Connection) -> None:
        try:
            with suppress(OSError, EOFError):
                while True:
                    scenario, progress = orjson.loads(connection.recv_bytes())
                    self._told(scenario, Progress(**progress))
        finally:
            with self._changing:
                connection.close()


def _hang_up(connection: Connection) -> None:
    """End a connection, so that who reads it closes it: closed meanwhile, it would not be read."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _tell_to_stop(connection: Connection) -> None:
    with suppress(OSError):
        connection.send_bytes(b"stop")


def solve(
    run: Run,
    clinic: Clinic,
    now: dt.datetime,
    exchange: Exchange,
    *,
    weights: Weights,
    cluster: str | None = None,
) -> dict[str, Any]:
    """Return the result of a run, solved here or on the cluster; see :func:`solve_run`."""
    with _executor(len(run.scenarios), cluster) as (pool, side_by_side, workers):
        return solve_run(
            run,
            clinic,
            now,
            executor=pool,
            side_by_side=side_by_side,
            workers=workers,
            weights=weights,
            on_progress=exchange.line.tell,
            should_stop=exchange.line.is_stopped,
        )


@contextmanager
def _executor(scenarios: int, cluster: str | None) -> Iterator[tuple[Executor, int, int]]:
    """Yield what solves scenarios, how many at once, and the processes each may use."""
    if cluster is not None:
        from distributed import Client as Cluster  # an optional dependency

        with Cluster(cluster) as client, client.get_executor(pure=False) as pool:  # type: ignore[no-untyped-call]
            places = sum(client.nthreads().values())
            yield pool, max(1, min(places, scenarios)), 1
        return
    side_by_side = min(_cores(), scenarios)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        side_by_side, context, initializer=_begin, initargs=(os.getpid(),)
    ) as pool:
        yield pool, side_by_side, max(1, _cores() // side_by_side)


def host_for(cluster: str | None) -> str:
    """Return the address of this machine to listen on for those who solve."""
    if cluster is None:
        return LOOPBACK
    scheduler = urlsplit(cluster)
    with socket.create_connection((scheduler.hostname or "", scheduler.port or 0)) as reached:
        address: str = reached.getsockname()[0]
        return address


def _begin(parent: int) -> None:
    """Prepare a process of this machine that solves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked says when to stop
    end_with_parent(parent, signal.SIGKILL)
    if hasattr(os, "nice"):
        os.nice(NICENESS)


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
