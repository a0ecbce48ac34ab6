"""The HTTP protocol of the server, with an end to its patience.

It waits neither for requests that never come, nor for answers to be read that nobody reads.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0
"""How long a client may take to send a request's line and headers (RFC 9112, section 9.5)."""


MAX_HEAD = 64 * 1024
"""How many bytes they may have."""


READ_SECONDS = 15.0


LEAST_READ = 16 * 1024
"""How many bytes of an answer that waits a client takes in that time, at least."""


class ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection on which a request's head stays incomplete, or grows without end.

    A server without this keeps every connection that sends nothing, or a byte now and then
    (Slowloris, 2009), until it runs out of file descriptors. A client that asks and does not read
    is as costly: its answer waits in memory, and a streamed one keeps what it is made from open.
    """

    head_seconds = HEAD_SECONDS
    read_seconds = READ_SECONDS
    _waiting: asyncio.TimerHandle | None = None
    _leaving: asyncio.TimerHandle | None = None
    _watching: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        self._stop_leaving()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to watch the client read: there is more for it than waits for nobody."""
        super().pause_writing()
        self._watch_it_read()

    def resume_writing(self) -> None:
        """Watch no more: it has read."""
        self._stop_watching()
        super().resume_writing()

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

    def _watch_it_read(self) -> None:
        left = self.transport.get_write_buffer_size() - LEAST_READ
        self._watching = self.loop.call_later(self.read_seconds, self._look_what_it_read, left)

    def _look_what_it_read(self, most_left: int) -> None:
        if self.transport.get_write_buffer_size() > most_left:
            self.transport.abort()
        else:
            self._watch_it_read()

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

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
