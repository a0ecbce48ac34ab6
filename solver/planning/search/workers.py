"""The pool of worker processes, each of which knows the problem."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing.synchronize import Event

from solver.planning.instance.tables import Instance
from solver.planning.model.solving import SolveControl
from solver.planning.problem import Problem

# Processes

_process: tuple[Instance, Event] | None = None


def _begin(problem: Problem, stop: Event) -> None:
    global _process  # noqa: PLW0603
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _process = Instance(problem), stop


def _end_with_parent() -> None:
    """End this process when the one that asked for it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run[*A, T](job: Callable[[Instance, SolveControl, *A], T], args: tuple[*A]) -> T:
    assert _process is not None
    instance, stop = _process
    return job(instance, SolveControl(stop.is_set), *args)


type _Context = multiprocessing.context.ForkServerContext | multiprocessing.context.SpawnContext


def _context() -> _Context:
    """Processes forked from a server that has imported what they need, where there is such."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


class WorkerPool:
    """Processes that each know the problem and do jobs on it; with one worker, this one does.

    A job is a function of the instance, and of what else it is given. Processes take a second or
    more to begin; until they have, threads of this one do the jobs.
    """

    def __init__(self, instance: Instance, workers: int, control: SolveControl) -> None:
        self._instance = instance
        self._control = control
        self.workers = max(1, workers)
        self._pool: ProcessPoolExecutor | None = None
        if self.workers > 1:
            context = _context()
            self._stop = context.Event()
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=context,
                initializer=_begin,
                initargs=(instance.problem, self._stop),
            )
            self._threads = ThreadPoolExecutor(1 + self.workers)
            self._beginning = self._threads.submit(self._begin_processes, context, self._pool)

    def _begin_processes(self, context: _Context, pool: ProcessPoolExecutor) -> None:
        """Have all begin at once, once there is what they are forked from, which takes longest."""
        first = context.Process(target=int)
        first.start()
        first.join()
        if not self._stop.is_set():
            wait([pool.submit(int) for _ in range(self.workers)])

    def submit[*A, T](self, job: Callable[[Instance, SolveControl, *A], T], *args: *A) -> Future[T]:
        """Have a job done; without other processes it is done when this returns."""
        if self._pool is None:
            done: Future[T] = Future()
            done.set_result(job(self._instance, self._control, *args))
            return done
        if not self._beginning.done():
            return self._threads.submit(job, self._instance, SolveControl(self._stop.is_set), *args)
        return self._pool.submit(_run, job, args)

    def end(self) -> None:
        """Stop whatever runs and let the processes go; none that has yet to begin is waited for."""
        if self._pool is not None:
            has_begun = self._beginning.done()
            self._stop.set()
            self._threads.submit(self._pool.shutdown, cancel_futures=True)
            self._threads.shutdown(wait=has_begun)
