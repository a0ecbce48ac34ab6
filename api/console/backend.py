"""What pages work with: the service's own interface, called in the process and as the visitor."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import dataclass
from typing import Any, Literal, Self

import httpx
from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, format_time, get_day_names
from fastapi import FastAPI, Request
from sqlalchemy import text

from api.access.callers import Caller
from api.access.context import Context
from api.console.drawing.day_cache import DayBoards
from api.console.stranded_bookings import Stranded
from api.http.errors import STATUS_OF, ForbiddenError, UnauthenticatedError
from data.api_keys import Role

KEY_COOKIE = "slotwright_key"


DARK_COOKIE = "slotwright_dark"


DARK = {None: "auto", True: "yes", False: "no"}
"""How the cookie says whether pages are dark; None is as the browser prefers."""


MARK_SECONDS = 0.8
"""How long what was read of the database's state serves all open pages."""


FALLBACK_LOCALE = Locale("en", "GB")


class RefusedError(Exception):
    """The service refused a call; the message says why, as the service does."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail", "The service refused."))
        self.status = status
        self.problem = problem

    @classmethod
    def of(cls, error: UnauthenticatedError | ForbiddenError) -> Self:
        """Return what a call would have been refused with."""
        return cls(STATUS_OF[type(error)], {"code": error.code, "detail": error.detail})

    @property
    def code(self) -> str:
        """The problem's stable code."""
        return str(self.problem.get("code", ""))


class Backend:
    """The service behind the pages of one process."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url="http://console",
        )
        self.boards = DayBoards(self)
        self.stranded = Stranded(self)
        self._mark = ""
        self._marked_at = float("-inf")
        self._marking = asyncio.Lock()

    @property
    def context(self) -> Context:
        """What the service's handlers work with."""
        context: Context = self._app.state.context
        return context

    async def call(self, method: str, path: str, key: str | None, **options: Any) -> httpx.Response:
        """Call the service.

        Raises
        ------
        RefusedError
            When it answers with a problem.
        """
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        answer = await self._client.request(method, path, headers=headers, **options)
        if answer.is_error:
            raise RefusedError(answer.status_code, answer.json())
        return answer

    async def mark(self, *, now: bool = False) -> str:
        """Return a text that differs once anything has been written to the database since.

        One short query at most every :data:`MARK_SECONDS`, however many pages are open, and one
        when it has to be as things are `now`: for a page that opens, or has changed something. The
        numbers of the transactions under way change with every commit, in whatever order they
        end, so nothing is missed.
        """
        async with self._marking:
            if now or time.monotonic() - self._marked_at >= MARK_SECONDS:
                async with self.context.engine.connect() as connection:
                    query = text("SELECT pg_current_snapshot()::text")
                    self._mark = str(await connection.scalar(query))
                self._marked_at = time.monotonic()
        return self._mark


@dataclass(frozen=True)
class Visit:
    """One page opened by one browser: who asks, and how it likes its dates written."""

    backend: Backend
    key: str | None
    caller: Caller
    locale: Locale
    dark: bool | None
    root: str
    """The path below which the console is, as this browser sees it."""

    @classmethod
    async def of(cls, backend: Backend, request: Request) -> Visit | None:
        """Return the visit that a page's request begins; None where it takes a key to read."""
        key = request.cookies.get(KEY_COOKIE)
        try:
            caller = await backend.context.callers.identify(key)
        except UnauthenticatedError:
            return None
        if not caller.may("viewer"):
            return None
        looks = {name: value for value, name in DARK.items()}
        return cls(
            backend,
            key,
            caller,
            _locale(request.headers.get("accept-language", "")),
            looks.get(request.cookies.get(DARK_COOKIE, "auto")),
            request.scope["root_path"],
        )

    async def service(self, role: Role = "viewer") -> Context:
        """Return what the service works with, once more to a visitor who has at least `role`.

        A handler that reads the database itself gets to it this way, each time it is called: the
        key may have been revoked since the page was opened.

        Raises
        ------
        RefusedError
            401 when the key is no longer good, 403 when its role is too low.
        """
        context = self.backend.context
        try:
            caller = await context.callers.identify(self.key)
        except UnauthenticatedError as error:
            raise RefusedError.of(error) from None
        if not caller.may(role):
            raise RefusedError.of(ForbiddenError(f"This takes the role {role}."))
        return context

    async def get(self, path: str, **params: Any) -> Any:
        """Return what ``GET path`` answers; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return (await self.backend.call("GET", path, self.key, params=given)).json()

    async def post(self, path: str, **body: Any) -> Any:
        """Return what ``POST path`` answers."""
        return (await self.backend.call("POST", path, self.key, json=body)).json()

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the whole answer to a call of another kind."""
        return await self.backend.call(method, path, self.key, **options)

    def day(self, day: dt.date | str, style: str = "full") -> str:
        """Write a date as the browser's language does."""
        if isinstance(day, str):
            day = dt.date.fromisoformat(day)
        return format_date(day, style, self.locale)

    def short_day(self, day: dt.date | str, skeleton: Literal["MMMEd", "MMMd"] = "MMMEd") -> str:
        """Write a date without its year, with or without its weekday."""
        if isinstance(day, str):
            day = dt.date.fromisoformat(day)
        return str(format_skeleton(skeleton, day, locale=self.locale))

    def weekdays(self, width: Literal["wide", "abbreviated"] = "wide") -> dict[int, str]:
        """Return the weekdays' names in the browser's language, by ISO number."""
        names = get_day_names(width, locale=self.locale)
        return {number: names[number - 1] for number in range(1, 8)}

    def time(self, clock: dt.time | str) -> str:
        """Write a time of day of the clinic as the browser's language does."""
        if isinstance(clock, str):
            if clock == "24:00":
                return clock
            clock = dt.time.fromisoformat(clock)
        return format_time(clock, "short", locale=self.locale)


def read_date(text: str | None) -> dt.date | None:
    """Return the date that a text is; None for any other text, and for a year half typed."""
    try:
        day = dt.date.fromisoformat(text or "")
    except ValueError:
        return None
    return day if day.year >= 1000 else None


def _locale(languages: str) -> Locale:
    """Return the best known of the languages that a browser sends, best first."""
    for part in languages.split(","):
        name = part.partition(";")[0].strip()
        try:
            return Locale.parse(name, sep="-")
        except (ValueError, UnknownLocaleError):
            continue
    return FALLBACK_LOCALE
