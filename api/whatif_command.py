"""The ``what-if`` command."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from api.commands import read_moment
from api.report import render
from api.settings import read_settings
from api.tables import print_json, run_table
from data.clinic_file import read_clinic_file
from data.run_file import read_run_file
from solver.problem import Progress as Step
from solver.scenario import Run
from solver.whatif import PlanRejectedError, solve_run

type Steps = Queue[tuple[str, Step] | None]


def what_if(
    run_path: Path, clinic_path: Path, out: Path | None, report: Path | None, now: str | None
) -> int:
    """Solve a run and write its result, its report, or a summary."""
    settings = read_settings()
    file = read_clinic_file(clinic_path)
    moment = read_moment(now, file.clinic.to_solver().zone)
    clinic = file.to_clinic(moment)
    run = read_run_file(run_path, clinic, moment)

    cores = os.cpu_count() or 1
    side_by_side = min(cores, len(run.scenarios))
    context = multiprocessing.get_context("spawn")
    steps: Steps = context.Queue()
    stop = context.Event()
    pool = ProcessPoolExecutor(side_by_side, context, initializer=_join, initargs=(steps, stop))
    try:
        with pool, _stopped_by_interrupt(stop), _shown(run, steps):
            result = solve_run(
                run,
                clinic,
                moment,
                executor=pool,
                workers=max(1, cores // side_by_side),
                weights=settings.weights,
                on_progress=_tell,
                should_stop=_is_stopped,
            )
    except PlanRejectedError as error:
        typer.echo(f"slotwright: {error}", err=True)
        return 1
    if report is not None:
        report.write_text(render(result, run, clinic), encoding="utf-8")
    if out is not None and str(out) == "-":
        print_json(result)
        return 0
    if out is not None:
        out.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    Console().print(run_table(result))
    return 0


# In the processes that solve


class _Channel:
    """What a solving process was given by the command, by way of its start."""

    steps: Steps
    stop: Event


def _join(steps: Steps, stop: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command itself says when to stop
    _Channel.steps, _Channel.stop = steps, stop


def _tell(scenario: str, step: Step) -> None:
    _Channel.steps.put((scenario, step))


def _is_stopped() -> bool:
    return _Channel.stop.is_set()


# In the command


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
    return f"{step.placed} placed; {step.stage} {step.objective:g}, bound {step.bound:g}"
