"""Who calls: the bearer of an API key or of an OpenID Connect token, or anyone while it is open."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from api.access.oidc import Issuer
from api.access.open_until_first_key import KeylessAccess
from api.http.errors import UnauthenticatedError
from data import api_keys as keys
from data.api_keys import MARK, ROLES, KnownKey, Role
from data.audit import ANONYMOUS, OIDC

FRESH_SECONDS = 1.0
"""How long keys once read are relied on: a key revoked by another process works that long."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    `id` tells callers apart (limits and Idempotency-Keys are counted by it), `name` is what the
    audit log says; without `role` the caller is known and may do nothing.
    """

    id: str
    name: str
    role: Role | None

    def may(self, role: Role) -> bool:
        """Whether the caller has `role`, or one above it."""
        return self.role is not None and ROLES.index(self.role) >= ROLES.index(role)


ANYONE = Caller(ANONYMOUS, ANONYMOUS, "admin")
"""Whoever calls while the service is open."""


class Callers:
    """Knows callers by what they send; while it is open to all, everyone is one and the same."""

    def __init__(self, engine: AsyncEngine, issuer: Issuer | None, keyless: KeylessAccess) -> None:
        self._engine = engine
        self._issuer = issuer
        self._keyless = keyless
        self._keys: dict[bytes, KnownKey] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def identify(self, token: str | None) -> Caller:
        """Return who sent `token`.

        Raises
        ------
        UnauthenticatedError
            When nobody did, or nobody known.
        BusyError
            When the issuer of tokens cannot be asked.
        """
        if self._issuer is not None and token is not None and not token.startswith(MARK):
            subject, role = await self._issuer.verify(token)
            name = f"{OIDC}{subject}"
            return Caller(name, name, role)
        known = await self._keys_since(time.monotonic() - FRESH_SECONDS)
        if self._keyless.is_open:
            return ANYONE
        if token is None:
            raise UnauthenticatedError("Send a key, as in Authorization: Bearer KEY.")
        digest = keys.hash_of(token)
        if digest not in known:  # it may have been made this moment, by another process
            known = await self._keys_since(time.monotonic())
        key = known.get(digest)
        if key is None or key.revoked_at is not None:
            raise UnauthenticatedError("This key is unknown or has been revoked.")
        return Caller(f"key:{key.id}", key.name, key.role)

    def keys_changed(self) -> None:
        """Read the keys anew before relying on them again: one has been made or revoked."""
        self._keyless.close()
        self._read_at = float("-inf")

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look for a first key while it is open to all, whether anybody calls or not."""

        async def watch() -> None:
            while self._keyless.is_open:
                with contextlib.suppress(Exception):  # the database is away: look again
                    await self._keys_since(time.monotonic() - FRESH_SECONDS)
                await asyncio.sleep(FRESH_SECONDS)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _keys_since(self, moment: float) -> dict[bytes, KnownKey]:
        """Return the keys as they were at `moment` or later; many who ask share one reading."""
        if self._read_at < moment:
            async with self._reading:
                if self._read_at < moment:
                    began = time.monotonic()
                    self._keys = await keys.by_hash(self._engine)
                    self._read_at = began
                    if self._keys:
                        self._keyless.close()
        return self._keys
