"""Pages without a script: where to go from here, signing in, and why there is no page."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


def plain_page(name: str, status: int = 200, policy: str = POLICY, **values: Any) -> Response:
    """Return the page that the template `name` draws with `values`, under a security policy."""
    page = _environment().get_template(f"{name}.html.j2").render(values)
    return HTMLResponse(page, status, {"Content-Security-Policy": policy})


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("api.http"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
