"""Become a PostgreSQL program that lives no longer than its starter.

Run by path, not imported: ``python -I -S launcher.py STARTER_PID UID GID PROGRAM ARG…``.
It asks the kernel for a fast shutdown (SIGINT) when the starter dies, gives up root when asked
to, and turns into PROGRAM. A program of its own, so that no Python code runs between fork and
exec in a process that may have threads.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
NICENESS = 5
"""How far the program gives way to its starter (0 to 19), which answers while queries run."""


def end_with_parent(parent: int, number: int) -> None:
    """Ask the kernel to send this process signal `number` when `parent` dies (Linux only)."""
    if sys.platform != "linux":
        return
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise SystemExit("cannot ask for a parent-death signal")
    if os.getppid() != parent:  # it died before the request was in place
        raise SystemExit(1)


def main(starter: int, uid: int, gid: int, program: list[str]) -> None:
    """Prepare this process and become `program`; negative ids leave the user as it is."""
    if sys.platform == "linux":
        import ctypes  # noqa: F401 - loaded while root can still read it
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    end_with_parent(starter, signal.SIGINT)  # after the change of user, which would undo it
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
