"""Every error as problem+json (RFC 9457) with a stable code; no trace and no SQL leaves."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from data.database.transaction import is_busy
from data.errors import (
    AlreadyExistsError,
    BusyError,
    IdempotencyKeyReusedError,
    ImportConflictError,
    InvalidFieldError,
    InvalidFieldsError,
    InvalidStateError,
    NotFoundError,
    PatientConflictError,
    PlanNotApplicableError,
    PlanStaleError,
    PreconditionFailedError,
    RequestError,
    SlotUnavailableError,
    StaleVersionError,
)
from data.files.faults import Fault, InvalidFileError, format_path
from data.files.wording import models_in, worded
from solver.clinic.clock import DateOutOfRangeError

MEDIA_TYPE = "application/problem+json"


VALIDATION_ERROR = "VALIDATION_ERROR"


RETRY_AFTER_SECONDS = "1"


BODY_TOO_LARGE = "BODY_TOO_LARGE"


class UnauthenticatedError(RequestError):
    """Nobody known asks."""

    code = "UNAUTHENTICATED"


class ForbiddenError(RequestError):
    """The caller's role is too low; `required_role` names the one needed."""

    code = "FORBIDDEN"


class RateLimitedError(RequestError):
    """The caller has asked too often; Retry-After tells when to ask again."""

    code = "RATE_LIMITED"


STATUS_OF: dict[type[RequestError], int] = {
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    RateLimitedError: 429,
    NotFoundError: 404,
    AlreadyExistsError: 409,
    SlotUnavailableError: 409,
    PatientConflictError: 409,
    InvalidStateError: 409,
    ImportConflictError: 409,
    StaleVersionError: 409,
    PlanNotApplicableError: 409,
    PlanStaleError: 409,
    IdempotencyKeyReusedError: 422,
    PreconditionFailedError: 412,
}


HEADERS_OF: dict[type[RequestError], dict[str, str]] = {
    UnauthenticatedError: {"WWW-Authenticate": 'Bearer realm="slotwright"'},
}


log = structlog.get_logger(__name__)


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it, with a stable code and what more there is to say."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError] | None = None
    reasons: list[str] | None = None


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (404, 409, 422, 503)
}
"""What a route that looks up or writes a row may answer beside success, for its documentation."""


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> Response:
    """Return one error as a response."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **extra,
    }
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def _invalid(faults: list[Fault], code: str = VALIDATION_ERROR) -> Response:
    errors = [{"field": fault.path, "message": fault.message} for fault in faults]
    detail = "; ".join(f"{fault.path}: {fault.message}" for fault in faults[:5])
    return problem(422, code, detail, errors=errors)


def refusal(error: Exception) -> Response | None:
    """Return the answer to a request that is refused for good; None where it may go through."""
    match error:
        case InvalidFieldError():
            return _invalid([Fault(error.field, error.message)])
        case InvalidFieldsError():
            return _invalid(error.faults)
        case InvalidFileError():
            return _invalid(error.faults, error.code)
        case DateOutOfRangeError():
            return _invalid([Fault("date", str(error))], "DATE_OUT_OF_RANGE")
        case RequestError() if type(error) in STATUS_OF:
            headers = HEADERS_OF.get(type(error))
            status = STATUS_OF[type(error)]
            return problem(status, error.code, error.detail, headers=headers, **error.extra)
        case _:
            return None


def busy() -> Response:
    """Return the answer to a request that may go through in a moment."""
    return problem(
        503,
        BusyError.code,
        "The service is busy or its database is away; please repeat the request.",
        headers={"Retry-After": RETRY_AFTER_SECONDS},
    )


def _models_of(request: Request) -> list[type[BaseModel]]:
    """Return what a request's body and parameters could have been."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return []
    given = (*route.dependant.body_params, *route.dependant.query_params)
    return [model for each in given for model in models_in(each.field_info.annotation)]


def install(app: FastAPI) -> None:
    """Give `app` the handlers that turn every exception into a problem."""
    for kind in (RequestError, InvalidFileError, DateOutOfRangeError):

        @app.exception_handler(kind)
        async def refused(_: Request, error: Exception) -> Response:
            answer = refusal(error)
            if answer is None:
                raise error
            return answer

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        kinds = _models_of(request)
        faults = []
        for detail in error.errors():
            if detail["type"] == "json_invalid":
                faults.append(Fault("body", f"not JSON: {detail['ctx']['error']}"))
                continue
            path = list(detail["loc"])
            message = worded(detail, kinds)
            if field := detail.get("ctx", {}).get("field"):
                path.append(field)
            where = (
                path.pop(0)
                if path and path[0] in ("query", "path", "header", "body")
                else "request"
            )
            faults.append(Fault(format_path(path) if path else str(where), message))
        return _invalid(faults)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.BAD_REQUEST:  # a body that cannot even be decoded
            is_form = "form" in request.headers.get("content-type", "")
            return _invalid([Fault("body", f"cannot be read as {'a form' if is_form else 'JSON'}")])
        return of_http(error)

    @app.exception_handler(BusyError)
    @app.exception_handler(PoolTimeoutError)
    @app.exception_handler(OSError)
    async def away(_: Request, error: Exception) -> Response:
        log.warning("busy", error=type(error).__name__)
        return busy()

    @app.exception_handler(DBAPIError)
    async def database_error(_: Request, error: DBAPIError) -> Response:
        state = getattr(error.orig, "sqlstate", None)
        if is_busy(error):
            log.warning("busy", error=type(error).__name__, sqlstate=state)
            return busy()
        return unexpected(error)


def of_http(error: HTTPException) -> Response:
    """Return the answer that an error of the framework, or of a request's bounds, stands for."""
    is_large = error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = BODY_TOO_LARGE if is_large else HTTPStatus(error.status_code).name
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, code, str(error.detail), headers=headers)


def unexpected(error: Exception) -> Response:
    """Return the answer to a fault of ours, and log it.

    An exception's message may hold a patient's data, so the log gets where it was and no more.
    """
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    trace = "".join(traceback.format_tb(error.__traceback__))
    log.error("unexpected", error=type(error).__name__, sqlstate=state, trace=trace)
    return problem(500, "INTERNAL_ERROR", "Something went wrong here; it has been logged.")
