"""The ``what-if`` command."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from api import workers
from api.commands import read_moment
from api.settings import read_settings
from api.tables import print_json, run_table
from api.workers import Steps, Workers
from data.clinic_file import read_clinic_file
from data.run_file import read_run_file
from solver.problem import Progress as Step
from solver.scenario import Run
from solver.whatif import PlanRejectedError, solve_run


def what_if(
    run_path: Path, clinic_path: Path, out: Path | None, report: Path | None, now: str | None
) -> int:
    """Solve a run and write its result, its report, or a summary."""
    settings = read_settings()
    file = read_clinic_file(clinic_path)
    moment = read_moment(now, file.clinic.to_solver().zone)
    clinic = file.to_clinic(moment)
    run = read_run_file(run_path, clinic, moment)

    try:
        with (
            Workers.start(len(run.scenarios)) as started,
            _stopped_by_interrupt(started.stop),
            _shown(run, started.steps),
        ):
            result = solve_run(
                run,
                clinic,
                moment,
                executor=started.pool,
                workers=started.cores,
                weights=settings.weights,
                on_progress=workers.tell,
                should_stop=workers.is_stopped,
            )
    except (BrokenProcessPool, PlanRejectedError) as error:
        typer.echo(f"slotwright: {error}", err=True)
        return 1
    if report is not None:
        from api.report import render

        report.write_text(render(result, run, clinic), encoding="utf-8")
    if out is not None and str(out) == "-":
        print_json(result)
        return 0
    if out is not None:
        out.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    Console().print(run_table(result))
    return 0


@contextmanager
def _stopped_by_interrupt(stop: Event) -> Iterator[None]:
    """Let the first Ctrl-C end the search with what it has, and a second one the command."""

    def interrupted(number: int, _: object) -> None:
        signal.signal(number, before)
        stop.set()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _shown(run: Run, steps: Steps) -> Iterator[None]:
    """Show each scenario's progress on standard error, if that is a terminal."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[told]}"),
        console=Console(file=sys.stderr),
        transient=True,
    )
    tasks = {
        scenario.name: bars.add_task(escape(scenario.name), total=run.time_limit_seconds, told="")
        for scenario in run.scenarios
    }

    def listen() -> None:
        while (told := steps.get()) is not None:
            name, step = told
            bars.update(tasks[name], completed=step.seconds, told=_sentence(step))

    listener = threading.Thread(target=listen)
    with bars:
        listener.start()
        try:
            yield
        finally:
            steps.put(None)
            listener.join()


def _sentence(step: Step) -> str:
    return f"{step.placed} placed; {step.stage} {step.objective + 0:g}, bound {step.bound + 0:g}"
