"""Which bookings of a clinic file cannot stand beside one another, or beside those of the book."""

from __future__ import annotations

from typing import NoReturn

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from data.database.transaction import constraint_of
from data.errors import ImportConflictError
from data.files.clinic_file import ClinicFile, InvalidClinicFileError
from data.files.faults import Fault
from models import bookings
from solver.clinic.clock import format_time

MOST_NAMED = 1000
"""Pairs of bookings that collide, and warnings of one kind, that are told."""


_COLLISIONS = f"""
    WITH live AS (
        SELECT id, provider_id, room_id, date, start_minute, start_minute + duration_minutes AS
            end_minute, is_overbooked
        FROM changed WHERE status <> 'cancelled'
        UNION ALL
        SELECT id, provider_id, room_id, date, start_minute, start_minute + duration_minutes,
            is_overbooked
        FROM bookings AS b
        WHERE status <> 'cancelled' AND NOT EXISTS (SELECT FROM changed AS c WHERE c.id = b.id)
            AND date BETWEEN (SELECT min(date) - 1 FROM changed)
            AND (SELECT max(date) + 1 FROM changed)
    ), ahead AS (
        SELECT live.*, shift, date + shift AS met FROM live, generate_series(0, 1) AS shift
    ), pairs AS (
        SELECT 'room' AS owner, a.room_id AS owner_id, a.id AS first, b.id AS second, b.date,
            b.start_minute, a.date = b.date AND a.start_minute = b.start_minute AS is_start
        FROM ahead AS a JOIN live AS b ON b.room_id = a.room_id AND b.date = a.met
        WHERE (a.date, a.start_minute, a.id) < (b.date, b.start_minute, b.id)
            AND a.end_minute > b.start_minute + a.shift * 1440
        UNION ALL
        SELECT 'provider', a.provider_id, a.id, b.id, b.date, b.start_minute,
            a.date = b.date AND a.start_minute = b.start_minute
        FROM ahead AS a JOIN live AS b ON b.provider_id = a.provider_id AND b.date = a.met
        WHERE (a.date, a.start_minute, a.id) < (b.date, b.start_minute, b.id)
            AND (
                a.date = b.date AND a.start_minute = b.start_minute
                OR NOT a.is_overbooked AND NOT b.is_overbooked
                AND a.end_minute > b.start_minute + a.shift * 1440
            )
    )
    SELECT DISTINCT ON (first, second) * FROM pairs
    ORDER BY first, second, owner DESC LIMIT {MOST_NAMED}
"""  # noqa: S608 - a number of ours


_EXCEEDED = f"""
    WITH live AS (
        SELECT id, room_id, appointment_type_id, date, start_minute, duration_minutes
        FROM changed WHERE status <> 'cancelled'
        UNION ALL
        SELECT id, room_id, appointment_type_id, date, start_minute, duration_minutes
        FROM bookings AS b
        WHERE status <> 'cancelled' AND (status <> 'held' OR expires_at > clock_timestamp())
            AND NOT EXISTS (SELECT FROM changed AS c WHERE c.id = b.id)
    ), out AS (
        SELECT live.*, p.id AS pool_id, p.name, takes.quantity,
            CASE WHEN p.active AND coalesce(p.location_id = r.location_id, p.location_id IS NULL)
                THEN p.quantity ELSE 0 END AS there_are,
            (live.date - DATE '2000-01-01') * 1440 + live.start_minute AS begins,
            (live.date - DATE '2000-01-01') * 1440 + live.start_minute + live.duration_minutes
                + p.return_minutes AS ends
        FROM live
        JOIN appointment_types AS t ON t.id = live.appointment_type_id
        CROSS JOIN jsonb_to_recordset(t.required_pools) AS takes (pool_id uuid, quantity integer)
        JOIN equipment_pools AS p ON p.id = takes.pool_id
        LEFT JOIN rooms AS r ON r.id = live.room_id
    )
    SELECT a.id AS second,
        coalesce(min(CAST(b.id AS text)) FILTER (WHERE b.id <> a.id), CAST(a.id AS text)) AS first,
        a.date, a.start_minute, a.name, sum(b.quantity) AS quantity, a.there_are
    FROM incoming AS i JOIN out AS a ON a.id = i.id
    JOIN out AS b ON b.pool_id = a.pool_id AND b.begins <= a.begins AND b.ends > a.begins
        AND b.date BETWEEN a.date - 1 AND a.date + 1
    GROUP BY a.id, a.date, a.start_minute, a.pool_id, a.name, a.there_are
    HAVING sum(b.quantity) > a.there_are
    ORDER BY a.date, a.start_minute, a.id LIMIT {MOST_NAMED}
"""  # noqa: S608 - a number of ours
"""Where more of an equipment pool is out than there is: at the start of a booking of the file."""


