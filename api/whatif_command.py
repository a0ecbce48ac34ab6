"""The ``what-if`` command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from api.arguments import in_zone, read_moment
from api.settings import read_settings
from api.solving import Exchange, solve
from api.tables import print_json, run_table
from data.clinic_file import read_clinic_file
from data.run_file import read_run_file
from solver.problem import Progress as Step
from solver.scenario import Run
from solver.whatif import PlanRejectedError


def what_if(
    run_path: Path, clinic_path: Path, out: Path | None, report: Path | None, now: str | None
) -> int:
    """Solve a run and write its result, its report, or a summary."""
    settings = read_settings()
    file = read_clinic_file(clinic_path)
    moment = in_zone(read_moment(now), file.clinic.to_solver().zone)
    clinic = file.to_clinic(moment)
    run = read_run_file(run_path, clinic, moment, settings.horizon_days)

    bars = _Bars(run)
    try:
        with Exchange(bars.show) as exchange, _stopped_by_interrupt(exchange), bars:
            result = solve(run, clinic, moment, exchange, weights=settings.weights)
    except (BrokenProcessPool, PlanRejectedError) as error:
        typer.echo(f"slotwright: {error}", err=True)
        return 1
    if report is not None:
        from api.report import render  # the charts' library takes a while to import

        report.write_text(render(result, run, clinic), encoding="utf-8")
    if out is not None and str(out) == "-":
        print_json(result)
        return 0
    if out is not None:
        out.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    Console().print(run_table(result))
    return 0


@contextmanager
def _stopped_by_interrupt(exchange: Exchange) -> Iterator[None]:
    """Let the first Ctrl-C end the search with what it has, and a second one the command."""

    def interrupted(number: int, _: object) -> None:
        signal.signal(number, before)
        exchange.stop()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Bars(Progress):
    """Each scenario's progress on standard error, if that is a terminal."""

    def __init__(self, run: Run) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=Console(file=sys.stderr),
            transient=True,
        )
        self._tasks_of = {
            scenario.name: self.add_task(
                escape(scenario.name), total=run.time_limit_seconds, told=""
            )
            for scenario in run.scenarios
        }

    def show(self, scenario: str, step: Step) -> None:
        """Show what is known by now."""
        known = f"{step.stage} {step.objective + 0:g}, bound {step.bound + 0:g}"
        self.update(
            self._tasks_of[scenario], completed=step.seconds, told=f"{step.placed} placed; {known}"
        )
