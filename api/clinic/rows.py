"""The clinic's rows: ``/providers``, ``/rooms``, ``/appointment-types`` and so on.

The five routers are alike: list, get, create, change, delete, with the clinic file's fields.
"""

import asyncio
from functools import cache
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import (
    BaseModel,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)

from api.access.context import ContextDependency
from api.access.require import CallerDependency, allow
from api.clinic.schemas import CONFLICTING_BOOKINGS, Conflict, RemovalOut
from api.http.errors import PROBLEMS, Problem
from data.bookings.outside_rules import OutsideRules
from data.clinic import rows
from data.clinic.resources import RESOURCES, SETTINGS, Resource, etag, read_row, read_rows
from data.clinic.rows import Edit
from data.files.clinic_file import ClinicRow
from data.files.fields import Id, Strict

RowId = Annotated[Id, Path()]


class EditQuery(Strict):
    """How to edit."""

    dry_run: bool = Field(False, description="Write nothing; only tell the conflicts.")


How = Annotated[EditQuery, Query()]


IfMatch = Annotated[
    str | None,
    Header(description="The row's ETag as it was read; 412 when someone has changed it since."),
]


GUARDED: dict[int | str, dict[str, Any]] = {**PROBLEMS, 412: {"model": Problem}}
"""What an edit with ``If-Match`` may answer beside success."""


