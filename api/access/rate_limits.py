"""Rate limits: how often one caller may ask for one kind of thing within a minute."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError  # noqa: A004

type Group = Literal["slots", "bookings", "cancellations", "statistics", "pages", "sign_in"]


LIMITS: dict[Group, RateLimitItem] = {
    "slots": RateLimitItemPerMinute(200),
    "bookings": RateLimitItemPerMinute(100),
    "cancellations": RateLimitItemPerMinute(50),
    "statistics": RateLimitItemPerMinute(60),
    "pages": RateLimitItemPerMinute(600),
    "sign_in": RateLimitItemPerMinute(60),
}


REDIS_SECONDS = 0.5
"""The longest that one step waits for Redis: a free connection, a new one, an answer."""


REDIS_CONNECTIONS = 32


AWAY_SECONDS = 5.0
"""How long Redis is left alone, and nobody limited, once it did not answer."""


PREFIX = "slotwright:limits"


log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LimitState:
    """How much of a limit a caller has used after a request."""

    is_within: bool
    limit: int
    remaining: int
    reset_seconds: int
    window_seconds: int

    def headers(self) -> dict[str, str]:
        """Return the state as the RateLimit header fields (IETF httpapi draft) have it."""
        told = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
            "RateLimit-Policy": f"{self.limit};w={self.window_seconds}",
        }
        if not self.is_within:
            told["Retry-After"] = str(self.reset_seconds)
        return told


class Limits:
    """Counts requests, in this process or, with a `redis_url`, together with all that share it.

    A window moves with the clock: at any moment, the requests of the last minute count. While Redis
    does not answer nobody is limited.
    """

    def __init__(self, redis_url: str | None = None) -> None:
        storage: Storage = MemoryStorage()
        self._pool = None if redis_url is None else _redis(redis_url)
        if redis_url is not None:
            options: dict[str, Any] = {"key_prefix": PREFIX, "connection_pool": self._pool}
            storage = RedisStorage(f"async+{redis_url}", implementation="redispy", **options)
        self._window = MovingWindowRateLimiter(storage)
        self._is_away = False
        self._away_until = float("-inf")

    async def hit(self, group: Group, caller: str) -> LimitState | None:
        """Count one request and tell where its caller stands; None when that cannot be known."""
        if time.monotonic() < self._away_until:
            return None
        try:
            standing = await self._hit(LIMITS[group], group, caller)
        except (RedisError, OSError) as error:
            if not self._is_away:
                log.warning("limits_open", error=type(error).__name__)
            self._is_away = True
            self._away_until = time.monotonic() + AWAY_SECONDS
            return None
        if self._is_away:
            self._is_away = False
            log.info("limits_back")
        return standing

    async def _hit(self, item: RateLimitItem, group: Group, caller: str) -> LimitState:
        is_within = await self._window.hit(item, group, caller)
        stats = await self._window.get_window_stats(item, group, caller)
        seconds = math.ceil(stats.reset_time - time.time())
        return LimitState(
            is_within, item.amount, max(0, stats.remaining), max(1, seconds), item.get_expiry()
        )

    async def close(self) -> None:
        """Let go of the connections to Redis."""
        if self._pool is not None:
            await self._pool.aclose()


def _redis(url: str) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=REDIS_CONNECTIONS,
        timeout=REDIS_SECONDS,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        # a connection that Redis closed is opened again; one that hangs is not waited for twice
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
    )
