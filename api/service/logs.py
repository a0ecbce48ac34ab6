"""Logs: lines for a person at a terminal, JSON elsewhere, with the libraries' own records."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog
from structlog.typing import EventDict, WrappedLogger

_TALKATIVE = ("apscheduler", "httpx", "httpcore")
"""Libraries that tell of every call, addresses included."""


_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
"""What our own records and those of libraries go through."""


_OURS: list[structlog.typing.Processor] = [
    *_SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]
"""What our own go through: one list, which loggers keep however often :func:`configure` is called.
"""


def configure(level: str) -> None:
    """Send every record of `level` and above to standard error."""
    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=_OURS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _without_messages,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel("WARNING")
    logging.getLogger("alembic").setLevel("DEBUG" if level == "DEBUG" else "WARNING")
    logging.getLogger("uvicorn.error").addFilter(_names_no_page)


def _names_no_page(record: logging.LogRecord) -> bool:
    """Leave out the server's lines on websockets: the query names the page that they speak for."""
    return '"WebSocket ' not in str(record.msg)


def log_location_only(*names: str) -> None:
    """Have libraries that write paths, data or a browser's words tell only where they wrote it."""

    def place(record: logging.LogRecord) -> bool:
        record.msg = f"{record.module}.{record.funcName}"
        record.args = ()
        return True

    for name in names:
        logger = logging.getLogger(name)
        logger.handlers.clear()  # some write to standard error themselves
        logger.addFilter(place)


def _without_messages(_: WrappedLogger, __: str, entry: EventDict) -> EventDict:
    """Tell of an exception its type and its place; its message may hold a patient's data."""
    given = entry.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        entry["error"] = type(error).__name__
        entry["trace"] = "".join(traceback.format_tb(error.__traceback__))
    return entry
