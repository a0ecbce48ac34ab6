"""Where ``slotwright`` begins: from the first line on, Ctrl-C ends it with a line and no trace."""

from __future__ import annotations

from api.service.interrupt import end_at_once


def main() -> None:
    """Run the command line."""
    end_at_once()
    from api.cli import main as cli

    cli.main()
