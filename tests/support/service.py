"""A real service process on a real data directory, to be stormed and killed."""

import atexit
import contextlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

SLOTWRIGHT = [sys.executable, "-c", "from api.cli.main import main; main()"]


class Service:
    """A service's process, forked from one that has imported the program: that takes seconds."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path | None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["api.server.app", "api.server.run"])
        output = os.devnull if log is None else str(log)
        self._process = context.Process(target=_run, args=(arguments, environment, output))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"the service has not ended within {timeout} s"
        return code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()


def _run(arguments: list[str], environment: dict[str, str], output: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    tempfile.tempdir = None  # as the environment says
    multiprocessing.process._parent_process = None  # it is nobody's worker
    sys.argv = ["slotwright", *arguments]
    from api.cli.main import main

    try:
        main()
    finally:
        atexit._run_exitfuncs()  # which a forked process leaves out


@contextlib.contextmanager
def service(
    *arguments: str, log: Path | None = None, **environment: str
) -> Iterator[tuple[Service, str]]:
    """A `serve` process that answers, and its address; `log` is where it logs to."""
    port = str(free_port())
    process = Service([*arguments, "--port", port], surroundings(environment), log)
    with answering(process, port) as base:
        yield process, base


@contextlib.contextmanager
def started(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A `serve` or `demo` process of its own from the first line on that answers."""
    port = str(free_port())
    command = [*SLOTWRIGHT, *arguments, "--port", port]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, env=surroundings(environment)) as process,
        answering(process, port) as base,
    ):
        yield process, base


@contextlib.contextmanager
def answering(process: Service | subprocess.Popen[bytes], port: str) -> Iterator[str]:
    base = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while not is_ready(base):
            assert process.poll() is None, f"it ended with {process.poll()}"
            assert time.monotonic() < deadline
        yield base
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nothing listens on, below those that the system hands out meanwhile."""
    while True:
        port = random.SystemRandom().randrange(15_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def surroundings(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a service that has no database or limits but what it is told."""
    ours = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return {**ours, "SLOTWRIGHT_RATE_LIMITS": "off", **environment}


def is_ready(base: str) -> bool:
    try:
        with urlopen(f"{base}/readyz", timeout=5):  # an httpx client costs 50 ms to make
            return True
    except OSError:
        time.sleep(0.05)  # between two tries
        return False


def servers_of(directory: Path) -> list[int]:
    """Process ids of PostgreSQL servers working in a data directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").resolve().is_relative_to(directory):
                found.append(int(entry.name))
    return found


def wait_until_gone(directory: Path) -> None:
    deadline = time.monotonic() + 20
    while servers_of(directory):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def postmaster_of(directory: Path) -> int | None:
    """The process id in the server's own pid file."""
    try:
        return int((directory / "postgres/cluster/postmaster.pid").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None
