"""What is around every request: its id, its end, its bounds, its entry in log and figures.

A pure ASGI middleware: it costs microseconds and streams stay streams.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, Final
from uuid import uuid4

import structlog
from fastapi import HTTPException, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http import errors
from api.service import metrics

SECONDS = 30.0
"""How long a request may take, unless its route says otherwise."""


MAX_BODY = 2 * 1024 * 1024
"""The largest body in bytes, unless its route says otherwise."""


LARGE_AT_ONCE = 2
"""How many larger ones are taken in at the same time, and worked on; others wait, unread."""


BODY_SECONDS = 10.0
"""How long a body may keep the service waiting, beside what it takes at the least rate."""


BODY_RATE = 16 * 1024
"""The least rate of a body, in bytes per second."""


REQUEST_ID = "x-request-id"


UNMATCHED = "(none)"
"""The route of a request that no route answers, and any method but the usual."""


CLOSING = {"Connection": "close"}
"""What is left of a body is not read."""


_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


_API_POLICY = "default-src 'none'; frame-ancestors 'none'"


_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


_ALWAYS: Final = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)


log = structlog.get_logger("api.request")


class Envelope:
    """Wraps `app`; routes find what they may change in ``request.state``.

    ``headers`` are added to the answer; ``deadline`` is an :class:`asyncio.Timeout`; ``max_body``
    is counted in bytes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # what a GET answers, without its body
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        call = _Call(scope, receive, send, self._large)
        with structlog.contextvars.bound_contextvars(request_id=call.request_id):
            try:
                await self._answer(call)
            finally:
                call.end()

    async def _answer(self, call: _Call) -> None:
        answer: Response | None = None
        try:
            async with asyncio.timeout(SECONDS) as deadline:
                call.state["deadline"] = deadline
                await self._app(call.scope, call.receive, call.send)
        except TimeoutError as error:
            if not deadline.expired():
                answer = errors.unexpected(error)
            else:
                log.warning("request_timeout")
                answer = errors.busy()
        except Exception as error:
            if call.refused is None:
                answer = errors.unexpected(error)
        if call.refused is not None:  # whatever the app made of that
            answer, call.refused = errors.of_http(call.refused), None
        if answer is not None and call.status is None:
            await answer(call.scope, call.receive, call.send)


class _Call:
    """One request under way."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, large: asyncio.Semaphore
    ) -> None:
        self.scope = scope
        self._receive, self._send = receive, send
        self._large, self._is_large = large, False
        self._began = time.perf_counter()
        given = Headers(scope=scope)
        sent_id = given.get(REQUEST_ID, "")
        self.request_id = sent_id if _REQUEST_ID.fullmatch(sent_id) else uuid4().hex
        declared = given.get("content-length", "")
        self._declared = int(declared) if declared.isdecimal() else 0
        self._received = 0
        self._waited = 0.0
        self._is_whole = False
        self.status: int | None = None
        self.refused: HTTPException | None = None
        """What the body broke a bound with, before there was an answer."""
        self.state: dict[str, Any] = scope.setdefault("state", {})
        self.state.update(headers={}, max_body=MAX_BODY)

    async def receive(self) -> Message:
        """Receive, within the bounds.

        Raises
        ------
        HTTPException
            413, when there is more; 408, when it does not come.
        """
        limit = self.state["max_body"]
        if self._declared <= limit:
            message = await self._receive_in_time()
            self._received += len(message.get("body", b""))
            if self._received <= limit:
                if self._received > MAX_BODY and not self._is_large:
                    await self._large.acquire()
                    self._is_large = True
                return message
        raise self._refuse(HTTPException(413, f"The body has more than {limit} bytes."))

    def _refuse(self, error: HTTPException) -> HTTPException:
        if self.status is None:
            self.refused = error
        return error

    async def _receive_in_time(self) -> Message:
        """Receive the next part of the body; once it is whole, whatever else there is to hear."""
        if self._is_whole:
            return await self._receive()
        began = time.monotonic()
        patience = BODY_SECONDS + self._received / BODY_RATE - self._waited
        try:
            async with asyncio.timeout(patience) as waiting:
                message = await self._receive()
        except TimeoutError:
            if not waiting.expired():
                raise
            slow = f"The body came slower than {BODY_RATE} bytes a second."
            raise self._refuse(HTTPException(408, slow, CLOSING)) from None
        self._waited += time.monotonic() - began
        self._is_whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send, with the headers that every answer has; nothing of an answer to half a body."""
        if self.refused is not None:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = Headers(raw=message.get("headers", []))
            added = [(REQUEST_ID, self.request_id), *self.state["headers"].items(), *_ALWAYS]
            if "cache-control" not in present:
                added.append(("cache-control", "no-store"))
            if "content-security-policy" not in present:
                is_page = present.get("content-type", "").startswith("text/html")
                added.append(("content-security-policy", _PAGE_POLICY if is_page else _API_POLICY))
            raw = [(name.lower().encode(), value.encode()) for name, value in added]
            message = {**message, "headers": [*message.get("headers", []), *raw]}
        await self._send(message)

    def end(self) -> None:
        """Give back what the request held, and account for it."""
        if self._is_large:
            self._large.release()
        self._account()

    def _account(self) -> None:
        """Write the request into the log and the figures: nothing that its sender could choose."""
        seconds = time.perf_counter() - self._began
        route = getattr(self.scope.get("route"), "path", UNMATCHED)
        method = self.scope["method"] if self.scope["method"] in _METHODS else UNMATCHED
        status = self.status or 499  # it went away unanswered
        caller = self.state.get("caller")
        metrics.REQUESTS.labels(method, route, str(status)).observe(seconds)
        log.info(
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            caller=None if caller is None else caller.name,
        )


def _without_body(send: Send) -> Send:
    """Return what sends the head of an answer alone."""
    is_over = False

    async def send_head(message: Message) -> None:
        nonlocal is_over
        if is_over:
            return
        if message["type"] == "http.response.body":
            is_over = True
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return send_head
