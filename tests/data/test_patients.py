"""What is stored of one patient can be handed out, and put beyond recognition."""

import asyncio
import subprocess
import sys
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from data import patients
from data.audit import OPERATOR
from data.database.transaction import run
from data.errors import InvalidStateError, NotFoundError
from tests.support.clinics import coming_monday, order, small_clinic
from tests.support.strategies import uid

MONDAY = coming_monday()
NAMES = ("Ada Lovelace", "ada  LOVELACE ", "\uff21da Lovelace")
"""One patient, as three people write her."""
EVERYTHING = """
SELECT string_agg(each, ' ') FROM (
    SELECT to_jsonb(bookings)::text FROM bookings UNION ALL
    SELECT to_jsonb(audit_log)::text FROM audit_log UNION ALL
    SELECT to_jsonb(what_if_runs)::text FROM what_if_runs UNION ALL
    SELECT to_jsonb(resource_days)::text FROM resource_days UNION ALL
    SELECT to_jsonb(outbox)::text FROM outbox UNION ALL
    SELECT convert_from(body, 'UTF8') || request_hash::text FROM idempotency_keys
) AS stored (each)
"""
ERASE_BO = text("SELECT erase_patient(ARRAY['Bo'], :pseudonym, 'x')")
RUN = {
    "name": "Next week",
    "start_date": str(MONDAY),
    "days": 1,
    "requests": [{"id": "r1", "appointment_type_id": uid(3, 0), "patient_ref": NAMES[1]}],
    "scenarios": [{"name": "baseline", "changes": []}],
    "time_limit_seconds": 1,
}


async def stored(engine: AsyncEngine) -> str:
    """All text of all tables, in small letters."""
    async with engine.connect() as connection:
        return str(await connection.scalar(text(EVERYTHING))).lower()


async def fill(client: httpx.AsyncClient) -> list[str]:
    """Ada with two bookings and a request, Bo with one; her bookings' ids."""
    assert (await client.post("/clinic/import", json=small_clinic())).status_code == 200
    ids = []
    for start, name in (("09:00", NAMES[0]), ("10:00", NAMES[1])):
        body = order(MONDAY, start, patient_ref=name, notes="a rare disease")
        made = await client.post("/bookings", json=body, headers={"Idempotency-Key": start})
        assert made.status_code == 201, made.text
        ids.append(made.json()["id"])
    other = order(MONDAY, "11:00", patient_ref="Bo", notes="of Bo")
    assert (await client.post("/bookings", json=other)).status_code == 201
    exported = (await client.get("/clinic/export")).json()
    assert (await client.post("/clinic/import", json=exported)).status_code == 200
    asked = await client.post("/what-if", json=RUN)
    assert asked.status_code == 202
    async with asyncio.timeout(120):
        while (await client.get(f"/what-if/{asked.json()['id']}")).json()["status"] != "done":
            await asyncio.sleep(0.1)  # between two looks
    return ids


async def exported(engine: AsyncEngine, reference: str) -> dict[str, Any]:
    async with engine.connect() as connection:
        return await patients.export(connection, reference)


@pytest.mark.parametrize("name", NAMES)
async def test_all_that_is_stored_of_one_patient_and_of_no_other(
    client: httpx.AsyncClient, engine: AsyncEngine, name: str
) -> None:
    ids = await fill(client)
    found = await exported(engine, name)
    assert [row["id"] for row in found["bookings"]] == ids
    assert {row["notes"] for row in found["bookings"]} == {"a rare disease"}
    first = {e["entity_id"]: e["after"] for e in reversed(found["history"]) if e["entity_id"]}
    assert sorted(first) == sorted(ids)
    assert [row["patient_ref"] for key in ids for row in first[key]] == list(NAMES[:2])
    assert len(found["idempotency_answers"]) == 2
    (run_,) = found["what_if_runs"]
    assert run_["document"][0]["id"] == "r1"
    assert "Bo" not in orjson.dumps(found).decode()
    assert (await exported(engine, "Nobody"))["bookings"] == []


