"""OpenID Connect bearer tokens: checked against the keys that their issuer publishes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import jwt
import orjson
import structlog
from jwt import PyJWK, PyJWKSet

from api.http.errors import UnauthenticatedError
from data.api_keys import ROLES, Role
from data.errors import BusyError

ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
]
"""None that shares a secret with the issuer."""


KEPT_SECONDS = 600.0
"""How long the issuer's keys are relied on."""


PATIENCE_SECONDS = 5.0
"""The issuer is not asked more often than this, whatever key ids are sent."""


FETCH_SECONDS = 5.0


MAX_PUBLISHED = 1024 * 1024
"""How many bytes of what the issuer publishes are read."""


LEEWAY_SECONDS = 30
"""What clocks may differ by."""


log = structlog.get_logger(__name__)


class IssuerError(Exception):
    """What the issuer publishes cannot be used."""


class Issuer:
    """The one issuer whose tokens are accepted.

    Parameters
    ----------
    issuer
        Its URL, as tokens have it in ``iss``; what it publishes is found from there (OpenID
        Connect Discovery 1.0).
    audience
        What tokens for this service have in ``aud``.
    role_claim
        The claim that holds the roles, a list or a text; dots lead into objects.
    patience
        Seconds to leave between two fetches of its keys.
    """

    def __init__(
        self, issuer: str, audience: str, role_claim: str, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._role_claim = role_claim
        self._patience = patience
        self._keys: list[PyJWK] | None = None
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> tuple[str, Role | None]:
        """Return the subject of a token and the highest role that it names, if it names one.

        Raises
        ------
        UnauthenticatedError
            When the token is not the issuer's, not for this service, or not valid now.
        BusyError
            When the issuer's keys cannot be had.
        """
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key.key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError, RecursionError) as error:
            raise UnauthenticatedError(f"The token is not valid: {type(error).__name__}.") from None
        return claims["sub"], role_of(claims, self._role_claim)

    async def _key(self, kid: str | None) -> PyJWK:
        now = time.monotonic()
        found = _pick(await self._keys_since(now - KEPT_SECONDS), kid)
        if found is None:  # the issuer may have changed its keys
            found = _pick(await self._keys_since(now - self._patience), kid)
        if found is None:
            raise jwt.InvalidKeyError
        return found

    async def _keys_since(self, moment: float) -> list[PyJWK]:
        if self._tried_at < moment:
            async with self._fetching:
                if self._tried_at < moment:
                    await self._try_to_fetch()
        if self._keys is None:
            raise BusyError("The issuer of tokens cannot be asked.")
        return self._keys

    async def _try_to_fetch(self) -> None:
        """Fetch the keys; where that fails, the ones there are stay good."""
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = await self._fetch()
        except (
            *(httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError),
            *(IssuerError, jwt.PyJWTError),
        ) as error:
            log.warning("issuer_away", error=type(error).__name__)
        finally:
            self._tried_at = time.monotonic()

    async def _fetch(self) -> list[PyJWK]:
        where = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        async with httpx.AsyncClient(timeout=FETCH_SECONDS) as client:
            found = await _read(client, where)
            if not isinstance(found, dict) or found.get("issuer") != self._issuer:
                raise IssuerError("the configuration is another issuer's")
            published = await _read(client, str(found.get("jwks_uri")))
        if not isinstance(published, dict):
            raise IssuerError("no set of keys")
        keys = PyJWKSet.from_dict(published).keys
        return [
            key for key in keys if key.key_type != "oct" and key.public_key_use in (None, "sig")
        ]


async def _read(client: httpx.AsyncClient, url: str) -> Any:
    """Return the JSON at a URL.

    Raises
    ------
    IssuerError
        When there is too much of it.
    """
    body = bytearray()
    async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
        answer.raise_for_status()
        async for part in answer.aiter_raw():
            body += part
            if len(body) > MAX_PUBLISHED:
                raise IssuerError(f"more than {MAX_PUBLISHED} bytes")
    return orjson.loads(body)


def _pick(keys: list[PyJWK], kid: str | None) -> PyJWK | None:
    if kid is None:
        return keys[0] if len(keys) == 1 else None
    return next((key for key in keys if key.key_id == kid), None)


def role_of(claims: dict[str, Any], claim: str) -> Role | None:
    """Return the highest role that the claim names; dots lead into objects."""
    value: Any = claims.get(claim)
    if value is None:
        value = claims
        for part in claim.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    named = value.split() if isinstance(value, str) else value
    if not isinstance(named, list):
        return None
    return next((role for role in reversed(ROLES) if role in named), None)
