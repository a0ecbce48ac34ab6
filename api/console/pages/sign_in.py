"""Signing in with an API key, which the browser then keeps in a cookie that no script reads."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse
from nicegui import app as console

from api.console.backend import KEY_COOKIE, Backend
from api.http.errors import UnauthenticatedError
from api.http.plain_pages import plain_page

WEEK_SECONDS = 7 * 24 * 3600


SIGN_IN, SESSION, SIGN_OUT = "/sign-in", "/session", "/sign-out"


FOR_STRANGERS = (SIGN_IN, SESSION, SIGN_OUT)
"""What is there for whoever has not signed in, below the console's own path."""


def add(backend: Backend) -> None:
    """Add the page, and what its form and the sign-out button send to."""

    @console.get(SIGN_IN)
    def page(refused: str = "") -> Response:
        return plain_page("sign_in", is_refused=bool(refused))

    @console.post(SESSION)
    async def sign_in(request: Request, key: Annotated[str, Form()]) -> RedirectResponse:
        token, here = key.strip(), request.scope["root_path"]
        try:
            caller = await backend.context.callers.identify(token)
        except UnauthenticatedError:
            caller = None
        if caller is None or not caller.may("viewer"):
            return RedirectResponse(f"{here}{SIGN_IN}?refused=1", 303)
        answer = RedirectResponse(f"{here}/", 303)
        answer.set_cookie(
            KEY_COOKIE,
            token,
            max_age=WEEK_SECONDS,
            path=here,
            httponly=True,
            samesite="strict",
            secure=_is_secure(request, backend),
        )
        return answer

    @console.post(SIGN_OUT)
    async def sign_out(request: Request) -> RedirectResponse:
        here = request.scope["root_path"]
        answer = RedirectResponse(f"{here}{SIGN_IN}", 303)
        answer.delete_cookie(KEY_COOKIE, path=here)
        return answer


def _is_secure(request: Request, backend: Backend) -> bool:
    """Whether browsers come by https, as the request or the service's public address has it."""
    public = backend.context.settings.public_url
    return request.url.scheme == "https" or (public or "").startswith("https://")