async def test_a_patient_who_is_erased_is_nowhere(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    ids = await fill(client)
    erase = lambda connection: patients.erase(connection, NAMES[2], OPERATOR)  # noqa: E731
    with pytest.raises(InvalidStateError, match="2 appointment"):
        await run(engine, erase)
    assert "lovelace" in await stored(engine)
    for key in ids:
        assert (await client.post(f"/bookings/{key}/cancel")).status_code == 200
    pseudonym, count = await run(engine, erase)
    assert count == 2
    left = await stored(engine)
    assert "lovelace" not in left
    assert "rare disease" not in left
    assert "of bo" in left
    assert pseudonym in left

    history = (await client.get(f"/bookings/{ids[0]}/history")).json()
    assert {e["after"]["patient_ref"] for e in history} == {pseudonym}
    assert {e["after"]["notes"] for e in history} == {None}
    async with engine.connect() as connection:
        last = (
            await connection.execute(text("SELECT * FROM audit_log ORDER BY id DESC LIMIT 1"))
        ).one()
    assert (last.actor, last.action, last.entity) == (OPERATOR, "erase", "patient")
    assert last.after["patient_ref"] == pseudonym
    with pytest.raises(NotFoundError):
        await run(engine, erase)


async def test_only_the_function_changes_the_log(
    engine: AsyncEngine, admin_engine: AsyncEngine
) -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SET slotwright.erasing = 'on'"))
        with pytest.raises(Exception, match="permission denied"):
            await connection.execute(text("UPDATE audit_log SET actor = 'x'"))
    async with engine.connect() as connection:
        with pytest.raises(Exception, match="no pseudonym"):
            await connection.execute(text("SELECT erase_patient(ARRAY['Bo'], 'Cy', 'x')"))
    async with admin_engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO audit_log (actor, action, entity) VALUES ('a', 'b', 'c')")
        )
    async with admin_engine.connect() as connection:
        await connection.execute(text("SET slotwright.erasing = 'on'"))
        with pytest.raises(Exception, match="only grows"):
            await connection.execute(text("UPDATE audit_log SET actor = 'x'"))


async def test_the_function_erases_no_one_whom_a_booking_names(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await fill(client)
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="a booking still names the patient"):
            await connection.execute(ERASE_BO, {"pseudonym": "erased-0123456789ab"})


async def test_no_two_patients_get_one_pseudonym(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.execute(ERASE_BO, {"pseudonym": "erased-0123456789ab"})
        await connection.execute(ERASE_BO, {"pseudonym": "erased-ba9876543210"})
        with pytest.raises(DBAPIError, match="the pseudonym is another patient's"):
            await connection.execute(ERASE_BO, {"pseudonym": "erased-0123456789ab"})


async def test_a_run_under_way_is_waited_for(
    client: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        run_ = (
            "INSERT INTO what_if_runs (id, name, document, status, attempt, actor) VALUES"
            " (gen_random_uuid(), 'Next', :document, 'running', 2, 'me')"
        )
        await connection.execute(text(run_), {"document": orjson.dumps(RUN).decode()})
        with pytest.raises(InvalidStateError, match="'Next' is being solved"):
            await patients.erase(connection, NAMES[0], OPERATOR)
        await connection.execute(text("DELETE FROM what_if_runs"))


def test_the_commands(client: httpx.AsyncClient, database_url: str) -> None:
    def slotwright(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from api.cli.main import main; main()", "patients", *arguments],
            env={"DATABASE_URL": database_url},
            capture_output=True,
            text=True,
            check=False,
            **more,
        )

    found = slotwright("export", "Ada")
    assert orjson.loads(found.stdout)["patient"] == "ada"
    asked = slotwright("erase", "Ada", input="n\n")
    assert (asked.returncode, "cannot be taken back" in asked.stdout) == (1, True)
    nobody = slotwright("erase", "Ada", "--yes")
    assert (nobody.returncode, "Nothing is stored" in nobody.stderr) == (2, True)
