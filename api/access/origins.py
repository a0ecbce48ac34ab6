"""Writes that a foreign web page had a browser send are refused (CSRF, DNS rebinding).

A browser sends what any page tells it to, with its visitor's cookies and from its visitor's
machine. It also says where the page came from: ``Sec-Fetch-Site`` and ``Origin`` are its own words,
and callers that are no browsers send neither. What only reads passes: the browser keeps the answer
from a page of another origin.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.open_until_first_key import KeylessAccess
from api.http import errors

READS = ("GET", "HEAD", "OPTIONS")


OUR_OWN = ("same-origin", "none")
"""How ``Sec-Fetch-Site`` calls our own pages, and what the visitor typed."""


POLICY_VIOLATION = 1008


_PORTS = {"http": 80, "https": 443}


class OriginGuard:
    """Refuses what pages of others send and, while the service is open, foreign names of it.

    A page whose name was made to lead to this machine (DNS rebinding) is of our own origin to the
    browser; only the name tells.

    Parameters
    ----------
    app
        The service.
    keyless
        Whether the service is open.
    public_url
        Where browsers find it, if a proxy in between asks for it by another name.
    """

    def __init__(self, app: ASGIApp, keyless: KeylessAccess, public_url: str | None = None) -> None:
        self._app = app
        self._keyless = keyless
        self._public = None if public_url is None else urlsplit(public_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or say why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = self._refusal(scope, Headers(scope=scope))
        if answer is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._keyless.is_open and not _is_this_machine(headers.get("host", ""), scope):
            return errors.problem(
                421,
                "MISDIRECTED_REQUEST",
                "As long as no key has been made, the service answers to localhost, 127.0.0.1 "
                "and [::1] only; make a key with slotwright keys create --role admin.",
            )
        is_read = scope["type"] == "http" and scope["method"] in READS
        if not is_read and self._is_foreign(headers):
            return errors.problem(
                403,
                "CROSS_SITE_REQUEST",
                "A web page from another address had the browser send this. If it is the "
                "service's own page behind a proxy, set SLOTWRIGHT_PUBLIC_URL.",
            )
        return None

    def _is_foreign(self, headers: Headers) -> bool:
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site not in OUR_OWN
        sent = headers.get("origin")
        if sent is None:
            return False
        origin = _split(sent)
        if origin is None or not origin.hostname:  # "null" is the origin of a page that hides it
            return True
        if self._public is not None and _place(origin) == _place(self._public):
            return False
        host = _split(f"{origin.scheme}://{headers.get('host', '')}")
        return host is None or _place(origin)[1:] != _place(host)[1:]


def _is_this_machine(host: str, scope: Scope) -> bool:
    """Whether a Host header has a name of this machine that nobody else can give to theirs."""
    split = _split(f"http://{host}")
    name = "" if split is None else split.hostname or ""
    if name == "localhost" or name == (scope.get("server") or ("",))[0]:
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    try:
        split = urlsplit(url)
        _ = split.port  # raises for one that is none
    except ValueError:
        return None
    return split


def _place(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
