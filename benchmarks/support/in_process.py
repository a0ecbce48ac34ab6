"""The whole service in this process: without a socket, where a profiler sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from api.access.open_until_first_key import KeylessAccess
from api.server.app import create_app
from api.service import logs
from api.service.settings import Settings

HERE = ("127.0.0.1", 1)


@asynccontextmanager
async def application(url: str) -> AsyncIterator[FastAPI]:
    """Yield the service on a database; there is no limit of rates."""
    logs.configure("WARNING")
    app = create_app(Settings(DATABASE_URL=url, rate_limits="off"), KeylessAccess(is_open=True))
    async with app.router.lifespan_context(app):
        yield app


async def get(app: FastAPI, path: str) -> bytes:
    """Return the body of the answer to a GET.

    Raises
    ------
    RuntimeError
        When it is not 200.
    """
    target, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")],
        "client": HERE,
        "server": HERE,
    }
    statuses: list[int] = []
    body = bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, send)
    if statuses != [200]:
        raise RuntimeError(f"the service answered {statuses}: {body.decode()[:200]}")
    return bytes(body)
