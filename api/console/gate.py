"""Who gets to the console's pages, and whose sockets stay open.

Only what draws the sign-in form, and the scripts and styles that are the same for all, are there
for strangers. A page, its websocket, and each message on it take a key that is good at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from urllib.parse import parse_qs, parse_qsl, urlencode

import structlog
from fastapi import Response
from fastapi.responses import RedirectResponse
from nicegui import Client, __version__
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access.callers import FRESH_SECONDS, Caller
from api.access.origins import POLICY_VIOLATION, READS
from api.access.rate_limits import Group
from api.access.require import counted_as
from api.console.backend import KEY_COOKIE, Backend
from api.console.pages.sign_in import FOR_STRANGERS, SIGN_IN
from api.http import errors
from api.http.errors import UnauthenticatedError
from api.http.plain_pages import plain_page

ASSETS = f"/_nicegui/{__version__}/"
"""Scripts, styles and fonts, the same for everyone."""


STRANGER_SECONDS = 5.0
"""How long a websocket stays that speaks for no page of a known visitor: long enough for a browser
with a page from before a restart to be told, and to load it anew."""


STRANGERS, STRANGERS_PER_ADDRESS = 128, 32
"""How many of them there are at most."""


SOCKETS, SOCKETS_PER_ADDRESS = 1000, 250
"""How many websockets of open pages there are at most: in all, and from one address."""


TRY_AGAIN_LATER = 1013


NOBODYS_PAGE = "-"


MAX_FORM = 64 * 1024
"""The largest body in bytes that a stranger may send: a key, or an issuer's token."""


log = structlog.get_logger(__name__)


