"""The ``slots`` command.

What the options say is read before the solver is imported: a slip is told at once.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from api.cli.arguments import in_zone, read_date, read_moment, require_time
from api.cli.tables import counted, print_json, print_table, slot_table
from api.service.error_messages import UsageError

if TYPE_CHECKING:
    from api.slots.schemas import SlotQuery
    from solver.slots.search import SlotPage


MOST_SLOTS = 5000


def slots(file: Path, kind: str, fields: dict[str, Any], now: str | None, *, as_json: bool) -> int:
    """Answer one slot query from a clinic file, as a table or as the body of ``GET /slots``."""
    asked = read_moment(now)
    _require_sense(fields, asked)
    later = None if fields["as_of"] is None else read_moment(fields["as_of"], "--as-of")

    from api.service.settings import read_settings
    from data.files.clinic_file import read_clinic_file
    from solver.clinic.clock import check_date

    settings = read_settings()
    read = read_clinic_file(file)
    zone = read.clinic.to_solver().zone
    moment = in_zone(asked, zone)
    if later is not None and in_zone(later, zone) < moment:
        raise UsageError(f"--as-of: {fields['as_of']} is before now")
    fields = fields | {"as_of": None if later is None else in_zone(later, zone)}
    check_date(
        read.clinic.to_solver(), read_date("--date", fields["date"]), moment, settings.horizon_days
    )
    ids = {
        "appointment_type_id": _id_of(read.appointment_types, kind, "--type"),
        "provider_id": [_id_of(read.providers, p, "--provider") for p in fields["provider"]],
        "location_id": [_id_of(read.locations, key, "--location") for key in fields["location"]],
    }

    from api.slots.schemas import slots_body
    from solver.slots.search import find_slots, next_available_date

    query = _query(fields, ids)
    if query.without not in (None, *(row.id for row in read.bookings)):
        raise UsageError(f"--without: there is no booking {query.without} in the file")
    clinic = read.to_clinic(moment)
    clinic = clinic.with_bookings(b for b in clinic.bookings if b.id != query.without)
    request = query.to_request(moment)
    page = find_slots(
        clinic, request, limit=query.limit, rooms=query.rooms, weights=settings.weights
    )
    following = None
    if not page.slots:
        last = moment.date() + dt.timedelta(days=settings.horizon_days)
        following = next_available_date(clinic, request, last=last)
    body = slots_body(page, zone, following)
    if as_json:
        print_json(body)
    else:
        _print_slots(body, page)
    return 0


def _require_sense(fields: dict[str, Any], now: dt.datetime) -> None:
    """Refuse options that no clinic could answer.

    Raises
    ------
    UsageError
        For the first of them.
    """
    date = read_date("--date", fields["date"])
    today = (now if now.tzinfo is None else now.astimezone(dt.UTC)).date()
    if date < today - dt.timedelta(days=1):  # whatever the clinic's time zone
        raise UsageError(f"--date: {date} is in the past; today is {today}")
    for name in ("preferred_start", "preferred_end"):
        require_time(f"--{name.replace('_', '-')}", fields[name])
    if not 1 <= fields["limit"] <= MOST_SLOTS:
        raise UsageError(f"--limit: {fields['limit']} is not between 1 and {MOST_SLOTS}")


def _query(fields: dict[str, Any], ids: dict[str, Any]) -> SlotQuery:
    from pydantic import ValidationError

    from api.slots.schemas import SlotQuery
    from data.files.faults import faults_of

    by_name = ("provider", "location")
    given = {n: value for n, value in fields.items() if value is not None and n not in by_name}
    try:
        return SlotQuery.model_validate(given | ids)
    except ValidationError as error:
        fault = faults_of(error)[0]
        option = fault.path.split("[", maxsplit=1)[0].replace("_", "-")
        message = fault.message.replace("preferred_start", "--preferred-start")
        raise UsageError(f"--{option}: {message}") from None


def _id_of(rows: list[Any], name: str, option: str) -> str:
    found = [row.id for row in rows if name.lower() == row.id or name == row.name]
    if not found:
        found = [row.id for row in rows if name.casefold() == row.name.casefold()]
    if len(found) == 1:
        return str(found[0])
    choices = ", ".join(sorted(row.name for row in rows)) or "none"
    if found:
        raise UsageError(f"{option}: '{name}' names {len(found)} rows; use an id")
    raise UsageError(f"{option}: there is no '{name}'; the file has {choices}")


def _print_slots(body: dict[str, Any], page: SlotPage) -> None:
    console = Console()
    kind, day = escape(page.kind.name), f"{page.date:%A, %d %B %Y}"
    if page.slots:
        shown = f"; the best {len(page.slots)}" if len(page.slots) < page.total else ""
        title = f"{kind} on {day}: {counted(page.total, 'place')}{shown}"
        print_table(console, slot_table(body, title))
        _print_openings(console, body)
        return
    console.print(f"No slot for {kind} on {day}.", soft_wrap=True)
    for rule, count in page.blocked_by.items():
        console.print(
            f"  {count:>8} {'place' if count == 1 else 'places'}: {rule.replace('_', ' ').lower()}"
        )
    if not page.candidates:
        console.print("  There is no time at which it could start.")
    _print_openings(console, body)
    following = body["next_available_date"]
    if following is not None:
        console.print(f"Next available: [bold]{following}[/]")
    else:
        from solver.slots.search import LOOK_AHEAD_DAYS

        console.print(f"Nor in the {LOOK_AHEAD_DAYS} days after.")


def _print_openings(console: Console, body: dict[str, Any]) -> None:
    for opening in body["opens_later"]:
        at = dt.datetime.fromisoformat(opening["at"])
        places = counted(opening["count"], "more place")
        console.print(f"From {at:%Y-%m-%d %H:%M}: {places} by sessions.", soft_wrap=True)
