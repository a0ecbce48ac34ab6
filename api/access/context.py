"""What a request handler works with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from api.access.callers import Callers
from api.access.rate_limits import Limits
from api.events.run_feeds import RunFeeds
from api.service.settings import Settings
from data.bookings.group_commit import GroupCommit
from data.clinic.snapshot import Snapshots
from data.events.events import Audience


@dataclass(frozen=True)
class Context:
    """What the service works with: its settings and database, and what it keeps beside them."""

    settings: Settings
    engine: AsyncEngine
    group_commit: GroupCommit
    audience: Audience
    snapshots: Snapshots
    callers: Callers
    limits: Limits | None
    stopping: asyncio.Event
    """Set when the process has been told to end: streams end with it."""
    feeds: RunFeeds


async def _context(request: Request) -> Context:  # in the event loop, and not in a thread
    context: Context = request.app.state.context
    return context


ContextDependency = Annotated[Context, Depends(_context)]
