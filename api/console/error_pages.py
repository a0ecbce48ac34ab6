"""What the console answers where there is no page, or none can be drawn: in its own words."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from api.console.backend import RefusedError
from api.console.messages import SENTENCES, refusal
from api.http import errors
from api.http.errors import RETRY_AFTER_SECONDS
from api.http.plain_pages import plain_page
from data.database.transaction import is_busy
from data.errors import BusyError


def install(console: FastAPI) -> None:
    """Give the console the handlers of every exception.

    What is wrong with a request that no browser sends by itself is told as the service does.
    """
    errors.install(console)

    @console.exception_handler(404)
    async def nowhere(request: Request, _: Exception) -> Response:
        return _page(request, 404, "There is no such page", "Nothing is at this address.")

    @console.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return _page(request, error.status, "This page cannot be shown", refusal(error))

    @console.exception_handler(BusyError)
    @console.exception_handler(PoolTimeoutError)
    @console.exception_handler(OSError)
    async def busy(request: Request, _: Exception) -> Response:
        answer = _page(
            request, 503, "This page cannot be shown now", SENTENCES["TEMPORARILY_UNAVAILABLE"]
        )
        answer.headers["Retry-After"] = RETRY_AFTER_SECONDS
        return answer

    @console.exception_handler(DBAPIError)
    async def database_error(request: Request, error: DBAPIError) -> Response:
        return await (busy if is_busy(error) else unexpected)(request, error)

    @console.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> Response:  # the envelope logs it
        return _page(request, 500, "This page cannot be shown", SENTENCES["INTERNAL_ERROR"])

    async def unexpected(request: Request, error: Exception) -> Response:
        errors.unexpected(error)
        return await failed(request, error)


def _page(request: Request, status: int, heading: str, sentence: str) -> Response:
    return plain_page(
        "no_page",
        status,
        heading=heading,
        sentence=sentence,
        board=f"{request.scope['root_path']}/",
    )