class Gate:
    """Lets known visitors through to the console."""

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        self._app = app
        self._backend = backend
        self._open: Counter[str] = Counter()
        self._strange: Counter[str] = Counter()
        self._visits: dict[str | None, set[_Socket]] = {}
        self._watching: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request or a websocket through, or not."""
        if scope["type"] == "http":
            answer = await self._refusal(HTTPConnection(scope))
            await (answer or self._app)(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(HTTPConnection(scope), receive, send)
        else:
            await self._app(scope, receive, send)

    async def _refusal(self, request: HTTPConnection) -> Response | None:
        path = request.scope["path"].removeprefix(request.scope["root_path"])
        if path.startswith(ASSETS):
            return None
        if path in FOR_STRANGERS:
            request.state.max_body = MAX_FORM
            return await self._count("sign_in", _address(request), request)
        caller = await self._caller(request.cookies.get(KEY_COOKIE))
        if caller is not None:
            request.state.caller = caller
            return await self._count("pages", counted_as(caller, request), request)
        if request.scope["method"] in READS:
            return RedirectResponse(f"{request.scope['root_path']}{SIGN_IN}", 303)
        return errors.refusal(UnauthenticatedError("Sign in again."))

    async def _count(self, group: Group, who: str, request: HTTPConnection) -> Response | None:
        limits = self._backend.context.limits
        standing = None if limits is None else await limits.hit(group, who)
        if standing is None or standing.is_within:
            return None
        request.state.headers.update(standing.headers())
        return plain_page("too_many", 429, seconds=standing.reset_seconds)

    async def _caller(self, key: str | None) -> Caller | None:
        try:
            caller = await self._backend.context.callers.identify(key)
        except UnauthenticatedError:
            return None
        return caller if caller.may("viewer") else None

    async def _connect(self, request: HTTPConnection, receive: Receive, send: Send) -> None:
        key = request.cookies.get(KEY_COOKIE)
        is_known = _has_page(request, key) and await self._caller(key) is not None
        counts = self._open if is_known else self._strange
        most, each = _most_sockets() if is_known else (STRANGERS, STRANGERS_PER_ADDRESS)
        address = _address(request)
        if counts.total() >= most or counts[address] >= each:
            log.warning("too_many_sockets", known=is_known)
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
            return
        socket = _Socket(receive, send)
        with _counted(counts, address):
            if is_known:
                with self._visited(key, socket):
                    await self._app(request.scope, self._asking(key, socket), socket.send)
            else:
                leaving = asyncio.get_running_loop().call_later(STRANGER_SECONDS, socket.end)
                try:
                    await self._app(_nobodys(request.scope), socket.receive_greeting, socket.send)
                finally:
                    leaving.cancel()

    def _asking(self, key: str | None, socket: _Socket) -> Receive:
        """Return what receives for a page: each message asks for the key again."""

        async def receive() -> Message:
            message = await socket.receive()
            if message["type"] == "websocket.receive" and not await self._is_good(key):
                return await socket.leave()
            return message

        return receive

    @contextlib.contextmanager
    def _visited(self, key: str | None, socket: _Socket) -> Iterator[None]:
        visits = self._visits.setdefault(key, set())
        visits.add(socket)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            visits.discard(socket)
            if not visits:
                self._visits.pop(key, None)

    async def _watch(self) -> None:
        """End the visits whose key is no longer good, as long as there are any."""
        while self._visits:
            await asyncio.sleep(FRESH_SECONDS)
            for key, sockets in list(self._visits.items()):
                if not await self._is_good(key):
                    for socket in list(sockets):
                        socket.end()

    async def _is_good(self, key: str | None) -> bool:
        """Whether a key is not known to be bad; while nobody can be asked it stays good."""
        try:
            return await self._caller(key) is not None
        except Exception:  # as for every request: the database or the issuer is away
            return True


class _Socket:
    """One websocket, which can be ended from this side whatever its browser does."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._ended = asyncio.Event()
        self._has_left = False

    def end(self) -> None:
        """Have it closed."""
        self._ended.set()

    async def receive(self) -> Message:
        """Return the next message; once it is to end, the one that says so."""
        coming = asyncio.ensure_future(self._receive())
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
            return await self.leave() if ending.done() else await coming
        finally:
            coming.cancel()
            ending.cancel()

    async def receive_greeting(self) -> Message:
        """Return the next message of those by which a page is named; any other ends it."""
        message = await self.receive()
        if message["type"] == "websocket.receive":
            text = message.get("text") or ""
            if not text.startswith(("3", "40")):  # engine.io's pong, socket.io's connect
                return await self.leave()
        return message

    async def send(self, message: Message) -> None:
        """Send, until it has been closed."""
        if not self._has_left:
            await self._send(message)

    async def leave(self) -> Message:
        """Close it, and return the message that says so."""
        if not self._has_left:
            self._has_left = True
            with contextlib.suppress(RuntimeError, OSError):  # its browser was faster
                await self._send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}


def _has_page(request: HTTPConnection, key: str | None) -> bool:
    """Whether the page that a websocket names is there, and was opened with the same key."""
    named = parse_qs(request.url.query).get("client_id", [""])[0]
    page = Client.instances.get(named)
    return page is not None and page.request.cookies.get(KEY_COOKIE) == key


def _nobodys(scope: Scope) -> Scope:
    """Return a websocket's scope without the page that it named: NiceGUI has it load anew."""
    query = [
        (name, NOBODYS_PAGE if name == "client_id" else value)
        for name, value in parse_qsl(scope["query_string"].decode("latin-1"), True)
    ]
    return {**scope, "query_string": urlencode(query).encode()}


def _most_sockets() -> tuple[int, int]:
    """Return how many there may be; half of the file descriptors are for all else."""
    most = SOCKETS
    if sys.platform != "win32":
        import resource

        most = min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    return most, SOCKETS_PER_ADDRESS


@contextlib.contextmanager
def _counted(counts: Counter[str], address: str) -> Iterator[None]:
    counts[address] += 1
    try:
        yield
    finally:
        counts[address] -= 1
        if not counts[address]:
            del counts[address]


def _address(request: HTTPConnection) -> str:
    return request.client.host if request.client else ""
