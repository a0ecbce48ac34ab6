"""Signing in with an API key, which the browser then keeps in a cookie that no script reads."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import RedirectResponse
from nicegui import app as console
from nicegui import ui

from api.console.backend import KEY_COOKIE, Backend, RefusedError
from api.console.frame import bare

WEEK_SECONDS = 7 * 24 * 3600
HOME = "/console/"
HERE = "/console/sign-in"

FORM = """
<form method="post" action="/console/session" class="sw-sign-in">
  <label for="key">API key</label>
  <input id="key" name="key" type="password" required autocomplete="current-password" autofocus>
  <button type="submit">Sign in</button>
</form>
"""


def add(backend: Backend) -> None:
    """Add the page, and what its form and the sign-out button send to."""

    @ui.page("/sign-in", title="Sign in · Slotwright")
    def page(refused: str = "") -> None:
        with bare():
            ui.label("Sign in").classes("text-2xl").props("role=heading aria-level=1")
            if refused:
                ui.label("That key is not known here.").props("role=alert").classes("sw-alert")
            ui.html(FORM, sanitize=False)

    @console.post("/session")
    async def sign_in(request: Request, key: Annotated[str, Form()]) -> RedirectResponse:
        try:
            await backend.call("GET", "/clinic", key.strip())
        except RefusedError:
            return RedirectResponse(f"{HERE}?refused=1", 303)
        answer = RedirectResponse(HOME, 303)
        answer.set_cookie(
            KEY_COOKIE,
            key.strip(),
            max_age=WEEK_SECONDS,
            path="/console",
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @console.post("/sign-out")
    async def sign_out() -> RedirectResponse:
        answer = RedirectResponse(HERE, 303)
        answer.delete_cookie(KEY_COOKIE, path="/console")
        return answer
