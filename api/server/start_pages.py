"""The pages that lead into the service: ``/`` and the description of the interface, ``/docs``.

Swagger UI's files come from a package, so that the page needs no network and nobody else's scripts
run on this origin.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse

from api.access.require import allow
from api.http.plain_pages import plain_page

ASSETS = {
    "swagger-ui-bundle.js": ("fastapi_offline", "static/swagger-ui-bundle.js"),
    "swagger-ui.css": ("fastapi_offline", "static/swagger-ui.css"),
    "start.js": ("api.http", "templates/docs.js"),
}
"""The files of ``/docs``: the package and the place in it."""


DOCS_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


router = APIRouter(include_in_schema=False)


@router.get("/", dependencies=[allow("anyone")])
async def start(request: Request) -> Response:
    """Show where to go from here."""
    return plain_page("start", has_console=request.app.state.has_console)


@router.get("/docs", dependencies=[allow("anyone")])
async def docs() -> Response:
    """Show every route, to be read and tried."""
    return plain_page("docs", policy=DOCS_POLICY)


@router.get("/docs/{name}", dependencies=[allow("anyone")])
async def asset(
    name: Annotated[Literal["swagger-ui-bundle.js", "swagger-ui.css", "start.js"], PathParameter()],
) -> Response:
    """Return one of the files that ``/docs`` is made of."""
    package, place = ASSETS[name]
    return FileResponse(
        Path(str(files(package).joinpath(place))), headers={"Cache-Control": "max-age=3600"}
    )
