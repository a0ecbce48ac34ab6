"""Tokens of an OpenID Connect issuer: a real one, on this machine, with keys made here."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from sqlalchemy.ext.asyncio import AsyncEngine

from api.access.oidc import MAX_PUBLISHED, Issuer, role_of
from api.http.errors import UnauthenticatedError
from data.errors import BusyError
from tests.conftest import served

AUDIENCE = "slotwright-test"


class LocalIssuer:
    """Publishes its keys over HTTP and signs what it is told to."""

    def __init__(self) -> None:
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.asked = 0
        self.turn("first")
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = json.dumps(issuer.published(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/realm"

    def published(self, path: str) -> dict[str, Any]:
        if path == "/realm/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        assert path == "/realm/keys"
        jwks = [
            {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}
            for kid, key in self.keys.items()
        ]
        return {"keys": jwks}

    def turn(self, kid: str) -> None:
        """Sign with a new key from now on, and publish no other."""
        self.keys = {kid: rsa.generate_private_key(public_exponent=65537, key_size=2048)}

    def token(self, kid: str | None = None, key: Any = None, **claims: Any) -> str:
        name, own = next(iter(self.keys.items()))
        now = int(time.time())
        body = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "vega",
            "iat": now,
            "exp": now + 300,
            "roles": ["viewer"],
        } | claims
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(body, key or own, algorithm="RS256", headers={"kid": kid or name})


@contextlib.contextmanager
def local_issuer() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    thread = threading.Thread(target=issuer.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield issuer
    finally:
        issuer.server.shutdown()
        issuer.server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with local_issuer() as issuer:
        yield issuer


@pytest.fixture
async def client(
    engine: AsyncEngine, database_url: str, issuer: LocalIssuer
) -> AsyncIterator[httpx.AsyncClient]:
    settings = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "rate_limits": "off"}
    async with served(database_url, **settings) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_is_a_caller(client: httpx.AsyncClient, issuer: LocalIssuer) -> None:
    assert (await client.get("/rooms")).status_code == 401  # never open with an issuer
    viewer = bearer(issuer.token())
    assert (await client.get("/rooms", headers=viewer)).status_code == 200
    refused = await client.post("/rooms", json={"name": "R"}, headers=viewer)
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
    manager = bearer(issuer.token(roles=["viewer", "manager", "something else"]))
    made = await client.post("/rooms", json={"name": "R"}, headers=manager)
    assert made.status_code == 201
    nothing = await client.get("/rooms", headers=bearer(issuer.token(roles=["cook"])))
    assert nothing.status_code == 403


async def test_the_audit_log_names_the_subject(
    client: httpx.AsyncClient, issuer: LocalIssuer, engine: AsyncEngine
) -> None:
    from sqlalchemy import text

    admin = bearer(issuer.token(sub="boss", roles="admin"))
    made = await client.post("/keys", json={"role": "viewer"}, headers=admin)
    assert made.status_code == 201
    key = bearer(made.json()["key"])  # keys work beside tokens
    assert (await client.get("/rooms", headers=key)).status_code == 200
    async with engine.connect() as connection:
        actors = (await connection.execute(text("SELECT actor FROM audit_log"))).scalars().all()
    assert actors == ["oidc:boss"]


STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"aud": "another service"},
        {"aud": None},
        {"iss": "https://elsewhere.example"},
        {"nbf": 32503680000},
        {"key": STRANGER},
        {"kid": "unknown"},
    ],
)
async def test_tokens_that_are_refused(
    client: httpx.AsyncClient, issuer: LocalIssuer, changes: dict[str, Any]
) -> None:
    answer = await client.get("/rooms", headers=bearer(issuer.token(**changes)))
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("token", ["", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "x" * 5000])
async def test_what_is_no_token(client: httpx.AsyncClient, token: str) -> None:
    answer = await client.get("/rooms", headers=bearer(token))
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")


async def test_a_token_signed_with_the_public_key_as_a_secret(
    client: httpx.AsyncClient, issuer: LocalIssuer
) -> None:
    import base64
    import hashlib
    import hmac

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    kid, key = next(iter(issuer.keys.items()))
    claims = jwt.decode(issuer.token(roles=["admin"]), options={"verify_signature": False})
    head = part({"alg": "HS256", "kid": kid}) + b"." + part(claims)
    secret = json.dumps(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)).encode()
    mac = hmac.new(secret, head, hashlib.sha256).digest()
    forged = (head + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()
    assert (await client.get("/rooms", headers=bearer(forged))).status_code == 401


async def test_a_new_key_is_learnt_and_the_issuer_is_not_asked_for_each_token() -> None:
    with local_issuer() as issuer:
        eager = Issuer(issuer.url, AUDIENCE, "roles", patience=0)
        for _ in range(5):
            assert await eager.verify(issuer.token()) == ("vega", "viewer")
        assert issuer.asked == 2  # its configuration and its keys
        issuer.turn("second")
        assert await eager.verify(issuer.token()) == ("vega", "viewer")
        assert issuer.asked == 4

        patient = Issuer(issuer.url, AUDIENCE, "roles", patience=1e9)
        await patient.verify(issuer.token())
        for number in range(5):
            with pytest.raises(UnauthenticatedError):
                await patient.verify(issuer.token(kid=f"unknown {number}"))
        assert issuer.asked == 6


async def test_an_issuer_that_is_away() -> None:
    with local_issuer() as issuer:
        known = Issuer(issuer.url, AUDIENCE, "roles", patience=0)
        token, other = issuer.token(), issuer.token(kid="unknown")
        await known.verify(token)
    assert await known.verify(token) == ("vega", "viewer")  # its keys stay good
    with pytest.raises(UnauthenticatedError):
        await known.verify(other)
    fresh = Issuer(issuer.url, AUDIENCE, "roles")
    with pytest.raises(BusyError):
        await fresh.verify(token)


@pytest.mark.parametrize(
    ("claims", "claim", "role"),
    [
        ({"roles": ["viewer", "admin", "manager"]}, "roles", "admin"),
        ({"roles": "scheduler viewer"}, "roles", "scheduler"),
        ({"realm_access": {"roles": ["manager"]}}, "realm_access.roles", "manager"),
        ({"https://clinic.example/roles": ["viewer"]}, "https://clinic.example/roles", "viewer"),
        ({"roles": ["Admin"]}, "roles", None),
        ({"roles": {"admin": True}}, "roles", None),
        ({"roles": 7}, "roles", None),
        ({}, "a.b", None),
    ],
)
def test_which_role_a_claim_gives(claims: dict[str, Any], claim: str, role: str | None) -> None:
    assert role_of(claims, claim) == role


@pytest.mark.parametrize(
    "jwks_uri", ["no url", "http://[bad", "ftp://x/y", "\x00", 7, None, "http://x:bad/", "large"]
)
async def test_an_issuer_that_publishes_what_cannot_be_used(jwks_uri: Any) -> None:
    """Keys known before stay good, and no more than a megabyte is read."""
    with local_issuer() as issuer:
        checked = Issuer(issuer.url, AUDIENCE, "roles", patience=0)
        token = issuer.token()
        assert (await checked.verify(token))[0] == "vega"
        published = issuer.published

        def spoilt(path: str) -> dict[str, Any]:
            if path.endswith("openid-configuration"):
                where = f"{issuer.url}/keys" if jwks_uri == "large" else jwks_uri
                return {"issuer": issuer.url, "jwks_uri": where}
            return published(path) | {"more": "x" * MAX_PUBLISHED}

        issuer.published = spoilt  # type: ignore[method-assign]
        issuer.turn("second")
        with pytest.raises(UnauthenticatedError):
            await checked.verify(issuer.token())
        with pytest.raises(BusyError):
            await Issuer(issuer.url, AUDIENCE, "roles").verify(token)
        assert (await checked.verify(token))[0] == "vega"
