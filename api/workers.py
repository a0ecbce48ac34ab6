"""Processes that solve scenarios side by side, tell how it goes and can be told to stop.

This module is what those processes import first, so it stays light.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event

from solver.problem import Progress

type Steps = Queue[tuple[str, Progress] | None]
"""Progress with the scenario's name; None ends it."""


@dataclass(frozen=True)
class Workers:
    """A pool of processes.

    Attributes
    ----------
    pool
        Runs :func:`solver.whatif.solve_scenario`, given :func:`tell` and :func:`is_stopped`.
    cores
        How many of the machine's cores each process may use.
    steps, stop
        What the processes tell, and what tells them to stop.
    """

    pool: ProcessPoolExecutor
    cores: int
    steps: Steps
    stop: Event

    @classmethod
    @contextmanager
    def start(cls, scenarios: int) -> Iterator[Workers]:
        """Run as many processes as there are scenarios and cores for them."""
        cores = os.cpu_count() or 1
        side_by_side = min(cores, scenarios)
        context = multiprocessing.get_context("spawn")
        steps: Steps = context.Queue()
        stop = context.Event()
        with ProcessPoolExecutor(side_by_side, context, _join, (steps, stop)) as pool:
            yield cls(pool, max(1, cores // side_by_side), steps, stop)


class _Channel:
    """What this process was given at its start."""

    steps: Steps
    stop: Event


def _join(steps: Steps, stop: Event) -> None:
    os.setpgrp()  # Ctrl-C is for whoever started it, who then says when to stop
    _Channel.steps, _Channel.stop = steps, stop


def tell(scenario: str, step: Progress) -> None:
    """Send progress to whoever started this process."""
    _Channel.steps.put((scenario, step))


def is_stopped() -> bool:
    """Whether this process has been told to stop, or whoever started it is gone."""
    parent = multiprocessing.parent_process()
    return _Channel.stop.is_set() or parent is None or not parent.is_alive()
