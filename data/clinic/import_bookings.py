"""The bookings of a clinic file into the book: set by set, and little of it under the lock.

The file's bookings are copied into a table of this transaction's own. Those that are new and have
a free place are written at once, beside bookings under way: these do not see them yet, and come
before the import in the order of things. So are other notes and spellings of bookings that are to
stay what and where they are. Under the clinic's lock remains what differs from the book by then: it
is written, with an entry of its history for each booking.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from data.audit import LEFT_OUT
from data.clinic.import_conflicts import MOST_NAMED, name_conflicts
from data.clinic.import_file import COLUMNS, Incoming
from models.bookings import NEW_TEAMS_APART, NEW_WITHIN_POOLS, TEAMS_APART, WITHIN_POOLS
from solver.clinic.entities import Booking
from solver.rules.checker import Violation

HOLD_MINUTES = 5
"""How long a hold from a file lasts that does not say when it expires."""


_LEFT_OUT = ", ".join(f"'{name}'" for name in sorted(LEFT_OUT))


_WRITTEN = (
    "id, provider_id, provider_no, room_id, room_no, appointment_type_id, date, start_minute,"
    " duration_minutes, buffer_before, buffer_after, patient_ref, patient_key, status,"
    " is_overbooked, notes, expires_at, overrides, team"
)


_TOLD = (
    "provider_id, room_id, appointment_type_id, date, start_minute, duration_minutes,"
    " buffer_before, buffer_after, patient_ref, status, is_overbooked, notes, expires_at,"
    " overrides, team"
)
"""The columns that callers see."""


_NOTED = "patient_ref, notes"
"""The columns that no rule and no constraint looks at."""


_RULED = ", ".join(each for each in _WRITTEN.split(", ") if each not in _NOTED.split(", "))


_PLACE = "provider_id, room_id, appointment_type_id, date, start_minute"


_GUARDED = f"{_PLACE}, duration_minutes, is_overbooked, team"
"""The columns that constraints look at, where a booking is live."""


def _of(row: str, names: str) -> str:
    return ", ".join(f"{row}.{name.strip()}" for name in names.split(","))


_STAGE = """
    CREATE TEMPORARY TABLE incoming (
        id uuid, provider_id uuid, room_id uuid, appointment_type_id uuid, date date,
        start_minute smallint, duration_minutes smallint, buffer_before smallint,
        buffer_after smallint, own_duration smallint, own_before smallint, own_after smallint,
        type_duration smallint, type_before smallint, type_after smallint, is_own_told boolean,
        patient_ref text, patient_key text, status text, is_overbooked boolean, notes text,
        expires_at timestamptz, overrides text[], team jsonb
    ) ON COMMIT DROP
"""


_STAGE_OWN = """
    CREATE TEMPORARY TABLE own_minutes ON COMMIT DROP AS
    SELECT provider_id, appointment_type_id, duration_minutes, buffer_before, buffer_after
    FROM provider_types WHERE NOT :replace
"""
"""What providers do otherwise by rows that the file lacks and that stay."""


_RESOLVED = f"""
    SELECT i.id, i.provider_id, p.no AS provider_no, i.room_id, r.no AS room_no,
        i.appointment_type_id, i.date, i.start_minute,
        coalesce(i.duration_minutes, b.duration_minutes, i.own_duration, own.duration_minutes,
            i.type_duration, t.duration_minutes) AS duration_minutes,
        coalesce(i.buffer_before, b.buffer_before, i.own_before, own.buffer_before,
            i.type_before, t.buffer_before) AS buffer_before,
        coalesce(i.buffer_after, b.buffer_after, i.own_after, own.buffer_after,
            i.type_after, t.buffer_after) AS buffer_after,
        i.patient_ref, i.patient_key,
        CASE WHEN i.status = 'held' AND until.moment <= now() THEN 'cancelled'
            ELSE i.status END AS status,
        i.is_overbooked, i.notes,
        CASE WHEN i.status = 'held' AND until.moment > now() THEN until.moment END AS expires_at,
        coalesce(i.overrides, b.overrides, '{{}}') AS overrides,
        coalesce(i.team, b.team, '{{}}') AS team
    FROM incoming AS i
    JOIN providers AS p ON p.id = i.provider_id
    JOIN rooms AS r ON r.id = i.room_id
    JOIN appointment_types AS t ON t.id = i.appointment_type_id
    LEFT JOIN bookings AS b ON b.id = i.id
    LEFT JOIN own_minutes AS own ON own.provider_id = i.provider_id
        AND own.appointment_type_id = i.appointment_type_id AND NOT i.is_own_told
    CROSS JOIN LATERAL (
        SELECT coalesce(i.expires_at, b.expires_at, now() + interval '{HOLD_MINUTES} minutes')
    ) AS until (moment)
