"""Run benchmark suites: ``python -m benchmarks slots [--quick] [--report DIR]``."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import orjson
import typer

from benchmarks import booking, slots

SUITES = {"slots": slots.run, "booking": booking.run}


def main(
    suites: Annotated[list[str] | None, typer.Argument(help="Suites to run; all if none.")] = None,
    *,
    quick: Annotated[bool, typer.Option(help="Few repeats.")] = False,
    report: Annotated[Path, typer.Option(help="Where to write the figures.")] = Path(),
) -> None:
    """Run suites and write their figures as JSON."""
    figures = {
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "ortools": version("ortools"),
            "numpy": version("numpy"),
            "slotwright": version("slotwright"),
        },
        **{name: SUITES[name](quick=quick) for name in suites or SUITES},
    }
    text = orjson.dumps(figures, option=orjson.OPT_INDENT_2)
    report.mkdir(parents=True, exist_ok=True)
    (report / "benchmarks.json").write_bytes(text + b"\n")
    print(text.decode())


if __name__ == "__main__":
    typer.run(main)
