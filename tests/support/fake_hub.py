"""Notification hubs on real sockets: one that records, and ones that misbehave."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson

from data.events.events import Event

type Answerer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def says(head: str) -> Answerer:
    """An answerer that says this much at once."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode())

    return answer


OK = says("200 OK")


async def hangs(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drips(writer: asyncio.StreamWriter) -> None:
    """A byte a second of a head that has no end."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(1)  # what a slow hub does


async def never_ends_the_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
    await asyncio.Event().wait()


class TestHub:
    """A server that notes the events that it is sent, and answers as it is told to."""

    __test__ = False
    server: asyncio.Server

    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self.bodies: list[bytes] = []
        self.url = ""
        self._news = asyncio.Event()
        self._busy: set[asyncio.Task[None]] = set()

    @property
    def events(self) -> list[Event]:
        return [orjson.loads(body) for body in self.bodies]

    async def heard(self, number: int) -> list[Event]:
        """Wait until there are so many events."""
        async with asyncio.timeout(60):
            while len(self.bodies) < number:
                self._news.clear()
                await self._news.wait()
        return self.events

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, EOFError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].split()[0])
                self.bodies.append(await reader.readexactly(length))
                self._news.set()
                await self.answer(writer)
                await writer.drain()
        self._busy.discard(task)
        writer.close()

    async def stop(self) -> None:
        for task in list(self._busy):
            task.cancel()
        while self._busy:
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def hub(answer: Answerer = OK, port: int = 0) -> AsyncIterator[TestHub]:
    """A hub on a port of its own, or on the one given."""
    served = TestHub(answer)
    server = served.server = await asyncio.start_server(served.serve, "127.0.0.1", port)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/events"
    try:
        yield served
    finally:
        server.close()
        await served.stop()


def nobody() -> str:
    """The address of a hub that is down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"
