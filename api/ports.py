"""A port on which several processes listen, each with a socket of its own.

Processes that share one socket do not share the connections: whichever wakes first takes all that
wait. With a socket for each, the kernel deals them out (SO_REUSEPORT, Linux 3.9). What was dealt to
a process that is killed is reset, also when it had not been taken yet: a client asks again.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any, Self

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


def own_socket(host: str, port: int) -> OwnSocket:
    """Return a socket that keeps a port for processes to come.

    Raises
    ------
    OSError
        When something else listens there.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(address)
        address = first.getsockname()
    return OwnSocket.bound(family, address)
