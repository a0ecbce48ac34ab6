"""Commands of the command line in this process, which they leave as it was."""

import logging

from click.testing import Result
from typer.testing import CliRunner

from api.cli.main import app


def run(*arguments: str, **environment: str | None) -> Result:
    """A command that needs no database."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120", **environment})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def beside(*arguments: str, **environment: str | None) -> Result:
    """A command on a running service's database, or on the one that is named."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return run(*arguments, **{"DATABASE_URL": None, **environment})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
