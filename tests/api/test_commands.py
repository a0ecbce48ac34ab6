"""The commands, run as a person runs them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from api.cli import app
from tests.clinics import PROVIDER, booking, coming_monday, order, small_clinic
from tests.faults.service import SLOTWRIGHT, servers_of, service, wait_until_gone
from tests.strategies import MONDAY, uid

NOW = "2027-02-01T08:00"


def run(*arguments: str, **environment: str) -> Result:
    """A command that needs no database, in this process."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120", **environment})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def run_alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SLOTWRIGHT, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def clinic_file(tmp_path: Path) -> Path:
    path = tmp_path / "clinic.json"
    path.write_text(json.dumps(small_clinic(bookings=[booking(0, MONDAY, "10:30")])))
    return path


def slots(clinic_file: Path, *more: str) -> Result:
    given = ["--clinic", str(clinic_file), "--date", "2027-03-01", "--now", NOW]
    kind = [] if "--type" in more else ["--type", "Visit"]
    return run("slots", *given, *kind, *more)


def test_help_comes_without_the_solver() -> None:
    script = "import sys; from api import cli; print('ortools' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert loaded.stdout.strip() == b"False"
    assert "demo" in run_alone("--help").stdout


def test_slots_as_json(clinic_file: Path) -> None:
    body = json.loads(slots(clinic_file, "--json", "--limit", "2").stdout)
    assert body["total"] == 8
    assert [s["start_time"] for s in body["slots"]] == ["09:00", "10:00"]
    assert body["slots"][0]["start"] == "2027-03-01T09:00:00+01:00"
    again = slots(clinic_file, "--json", "--limit", "2", "--type", small_clinic_type())
    assert json.loads(again.stdout) == body


def small_clinic_type() -> str:
    return str(small_clinic()["appointment_types"][0]["id"])


def test_slots_as_a_table(clinic_file: Path) -> None:
    shown = slots(clinic_file, "--provider", "dr. vega", "--preferred-start", "09:00")
    assert "Dr. Vega" in shown.stdout
    assert "09:00-09:30" in shown.stdout


def test_why_there_is_no_slot(clinic_file: Path) -> None:
    shown = slots(clinic_file, "--date", "2027-03-02")
    assert "outside provider hours" in shown.stdout
    assert "2027-03-08" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--date", "2027-02-30"], "--date"),
        (["--date", "2026-03-01"], "--date"),
        (["--type", "Surgery"], "--type"),
        (["--provider", "Dr. Who"], "--provider"),
        (["--limit", "0"], "--limit"),
        (["--preferred-start", "9"], "--preferred-start"),
        (["--now", "soon"], "--now"),
        (["--clinic", "/nowhere.json"], "/nowhere.json"),
    ],
)
def test_errors_are_one_line(clinic_file: Path, arguments: list[str], named: str) -> None:
    failed = slots(clinic_file, *arguments)
    assert failed.exit_code == 2
    assert failed.stdout == ""
    assert failed.stderr.count("\n") == 1
    assert named in failed.stderr


def test_faults_of_a_clinic_file_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "clinic.yaml"
    path.write_text("clinic: {name: X, timezone: Nowhere}\nrooms: [{id: 1, name: Room}]\n")
    failed = slots(path)
    assert failed.exit_code == 2
    assert "clinic.timezone" in failed.stderr
    assert "rooms[0].id" in failed.stderr


