"""Routes of slot queries."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response

from api.access.context import ContextDependency
from api.access.require import CallerDependency, allow, counted_as
from api.http.errors import Problem
from api.slots.schemas import SlotQuery, SlotsOut
from api.slots.service import _check_known, answer, read

router = APIRouter(tags=["slots"])


@router.get(
    "/slots",
    operation_id="findSlots",
    dependencies=[allow("viewer", "slots")],
    summary="Every bookable slot of a date, best first",
    response_model=SlotsOut,
    responses={404: {"model": Problem}, 422: {"model": Problem}},
)
async def get_slots(
    query: Annotated[SlotQuery, Query()],
    request: Request,
    context: ContextDependency,
    caller: CallerDependency,
) -> Response:
    """Compute the slots from the rows as they are now; nothing of the answer is stored."""
    wish = query.to_request(dt.datetime.now(dt.UTC))
    who = counted_as(caller, request)
    clinic = await read(context, query.date, who)
    await _check_known(context, clinic, query)
    body = await answer(
        context,
        clinic,
        wish,
        who,
        limit=query.limit,
        rooms=query.rooms,
        without=query.without,
    )
    return Response(orjson.dumps(body), media_type="application/json")
