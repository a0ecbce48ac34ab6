"""Connections that say nothing, or never finish, on real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from api.server.http_protocol import LEAST_READ, MAX_HEAD, ImpatientProtocol
from tests.support.sockets import drip, read_to_end


class Hasty(ImpatientProtocol):
    head_seconds = read_seconds = 0.5


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
    )
    await send({"type": "http.response.body", "body": b"hi"})


@contextlib.asynccontextmanager
async def listening(protocol: type[ImpatientProtocol], app: ASGIApp = hello) -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, http=protocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nA: "])
async def test_500_that_never_finish_keep_nobody_waiting(sent: bytes) -> None:
    async with listening(Hasty) as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(500)]
        for _, writer in idle:
            writer.write(sent)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(20):
                assert (await client.get("/")).text == "hi"
        ends = await asyncio.gather(*(read_to_end(reader) for reader, _ in idle))
        assert set(ends) == {b""}  # closed, without a word
        for _, writer in idle:
            writer.close()


async def test_a_dripped_head_is_not_waited_for() -> None:
    async with listening(Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n")
        assert await drip(reader, writer) == b""  # each byte in time, the whole never
        writer.close()


async def test_a_head_without_end() -> None:
    async with listening(ImpatientProtocol) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nA: " + b"a" * (MAX_HEAD + 1))
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_a_slow_but_whole_head_is_answered_again_and_again() -> None:
    async with listening(Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            for part in (b"GET / HT", b"TP/1.1\r\nHost: x", b"\r\n\r\n"):
                writer.write(part)
                await asyncio.sleep(0.01)
            assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_what_is_left_of_an_answered_request_is_not_waited_for_either() -> None:
    async with listening(Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")
        async with asyncio.timeout(20):
            assert await drip(reader, writer) == b""  # each byte in time, the whole never
        writer.close()


async def test_a_body_that_ends_after_the_answer_leaves_the_connection_usable() -> None:
    async with listening(Hasty) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
            assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")
            writer.write(b"cd")
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    given_up = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"a" * 65536, "more_body": True})
                await asyncio.sleep(0)

        answering = asyncio.create_task(answer())
        while (await receive())["type"] != "http.disconnect":
            pass
        answering.cancel()
        given_up.set()

    async with listening(Hasty, endless) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            await given_up.wait()
        writer.close()


async def test_an_answer_that_is_read_slowly_is_not() -> None:
    class Wire:
        left = 5 * LEAST_READ
        is_aborted = False

        def get_write_buffer_size(self) -> int:
            return self.left

        def abort(self) -> None:
            self.is_aborted = True

    protocol, wire = object.__new__(ImpatientProtocol), Wire()
    protocol.transport = wire  # type: ignore[assignment]
    protocol.loop = asyncio.get_running_loop()
    for taken, is_aborted in ((LEAST_READ, False), (2 * LEAST_READ, False), (1, True)):
        most_left, wire.left = wire.left - LEAST_READ, wire.left - taken
        protocol._look_what_it_read(most_left)
        assert wire.is_aborted is is_aborted
        protocol._stop_watching()
