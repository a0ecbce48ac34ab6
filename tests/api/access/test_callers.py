"""Keys and roles: who gets in, who may do what, and under which name it is written down."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.routing import BaseRoute

from api.access.callers import FRESH_SECONDS
from api.access.open_until_first_key import KeylessAccess
from api.access.require import Access
from api.server.app import create_app
from api.service.settings import Settings
from data import api_keys as keys
from data.api_keys import ROLES
from data.database.locks import lock_clinic
from data.database.transaction import run
from tests.conftest import served
from tests.support.clinics import coming_monday, order, small_clinic
from tests.support.strategies import uid

MONDAY = coming_monday()


BY_STARLETTE = {"/openapi.json"}


FOR_ANYONE = {"/", "/docs", "/docs/{name}", "/healthz", "/readyz"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def make(client: httpx.AsyncClient, role: str, by: str | None = None, **more: Any) -> str:
    headers = {} if by is None else bearer(by)
    answer = await client.post("/keys", json={"role": role, **more}, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def routes_of(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """All routes, those of included routers too."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from routes_of(included.routes)


ROUTES = list(routes_of(create_app(Settings(DATABASE_URL="postgresql://nowhere/x")).routes))


API_ROUTES = [route for route in ROUTES if isinstance(route, APIRoute)]


def access_of(route: APIRoute) -> Access:
    said = [d.dependency for d in route.dependencies if isinstance(d.dependency, Access)]
    assert len(said) == 1, f"{route.path} says {len(said)} times who may call it"
    return said[0]


def test_every_route_says_who_may_call_it() -> None:
    assert len(API_ROUTES) > 30
    assert {r.path for r in ROUTES if not isinstance(r, APIRoute)} == BY_STARLETTE  # type: ignore[attr-defined]
    open_to_anyone = {r.path for r in API_ROUTES if access_of(r).role == "anyone"}
    assert open_to_anyone == FOR_ANYONE


def test_what_is_only_read_needs_a_viewer_and_the_rest_more() -> None:
    for route in API_ROUTES:
        role = access_of(route).role
        if route.methods == {"GET"}:
            assert role in ("anyone", "viewer") or route.path == "/keys", route.path
        else:
            assert role in ROLES[1:], route.path


def test_which_routes_are_limited() -> None:
    groups = {(m, r.path): access_of(r).group for r in API_ROUTES for m in r.methods}
    assert groups["GET", "/slots"] == "slots"
    assert groups["POST", "/bookings"] == groups["POST", "/holds"] == "bookings"
    assert groups["POST", "/bookings/{booking_id}/cancel"] == "cancellations"


@pytest.fixture(scope="module")
async def guarded(
    admin_engine: AsyncEngine, database_url: str
) -> AsyncIterator[tuple[httpx.AsyncClient, dict[str, str]]]:
    """A service with a key of each role."""
    async with admin_engine.begin() as connection:
        await connection.execute(text("TRUNCATE api_keys"))
    async with served(database_url, rate_limits="off") as client:
        admin = await make(client, "admin")
        made = {role: await make(client, role, by=admin) for role in ROLES[:-1]}
        yield client, {**made, "admin": admin}


@pytest.mark.parametrize("caller", ["nobody", "a stranger", *ROLES])
async def test_every_route_for_every_role(
    guarded: tuple[httpx.AsyncClient, dict[str, str]], caller: str
) -> None:
    client, made = guarded
    headers = {} if caller == "nobody" else bearer(made.get(caller, "slotwright_no-such-key"))
    for route in API_ROUTES:
        role = access_of(route).role
        path = route.path
        for name in route.param_convertors:
            path = path.replace(f"{{{name}}}", uid(9, 9))
        for method in route.methods:
            body = {} if method in ("POST", "PATCH") else None
            answer = await client.request(method, path, json=body, headers=headers)
            expected = None
            if role != "anyone":
                if caller not in ROLES:
                    expected = (401, "UNAUTHENTICATED")
                elif ROLES.index(caller) < ROLES.index(role):
                    expected = (403, "FORBIDDEN")
            if expected is None:
                assert answer.status_code in (200, 201, 404, 422), (method, path, answer.text)
                continue
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == expected, (method, path)
            assert answer.headers["content-type"] == "application/problem+json"
            if expected[0] == 401:
                assert answer.headers["www-authenticate"].startswith("Bearer")
            else:
                assert problem["required_role"] == role
                assert role in problem["detail"]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer x y", "Bearer é", "Bearer " + "x" * 9999],
)
async def test_what_is_no_key(
    guarded: tuple[httpx.AsyncClient, dict[str, str]], header: str
) -> None:
    answer = await guarded[0].get("/bookings", headers={"Authorization": header.encode()})  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")


