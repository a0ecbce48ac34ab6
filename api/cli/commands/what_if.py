"""The ``what-if`` command."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from api.cli.arguments import in_zone, read_moment
from api.cli.tables import counted, print_json, print_table, run_table
from api.cli.whole_files import write_file
from api.service.error_messages import UsageError
from api.service.interrupt import INTERRUPTED, Interrupt
from api.service.settings import read_settings
from api.what_if.executors import solve
from api.what_if.figures import STAGES
from api.what_if.picture import names_of
from api.what_if.progress_channel import ProgressServer
from data.files.clinic_file import read_clinic_file
from data.files.run_file import read_run_file
from solver.clinic.clinic import Clinic
from solver.planning.problem import Progress as Step
from solver.scoring.parts import Weights
from solver.whatif.run import Run
from solver.whatif.run_result import RunResult
from solver.whatif.solve import PlanRejectedError

LINE_SECONDS = 5.0
"""Of a scenario's search, between two lines about it where there is no bar."""


def what_if(
    run_path: Path,
    clinic_path: Path,
    out: Path | None,
    report: Path | None,
    now: str | None,
) -> int:
    """Solve a run and write its result, its report, or a summary; also of a search cut short."""
    if report is not None and str(report) in ("-", str(out)):
        raise UsageError("--report: name a file of its own")
    settings = read_settings()
    file = read_clinic_file(clinic_path)
    moment = in_zone(read_moment(now), file.clinic.to_solver().zone)
    clinic = file.to_clinic(moment)
    run = read_run_file(run_path, clinic, moment, settings.horizon_days)

    with Interrupt() as interrupt:  # until all is written
        try:
            result = _solve(run, clinic, moment, settings.weights, interrupt)
        except (BrokenProcessPool, PlanRejectedError) as error:
            typer.echo(f"slotwright: {error}", err=True)
            return 1
        unwritten = []
        try:
            _write(out, result, names_of(run, clinic))
        except UsageError as error:
            unwritten.append(str(error))
        if report is not None:
            from api.what_if.report import render  # the charts' library takes a while

            try:
                write_file(report, render(result, run, clinic).encode(), "--report")
            except UsageError as error:
                unwritten.append(str(error))
            else:
                typer.echo(f"Wrote {report}.", err=True)
        if unwritten:
            raise UsageError("; ".join(unwritten))
    return INTERRUPTED if interrupt.is_asked else 0


def _solve(
    run: Run, clinic: Clinic, now: dt.datetime, weights: Weights, interrupt: Interrupt
) -> RunResult:
    """Solve a run and show its progress; when interrupted, with the best found by then."""
    bars = _Bars(run)
    with ProgressServer(bars.show) as server, bars:

        def end() -> None:
            bars.say("Ending with the best plan found so far; Ctrl-C again ends without one.")
            server.stop()

        with interrupt.ends(end):
            return solve(run, clinic, now, server, weights=weights)


def _write(out: Path | None, result: RunResult, names: Mapping[str, str]) -> None:
    """Write a result to a file, or to standard output, and there also what no file takes."""
    if out is None:
        print_table(Console(), run_table(result, names))
        return
    if str(out) == "-":
        print_json(result)
        return
    try:
        write_file(out, orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n", "--out")
    except UsageError:
        print_json(result)
        raise
    typer.echo(f"Wrote {out}.", err=True)


class _Bars(Progress):
    """Each scenario's progress on standard error: bars on a terminal, lines elsewhere."""

    def __init__(self, run: Run) -> None:
        console = Console(file=sys.stderr, highlight=False)
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks_of: dict[str, TaskID] = {
            scenario.name: self.add_task(
                escape(scenario.name), total=run.time_limit_seconds, told=""
            )
            for scenario in run.scenarios
        }
        self._last: dict[str, tuple[str, float]] = {}
        if self.disable:
            self.say(
                f"Planning {counted(len(run.scenarios), 'scenario')}, "
                f"at most {run.time_limit_seconds:g} s …"
            )

    def say(self, line: str) -> None:
        """Print a line, above the bars where there are some."""
        self.console.print(line, markup=False, soft_wrap=True)

    def show(self, scenario: str, step: Step) -> None:
        """Show what is known by now."""
        known = f"{step.placed} placed; incumbent {step.objective + 0:g} / bound {step.bound + 0:g}"
        if not self.disable:
            self.update(self._tasks_of[scenario], completed=step.seconds, told=known)
            return
        stage, seconds = self._last.get(scenario, ("", 0.0))
        if step.stage != stage or step.seconds >= seconds + LINE_SECONDS:
            self._last[scenario] = step.stage, step.seconds
            self.say(f"{scenario}: {known}, {STAGES[step.stage].lower()}, {step.seconds:.0f} s")
