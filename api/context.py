"""What a request handler works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from api.settings import Settings
from data.desk import Desk
from data.events import Audience


@dataclass(frozen=True)
class Context:
    """The service's settings, its database, its booking desk, and whom it tells of bookings."""

    settings: Settings
    engine: AsyncEngine
    desk: Desk
    audience: Audience


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


ContextDependency = Annotated[Context, Depends(_context)]
