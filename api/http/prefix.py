"""The path below which a proxy has the service, as the proxy says in ``X-Forwarded-Prefix``."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = b"x-forwarded-prefix"


_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
"""A path of plain segments: nothing that a browser could take for another host."""


class ForwardedPrefix:
    """Puts the prefix before the path of each request, as its ``root_path`` (the ASGI standard).

    The proxy has taken it away; every link, redirect, cookie and socket needs it. Whoever sends
    another one gets answers that nobody else is given.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with the prefix."""
        if scope["type"] in ("http", "websocket"):
            given = [value for name, value in scope["headers"] if name == HEADER]
            if given:
                scope["headers"] = [each for each in scope["headers"] if each[0] != HEADER]
                prefix = given[0].decode("latin-1").rstrip("/")
                if _PREFIX.fullmatch(prefix):
                    scope["root_path"] = prefix
                    scope["path"] = prefix + scope["path"]
                    scope["raw_path"] = prefix.encode() + scope.get("raw_path", b"")
        await self._app(scope, receive, send)
