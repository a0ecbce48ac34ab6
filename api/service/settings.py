"""Settings from the environment; an unknown or bad one is refused by name at the start."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import Field, HttpUrl, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from data.database.address import check_address, check_port
from data.files.wording import worded
from solver.clinic.clock import HORIZON_DAYS
from solver.clinic.grammar.sentences import InvalidClinicError
from solver.scoring.parts import DEFAULT_WEIGHTS, Weights

PREFIX = "SLOTWRIGHT_"


BARE = ("DATABASE_URL", "REDIS_URL")
"""Variables known by the names that other software gives them."""


class InvalidSettingError(ValueError):
    """A setting that cannot be used; the message names the variable and what would be right."""


def default_data_dir() -> Path:
    """Return where this user's services keep their data."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/slotwright")
    return user_data_path("slotwright", appauthor=False)


class Settings(BaseSettings):
    """The service's settings."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, arbitrary_types_allowed=True)

    database_url: str | None = Field(None, validation_alias="DATABASE_URL")
    service_password: SecretStr | None = None
    """What ``migrate --make-roles`` gives the service's database role."""
    redis_url: str | None = Field(None, validation_alias="REDIS_URL")
    hub_url: HttpUrl | None = None
    hub_delivery: Literal["direct", "outbox"] = "direct"
    """Whether the hub's events are sent from memory, or kept until they get through."""
    rate_limits: Literal["on", "off"] = "on"
    trusted_proxies: str = ""
    """Addresses and networks, by commas, whose X-Forwarded-For is believed; none by default."""
    public_url: str | None = None
    """Where browsers find the service: the scheme and name of every absolute URL."""
    oidc_issuer: str | None = None
    """The URL of the OpenID Connect issuer whose tokens are accepted; with it, its audience."""
    oidc_audience: str | None = None
    oidc_role_claim: Annotated[str, Field(min_length=1)] = "roles"
    no_show_grace_minutes: Annotated[int, Field(ge=0, le=1440)] = 30
    undo_minutes: Annotated[int, Field(ge=0, le=1440)] = 30
    """How long a change of a booking's status can be taken back."""
    override_role: Literal["scheduler", "manager"] = "manager"
    """The least role that may book against the rules of policy, with a reason."""
    run_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long a what-if run is kept after its end."""
    horizon_days: Annotated[int, Field(ge=0, le=3650)] = HORIZON_DAYS
    weights: Annotated[Weights, NoDecode] = DEFAULT_WEIGHTS
    data_dir: Path = Field(default_factory=default_data_dir)
    solver_address: str | None = None
    """Of a Dask scheduler whose workers solve the what-ifs; without one, this machine does."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("weights", mode="before")
    @classmethod
    def _parse_weights(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return Weights.parse(value)
        except InvalidClinicError as error:
            raise ValueError(error.message) from None

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "redis://localhost")
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ValueError("must be the URL of a Redis, as in redis://host:6379/0")
        check_port(value or "")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for each in filter(None, value.split(",")):
            ip_network(each.strip())
        return value

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://name")
        if not parts.hostname or parts.scheme not in ("https", "http") or parts.query:
            raise ValueError("must be a URL without a query, as in https://clinic.example.org")
        _ = parts.port  # raises for one that is none
        return None if value is None else value.rstrip("/")

    @field_validator("oidc_issuer")
    @classmethod
    def _is_issuer(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://issuer")
        if not parts.hostname or parts.scheme not in ("https", "http"):
            raise ValueError("must be the issuer's URL, as its tokens have it")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError(
                "must be an https:// URL: whoever can change its answers can be anyone"
            )
        return value

    @model_validator(mode="after")
    def _issuer_has_audience(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("OIDC_ISSUER and OIDC_AUDIENCE: set both or neither")
        return self

    @field_validator("solver_address")
    @classmethod
    def _is_scheduler(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "tcp://localhost:1")
        if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
            raise ValueError("must be the address of a Dask scheduler, as in tcp://host:8786")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: str | None) -> str | None:
        if value is not None:
            check_address(value)
        return None if value is None else value.replace("postgres://", "postgresql://", 1)


def read_settings() -> Settings:
    """Read the environment.

    Raises
    ------
    InvalidSettingError
        When a variable of ours is unknown or has a bad value.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} - {
        PREFIX + name for name in BARE
    }
    unknown = sorted(n for n in os.environ if n.startswith(PREFIX) and n not in known)
    if unknown:
        raise InvalidSettingError(
            f"{unknown[0]}: there is no such setting; known are {', '.join(sorted(known))}"
        )
    try:
        return Settings()
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        message = worded(detail)
        if not detail["loc"]:  # several settings do not fit together; the message names them
            raise InvalidSettingError(f"{PREFIX}{message}") from None
        name = str(detail["loc"][0])
        variable = name if name in BARE else PREFIX + name.upper()
        raise InvalidSettingError(f"{variable}: {message}") from None
