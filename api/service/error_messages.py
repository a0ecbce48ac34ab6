"""The one-line texts of errors that a person can mend.

Little is imported until it is needed: a command that is refused ends at once.
"""

from __future__ import annotations

import errno

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""The numbers of errors of a write that has no room."""


class UsageError(ValueError):
    """An argument that does not fit; the message names it."""

    exit_code = 2


def exit_code_of(error: Exception) -> int:
    """Return what a command exits with that `error` ended."""
    return error.exit_code if isinstance(error, UsageError) else 2


def explain(error: Exception) -> str | None:
    """Say in one line (a line a fault for a file) what is wrong; None for a fault of ours."""
    if isinstance(error, UsageError):
        return str(error)
    if isinstance(error, BrokenPipeError):
        return None  # whoever read the output has seen enough
    if isinstance(error, OSError):
        if error.errno in FULL and not error.filename:  # whatever is written to a file names it
            return f"standard output: {error.strerror}"
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return _of_files_and_settings(error) or _of_the_database(error)


def _of_files_and_settings(error: Exception) -> str | None:
    from api.service.settings import InvalidSettingError
    from data.files.faults import InvalidFileError
    from solver.clinic.clock import DateOutOfRangeError

    if isinstance(error, InvalidFileError):
        lines = [f"{fault.path}: {fault.message}" for fault in error.faults]
        faults = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
        return "\n  ".join([f"the {error.kind} has {faults}:", *lines])
    if isinstance(error, DateOutOfRangeError):
        return f"--date: {error}"
    if isinstance(error, InvalidSettingError):
        return str(error)
    return None


def _of_the_database(error: Exception) -> str | None:
    from sqlalchemy.exc import SQLAlchemyError

    from data.database.embedded.errors import EmbeddedPostgresError
    from data.database.engine import SchemaError
    from data.errors import ImportConflictError, RequestError

    if isinstance(error, ImportConflictError):
        lines = [
            f"booking {c['booking_id']} on {c['date']} at {c['start_time']}, "
            f"with {c['with_booking_id']}: {c['detail']}"
            for c in error.extra["conflicts"]
        ]
        return "\n  ".join([error.detail, *lines])
    if isinstance(error, SQLAlchemyError):
        return f"the database refused: {str(error).splitlines()[0]}"
    if isinstance(error, (EmbeddedPostgresError, SchemaError, RequestError)):
        return str(error)
    return None
