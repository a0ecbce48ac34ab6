"""The ``what-if`` command and its report, run as a person runs them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.cli.main import app
from api.what_if.report import render
from data.files.clinic_file import ClinicFile
from data.files.run_file import parse_run
from solver.whatif.solve import solve_run
from tests.support.clinics import PROVIDER, TYPE, booking, small_clinic
from tests.support.service import SLOTWRIGHT
from tests.support.strategies import BEFORE, MONDAY, uid
from tests.support.what_if import without_times

NOW = "2027-02-01T00:00"


CLINIC = small_clinic(bookings=[booking(0, MONDAY, "10:30")])


RUN: dict[str, Any] = {
    "name": "Vega leaves at ten",
    "start_date": "2027-03-01",
    "days": 1,
    "existing": "movable",
    "requests": [{"id": "r1", "appointment_type_id": TYPE, "priority": 4, "count": 3}],
    "scenarios": [
        {"name": "baseline"},
        {
            "name": "Vega out",
            "changes": [
                {"op": "provider_out", "provider_id": PROVIDER}
                | {"date": "2027-03-01", "start_time": "10:00"}
            ],
        },
    ],
    "time_limit_seconds": 20,
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    run, clinic = tmp_path / "run.json", tmp_path / "clinic.json"
    run.write_text(json.dumps(RUN))
    clinic.write_text(json.dumps(CLINIC))
    return str(run), str(clinic)


def what_if(files: tuple[str, str], *more: str) -> Result:
    run, clinic = files
    arguments = ["what-if", run, "--clinic", clinic, "--now", NOW, *more]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def solved_here(document: dict[str, Any] = RUN, clinic: dict[str, Any] = CLINIC) -> dict[str, Any]:
    read = ClinicFile.model_validate(clinic).to_clinic(BEFORE)
    return solve_run(parse_run(document, read, BEFORE), read, BEFORE)


def test_a_run_is_answered_on_a_pool_of_processes(files: tuple[str, str], tmp_path: Path) -> None:
    out, report = tmp_path / "result.json", tmp_path / "report.html"
    shown = what_if(files, "--out", str(out), "--report", str(report))
    assert shown.exit_code == 0
    assert shown.stdout == ""
    assert shown.stderr.splitlines()[0] == "Planning 2 scenarios, at most 20 s …"
    for scenario in ("baseline", "Vega out"):
        assert re.search(rf"^{scenario}: \d placed; incumbent ", shown.stderr, re.MULTILINE)
    assert shown.stderr.splitlines()[-2:] == [f"Wrote {out}.", f"Wrote {report}."]
    result = json.loads(out.read_text())
    assert without_times(result) == without_times(solved_here())
    page = report.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "Vega leaves at ten" in page


def test_without_a_file_the_key_figures_are_printed(files: tuple[str, str]) -> None:
    shown = what_if(files).stdout
    assert "Vega leaves at ten" in shown
    assert "1 (-2)" in shown
    assert re.search(r"Provider utilisation +\d+\.\d% ", shown)


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_a_file_that_cannot_be_written_is_told_before_the_search(
    files: tuple[str, str], tmp_path: Path, option: str
) -> None:
    for path in (tmp_path / "no" / "such", tmp_path):
        failed = what_if(files, option, str(path))
        assert failed.exit_code == 2
        assert failed.stderr.startswith(f"slotwright: {option}: {path}: ")
        assert failed.stderr.count("\n") == 1


def test_what_no_file_takes_is_told_and_printed(files: tuple[str, str], tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    failed = what_if(files, "--out", "/dev/full", "--report", str(full))
    assert failed.exit_code == 2
    reason = "No space left on device"
    told = f"slotwright: --out: /dev/full: {reason}; --report: {full}: {reason}"
    assert failed.stderr.splitlines()[-1] == told
    assert json.loads(failed.stdout)["name"] == "Vega leaves at ten"


def test_the_report_has_a_file_of_its_own(files: tuple[str, str], tmp_path: Path) -> None:
    same = str(tmp_path / "same")
    for out, report in ((same, same), ("-", "-")):
        failed = what_if(files, "--out", out, "--report", report)
        assert failed.exit_code == 2
        assert "--report: name a file of its own" in failed.stderr
    assert not Path(same).exists()


@pytest.mark.parametrize("moment", [b"Planning ", b" placed; "])
def test_ctrl_c_ends_the_search_with_what_it_has(
    files: tuple[str, str], tmp_path: Path, moment: bytes
) -> None:
    wide = {
        **CLINIC,
        "clinic": CLINIC["clinic"] | {"grid_minutes": 5},
        "providers": [{"id": uid(1, n), "name": f"P{n}", "skills": ["gp"]} for n in range(6)],
        "rooms": [{"id": uid(2, n), "name": f"Room {n}"} for n in range(5)],
        "appointment_types": [
            {"id": uid(3, n), "name": f"T{n}", "duration_minutes": 25 + 10 * n} for n in range(4)
        ],
        "availability": [
            {"provider_id": uid(1, n), "weekday": day, "start_time": "08:00", "end_time": "17:00"}
            for n in range(6)
            for day in range(1, 6)
        ],
        "bookings": [],
    }
    requests = [
        {"id": f"r{n}", "appointment_type_id": uid(3, n % 4), "priority": 1 + n % 9, "count": 20}
        for n in range(12)
    ]
    run, clinic = files
    Path(clinic).write_text(json.dumps(wide))
    Path(run).write_text(
        json.dumps(RUN | {"days": 2, "requests": requests, "time_limit_seconds": 3600})
    )
    out = tmp_path / "result.json"
    command = [*SLOTWRIGHT, "what-if", run, "--clinic", clinic, "--now", NOW, "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, process_group=0) as process:
        assert process.stderr is not None
        shown = b""
        while moment not in shown:
            shown += os.read(process.stderr.fileno(), 4096)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, all of its processes at once
        told = (shown + process.stderr.read()).decode()
        assert process.wait() == 130
    assert told.count("Ending with the best plan found so far") == 1
    assert "Traceback" not in told
    scenarios = json.loads(out.read_text())["scenarios"]
    assert {s["status"] for s in scenarios} == {"stopped"}
    assert all(s["kpis"]["placed"] > 50 for s in scenarios)


def test_the_result_on_standard_output(files: tuple[str, str]) -> None:
    assert json.loads(what_if(files, "--out", "-").stdout)["name"] == "Vega leaves at ten"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"days": 61}, ["days"]),
        ({"requests": [{"id": "r1", "appointment_type_id": uid(9, 9)}]}, ["appointment_type_id"]),
        (
            {"start_date": "2027-01-01"},
            [
                "start_date: 2027-01-01 is in the past",
                "scenarios[1].changes[0].date: 2027-03-01 is not in the run",
            ],
        ),
    ],
)
def test_faults_of_a_run_file_are_named(
    files: tuple[str, str], fields: dict[str, Any], named: list[str]
) -> None:
    Path(files[0]).write_text(json.dumps(RUN | fields))
    failed = what_if(files)
    assert failed.exit_code == 2
    assert f"the run file has {len(named)} fault" in failed.stderr
    assert all(fault in failed.stderr for fault in named)
    assert failed.stdout == ""


def test_a_file_that_is_not_there_is_named(files: tuple[str, str]) -> None:
    failed = what_if(("/nowhere.json", files[1]))
    assert failed.exit_code == 2
    assert "/nowhere.json" in failed.stderr


# The report


def page_of(document: dict[str, Any], clinic: dict[str, Any] = CLINIC) -> str:
    read = ClinicFile.model_validate(clinic).to_clinic(BEFORE)
    run = parse_run(document, read, BEFORE)
    return render(solve_run(run, read, BEFORE), run, read)


def test_the_report_holds_the_facts_and_needs_no_network() -> None:
    page = page_of(RUN)
    for fact in (
        "Vega leaves at ten",
        "existing bookings movable",
        "1 (-2)",
        "Bookings that move",
        "2027-03-01 10:30–11:00, Dr. Vega, Room 1",
        "Requests without a place",
        "Lost to other requests",
        "Dr. Vega on 2027-03-01: full, with 1 request of this run placed there.",
        "Utilisation of providers by day",
        "The search: best found and bound over time",
    ):
        assert fact in page, fact
    assert "://" not in page
    assert page.count('class="chart"') == 6


def test_progress_of_a_stage_with_nothing_to_decide_is_left_out() -> None:
    read = ClinicFile.model_validate(CLINIC).to_clinic(BEFORE)
    run = parse_run(RUN | {"existing": "fixed"}, read, BEFORE)
    result = solve_run(run, read, BEFORE)
    step = {"seconds": 0.1, "stage": "moved", "objective": 0, "bound": 0, "placed": 0}
    result["scenarios"][0]["progress"].append(step)
    assert "Priority placed" in render(result, run, read)
    assert "Bookings moved<" not in render(result, run, read).split("<h2 id")[1]


def test_names_are_only_ever_text() -> None:
    bad = "</script><script>alert(1)</script><img src=x>"
    clinic = small_clinic(bookings=[booking(0, MONDAY, "10:30")])
    for name in ("providers", "rooms", "appointment_types"):
        clinic[name][0]["name"] = f"{name}{bad}"
    clinic["clinic"]["name"] = bad
    document = json.loads(json.dumps(RUN))
    document["name"] = document["scenarios"][1]["name"] = document["requests"][0]["id"] = bad
    page = page_of(document, clinic)
    assert "<img" not in page
    assert "<script>alert" not in page
    assert page.count("</script>") == page.count("<script")


def test_help_of_the_command_comes_without_the_solver() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from api.cli.main import app;"
        "CliRunner().invoke(app, ['what-if', '--help']); print('ortools' in sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert loaded.stdout.strip() == b"False"
