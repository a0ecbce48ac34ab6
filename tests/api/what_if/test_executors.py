"""Scenarios solved in processes here and on a real cluster, with a line back."""

import datetime as dt
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from api.service.interrupt import Interrupt, block_sigint
from api.what_if import executors, progress_channel
from api.what_if.executors import solve
from api.what_if.progress_channel import ProgressClient, ProgressServer, host_for
from data.files.clinic_file import ClinicFile
from data.files.run_file import parse_run
from solver.clinic.clinic import Clinic
from solver.planning.problem import Progress
from solver.scoring.parts import DEFAULT_WEIGHTS
from solver.whatif.run import Run
from tests.support.clinics import PROVIDER, small_clinic
from tests.support.over_http import MONDAY, run_of, six_wishes

GIB = 2**30


NOW = dt.datetime.combine(MONDAY - dt.timedelta(days=7), dt.time(), dt.UTC)


def asked() -> tuple[Run, Clinic]:
    clinic = ClinicFile.model_validate(small_clinic()).to_clinic(NOW)
    out = {"op": "provider_out", "provider_id": PROVIDER, "date": MONDAY.isoformat()}
    scenarios = [
        {"name": "baseline"},
        {"name": "late", "changes": [{**out, "end_time": "10:00"}]},
        {"name": "early", "changes": [{**out, "start_time": "11:00"}]},
    ]
    return parse_run(run_of(six_wishes(), scenarios=scenarios), clinic, NOW), clinic


def plans_of(result: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: (row["status"], row["placements"]) for row in result["scenarios"]}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a scheduler with two worker processes."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
    ) as local:
        yield local.scheduler_address


def test_processes_and_a_cluster_give_the_same_plans(cluster: str) -> None:
    run, clinic = asked()
    results, told = [], list[tuple[str, Progress]]()
    for address in (None, cluster):
        with ProgressServer(lambda *step: told.append(step), host_for(address)) as server:
            results.append(
                solve(run, clinic, NOW, server, weights=DEFAULT_WEIGHTS, cluster=address)
            )
    here, there = map(plans_of, results)
    assert here == there
    assert {name: len(plan) for name, (_, plan) in here.items()} == {
        "baseline": 6,
        "late": 4,
        "early": 4,
    }
    assert {name for name, _ in told} <= set(here)


@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_solvers_are_told_to_stop(where: str, cluster: str) -> None:
    run, clinic = asked()
    address = cluster if where == "cluster" else None
    with ProgressServer(lambda *_: None, host_for(address)) as server:
        server.stop()
        result = solve(run, clinic, NOW, server, weights=DEFAULT_WEIGHTS, cluster=address)
    assert len(result["scenarios"][0]["placements"]) == 6  # the greedy plan is always there


@pytest.mark.parametrize(
    ("scenarios", "processors", "free", "expected"),
    [
        (5, 4, 64 * GIB, (4, 1)),  # as many as there are cores
        (1, 4, 64 * GIB, (1, 4)),  # all cores for the one
        (5, 16, 2 * GIB, (2, 8)),  # as many as there is memory for
        (5, 2, 0, (1, 2)),  # one in any case
    ],
)
def test_scenarios_share_cores_and_memory(
    scenarios: int, processors: int, free: int, expected: tuple[int, int]
) -> None:
    share = executors.Share.of(scenarios, processors, free)
    assert (share.side_by_side, share.workers) == expected
    assert share.memory_bytes * share.side_by_side <= free


def test_a_line_carries_progress_and_a_stop() -> None:
    heard: list[tuple[str, Progress]] = []
    progress = Progress(1.5, "priority", 7, 9, 3)
    with ProgressServer(lambda *step: heard.append(step)) as server:
        line = server.line
        line.tell("baseline", progress)
        deadline = time.monotonic() + 10
        while not heard:
            assert time.monotonic() < deadline
        assert heard == [("baseline", progress)]
        assert not line.is_stopped()
        server.stop()
        while not line.is_stopped():
            assert time.monotonic() < deadline


def test_an_exchange_that_is_over_leaves_no_thread_and_no_error() -> None:
    before, failed = set(threading.enumerate()), []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading, "excepthook", failed.append)
        for _ in range(50):
            with ProgressServer(lambda *_: None) as server:
                server.line.tell("baseline", Progress(0, "priority", 0, 0, 0))
    assert not failed
    assert set(threading.enumerate()) <= before


def test_who_cannot_call_back_stops() -> None:
    with ProgressServer(lambda *_: None) as server:
        line = server.line
    assert line.is_stopped()
    line.tell("baseline", Progress(0, "priority", 0, 0, 0))


def test_the_line_is_in_a_folder_of_this_user_alone() -> None:
    with ProgressServer(lambda *_: None) as server:
        address = server.line.address
        assert isinstance(address, str)
        folder = Path(address).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
def test_who_says_nothing_holds_up_nobody(
    host: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_channel, "HANDSHAKE_SECONDS", 0.3)
    heard: list[tuple[str, Progress]] = []
    progress = Progress(1, "priority", 0, 0, 0)
    with ProgressServer(lambda *step: heard.append(step), host) as server:
        silent = [progress_channel._reach(server.line.address) for _ in range(3)]
        server.line.tell("baseline", progress)
        deadline = time.monotonic() + 30
        while not heard:
            assert time.monotonic() < deadline
        for line in silent:  # hung up on, once the time to show the key is over
            line.settimeout(30)
            while line.recv(4096):
                pass
            line.close()
        late = progress_channel._reach(server.line.address)  # and at the end nobody is waited for
    late.close()


def test_a_stranger_is_not_heard() -> None:
    heard: list[tuple[str, Progress]] = []
    with ProgressServer(lambda *step: heard.append(step)) as server:
        stranger = ProgressClient(server.line.address, b"not the key")
        stranger.tell("baseline", Progress(0, "priority", 0, 0, 0))
        assert stranger.is_stopped()
        friend = server.line
        friend.tell("baseline", Progress(1, "priority", 0, 0, 0))
        deadline = time.monotonic() + 10
        while not heard:
            assert time.monotonic() < deadline
    assert [step.seconds for _, step in heard] == [1]


def test_a_process_begun_meanwhile_never_hears_of_ctrl_c() -> None:
    with block_sigint():
        script = "import signal; print(signal.SIGINT in signal.pthread_sigmask(0, ()))"
        begun = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert begun.stdout == b"True\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_no_process_that_solves_hears_of_ctrl_c_while_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executors, "cores", lambda: 3)
    monkeypatch.setattr(executors, "free_memory", lambda: 64 * GIB)
    others = set(multiprocessing.active_children())  # services that other tests talk to
    with executors._executor(3, None) as (pool, share):
        assert share.side_by_side == 3
        asked_for = [pool.submit(abs, -n) for n in range(3)]
        begun = set(multiprocessing.active_children()) - others
        assert len(begun) == 3
        for process in begun:  # none has come to its first line
            assert process.pid is not None
            os.kill(process.pid, signal.SIGINT)
        assert [future.result(60) for future in asked_for] == [0, 1, 2]


def test_ctrl_c_is_heard_before_there_is_anything_to_end() -> None:
    told: list[str] = []
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        with interrupt.ends(lambda: told.append("end")):
            assert told == ["end"]
        assert interrupt.is_asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert told == ["end"]
