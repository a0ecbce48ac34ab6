"""What kinds of body the service reads.

A web page can have a browser send plain text, a form or bytes without a type to any address; for
JSON and YAML the browser asks the service first, which does not allow it.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import HTTPException
from starlette.requests import HTTPConnection

JSON = "application/json"


YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")


def is_json(request: HTTPConnection) -> bool:
    """Whether the request says that its body is JSON, ``application/json`` or ``…+json``."""
    kind = _media_type(request)
    return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))


def is_yaml(request: HTTPConnection) -> bool:
    """Whether the request says that its body is YAML."""
    return _media_type(request) in YAML


def require(request: HTTPConnection, *, takes_yaml: bool) -> None:
    """Refuse a body that is not JSON nor, where the route takes it, YAML.

    Raises
    ------
    HTTPException
        415, also when a body comes without a type.
    """
    if not _has_body(request) or is_json(request) or (takes_yaml and is_yaml(request)):
        return
    taken = f"{JSON} or {YAML[0]}" if takes_yaml else JSON
    raise HTTPException(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"Send the body as {taken}: set the header Content-Type.",
        {"Accept": f"{JSON}, {YAML[0]}" if takes_yaml else JSON},
    )


def _has_body(request: HTTPConnection) -> bool:
    length = request.headers.get("content-length", "0")
    return length.strip() != "0" or "transfer-encoding" in request.headers


def _media_type(request: HTTPConnection) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
