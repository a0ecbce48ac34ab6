"""PostgreSQL's programs as child processes of this one, through the launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from data.database.embedded.server_user import ServerUser

PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMP")
"""What of the environment the server sees: what programs need to run, and no secrets."""


def spawn(
    program: Path, arguments: list[str], log: int, user: ServerUser, *inherited: int
) -> subprocess.Popen[bytes]:
    """Start a program as `user`; it ends with this process, and inherits these open files."""
    command = [str(program), *arguments]
    if os.name == "posix":
        launcher = Path(__file__).with_name("launcher.py")
        ids = [os.getpid(), *user.ids]
        command = [sys.executable, "-I", "-S", str(launcher), *map(str, ids), *command]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=Path(command[0]).anchor,
        pass_fds=inherited,
        start_new_session=True,  # Ctrl-C in a terminal is the service's to handle
        env={k: v for k, v in os.environ.items() if k in PASSED_ON} | {"LC_ALL": "C", "TZ": "UTC"},
    )
