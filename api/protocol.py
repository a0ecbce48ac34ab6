"""The HTTP protocol of the server, with an end to its patience for requests that never come."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0
"""How long a client may take to send a request's line and headers (RFC 9112, section 9.5)."""
MAX_HEAD = 64 * 1024
"""How many bytes they may have."""


class ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection on which a request's head stays incomplete, or grows without end.

    A server without this keeps every connection that sends nothing, or a byte now and then
    (Slowloris, 2009), until it runs out of file descriptors.
    """

    head_seconds = HEAD_SECONDS
    _waiting: asyncio.TimerHandle | None = None
    _leaving: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        self._stop_leaving()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, within bounds while it is a head."""
        super().data_received(data)
        if self._waiting is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._stop_waiting()
                self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a head."""
        super().on_message_begin()
        if self._waiting is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Wait no more: the head is there."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stay: the body is there to its end."""
        self._stop_leaving()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Leave in a while, if the request was answered before its body came to an end.

        Nobody reads the rest, and nothing else bounds how long it takes to come.
        """
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._stop_leaving()
            self._leaving = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop_leaving(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def _wait_for_head(self) -> None:
        self._head_bytes = 0
        self._waiting = self.loop.call_later(self.head_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._waiting = self.loop.call_later(self.head_seconds, self._give_up)
        else:
            self.transport.close()
