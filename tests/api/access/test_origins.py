"""What a web page of somebody else can have a browser send: nothing that the service takes."""

import json
from typing import Any

import httpx
import pytest

from tests.support.clinics import coming_monday, order, small_clinic

MONDAY = coming_monday()


EVIL = "https://evil.example"


EMPTY = json.dumps({"clinic": {"name": "x", "timezone": "UTC"}})


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


async def providers(client: httpx.AsyncClient) -> list[Any]:
    return list((await client.get("/providers")).json())


KINDS = [
    None,
    "",
    "text/plain",
    "text/plain;charset=UTF-8",
    "text/plain; x=application/json",
    "text/plain; x=yaml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonx",
]


async def test_a_body_of_a_kind_that_any_page_may_send(client: httpx.AsyncClient) -> None:
    await client.post("/clinic/import", json=small_clinic())
    for path in ("/clinic/import?replace=true", "/what-if", "/keys", "/bookings"):
        for kind in KINDS:
            headers = {} if kind is None else {"Content-Type": kind}
            answer = await client.post(path, content=EMPTY, headers=headers)
            assert code(answer) == (415, "UNSUPPORTED_MEDIA_TYPE"), (path, kind)
            assert "application/json" in answer.headers["accept"]
    assert len(await providers(client)) == 1
    assert (await client.get("/keys")).json() == []


async def test_yaml_where_a_document_is_read(client: httpx.AsyncClient) -> None:
    for kind in ("application/yaml", "text/yaml", "application/x-yaml", "Application/YAML; v=1"):
        headers = {"Content-Type": kind}
        document = f"clinic: {{name: {kind}, timezone: UTC}}".replace("; ", "")
        answer = await client.post("/clinic/import", content=document, headers=headers)
        assert answer.status_code == 200, answer.text
        elsewhere = await client.post("/keys", content="role: admin", headers=headers)
        assert code(elsewhere) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_json_by_all_its_names(client: httpx.AsyncClient) -> None:
    for kind in ("application/json", "application/json; charset=utf-8", "application/x+json"):
        headers = {"Content-Type": kind}
        loaded = await client.post("/clinic/import", content=EMPTY, headers=headers)
        assert loaded.status_code == 200, loaded.text
        changed = await client.patch("/clinic", content='{"name": "Two"}', headers=headers)
        assert changed.json()["name"] == "Two"


async def test_who_may_not_call_is_told_so_first(client: httpx.AsyncClient) -> None:
    await client.post("/keys", json={"role": "admin"})
    answer = await client.post("/clinic/import", content=EMPTY)
    assert code(answer) == (401, "UNAUTHENTICATED")


FOREIGN = [
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://test:81"},
    {"Origin": "http://test.evil.example"},
    {"Origin": "http://[bad"},
    {"Origin": "http://test:bad"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://test"},
]


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_foreign_page_changes_nothing(client: httpx.AsyncClient, keyed: bool) -> None:
    await client.post("/clinic/import", json=small_clinic())
    if keyed:
        key = (await client.post("/keys", json={"role": "admin"})).json()["key"]
        client.headers["Authorization"] = f"Bearer {key}"
    booked = (await client.post("/bookings", json=order(MONDAY, "09:00"))).json()
    for headers in FOREIGN:
        for method, path, body in (
            ("POST", "/clinic/import?replace=true", json.loads(EMPTY)),
            ("POST", f"/bookings/{booked['id']}/cancel", None),
            ("PATCH", "/clinic", {"name": "theirs"}),
            ("DELETE", f"/providers/{booked['provider_id']}", None),
            ("POST", "/keys", {"role": "admin"}),
        ):
            answer = await client.request(method, path, json=body, headers=headers)
            assert code(answer) == (403, "CROSS_SITE_REQUEST"), (method, path, headers)
        seen = await client.get("/clinic", headers=headers)  # the browser keeps it from the page
        assert seen.status_code == 200
        preflight = {**headers, "Access-Control-Request-Method": "PATCH"}
        asked = await client.options("/clinic", headers=preflight)
        for answer in (seen, asked):
            assert not [name for name in answer.headers if name.startswith("access-control")]
    assert len(await providers(client)) == 1
    assert (await client.get(f"/bookings/{booked['id']}")).json()["status"] == "booked"
    assert len((await client.get("/keys")).json()) == keyed


OWN = [
    {},
    {"Origin": "http://test"},
    {"Origin": "http://test:80"},
    {"Origin": "https://clinic.example", "Host": "clinic.example:443"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://clinic.example"},
    {"Sec-Fetch-Site": "none"},
]


async def test_our_own_pages_and_programs_pass(client: httpx.AsyncClient) -> None:
    key = (await client.post("/keys", json={"role": "admin"})).json()["key"]
    client.headers["Authorization"] = f"Bearer {key}"
    for headers in OWN:
        answer = await client.patch("/clinic", json={"name": "N"}, headers=headers)
        assert answer.status_code == 200, answer.text


async def test_an_open_service_has_no_foreign_name(client: httpx.AsyncClient) -> None:
    for host in (
        *("rebind.evil:8000", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1"),
        *("0.0.0.0", "", "[bad", "x:y", "localhost:bad"),
    ):
        for method, path in (("GET", "/bookings"), ("POST", "/keys"), ("GET", "/docs")):
            answer = await client.request(
                method, path, headers={"Host": host}, json={"role": "admin"}
            )
            assert code(answer) == (421, "MISDIRECTED_REQUEST"), host
    assert (await client.get("/keys")).json() == []


async def test_an_open_service_has_its_own_names(client: httpx.AsyncClient) -> None:
    for host in (
        *("localhost", "LOCALHOST:9000", "127.0.0.1:1", "127.0.0.2", "[::1]", "[::1]:8000"),
        "test:80",  # where it is bound to
    ):
        assert (await client.get("/bookings", headers={"Host": host})).status_code == 200, host


async def test_with_a_key_it_has_any_name(client: httpx.AsyncClient) -> None:
    key = (await client.post("/keys", json={"role": "admin"})).json()["key"]
    headers = {"Host": "clinic.example", "Authorization": f"Bearer {key}"}
    assert (await client.get("/bookings", headers=headers)).status_code == 200
