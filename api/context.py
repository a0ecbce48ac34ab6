"""What a request handler works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from api.settings import Settings


@dataclass(frozen=True)
class Context:
    """The service's settings and its database."""

    settings: Settings
    engine: AsyncEngine


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


ContextDependency = Annotated[Context, Depends(_context)]
