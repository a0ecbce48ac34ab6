"""What a request handler works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from api.settings import Settings
from data.desk import Desk
from data.snapshot import Snapshots


@dataclass(frozen=True)
class Context:
    """The service's settings, its database, its booking desk and what it keeps of the clinic."""

    settings: Settings
    engine: AsyncEngine
    desk: Desk
    snapshots: Snapshots

    @classmethod
    def of(cls, settings: Settings, engine: AsyncEngine) -> Context:
        """Return what handlers need of a service on `engine`."""
        return cls(settings, engine, Desk(engine), Snapshots(engine))


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


ContextDependency = Annotated[Context, Depends(_context)]