async def test_open_until_the_first_key(client: httpx.AsyncClient) -> None:
    assert (await client.get("/bookings")).status_code == 200
    key = await make(client, "admin", name="Front desk")
    assert (await client.get("/bookings")).status_code == 401
    assert (await client.get("/bookings", headers=bearer(key))).status_code == 200
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    assert (await client.get("/docs")).status_code == 200
    assert (await client.get("/openapi.json")).status_code == 200


async def test_a_key_is_shown_once_and_kept_as_a_hash(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    key = await make(client, "admin", name="Front desk")
    listed = await client.get("/keys", headers=bearer(key))
    assert [(row["name"], row["role"], row["revoked_at"]) for row in listed.json()] == [
        ("Front desk", "admin", None)
    ]
    assert key not in listed.text
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT t::text FROM api_keys AS t"))).scalars().all()
        log = (await connection.execute(text("SELECT t::text FROM audit_log AS t"))).scalars().all()
    assert len(rows) == len(log) == 1
    assert key not in rows[0] + log[0]
    assert len(key) > 40


async def test_a_revoked_key_is_worth_nothing(client: httpx.AsyncClient) -> None:
    admin = await make(client, "admin")
    viewer = await make(client, "viewer", by=admin, name="Screen")
    assert (await client.get("/bookings", headers=bearer(viewer))).status_code == 200
    rows = (await client.get("/keys", headers=bearer(admin))).json()
    key_id = next(row["id"] for row in rows if row["name"] == "Screen")
    for _ in range(2):  # a second time changes nothing
        answer = await client.delete(f"/keys/{key_id}", headers=bearer(admin))
        assert answer.json()["revoked_at"] is not None
    assert (await client.get("/bookings", headers=bearer(viewer))).status_code == 401
    missing = await client.delete(f"/keys/{uid(9, 9)}", headers=bearer(admin))
    assert missing.status_code == 404


async def test_it_never_opens_again(client: httpx.AsyncClient) -> None:
    admin = await make(client, "admin")
    [row] = (await client.get("/keys", headers=bearer(admin))).json()
    await client.delete(f"/keys/{row['id']}", headers=bearer(admin))
    assert (await client.get("/bookings")).status_code == 401


async def test_an_emptied_table_of_keys_does_not_open_it(
    client: httpx.AsyncClient, admin_engine: AsyncEngine
) -> None:
    await make(client, "admin")
    async with admin_engine.begin() as connection:
        await connection.execute(text("DELETE FROM api_keys"))
    deadline = time.monotonic() + 2 * FRESH_SECONDS
    while time.monotonic() < deadline:
        assert (await client.get("/bookings")).status_code == 401


async def test_a_key_that_came_and_went_unasked_closes_it(
    client: httpx.AsyncClient, engine: AsyncEngine, admin_engine: AsyncEngine
) -> None:
    app = client._transport.app  # type: ignore[attr-defined]
    await run(admin_engine, lambda c: keys.create(c, "viewer", None, "elsewhere"))
    keyless = app.state.context.callers._keyless
    while keyless.is_open:  # it looks by itself
        await asyncio.sleep(0.01)
    async with admin_engine.begin() as connection:
        await connection.execute(text("DELETE FROM api_keys"))
    assert (await client.get("/bookings")).status_code == 401


async def test_without_a_door_there_is_no_way_in(engine: AsyncEngine, database_url: str) -> None:
    app = create_app(Settings(DATABASE_URL=database_url))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        assert (await client.get("/bookings")).status_code == 401
        assert (await client.get("/healthz")).status_code == 200


def test_processes_that_share_a_door_close_it_together(tmp_path: Path) -> None:
    file = tmp_path / "open"
    file.touch()
    one, other = KeylessAccess(is_open=True, file=file), KeylessAccess(is_open=True, file=file)
    assert (one.is_open, other.is_open) == (True, True)
    one.close()
    file_again = KeylessAccess(is_open=True, file=file)  # a process that is started anew
    assert (one.is_open, other.is_open, file_again.is_open) == (False, False, False)
    file.touch()
    assert (one.is_open, other.is_open) == (False, False)
    one.close()


async def test_a_key_made_elsewhere_works_at_once_and_a_revoked_one_not_for_long(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await make(client, "admin")
    assert (await client.get("/bookings")).status_code == 401
    known, secret = await run(engine, lambda c: keys.create(c, "viewer", None, "elsewhere"))
    assert (await client.get("/bookings", headers=bearer(secret))).status_code == 200
    await run(engine, lambda c: keys.revoke(c, known.id, "elsewhere"))
    deadline = time.monotonic() + 10
    while (await client.get("/bookings", headers=bearer(secret))).status_code != 401:
        assert time.monotonic() < deadline


async def test_names_that_a_key_cannot_have(client: httpx.AsyncClient) -> None:
    for name in (
        *("anonymous", "command line", "expiry", "no-show marker", "statistics calculator"),
        *("Anonymous", "ANONYMOUS", "аnonymous", "anоnуmоus", "ａｎｏｎｙｍｏｕｓ", "ánonymous"),
        *("No-Show Marker", "no show marker", "no_show.marker", "Command  Line", "command-Iine"),
        *("oidc:someone", "OIDC:boss", "оіԁс:boss", "oidc-boss", "0idc:boss", "εxpiry", "3xpiry"),
        *("ᴀnonymous", "anonyrnous", "сommand line", "Commancl line", "cornmand line", "αnonymous"),
        *("оидс:boss", "Annа", "Приёмнаya", "Аnna", "ａnna", "Ⅿarie", "Аɴɴа", "ꭺnna", "Ꭺ"),
        *("", " x", "x\n", "x" * 101),
    ):
        answer = await client.post("/keys", json={"role": "viewer", "name": name})
        assert answer.status_code == 422, name
        assert answer.json()["errors"][0]["field"] == "name"
    admin = await make(client, "admin", name="Expert 1")
    for name in (
        *("Anna", "Приёмная", "Γραμματεία", "Dr. José", "Commander", "Screen 10", "Søren Łoś"),
        *("Jose\u0301", "Größe 5", "Ґанна"),
    ):
        await make(client, "viewer", by=admin, name=name)
    listed = await client.get("/keys", headers=bearer(admin))
    assert "José" in {row["name"] for row in listed.json()}  # as it is usually written


async def test_no_name_looks_like_anothers(client: httpx.AsyncClient) -> None:
    admin = await make(client, "admin", name="Marie")
    for name in (
        "marie",
        "Мarie",
        "Rnarie",
        "Màrie",
        "M.arie",
        "Мағіе",
        "MARlE",
        "Marie_",
        "M4rie",
    ):
        answer = await client.post(
            "/keys", json={"role": "viewer", "name": name}, headers=bearer(admin)
        )
        assert (answer.status_code == 201) == (name == "M4rie"), name
    answer = await client.post(
        "/keys", json={"role": "viewer", "name": "rnarie"}, headers=bearer(admin)
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "ALREADY_EXISTS")
    assert "a key named Marie already, which looks like rnarie" in answer.json()["detail"]


async def test_of_two_names_that_look_alike_one_is_given(
    client: httpx.AsyncClient,
) -> None:
    headers = bearer(await make(client, "admin", name="boss"))
    bodies = [{"role": "viewer", "name": name} for name in ("Desk 1", "Desk l", "desk-1", "DESKI")]
    answers = await asyncio.gather(
        *(client.post("/keys", json=body, headers=headers) for body in bodies)
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


def test_every_letter_of_a_latin_name_is_compared_as_a_plain_one() -> None:
    letters = [chr(n) for n in range(0x250) if re.fullmatch(f"[{keys.ALPHABETS[0]}]", chr(n))]
    assert len(letters) > 200
    assert all(re.fullmatch("[a-z]+", keys._looks(letter)) for letter in letters)


def test_what_names_have_in_common() -> None:
    alike = keys._looks("anonymous")
    for name in ("anonуmоuѕ", "anonyrnous", "ANONYMOUS", "an0nym0us"):
        assert keys._looks(name) == alike
    assert keys._looks("ΑΝΝΑ") == keys._looks("Anna")
    assert keys._looks("НАТА") == keys._looks("Hata")


async def test_what_is_taken_is_told_in_words(client: httpx.AsyncClient) -> None:
    answer = await client.post("/keys", json={"role": "viewer", "name": "front/desk"})
    [fault] = answer.json()["errors"]
    assert (answer.status_code, fault["field"]) == (422, "name")
    assert fault["message"].startswith("must have 1 to 100 letters, digits, spaces and signs")
    answer = await client.post(
        "/bookings", json=order(MONDAY, "09:00"), headers={"Idempotency-Key": "two words"}
    )
    [fault] = answer.json()["errors"]
    assert (answer.status_code, fault["field"].lower()) == (422, "idempotency-key")
    assert fault["message"].startswith("must have letters, digits and signs of ASCII alone")


async def test_a_name_is_given_once(client: httpx.AsyncClient) -> None:
    admin = await make(client, "admin", name="Desk")
    answer = await client.post(
        "/keys", json={"role": "viewer", "name": "Desk"}, headers=bearer(admin)
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "ALREADY_EXISTS")


async def test_a_key_is_made_while_the_clinic_is_held(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await lock_clinic(connection)  # as an import does
        made = await client.post("/keys", json={"role": "admin", "name": "Desk"})
        assert made.status_code == 201


async def test_the_audit_log_names_the_caller(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    headers = bearer(await make(client, "admin", name="Vega"))
    loaded = await client.post("/clinic/import", json=small_clinic(), headers=headers)
    assert loaded.status_code == 200
    body = (await client.post("/bookings", json=order(MONDAY, "09:00"), headers=headers)).json()
    keyed = {**headers, "Idempotency-Key": "k"}
    await client.post("/bookings", json=order(MONDAY, "10:00", patient_ref="b"), headers=keyed)
    await client.post(f"/bookings/{body['id']}/check-in", json={"confirm": True}, headers=headers)
    await client.patch("/clinic", json={"name": "New"}, headers=headers)
    room = (await client.post("/rooms", json={"name": "R"}, headers=headers)).json()
    await client.patch(f"/rooms/{room['id']}", json={"name": "S"}, headers=headers)
    await client.delete(f"/rooms/{room['id']}", headers=headers)
    run_body = {
        "name": "n",
        "start_date": MONDAY.isoformat(),
        "days": 1,
        "requests": [],
    }
    await client.post("/what-if", json=run_body, headers=headers)
    history = await client.get(f"/bookings/{body['id']}/history", headers=headers)
    assert {entry["actor"] for entry in history.json()} == {"Vega"}
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT action, entity, actor FROM audit_log"))
        entries = [tuple(row) for row in rows]
    assert entries[0] == ("create", "api_key", "anonymous")
    assert {actor for _, _, actor in entries[1:]} == {"Vega"}
    assert len(entries) >= 9


async def test_a_repeat_is_the_callers_own(client: httpx.AsyncClient) -> None:
    one = bearer(await make(client, "admin"))
    other = bearer(await make(client, "scheduler", by=one["Authorization"].split()[1]))
    await client.post("/clinic/import", json=small_clinic(), headers=one)
    body = order(MONDAY, "09:00")
    first = await client.post("/bookings", json=body, headers={**one, "Idempotency-Key": "k"})
    again = await client.post("/bookings", json=body, headers={**one, "Idempotency-Key": "k"})
    theirs = await client.post("/bookings", json=body, headers={**other, "Idempotency-Key": "k"})
    assert (first.status_code, again.json()) == (201, first.json())
    assert theirs.status_code == 409
