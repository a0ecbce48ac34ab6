"""A port on which several processes listen, each with a socket of its own.

Processes that share one socket do not share the connections: whichever wakes first takes all that
wait. With a socket for each, the kernel deals them out (SO_REUSEPORT, Linux 3.9). What was dealt to
a process that is killed is reset, also when it had not been taken yet: a client asks again.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from api.service.error_messages import UsageError

DEALS_OUT = sys.platform == "linux"
"""Whether the kernel does so; others give every connection to the same socket."""


class OwnSocket(socket.socket):
    """A bound socket that is made anew, on the same port, in every process that it is sent to."""

    @classmethod
    def bound(cls, family: int, address: tuple[Any, ...]) -> Self:
        """Return a socket on a port that others have sockets on, too."""
        own = cls(family, socket.SOCK_STREAM)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        own.bind(address)
        return own

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        return type(self).bound, (self.family, self.getsockname())


class AddressError(UsageError):
    """The service cannot listen where it was told to; the message says why and what to do."""

    exit_code = 3


@contextmanager
def bound_socket(host: str, port: int, *, is_shared: bool = False) -> Iterator[socket.socket]:
    """Yield a socket that keeps a port, on which nothing is heard yet.

    Parameters
    ----------
    is_shared
        Whether several processes are to listen there, each with a socket of its own where the
        kernel deals connections out.

    Raises
    ------
    AddressError
        When something else listens there, or nobody can.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        try:
            if sys.platform != "win32":
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            if is_shared and DEALS_OUT:
                address = bound.getsockname()
                bound.close()
                bound = OwnSocket.bound(family, address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressError(
                f"port {port} is taken; use --port 0 for a free one, or stop what listens there"
            ) from None
        raise AddressError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    with bound:
        yield bound