_BUSY_TWICE = f"""
    WITH live AS (
        SELECT id, provider_id, appointment_type_id, date, start_minute, duration_minutes,
            is_overbooked, team
        FROM changed WHERE status <> 'cancelled'
        UNION ALL
        SELECT id, provider_id, appointment_type_id, date, start_minute, duration_minutes,
            is_overbooked, team
        FROM bookings AS b
        WHERE status <> 'cancelled' AND (status <> 'held' OR expires_at > clock_timestamp())
            AND NOT EXISTS (SELECT FROM changed AS c WHERE c.id = b.id)
    ), at AS (
        SELECT *, (date - DATE '2000-01-01') * 1440 + start_minute AS zero FROM live
    ), busy AS (
        SELECT id, provider_id, date, start_minute, false AS in_role, zero AS begins,
            zero + duration_minutes AS ends
        FROM at WHERE NOT is_overbooked
        UNION ALL
        SELECT at.id, CAST(team ->> role.key AS uuid), date, start_minute, true,
            zero + role.from_minute, zero + least(role.to_minute, at.duration_minutes)
        FROM at JOIN appointment_types AS t ON t.id = at.appointment_type_id
        CROSS JOIN jsonb_to_recordset(t.roles) AS role (
            key text, from_minute integer, to_minute integer
        )
        WHERE team ? role.key AND role.from_minute < at.duration_minutes
    )
    SELECT DISTINCT ON (least(a.id, b.id), greatest(a.id, b.id))
        a.id AS second, b.id AS first, a.date, a.start_minute, p.id AS provider_id, p.name
    FROM incoming AS i JOIN busy AS a ON a.id = i.id
    JOIN busy AS b ON b.provider_id = a.provider_id AND b.id <> a.id
        AND b.begins < a.ends AND a.begins < b.ends AND (a.in_role OR b.in_role)
    JOIN providers AS p ON p.id = a.provider_id
    ORDER BY least(a.id, b.id), greatest(a.id, b.id), a.begins DESC, a.id LIMIT {MOST_NAMED}
"""  # noqa: S608 - a number of ours
"""Where somebody in a role is in another, or has a regular booking, at one time."""


_ENDS_TOO_LATE = """
    SELECT CAST(own.provider_id AS text), CAST(t.id AS text) AS type_id, own.duration_minutes,
        role.key
    FROM provider_types AS own JOIN appointment_types AS t ON t.id = own.appointment_type_id
    CROSS JOIN jsonb_to_recordset(t.roles) AS role (
        key text, from_minute integer, to_minute integer
    )
    WHERE own.duration_minutes <= role.from_minute OR own.duration_minutes < role.to_minute
"""


async def require_roles_end(connection: AsyncConnection, file: ClinicFile) -> None:
    """Refuse a file by whose rows a role would end after an appointment, with those beside them.

    Raises
    ------
    InvalidClinicFileError
        Naming every such duration of a provider, or else the type whose role it is too short for.
    """
    pairs = [(row.provider_id, row.appointment_type_id) for row in file.provider_types]
    types = [row.id for row in file.appointment_types]
    faults = []
    for provider_id, type_id, minutes, key in await connection.execute(text(_ENDS_TOO_LATE)):
        path = f"appointment_types[{types.index(type_id)}].roles" if type_id in types else "roles"
        if (provider_id, type_id) in pairs:
            path = f"provider_types[{pairs.index((provider_id, type_id))}].duration_minutes"
        message = f"the role {key} ends after the {minutes} minutes of provider {provider_id}"
        faults.append(Fault(path, message))
    if faults:
        raise InvalidClinicFileError(faults)


async def name_conflicts(connection: AsyncConnection, error: IntegrityError) -> NoReturn:
    """Raise which bookings of a file, now staged, break the constraint that an error is of.

    Raises
    ------
    ImportConflictError
        Naming them, and those that are in their way.
    """
    match constraint_of(error):
        case bookings.WITHIN_POOLS:
            await _name_exceeded(connection, error)
        case bookings.TEAMS_APART | bookings.APART_FROM_TEAMS:
            await _name_busy_twice(connection, error)
    rows = (await connection.execute(text(_COLLISIONS))).all()
    if not rows:
        raise error
    named = {key for row in rows for key in (row.first, row.second)}
    more = "" if len(rows) < MOST_NAMED else "At least "
    raise ImportConflictError(
        f"{more}{len(named)} bookings cannot stand beside one another; nothing was imported.",
        conflicts=[
            {
                "booking_id": str(row.second),
                "with_booking_id": str(row.first),
                "date": row.date.isoformat(),
                "start_time": format_time(row.start_minute),
                "detail": f"both start then at {row.owner} {row.owner_id}"
                if row.is_start
                else f"they overlap at {row.owner} {row.owner_id}",
            }
            for row in rows
        ],
    ) from None


async def _name_exceeded(connection: AsyncConnection, error: IntegrityError) -> NoReturn:
    rows = (await connection.execute(text(_EXCEEDED))).all()
    if not rows:
        raise error
    raise ImportConflictError(
        f"At {len(rows)} bookings more of an equipment pool would be out than there is; nothing"
        " was imported.",
        conflicts=[
            {
                "booking_id": str(row.second),
                "with_booking_id": row.first,
                "date": row.date.isoformat(),
                "start_time": format_time(row.start_minute),
                "detail": f"{row.quantity} of {row.name} are out then, there are {row.there_are}",
            }
            for row in rows
        ],
    ) from None


async def _name_busy_twice(connection: AsyncConnection, error: IntegrityError) -> NoReturn:
    rows = (await connection.execute(text(_BUSY_TWICE))).all()
    if not rows:
        raise error
    raise ImportConflictError(
        f"In {len(rows)} cases somebody would be in a role and busy elsewhere at once; nothing was"
        " imported.",
        conflicts=[
            {
                "booking_id": str(row.second),
                "with_booking_id": str(row.first),
                "date": row.date.isoformat(),
                "start_time": format_time(row.start_minute),
                "detail": f"{row.name} ({row.provider_id}) is in a role of one of the two, and busy"
                " with the other then",
            }
            for row in rows
        ],
    ) from None
