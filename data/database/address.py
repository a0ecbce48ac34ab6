"""Where a PostgreSQL is, and how it is spoken to: what a ``postgresql://`` URL says."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


OPTIONS = ("host", "port", "ssl", "sslmode", "sslrootcert", "sslcert", "sslkey")
"""What may stand behind the question mark; ``ssl`` is another word for ``sslmode``."""


DEFAULT_PORT = 5432


def check_address(url: str) -> None:
    """Check all of a URL that can be told without a connection.

    Raises
    ------
    ValueError
        When the URL cannot be used; the message says what would be right.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must be a postgresql:// URL")
    check_port(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    for name, value in query:
        if name not in OPTIONS:
            raise ValueError(f"has no option '{name}'; known are {', '.join(OPTIONS)}")
        if name in ("ssl", "sslmode") and value not in SSL_MODES:
            raise ValueError(f"must have one of {', '.join(SSL_MODES)} as {name}, not '{value}'")
        if name.startswith("ssl") and name not in ("ssl", "sslmode") and value != "system":
            try:
                Path(value).read_bytes()
            except OSError as error:
                raise ValueError(f"{name}: {value}: {error.strerror}") from None


def check_port(url: str) -> None:
    """Check the port of a URL.

    Raises
    ------
    ValueError
        When it is none.
    """
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("must have a port from 1 to 65535, or none")


def place_of(url: str) -> str:
    """Return where a URL leads, for a message: it names no user and no password."""
    parts = urlsplit(url)
    named = dict(parse_qsl(parts.query))
    host = named.get("host") or parts.hostname or "localhost"
    if host.startswith("/"):
        return host
    return f"{host}:{named.get('port') or parts.port or DEFAULT_PORT}"


def tls_of(options: Mapping[str, str]) -> ssl.SSLContext | str | None:
    """Return how the driver is to encrypt, by the options of a URL; None where they say nothing.

    ``require`` encrypts and trusts whoever answers; with ``sslrootcert`` it is ``verify-ca``.
    ``verify-full`` also asks for the host's own name. Without ``sslrootcert``, or with ``system``,
    the authorities are those that this machine trusts.
    """
    mode = options.get("sslmode") or options.get("ssl")
    authorities = options.get("sslrootcert")
    if mode is None or mode in ("disable", "allow", "prefer"):
        return mode
    context = ssl.create_default_context(
        cafile=None if authorities in (None, "system") else authorities
    )
    context.check_hostname = mode == "verify-full"
    if mode == "require" and authorities is None:
        context.verify_mode = ssl.CERT_NONE
    if "sslcert" in options:
        context.load_cert_chain(options["sslcert"], options.get("sslkey"))
    return context
