"""The ``bench`` command: suites, their report, and what became worse since an older one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.markdown import Markdown

from api.service.error_messages import UsageError
from api.service.interrupt import raises
from benchmarks.measure.compare import Change, compare
from benchmarks.registry import SUITES, USUAL, run
from benchmarks.report.page import NAME, summary, write


def bench(names: list[str], directory: Path, old: Path | None, *, quick: bool) -> int:
    """Run suites, or all the usual ones, and write their report; 1 when something became worse."""
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        raise UsageError(f"there is no suite '{unknown[0]}'; there are {', '.join(SUITES)}")
    before = None if old is None else _read(old)
    with raises():
        report = run(
            names or USUAL, quick=quick, tell=lambda name: typer.echo(f"{name} …", err=True)
        )
    changes: list[Change] | None = None if before is None else compare(before, report)
    write(report, changes, directory)
    Console().print(Markdown(summary(report, changes)))
    typer.echo(f"The whole report: {directory / NAME}.html", err=True)
    worse = [change for change in changes or () if change.verdict == "worse"]
    for change in worse:
        words = f"{change.suite}: {change.group}, {change.label}"
        typer.echo(f"worse: {words}, {change.ratio:.2f} of what it was", err=True)
    return 1 if worse else 0


def _read(path: Path) -> dict[str, Any]:
    """Read an older report."""
    try:
        report: dict[str, Any] = orjson.loads(path.read_bytes())
        if not {"made", "suites"} <= report.keys():
            raise UsageError(f"{path} is no report of benchmarks")
    except (orjson.JSONDecodeError, AttributeError):
        raise UsageError(f"{path} is no report of benchmarks") from None
    return report
