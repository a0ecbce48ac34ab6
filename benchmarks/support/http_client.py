"""A client over one plain connection, for it takes its time from the cores of what it measures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson


@dataclass(frozen=True)
class Connection:
    """A connection that is kept open, with one request on it at a time."""

    host: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Send a request, with a JSON body if there is one, and return status and body."""
        content = b"" if body is None else orjson.dumps(body)
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
        if content:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + content)
        status, *fields = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(f for f in fields if f.startswith("content-length:"))
        answer = await self.reader.readexactly(int(length.removeprefix("content-length:")))
        return int(status.split()[1]), answer

    async def expect(self, wanted: int, method: str, path: str, body: Any = None) -> bytes:
        """Send a request whose answer has the `wanted` status; return the answer's body.

        Raises
        ------
        RuntimeError
            When it has another one.
        """
        status, answer = await self.send(method, path, body)
        if status != wanted:
            raise RuntimeError(f"the service answered {status}: {answer.decode()[:200]}")
        return answer


@asynccontextmanager
async def connected(base: str) -> AsyncIterator[Connection]:
    """Yield a connection to the service at `base`."""
    address = urlsplit(base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Connection(address.netloc, reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
