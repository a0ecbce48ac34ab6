"""A real service process on a real data directory, to be stormed and killed."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

SLOTWRIGHT = [sys.executable, "-c", "from api.cli import main; main()"]


@contextlib.contextmanager
def service(
    *arguments: str, log: Path | None = None, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A `serve` or `demo` process that answers, and its address; `log` is where it logs to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with contextlib.nullcontext() if log is None else log.open("wb") as stderr:
        process = subprocess.Popen(
            [*SLOTWRIGHT, *arguments, "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={
                **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
                "SLOTWRIGHT_RATE_LIMITS": "off",
                **environment,
            },
        )
    base = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while not is_ready(base):
            assert process.poll() is None
            assert time.monotonic() < deadline
        yield process, base
    finally:
        process.kill()
        process.communicate()


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
