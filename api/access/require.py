"""What each route asks of its callers, said in one place: its dependency ``allow(...)``."""

import asyncio
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.access.callers import ANYONE, Caller
from api.access.context import ContextDependency
from api.access.origins import READS
from api.access.rate_limits import Group
from api.http import media_types
from api.http.errors import ForbiddenError, RateLimitedError
from data.api_keys import Role

BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="An API key, or a token of the OpenID Connect issuer.",
)


LONG_SECONDS = 600.0
"""For what reads or writes a whole clinic."""


LARGE_BODY = 256 * 1024 * 1024
"""For whole clinics and runs, in bytes."""


@dataclass(frozen=True)
class Access:
    """What a route asks of its callers, and what it grants them.

    Parameters
    ----------
    role
        The least role that may call; ``anyone`` needs no key.
    group
        The rate limit that a call counts for.
    seconds
        How long a call may take, where that differs from all others; infinite for a stream.
    max_body
        The most bytes of a document, JSON or YAML, that the route itself reads. Other routes
        take JSON, as much as all others.
    """

    role: Role | Literal["anyone"]
    group: Group | None = None
    seconds: float | None = None
    max_body: int | None = None

    async def __call__(
        self,
        request: Request,
        context: ContextDependency,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    ) -> None:
        """Let a caller pass, or say why not."""
        if self.role == "anyone":
            return
        token = None if credentials is None else credentials.credentials
        caller = await context.callers.identify(token)
        request.state.caller = caller
        if not caller.may(self.role):
            has = f"has the role {caller.role}" if caller.role else "has no role"
            raise ForbiddenError(
                f"This needs the role {self.role}; the caller {has}.", required_role=self.role
            )
        if self.group is not None and context.limits is not None:
            standing = await context.limits.hit(self.group, counted_as(caller, request))
            if standing is not None:
                request.state.headers.update(standing.headers())
                if not standing.is_within:
                    raise RateLimitedError(
                        f"At most {standing.limit} requests of this kind in "
                        f"{standing.window_seconds} seconds; wait {standing.reset_seconds}."
                    )
        if request.method not in READS:
            media_types.require(request, takes_yaml=self.max_body is not None)
        self._grant(request)

    def _grant(self, request: Request) -> None:
        if self.seconds is not None:
            end = asyncio.get_running_loop().time() + self.seconds
            request.state.deadline.reschedule(None if math.isinf(end) else end)
        if self.max_body is not None:
            request.state.max_body = self.max_body


def counted_as(caller: Caller, request: HTTPConnection) -> str:
    """Return who a rate limit counts: the caller, or while the service is open the address."""
    if caller is not ANYONE:
        return caller.id
    return "address:unknown" if request.client is None else f"address:{request.client.host}"


def allow(
    role: Role | Literal["anyone"],
    group: Group | None = None,
    *,
    seconds: float | None = None,
    max_body: int | None = None,
) -> Any:
    """Return the dependency by which a route says who may call it; see :class:`Access`."""
    return Depends(Access(role, group, seconds, max_body))


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDependency = Annotated[Caller, Depends(_caller)]
"""Who calls; the route's ``allow(...)`` has found out."""
