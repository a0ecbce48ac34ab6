"""``/keys``: API keys made, listed and revoked by an admin."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from api.access.context import ContextDependency
from api.access.require import CallerDependency, allow
from api.http.errors import PROBLEMS
from data import api_keys as keys
from data.api_keys import KnownKey, Role
from data.database.transaction import run
from data.files.fields import Id, Strict

router = APIRouter(prefix="/keys", tags=["keys"])


KeyId = Annotated[Id, Path()]


class KeyIn(Strict):
    """What a key is to be."""

    role: Role
    name: keys.Name | None = Field(None, description="What the audit log calls its bearer.")


class KeyOut(BaseModel):
    """A key, without the key itself."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    name: str
    role: Role
    created_at: dt.datetime
    revoked_at: dt.datetime | None


class NewKeyOut(KeyOut):
    """A key just made, with the key itself, which is not shown again."""

    key: str


@router.post(
    "",
    operation_id="createKey",
    summary="Make an API key, shown this once",
    dependencies=[allow("admin")],
    status_code=201,
    responses=PROBLEMS,
)
async def create(body: KeyIn, context: ContextDependency, caller: CallerDependency) -> NewKeyOut:
    """Make a key; from the first one on, every call needs one."""
    known, secret = await run(
        context.engine, lambda c: keys.create(c, body.role, body.name, caller.name)
    )
    context.callers.keys_changed()
    return NewKeyOut(**KeyOut.model_validate(known).model_dump(), key=secret)


@router.get(
    "", operation_id="listKeys", summary="Every key ever made", dependencies=[allow("admin")]
)
async def find(context: ContextDependency) -> list[KeyOut]:
    """List all keys, oldest first, the revoked ones too."""
    return [KeyOut.model_validate(key) for key in await keys.every(context.engine)]


@router.delete(
    "/{key_id}",
    operation_id="revokeKey",
    summary="Revoke a key",
    dependencies=[allow("admin")],
    response_model=KeyOut,
    responses=PROBLEMS,
)
async def revoke(key_id: KeyId, context: ContextDependency, caller: CallerDependency) -> KnownKey:
    """Make a key worthless, at once here and within a second in other processes."""
    known = await run(context.engine, lambda c: keys.revoke(c, key_id, caller.name))
    context.callers.keys_changed()
    return known