def test_check_tells_every_broken_rule(tmp_path: Path, clinic_file: Path) -> None:
    fine = run("check", str(clinic_file))
    assert (fine.exit_code, fine.stdout.strip()) == (0, "1 bookings, no rule broken.")
    broken = small_clinic(
        bookings=[booking(0, MONDAY, "08:00"), booking(1, MONDAY, "08:15", room_id=uid(2, 0))]
    )
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(broken))
    told = run("check", str(path), "--json")
    assert told.exit_code == 1
    violations = json.loads(told.stdout)["violations"]
    assert {(v["booking_id"], v["rule"]) for v in violations} == {
        (uid(5, n), rule) for n in (0, 1) for rule in (2, 3, 6)
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLOTWRIGHT_WIEGHTS", "1 0 0 0"),
        ("SLOTWRIGHT_WEIGHTS", "1 1 1 1"),
        ("SLOTWRIGHT_HORIZON_DAYS", "-1"),
        ("SLOTWRIGHT_HUB_URL", "hub.example"),
        ("SLOTWRIGHT_HUB_URL", "ftp://hub.example/"),
        ("SLOTWRIGHT_HUB_DELIVERY", "pigeon"),
        ("DATABASE_URL", "mysql://x"),
    ],
)
def test_settings_are_refused_by_name(clinic_file: Path, name: str, value: str) -> None:
    given = ["--clinic", str(clinic_file), "--date", "2027-03-01", "--now", NOW, "--type", "Visit"]
    failed = run("slots", *given, **{name: value})
    assert failed.exit_code == 2
    assert failed.stderr.startswith(f"slotwright: {name}: ")


# With a database


def _answers_at_all(base: str) -> bool:
    try:
        httpx.get(f"{base}/healthz", timeout=5)
    except httpx.HTTPError:
        return False
    return True


def test_a_killed_service_leaves_no_server_and_loses_nothing(tmp_path: Path) -> None:
    monday = coming_monday()
    with service("serve", "--data-dir", str(tmp_path)) as (process, base):
        assert httpx.post(f"{base}/clinic/import", json=small_clinic()).status_code == 200
        booked = httpx.post(f"{base}/bookings", json=order(monday, "09:00")).json()
        assert servers_of(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until_gone(tmp_path)
    with service("serve", "--data-dir", str(tmp_path)) as (process, base):
        assert httpx.get(f"{base}/bookings/{booked['id']}").json() == booked
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
        wait_until_gone(tmp_path)


def test_commands_join_the_server_of_a_running_service(tmp_path: Path) -> None:
    path = tmp_path / "clinic.json"
    path.write_text(json.dumps(small_clinic(bookings=[booking(0, MONDAY, "10:30")])))
    directory = ["--data-dir", str(tmp_path / "data")]
    with service("serve", *directory) as (_, base):
        imported = run_alone("import", str(path), *directory)
        assert imported.returncode == 0, imported.stderr
        assert "1 providers" in imported.stdout
        assert httpx.get(f"{base}/providers").json()[0]["id"] == PROVIDER
    exported = run_alone("export", str(tmp_path / "out.json"), *directory)
    assert exported.returncode == 0, exported.stderr
    written: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())
    assert written["bookings"][0]["start_time"] == "10:30"
    assert run_alone("check", *directory).returncode == 0
    assert run_alone("migrate", *directory).returncode == 0


def test_several_workers_share_one_database(tmp_path: Path) -> None:
    with service("serve", "--workers", "2", "--data-dir", str(tmp_path)) as (process, base):
        assert httpx.post(f"{base}/clinic/import", json=small_clinic()).status_code == 200
        counts = {len(httpx.get(f"{base}/providers").json()) for _ in range(10)}
        assert counts == {1}
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 20
        while _answers_at_all(base):  # workers end with the process that started them
            assert time.monotonic() < deadline
    wait_until_gone(tmp_path)


def test_the_demo_shows_a_query_and_its_answer(tmp_path: Path) -> None:
    with service("demo", "--data-dir", str(tmp_path)) as (process, base):
        kinds = {row["name"]: row["id"] for row in httpx.get(f"{base}/appointment-types").json()}
        assert len(kinds) == 6
        assert len(httpx.get(f"{base}/providers").json()) == 5
        assert len(httpx.get(f"{base}/rooms").json()) == 8
        assert process.stdout is not None
        shown = b""
        while b"GET " not in shown:
            shown += process.stdout.readline()
        query = next(line for line in shown.decode().splitlines() if line.startswith("GET "))
        answer = httpx.get(query.removeprefix("GET ")).json()
        assert answer["total"] > 50
        assert httpx.get(f"{base}/bookings", params={"date": answer["date"]}).json()
        problems = httpx.get(f"{base}/clinic/export").json()
        assert problems["bookings"]