def _as_written(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    return value if isinstance(value, dict) else read(value)


AS_WRITTEN = WrapValidator(_as_written)
"""Of a body: it is passed on as it is, and its faults are told with those that the rows show."""


@cache
def build_routers() -> tuple[APIRouter, ...]:
    """Return the routers of all kinds of row and of the clinic's settings."""
    return (_settings_router(), *(_router(resource) for resource in RESOURCES.values()))


def _partial(model: type[Strict], name: str, *, only: str | None = None) -> type[BaseModel]:
    """Return `model` with all fields optional, or with `only` that one."""
    fields: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        if only in (None, field):
            kind: Any = info.annotation
            if info.metadata:
                kind = Annotated[kind, *info.metadata]
            fields[field] = (kind | None, None)
        else:
            fields[field] = (info.annotation, info)
    return create_model(name, __base__=Strict, **fields)


async def _edited(edit: Edit[Strict], status: int = 200) -> Response:
    def write() -> bytes:
        told = _told(edit.outside)
        return orjson.dumps({**edit.row.model_dump(mode="json"), **told})

    body = await asyncio.to_thread(write)
    return Response(body, status, _tagged(edit.row), "application/json")


def _told(outside: OutsideRules | None) -> dict[str, Any]:
    """Return what an edit tells of the bookings that it puts outside the rules."""
    if outside is None:
        return {"conflicts": []}
    told = [Conflict.of(v, outside.clinic).model_dump(mode="json") for v in outside.violations]
    count = {} if outside.is_whole else {"conflicting_bookings": outside.count}
    return {"conflicts": told, **count}


def _tagged(row: Strict) -> dict[str, str]:
    return {"ETag": etag(row)}


def _with_conflicts(model: type[Strict]) -> type[BaseModel]:
    return create_model(
        f"{model.__name__}Edited",
        __base__=model,
        conflicts=(list[Conflict], []),
        conflicting_bookings=(int | None, CONFLICTING_BOOKINGS),
    )


def _settings_router() -> APIRouter:
    router = APIRouter(prefix="/clinic", tags=["clinic"])
    changes = _partial(ClinicRow, "ClinicPatch")

    @router.get(
        "",
        operation_id="getClinic",
        dependencies=[allow("viewer")],
        summary="The clinic's settings",
        response_model=ClinicRow,
    )
    async def get(context: ContextDependency) -> JSONResponse:
        row = await read_row(context.engine, SETTINGS)
        return JSONResponse(row.model_dump(mode="json"), headers=_tagged(row))

    @router.patch(
        "",
        operation_id="patchClinic",
        dependencies=[allow("manager")],
        summary="Change the clinic's settings",
        response_model=_with_conflicts(ClinicRow),
        responses=GUARDED,
    )
    async def patch(
        body: Annotated[changes, AS_WRITTEN],  # type: ignore[valid-type]
        context: ContextDependency,
        caller: CallerDependency,
        how: How,
        if_match: IfMatch = None,
    ) -> Response:
        edit = await rows.patch(
            context.engine,
            SETTINGS,
            None,
            body,
            actor=caller.name,
            if_match=if_match,
            dry_run=how.dry_run,
        )
        return await _edited(edit)

    return router


def _router(resource: Resource) -> APIRouter:
    path = resource.name.replace("_", "-")
    router = APIRouter(prefix=f"/{path}", tags=[path])
    model = resource.model
    noun = resource.noun.title().replace(" ", "")
    article = "an" if noun[0] in "AEIOU" else "a"
    new = _partial(model, f"{noun}Create", only="id")
    changes = _partial(model, f"{noun}Patch")
    edited = _with_conflicts(model)

    @router.get(
        "",
        operation_id=f"list{noun}",
        dependencies=[allow("viewer")],
        summary=f"Every {resource.noun}",
        response_model=list[model],  # type: ignore[valid-type]
    )
    async def list_all(context: ContextDependency) -> JSONResponse:
        found = await read_rows(context.engine, resource)
        return JSONResponse([row.model_dump(mode="json") for row in found])

    @router.get(
        "/{row_id}",
        operation_id=f"get{noun}",
        dependencies=[allow("viewer")],
        summary=f"One {resource.noun}",
        response_model=model,
        responses=PROBLEMS,
    )
    async def get(row_id: RowId, context: ContextDependency) -> JSONResponse:
        row = await read_row(context.engine, resource, row_id)
        return JSONResponse(row.model_dump(mode="json"), headers=_tagged(row))

    @router.post(
        "",
        operation_id=f"create{noun}",
        dependencies=[allow("manager")],
        summary=f"Create {article} {resource.noun}",
        status_code=201,
        response_model=edited,
        responses={200: {"model": edited, "description": "What a dry run found"}, **PROBLEMS},
    )
    async def create(
        body: Annotated[new, AS_WRITTEN],  # type: ignore[valid-type]
        context: ContextDependency,
        caller: CallerDependency,
        how: How,
    ) -> Response:
        given: dict[str, Any] = dict(body)
        if given.get("id") is None:
            given.pop("id", None)
        edit = await rows.create(
            context.engine, resource, given, actor=caller.name, dry_run=how.dry_run
        )
        return await _edited(edit, 200 if how.dry_run else 201)

    @router.patch(
        "/{row_id}",
        operation_id=f"patch{noun}",
        dependencies=[allow("manager")],
        summary=f"Change {article} {resource.noun}",
        response_model=edited,
        responses=GUARDED,
    )
    async def patch(
        row_id: RowId,
        body: Annotated[changes, AS_WRITTEN],  # type: ignore[valid-type]
        context: ContextDependency,
        caller: CallerDependency,
        how: How,
        if_match: IfMatch = None,
    ) -> Response:
        edit = await rows.patch(
            context.engine,
            resource,
            row_id,
            body,
            actor=caller.name,
            if_match=if_match,
            dry_run=how.dry_run,
        )
        return await _edited(edit)

    @router.delete(
        "/{row_id}",
        operation_id=f"delete{noun}",
        dependencies=[allow("manager")],
        summary=f"Delete {article} {resource.noun}, or deactivate one that bookings refer to",
        response_model=RemovalOut,
        responses=GUARDED,
    )
    async def delete(
        row_id: RowId,
        context: ContextDependency,
        caller: CallerDependency,
        how: How,
        if_match: IfMatch = None,
    ) -> Response:
        removal = await rows.remove(
            context.engine,
            resource,
            row_id,
            actor=caller.name,
            if_match=if_match,
            dry_run=how.dry_run,
        )
        told = await asyncio.to_thread(_told, removal.outside)
        deleted = removal.deleted
        body = {"id": row_id, "deleted": deleted, "deactivated": not deleted, **told}
        return Response(orjson.dumps(body), media_type="application/json")

    return router
