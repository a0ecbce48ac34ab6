"""The clinic's rows: ``/providers``, ``/rooms``, ``/appointment-types`` and so on.

The five routers are alike: list, get, create, change, delete, with the clinic file's fields.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, create_model

from api.access import CallerDependency, allow
from api.context import ContextDependency
from api.errors import PROBLEMS
from api.schemas import Conflict, RemovalOut
from data import catalogue
from data.catalogue import RESOURCES, Edit, Resource
from data.clinic_file import ClinicRow, Id, Strict

RowId = Annotated[Id, Path()]


class EditQuery(Strict):
    """How to edit."""

    dry_run: bool = Field(False, description="Write nothing; only tell the conflicts.")


How = Annotated[EditQuery, Query()]


def build_routers() -> list[APIRouter]:
    """Return the routers of all kinds of row and of the clinic's settings."""
    return [_settings_router(), *(_router(resource) for resource in RESOURCES.values())]


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


def _edited(edit: Edit[Strict], status: int = 200) -> JSONResponse:
    conflicts = [Conflict.of(violation).model_dump(mode="json") for violation in edit.conflicts]
    return JSONResponse({**edit.row.model_dump(mode="json"), "conflicts": conflicts}, status)


def _with_conflicts(model: type[Strict]) -> type[BaseModel]:
    return create_model(f"{model.__name__}Edited", __base__=model, conflicts=(list[Conflict], []))


def _settings_router() -> APIRouter:
    router = APIRouter(prefix="/clinic", tags=["clinic"])
    changes = _partial(ClinicRow, "ClinicPatch")

    @router.get(
        "",
        operation_id="getClinic",
        dependencies=[allow("viewer")],
        summary="The clinic's settings",
    )
    async def get(context: ContextDependency) -> ClinicRow:
        return await catalogue.settings(context.engine)

    @router.patch(
        "",
        operation_id="patchClinic",
        dependencies=[allow("manager")],
        summary="Change the clinic's settings",
        response_model=_with_conflicts(ClinicRow),
        responses=PROBLEMS,
    )
    async def patch(
        body: changes,  # type: ignore[valid-type]
        context: ContextDependency,
        caller: CallerDependency,
        how: How,
    ) -> JSONResponse:
        given = body.model_dump(mode="json", exclude_unset=True)  # type: ignore[attr-defined]
        edit = await catalogue.patch_settings(
            context.engine, given, actor=caller.name, dry_run=how.dry_run
        )
        return _edited(edit)

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
    async def rows(context: ContextDependency) -> JSONResponse:
        found = await catalogue.rows(context.engine, resource)
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
        row = await catalogue.get(context.engine, resource, row_id)
        return JSONResponse(row.model_dump(mode="json"))

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
        body: new,  # type: ignore[valid-type]
        context: ContextDependency,
        caller: CallerDependency,
        how: How,
    ) -> JSONResponse:
        given = body.model_dump(mode="json", exclude_unset=True)  # type: ignore[attr-defined]
        if given.get("id") is None:
            given.pop("id", None)
        edit = await catalogue.create(
            context.engine, resource, given, actor=caller.name, dry_run=how.dry_run
        )
        return _edited(edit, 200 if how.dry_run else 201)

    @router.patch(
        "/{row_id}",
        operation_id=f"patch{noun}",
        dependencies=[allow("manager")],
        summary=f"Change {article} {resource.noun}",
        response_model=edited,
        responses=PROBLEMS,
    )
    async def patch(
        row_id: RowId,
        body: changes,  # type: ignore[valid-type]
        context: ContextDependency,
        caller: CallerDependency,
        how: How,
    ) -> JSONResponse:
        given = body.model_dump(mode="json", exclude_unset=True)  # type: ignore[attr-defined]
        given.pop("id", None)
        edit = await catalogue.patch(
            context.engine, resource, row_id, given, actor=caller.name, dry_run=how.dry_run
        )
        return _edited(edit)

    @router.delete(
        "/{row_id}",
        operation_id=f"delete{noun}",
        dependencies=[allow("manager")],
        summary=f"Delete {article} {resource.noun}, or deactivate one that bookings refer to",
        responses=PROBLEMS,
    )
    async def delete(
        row_id: RowId, context: ContextDependency, caller: CallerDependency, how: How
    ) -> RemovalOut:
        removal = await catalogue.remove(
            context.engine, resource, row_id, actor=caller.name, dry_run=how.dry_run
        )
        return RemovalOut(
            id=row_id,
            deleted=removal.deleted,
            deactivated=not removal.deleted,
            conflicts=[Conflict.of(violation) for violation in removal.conflicts],
        )

    return router
