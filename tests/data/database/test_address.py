"""How a PostgreSQL is spoken to: encrypted, and only with whom the URL means."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from data.database.address import place_of, tls_of
from data.database.engine import create_engine


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of its own authority for ``localhost``, and its key."""
    home = tmp_path_factory.mktemp("tls")
    made, key = home / "server.crt", home / "server.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-out", made, "-keyout", key], check=True, capture_output=True)
    return made, key


@asynccontextmanager
async def postgres_with_tls(certificate: tuple[Path, Path]) -> AsyncIterator[tuple[int, list[str]]]:
    """A PostgreSQL that encrypts, up to its first answer: its port, and what it got to know."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(8)
        if first[4:] != (80877103).to_bytes(4):  # a request to encrypt
            seen.append("plain")
            writer.close()
            return
        writer.write(b"S")
        try:
            await writer.start_tls(context)
            await reader.readexactly(8)
            seen.append("encrypted")
        except (OSError, asyncio.IncompleteReadError):
            seen.append("refused")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], seen


@pytest.mark.parametrize(
    ("host", "options", "expected"),
    [
        ("localhost", "sslmode=disable", "plain"),
        ("localhost", "sslmode=require", "encrypted"),
        ("localhost", "ssl=require", "encrypted"),
        ("localhost", "sslmode=verify-full", "refused"),
        ("localhost", "sslmode=verify-full&sslrootcert={}", "encrypted"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={}", "refused"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={}", "encrypted"),
    ],
)
async def test_who_is_trusted(
    certificate: tuple[Path, Path], host: str, options: str, expected: str
) -> None:
    async with postgres_with_tls(certificate) as (port, seen):
        where = f"postgresql://me:secret@{host}:{port}/x?{options.format(certificate[0])}"
        engine = create_engine(where, pool_size=1)
        with pytest.raises(Exception):  # noqa: B017, PT011 - it hangs up in any case
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        await engine.dispose()
        async with asyncio.timeout(10):
            while not seen:
                await asyncio.sleep(0.01)  # it comes to know a moment later
    assert seen[0] == expected


def test_a_place_is_told_without_what_is_secret() -> None:
    assert place_of("postgresql://me:secret@db:6000/x?sslmode=require") == "db:6000"
    assert place_of("postgresql://me@/x?host=/run/postgresql") == "/run/postgresql"
    assert place_of("postgresql://[::1]/x") == "::1:5432"
    assert tls_of({}) is None
