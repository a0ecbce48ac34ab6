"""The notification hub's client: events of bookings, posted after commit, never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import structlog
from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.service.settings import Settings
from data.events import outbox
from data.events.events import Audience, Event, events_of

TOTAL_SECONDS = 5.0
"""For one attempt in all, from the connection's first packet to the answer's status."""


SENDERS = 4


QUEUE_SIZE = 1000
"""Events that may wait in memory; more than that is a hub that is gone."""


LOOK_SECONDS = 2.0
"""How often the outbox is looked at for what others left, or what is due again."""


log = structlog.get_logger(__name__)


class Hub:
    """One hub, by its address; nothing it does raises or takes longer than it may."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def deliver(self, event: Event) -> bool:
        """Post one event; whether the hub took it. The body of the answer is not read."""
        try:
            async with (
                asyncio.timeout(TOTAL_SECONDS),
                self._client.stream("POST", self._url, json=event) as answer,
            ):
                reason = f"status {answer.status_code}"
                taken = answer.is_success
        except Exception as error:
            reason, taken = type(error).__name__, False
        if not taken:
            log.warning("hub_failed", event_id=event["id"], type=event["type"], reason=reason)
        return taken


class Direct(Audience):
    """Sends from memory, once; what does not get through is lost, with a warning."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(QUEUE_SIZE)
        self._is_full = False

    def after_commit(self, rows: Sequence[Row[Any]]) -> None:
        """Queue what the rows mean; what the queue has no room for is dropped."""
        for event in events_of(rows):
            try:
                self._waiting.put_nowait(event)
            except asyncio.QueueFull:
                if not self._is_full:
                    log.warning("hub_queue_full", event_id=event["id"], waiting=QUEUE_SIZE)
                self._is_full = True

    async def send(self) -> None:
        """Send what is queued, forever."""
        while True:
            event = await self._waiting.get()
            await self._hub.deliver(event)
            self._waiting.task_done()
            self._is_full = self._is_full and not self._waiting.empty()

    async def finish(self) -> None:
        """Wait until all is sent, as long as one event may take."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TOTAL_SECONDS):
                await self._waiting.join()
        if not self._waiting.empty():
            log.warning("hub_stopped", lost=self._waiting.qsize())


class Outbox(Audience):
    """Keeps events in the transaction of their writes, and sends each until it gets through."""

    def __init__(self, hub: Hub, engine: AsyncEngine) -> None:
        self._hub = hub
        self._engine = engine
        self._news = asyncio.Event()

    async def before_commit(self, connection: AsyncConnection, rows: Sequence[Row[Any]]) -> None:
        """Write down what the rows mean."""
        if events := events_of(rows):
            await outbox.put(connection, events)

    def after_commit(self, rows: Sequence[Row[Any]]) -> None:  # noqa: ARG002
        """Wake the senders."""
        self._news.set()

    async def send(self) -> None:
        """Send what is due, forever."""
        while True:
            self._news.clear()
            try:
                leased = await outbox.lease(self._engine)
                if leased is not None:
                    if await self._hub.deliver(leased.event):
                        await outbox.settle(self._engine, leased.number)
                    continue
            except (DBAPIError, PoolTimeoutError, OSError) as error:
                log.warning("outbox_waits", error=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()

    async def finish(self) -> None:
        """Leave what is not sent to whoever comes next."""


@asynccontextmanager
async def telling(settings: Settings, engine: AsyncEngine) -> AsyncIterator[Audience]:
    """Yield who is told of bookings while the block lasts: the hub of the settings, or nobody."""
    if settings.hub_url is None:
        yield Audience()
        return
    async with httpx.AsyncClient(timeout=None, follow_redirects=False) as client:  # noqa: S113
        hub = Hub(client, str(settings.hub_url))
        audience = Outbox(hub, engine) if settings.hub_delivery == "outbox" else Direct(hub)
        senders = [asyncio.create_task(audience.send()) for _ in range(SENDERS)]
        try:
            yield audience
        finally:
            await audience.finish()
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)
