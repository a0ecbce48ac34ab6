"""What the command line's options say, read before anything that takes a while to import."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

from api.cli.whole_files import told
from api.service.error_messages import UsageError

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00", re.ASCII)


def read_date(option: str, text: str) -> dt.date:
    """Return the date that an option names.

    Raises
    ------
    UsageError
        When it names none.
    """
    try:
        if _DATE.fullmatch(text):
            return dt.date.fromisoformat(text)
    except ValueError:
        pass
    raise UsageError(f"{option}: '{text}' is no date; write YYYY-MM-DD, as in 2027-03-01")


def require_time(option: str, text: str | None) -> None:
    """Refuse what is no time of day.

    Raises
    ------
    UsageError
        When it is none.
    """
    if text is not None and not _TIME.fullmatch(text):
        raise UsageError(f"{option}: '{text}' is no time of day; write HH:MM, as in 09:30")


def read_moment(text: str | None, option: str = "--now") -> dt.datetime:
    """Return the moment that an option names; naive where it has no offset, now without one.

    Raises
    ------
    UsageError
        When it names none.
    """
    if text is None:
        return dt.datetime.now(dt.UTC)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: '{text}' is no moment; write 2027-03-01T08:00") from None
    if not 2000 <= moment.year <= 2500:
        raise UsageError(f"{option}: '{text}' is not in the years 2000 to 2500")
    return moment


def in_zone(moment: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """Return `moment` in the clinic's zone, which is also that of one without an offset."""
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)


def require_writable(option: str | None, file: Path | None) -> None:
    """Refuse a file that could not be written, before the work that it is for.

    Raises
    ------
    UsageError
        When it could not; the message says why.
    """
    if file is None or str(file) == "-":
        return
    is_new = not file.exists()
    if not is_new and not file.is_file() and not file.is_dir():
        return  # a device or a pipe: opening it may wait for its other end
    try:
        with file.open("ab"):
            pass
        if is_new:
            file.unlink()
    except OSError as error:
        raise UsageError(f"{told(option, file)}: {error.strerror or error}") from None
