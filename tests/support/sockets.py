"""Connections spoken to byte by byte, as no client of HTTP does."""

import asyncio
import contextlib


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Return what is left to read; a connection that is closed before its bytes are is reset."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while some := await reader.read(65536):
            received += some
    return received


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a byte now and then until the other side closes; return what it says meanwhile."""
    end = asyncio.create_task(read_to_end(reader))
    while not end.done():
        with contextlib.suppress(ConnectionError):
            writer.write(b"a")
        await asyncio.sleep(0.05)
    return await end