"""


_WRITE_WHAT_IS_FREE = f"""
    WITH written AS (
        INSERT INTO bookings ({_WRITTEN})
        SELECT {_WRITTEN} FROM ({_RESOLVED}) AS wanted
        WHERE NOT EXISTS (SELECT FROM bookings AS b WHERE b.id = wanted.id)
        ORDER BY date, room_id, start_minute
        ON CONFLICT DO NOTHING
        RETURNING bookings.*
    )
    INSERT INTO audit_log (actor, action, entity, entity_id, after)
    SELECT :actor, 'import', 'booking', written.id, to_jsonb(written) - ARRAY[{_LEFT_OUT}]
    FROM written
"""


_NOTE = f"""
    WITH written AS (
        UPDATE bookings AS b SET patient_ref = seen.new_ref, notes = seen.new_notes
        FROM (
            SELECT b.id, wanted.patient_ref AS new_ref, wanted.notes AS new_notes,
                to_jsonb(b) - ARRAY[{_LEFT_OUT}] AS before
            FROM bookings AS b JOIN ({_RESOLVED}) AS wanted ON wanted.id = b.id
            WHERE ({_of("b", _RULED)}) IS NOT DISTINCT FROM ({_of("wanted", _RULED)})
                AND ({_of("b", _NOTED)}) IS DISTINCT FROM ({_of("wanted", _NOTED)})
            ORDER BY b.id FOR NO KEY UPDATE OF b
        ) AS seen
        WHERE b.id = seen.id
        RETURNING b.id, seen.before, to_jsonb(b) - ARRAY[{_LEFT_OUT}] AS after
    )
    INSERT INTO audit_log (actor, action, entity, entity_id, before, after)
    SELECT :actor, 'import', 'booking', id, before, after FROM written
"""


_REMOVE_ABSENT = f"""
    WITH gone AS (
        DELETE FROM bookings AS b
        WHERE NOT EXISTS (SELECT FROM incoming AS i WHERE i.id = b.id)
        RETURNING b.*
    )
    INSERT INTO audit_log (actor, action, entity, entity_id, before)
    SELECT :actor, 'import', 'booking', gone.id, to_jsonb(gone) - ARRAY[{_LEFT_OUT}]
    FROM gone
"""


_COMPARE = f"""
    CREATE TEMPORARY TABLE changed ON COMMIT DROP AS
    SELECT wanted.*, b.id IS NOT NULL AS stood,
        b.id IS NULL OR ({_of("b", _TOLD)}) IS DISTINCT FROM ({_of("wanted", _TOLD)}) AS is_told,
        ({_of("b", _PLACE)}) IS DISTINCT FROM ({_of("wanted", _PLACE)}) AS is_elsewhere,
        ({_of("b", _GUARDED)}, b.status = 'cancelled')
            IS DISTINCT FROM ({_of("wanted", _GUARDED)}, wanted.status = 'cancelled')
            AS steps_aside,
        CASE WHEN b.id IS NOT NULL THEN to_jsonb(b) - ARRAY[{_LEFT_OUT}] END AS before
    FROM ({_RESOLVED}) AS wanted
    LEFT JOIN bookings AS b ON b.id = wanted.id
    WHERE b.id IS NULL OR ({_of("b", _WRITTEN)}) IS DISTINCT FROM ({_of("wanted", _WRITTEN)})
"""


_STEP_ASIDE = """
    UPDATE bookings AS b SET status = 'cancelled', expires_at = NULL, version = -b.version
    FROM changed AS c
    WHERE c.id = b.id AND c.steps_aside AND b.status <> 'cancelled'
"""
"""Two bookings may change places. A version below 0 is that of one that stands aside."""


_CHANGE = f"""
    UPDATE bookings AS b
    SET {", ".join(f"{name.strip()} = c.{name.strip()}" for name in _WRITTEN.split(",")[1:])},
        version = abs(b.version) + c.is_told::integer,
        updated_at = CASE WHEN c.is_told THEN now() ELSE b.updated_at END,
        score = CASE WHEN c.is_elsewhere THEN NULL ELSE b.score END
    FROM changed AS c
    WHERE c.id = b.id AND c.stood
"""


_ADD = f"""
    INSERT INTO bookings ({_WRITTEN})
    SELECT {_WRITTEN} FROM changed WHERE NOT stood ORDER BY date, room_id, start_minute
"""


_LOG = f"""
    INSERT INTO audit_log (actor, action, entity, entity_id, before, after)
    SELECT :actor, 'import', 'booking', b.id, c.before, to_jsonb(b) - ARRAY[{_LEFT_OUT}]
    FROM changed AS c JOIN bookings AS b ON b.id = c.id
    WHERE c.is_told
"""


_TAKEN_BACK = f"""
    SELECT id, {_PLACE}, patient_ref, status, is_overbooked, before ->> 'status' AS status_before
    FROM changed
    WHERE before ->> 'status' = 'cancelled' AND status <> 'cancelled'
        OR before ->> 'status' IN ('checked_in', 'completed', 'no_show')
        AND status IN ('held', 'booked')
    ORDER BY date, start_minute, id LIMIT {MOST_NAMED}
