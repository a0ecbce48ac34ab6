"""Where scenarios are solved: processes of this machine, or a cluster.

The cluster is Dask's; its address is that of the scheduler (``tcp://host:8786``). Both are reached
through :class:`concurrent.futures.Executor`, and both tell their progress by
:mod:`api.what_if.progress_channel`.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from api.service.interrupt import block_sigint
from api.service.machine import cores, free_memory
from api.what_if.progress_channel import ProgressServer
from data.database.aside import begin_worker
from solver.clinic.clinic import Clinic
from solver.planning.params import MEMORY_LIMIT_BYTES
from solver.scoring.parts import Weights
from solver.whatif.run import Run
from solver.whatif.run_result import RunResult
from solver.whatif.solve import solve_run

MEMORY_SHARE = 0.8
"""How much of the free memory solvers may take; the rest is the service's."""


def solve(
    run: Run,
    clinic: Clinic,
    now: dt.datetime,
    server: ProgressServer,
    *,
    weights: Weights,
    cluster: str | None = None,
) -> RunResult:
    """Return the result of a run, solved here or on the cluster; see :func:`solve_run`."""
    with _executor(len(run.scenarios), cluster) as (pool, share):
        return solve_run(
            run,
            clinic,
            now,
            executor=pool,
            side_by_side=share.side_by_side,
            workers=share.workers,
            memory_limit_bytes=share.memory_bytes,
            weights=weights,
            on_progress=server.line.tell,
            should_stop=server.line.is_stopped,
        )


@dataclass(frozen=True)
class Share:
    """How many scenarios are solved at once, and what each may take: processes and memory."""

    side_by_side: int
    workers: int
    memory_bytes: int

    @classmethod
    def of(cls, scenarios: int, cores: int, free_bytes: int) -> Share:
        """Share what this machine has: as many at once as there are cores and memory for."""
        memory = int(free_bytes * MEMORY_SHARE)
        side_by_side = max(1, min(cores, scenarios, memory // MEMORY_LIMIT_BYTES))
        return cls(side_by_side, max(1, cores // side_by_side), memory // side_by_side)


@contextmanager
def _executor(scenarios: int, cluster: str | None) -> Iterator[tuple[Executor, Share]]:
    """Yield what solves scenarios, and the share of each."""
    if cluster is not None:
        from distributed import Client as Cluster  # an optional dependency

        with Cluster(cluster) as client, client.get_executor(pure=False) as pool:  # type: ignore[no-untyped-call]
            places = sum(client.nthreads().values())
            yield pool, Share(max(1, min(places, scenarios)), 1, MEMORY_LIMIT_BYTES)
        return
    share = Share.of(scenarios, cores(), free_memory())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        share.side_by_side, context, initializer=_begin, initargs=(os.getpid(),)
    ) as pool:
        with block_sigint():
            for _ in range(share.side_by_side):
                pool.submit(int)  # begins one process, as long as none is idle: none is this early
        yield pool, share


def _begin(parent: int) -> None:
    """Prepare a process of this machine that solves."""
    begin_worker(parent)
    with suppress(OSError):  # where memory runs out, a solver goes and the service stays
        Path("/proc/self/oom_score_adj").write_text("1000")
