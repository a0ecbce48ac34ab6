"""The account of the operating system that the embedded server runs as."""

from __future__ import annotations

import contextlib
import os
import random
from dataclasses import dataclass
from pathlib import Path

from data.database.embedded.errors import EmbeddedPostgresError

PRIVATE_IDS = range(61184, 65520)
"""User ids without an account, one of which the server of a root gets, for itself alone.

systemd gives its services without an account ids of this range, too.
"""


OWN_ACCOUNT = "slotwright"
"""An account that is taken instead where there is one."""


@dataclass(frozen=True)
class ServerUser:
    """Whom the server runs as; negative ids: as this process does."""

    uid: int = -1
    gid: int = -1

    @classmethod
    def with_account(cls) -> ServerUser:
        """Return whom PostgreSQL's programs run as that want an account, as initdb does."""
        if not _is_root():
            return cls()
        import pwd  # PostgreSQL refuses to run as root

        for name in (OWN_ACCOUNT, "postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root and there is no user postgres or nobody to run it; "
            "run the service as a normal user or set DATABASE_URL"
        )

    @classmethod
    def for_server(cls, directory: Path) -> ServerUser:
        """Return whom the server of `directory` runs as; the directory is that user's from now on.

        For root it is an id that nobody else has: what runs as ``nobody``, or as the system's
        ``postgres``, neither reads the files nor signals the server.
        """
        if not _is_root():
            return cls()
        import pwd

        account = cls.with_account()
        if account.uid == uid_of(OWN_ACCOUNT):
            os.chown(directory, account.uid, account.gid)
            return account
        taken = {entry.pw_uid for entry in pwd.getpwall()}
        former = directory.stat().st_uid
        free = [each for each in PRIVATE_IDS if each not in taken]
        uid = former if former in free else random.choice(free)  # noqa: S311 - no secret
        try:
            os.chown(directory, uid, uid)
        except OSError:  # this container has few ids
            os.chown(directory, account.uid, account.gid)
            return account
        return cls(uid, uid)

    @property
    def ids(self) -> tuple[int, int]:
        """User and group."""
        return self.uid, self.gid

    @property
    def is_other(self) -> bool:
        """Whether it is another account than this process's."""
        return self.uid >= 0


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def uid_of(name: str) -> int | None:
    """Return the number of an account; None where there is none of that name."""
    import pwd

    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name).pw_uid
    return None