"""


_IN_TWO_PLACES = f"""
    SELECT DISTINCT ON (b.date, b.start_minute, b.id) {_of("b", f"id, {_PLACE}")}, b.patient_ref,
        b.status, b.is_overbooked, o.id AS other,
        b.start_minute < o.start_minute + o.duration_minutes
            AND o.start_minute < b.start_minute + b.duration_minutes AS is_then
    FROM incoming AS i
    JOIN bookings AS b ON b.id = i.id
    JOIN bookings AS o ON o.patient_key = b.patient_key AND o.date = b.date AND o.id <> b.id
    LEFT JOIN rooms AS here ON here.id = b.room_id
    LEFT JOIN rooms AS there ON there.id = o.room_id
    LEFT JOIN travel AS way ON way.from_id = here.location_id AND way.to_id = there.location_id
    LEFT JOIN travel AS back ON back.from_id = there.location_id AND back.to_id = here.location_id
    WHERE b.status <> 'cancelled' AND o.status <> 'cancelled'
        AND b.start_minute
            < o.start_minute + o.duration_minutes + coalesce(back.minutes, way.minutes, 0)
        AND o.start_minute
            < b.start_minute + b.duration_minutes + coalesce(way.minutes, back.minutes, 0)
    ORDER BY b.date, b.start_minute, b.id, is_then DESC, o.id LIMIT {MOST_NAMED}
"""


_ASKED_AT_THE_END = (WITHIN_POOLS, NEW_WITHIN_POOLS, TEAMS_APART, NEW_TEAMS_APART)


_ASK_AT_ONCE = f"SET CONSTRAINTS {', '.join(_ASKED_AT_THE_END)} IMMEDIATE"
"""Asks at once, in a transaction that is no booking under way, what else is asked at its end."""


_TAKE_WHAT_IS_TOO_FAR = "SELECT set_config('slotwright.takes_what_is_too_far', 'on', true)"
"""Lets providers have no time for a way: an import tells of that, as of other softer rules."""


async def stage(
    connection: AsyncConnection, incoming: Incoming, actor: str, *, replace: bool
) -> None:
    """Copy a file's bookings, and write what bookings under way need not wait for.

    That is what is new and has a free place, and other notes; the clinic is not locked.
    """
    await connection.exec_driver_sql(_TAKE_WHAT_IS_TOO_FAR)
    await connection.exec_driver_sql(_STAGE)
    await connection.execute(text(_STAGE_OWN), {"replace": replace})
    if incoming.count:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        source = BytesIO(incoming.bookings)
        await raw.copy_to_table("incoming", source=source, columns=COLUMNS, format="text")
        await connection.exec_driver_sql("ANALYZE incoming")
        for statement in (_WRITE_WHAT_IS_FREE, _NOTE):
            await connection.execute(text(statement), {"actor": actor})


async def remove_absent(connection: AsyncConnection, actor: str) -> int:
    """Remove the bookings that the file lacks; return how many there were."""
    return (await connection.execute(text(_REMOVE_ABSENT), {"actor": actor})).rowcount


async def write(connection: AsyncConnection, actor: str) -> list[Violation]:
    """Write what differs from the book, now that the clinic's other rows are those of the file.

    Returns a warning for each booking whose status the file takes back, a cancelled one's above
    all, since the file may be older than that; and for each whose patient is elsewhere then.

    Raises
    ------
    ImportConflictError
        When bookings break a constraint of the database; those that do are named.
    """
    await connection.exec_driver_sql(_COMPARE)
    attempt = await connection.begin_nested()
    try:
        for statement in (_STEP_ASIDE, _CHANGE, _ADD, _ASK_AT_ONCE):
            await connection.exec_driver_sql(statement)
    except IntegrityError as error:
        await attempt.rollback()
        await name_conflicts(connection, error)
    await attempt.commit()
    await connection.execute(text(_LOG), {"actor": actor})
    warnings = [
        Violation(
            _booking(row),
            0,
            "STATUS_TAKEN_BACK",
            f"was {row.status_before.replace('_', ' ')}, and by this file is "
            f"{row.status.replace('_', ' ')} again",
        )
        for row in await connection.execute(text(_TAKEN_BACK))
    ]
    for row in await connection.execute(text(_IN_TWO_PLACES)):
        detail = f"the patient has booking {row.other} then, too"
        if not row.is_then:
            detail = f"the patient has no time for the way between it and booking {row.other}"
        rule = 0 if row.is_then else 11
        warnings.append(Violation(_booking(row), rule, "PATIENT_CONFLICT", detail))
    return warnings


def _booking(row: Row[Any]) -> Booking:
    return Booking(
        str(row.id),
        str(row.provider_id),
        str(row.room_id),
        str(row.appointment_type_id),
        row.date,
        row.start_minute,
        row.patient_ref,
        row.status,
        row.is_overbooked,
    )
