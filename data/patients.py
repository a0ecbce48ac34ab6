"""All that is stored of one patient: handed out, or put beyond recognition.

A patient is known by a reference, which people write in more than one way
(:func:`solver.clinic.patients.patient_key`). Wherever the database has one, it is the field
``patient_ref`` of a row or of a document.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

import orjson
from sqlalchemy import ARRAY, Text, and_, any_, bindparam, cast, delete, func, select, text
from sqlalchemy import update as change
from sqlalchemy.ext.asyncio import AsyncConnection

from data import audit
from data.clinic.snapshot import RESOURCE_DAYS
from data.database.locks import lock_clinic
from data.database.transaction import patient_resource
from data.errors import InvalidStateError, NotFoundError
from data.jobs.hourly import clinic_time
from models.tables import BOOKINGS, IDEMPOTENCY_KEYS, OUTBOX, WHAT_IF_RUNS
from solver.clinic.patients import patient_key

_DOCUMENTS = ("document", "result", "clinic")
"""The columns of a run in which patients are named."""
_LIVE = ("held", "booked", "checked_in")

_SPELLINGS = text(
    """
    SELECT DISTINCT ref FROM (
        SELECT before ->> 'patient_ref' FROM audit_log WHERE entity = 'booking'
        UNION ALL
        SELECT after ->> 'patient_ref' FROM audit_log WHERE entity = 'booking'
        UNION ALL
        SELECT jsonb_path_query(before, '$.**.patient_ref') #>> '{}'
        FROM audit_log WHERE entity <> 'booking'
        UNION ALL
        SELECT jsonb_path_query(after, '$.**.patient_ref') #>> '{}'
        FROM audit_log WHERE entity <> 'booking'
    ) AS named (ref)
    WHERE ref IS NOT NULL
    """
)
_ENTRIES = text(
    """
    SELECT id, at, actor, action, entity, entity_id, before, after, override_reason
    FROM audit_log
    WHERE CASE entity
        WHEN 'booking' THEN before ->> 'patient_ref' = ANY (:spellings)
            OR after ->> 'patient_ref' = ANY (:spellings)
        ELSE EXISTS (
            SELECT
            FROM jsonb_path_query(jsonb_build_array(before, after), '$.**.patient_ref') AS ref
            WHERE ref #>> '{}' = ANY (:spellings)
        )
    END
    ORDER BY id
    """
).bindparams(bindparam("spellings", type_=ARRAY(Text)))
_ERASE_ENTRIES = text("SELECT erase_patient(:spellings, :pseudonym, :actor)").bindparams(
    bindparam("spellings", type_=ARRAY(Text))
)


async def export(connection: AsyncConnection, reference: str) -> dict[str, Any]:
    """Return all that is stored of a patient, as JSON has it.

    Of documents that name others, too, as an imported file, only what is about this patient.
    """
    await _take_time(connection)
    key = patient_key(reference)
    is_meant = _matcher(key)
    row = audit.as_logged(BOOKINGS.name).label("row")
    bookings = list(
        await connection.scalars(
            select(row)
            .select_from(BOOKINGS)
            .where(BOOKINGS.c.patient_key == key)
            .order_by(BOOKINGS.c.date, BOOKINGS.c.start_minute)
        )
    )
    history = [
        {
            "at": entry.at.isoformat(),
            "actor": entry.actor,
            "action": entry.action,
            "entity": entry.entity,
            "entity_id": entry.entity_id and str(entry.entity_id),
            "before": list(_about(entry.before, is_meant)),
            "after": list(_about(entry.after, is_meant)),
            "override_reason": entry.override_reason,
        }
        for entry in await connection.execute(
            _ENTRIES, {"spellings": await _spellings(connection, is_meant)}
        )
    ]
    runs = [
        {"id": str(run.id), "name": run.name, "created_at": run.created_at.isoformat(), **found}
        async for run, documents in _runs(connection)
        if any((found := {n: list(_about(d, is_meant)) for n, d in documents.items()}).values())
    ]
    answers = [
        {"key": row.key, "created_at": row.created_at.isoformat(), "answer": answer}
        for row, answer in await _answers(connection, is_meant)
    ]
    ids = [row["id"] for row in bookings]
    events = await connection.scalars(
        select(OUTBOX.c.event).where(cast(OUTBOX.c.booking_id, Text) == any_(_texts(ids)))
    )
    return {
        "patient": key,
        "bookings": bookings,
        "history": history,
        "what_if_runs": runs,
        "idempotency_answers": answers,
        "outbox": list(events),
    }


async def erase(connection: AsyncConnection, reference: str, actor: str) -> tuple[str, int]:
    """Put a pseudonym in a patient's place wherever it is stored; notes are removed.

    The audit log keeps its entries, with the pseudonym, and a new one that says that this was done.
    Return the pseudonym and how many bookings have it.

    Raises
    ------
    NotFoundError
        When nothing is stored of such a patient.
    InvalidStateError
        When the patient still has an appointment, today or later, or is named by a what-if that is
        being solved.
    """
    await _take_time(connection)
    await lock_clinic(connection)
    key = patient_key(reference)
    is_meant = _matcher(key)
    await _refuse_appointments(connection, key)
    pseudonym = f"erased-{uuid4().hex[:12]}"
    spellings = set(await _spellings(connection, is_meant))
    spellings |= set(
        await connection.scalars(
            select(BOOKINGS.c.patient_ref).where(BOOKINGS.c.patient_key == key).distinct()
        )
    )
    bookings = await connection.execute(
        change(BOOKINGS)
        .where(BOOKINGS.c.patient_key == key)
        .values(
            patient_ref=pseudonym,
            patient_key=patient_key(pseudonym),
            notes=None,
            version=BOOKINGS.c.version + 1,
            updated_at=func.now(),
        )
    )
    others = await _erase_runs(connection, is_meant, pseudonym)
    others += await _erase_answers(connection, is_meant, pseudonym)
    await connection.execute(
        delete(RESOURCE_DAYS).where(
            RESOURCE_DAYS.c.kind == "patient", RESOURCE_DAYS.c.resource == patient_resource(key)
        )
    )
    entries: int = (
        await connection.execute(
            _ERASE_ENTRIES,
            {"spellings": sorted(spellings), "pseudonym": pseudonym, "actor": actor},
        )
    ).scalar_one()
    if not (bookings.rowcount or others or entries):
        raise NotFoundError(f"Nothing is stored of a patient {reference}.")
    return pseudonym, bookings.rowcount


async def _take_time(connection: AsyncConnection) -> None:
    await connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


def _matcher(key: str) -> Callable[[Any], bool]:
    if not key:
        raise NotFoundError("A blank reference names no patient.")
    return lambda ref: isinstance(ref, str) and patient_key(ref) == key


async def _spellings(connection: AsyncConnection, is_meant: Callable[[Any], bool]) -> list[str]:
    """Return how the audit log writes the patient."""
    return [ref for ref in await connection.scalars(_SPELLINGS) if is_meant(ref)]


async def _refuse_appointments(connection: AsyncConnection, key: str) -> None:
    now, zone = await clinic_time(connection)
    days = await connection.scalars(
        select(BOOKINGS.c.date)
        .where(
            BOOKINGS.c.patient_key == key,
            BOOKINGS.c.status.in_(_LIVE),
            BOOKINGS.c.date >= now.astimezone(zone).date(),
        )
        .order_by(BOOKINGS.c.date)
    )
    ahead: Sequence[dt.date] = days.all()
    if ahead:
        dates = ", ".join(map(str, ahead[:5]))
        raise InvalidStateError(
            f"The patient still has {len(ahead)} appointment(s) ({dates}); cancel them first."
        )


async def _runs(connection: AsyncConnection) -> AsyncIterator[tuple[Any, dict[str, Any]]]:
    """Yield each run and its documents, one at a time: they may be large."""
    columns = WHAT_IF_RUNS.c
    for run_id in list(await connection.scalars(select(columns.id))):
        found = await connection.execute(
            select(
                columns.id,
                columns.name,
                columns.status,
                columns.created_at,
                *(columns[n] for n in _DOCUMENTS),
            ).where(columns.id == run_id)
        )
        run = found.one_or_none()
        if run is not None:
            yield run, {name: getattr(run, name) for name in _DOCUMENTS}


async def _erase_runs(
    connection: AsyncConnection, is_meant: Callable[[Any], bool], pseudonym: str
) -> int:
    count = 0
    async for run, documents in _runs(connection):
        named = {
            name: _without(document, is_meant, pseudonym)
            for name, document in documents.items()
            if any(_about(document, is_meant))
        }
        if named and run.status == "running":  # its result would name the patient again
            raise InvalidStateError(
                f"The what-if '{run.name}' is being solved and names the patient; stop it, or wait."
            )
        if named:
            count += 1
            await connection.execute(
                change(WHAT_IF_RUNS).where(WHAT_IF_RUNS.c.id == run.id).values(named)
            )
    return count


async def _answers(
    connection: AsyncConnection, is_meant: Callable[[Any], bool]
) -> list[tuple[Any, Any]]:
    """Return the kept answers that name the patient: the row, and what was answered."""
    found = []
    for row in (await connection.execute(select(IDEMPOTENCY_KEYS))).all():
        answer = orjson.loads(row.body) if row.body else None
        if any(_about(answer, is_meant)):
            found.append((row, answer))
    return found


async def _erase_answers(
    connection: AsyncConnection, is_meant: Callable[[Any], bool], pseudonym: str
) -> int:
    columns = IDEMPOTENCY_KEYS.c
    found = await _answers(connection, is_meant)
    for row, answer in found:
        await connection.execute(
            change(IDEMPOTENCY_KEYS)
            .where(and_(columns.caller == row.caller, columns.key == row.key))
            .values(body=orjson.dumps(_without(answer, is_meant, pseudonym)))
        )
    return len(found)


def _about(document: Any, is_meant: Callable[[Any], bool]) -> Iterator[dict[str, Any]]:
    """Yield the innermost objects of a document that name the patient."""
    if isinstance(document, dict):
        if is_meant(document.get("patient_ref")):
            yield document
        for value in document.values():
            yield from _about(value, is_meant)
    elif isinstance(document, list):
        for value in document:
            yield from _about(value, is_meant)


def _without(document: Any, is_meant: Callable[[Any], bool], pseudonym: str) -> Any:
    """Return a document in which the patient has the pseudonym, and no notes."""
    if isinstance(document, list):
        return [_without(value, is_meant, pseudonym) for value in document]
    if not isinstance(document, dict):
        return document
    found = {name: _without(value, is_meant, pseudonym) for name, value in document.items()}
    if is_meant(document.get("patient_ref")):
        found["patient_ref"] = pseudonym
        if "notes" in found:
            found["notes"] = None
    return found


def _texts(values: Sequence[str]) -> Any:
    return cast(list(values), ARRAY(Text))
