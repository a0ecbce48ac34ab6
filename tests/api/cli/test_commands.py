"""The commands, run as a person runs them."""

import datetime as dt
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import libfaketime
import pytest
from click.testing import Result

from api.cli.commands.slots import MOST_SLOTS
from api.slots import schemas
from data.files.clinic_file import read_clinic_file
from tests.support.clinics import PROVIDER, booking, coming_monday, order, small_clinic
from tests.support.commands import beside, run
from tests.support.service import SLOTWRIGHT, servers_of, service, started, wait_until_gone
from tests.support.strategies import MONDAY, uid

NOW = "2027-02-01T08:00"


def run_alone(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SLOTWRIGHT, *arguments],
        env=os.environ | environment,
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
    script = "import sys; from api.cli import main; print('ortools' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert loaded.stdout.strip() == b"False"
    assert "demo" in run_alone("--help").stdout


DECLARED = tomllib.loads(Path("pyproject.toml").read_text())["project"]["scripts"]["slotwright"]


INTERRUPTED_AT = """
import signal, sys
from importlib import import_module
module, _, function = sys.argv.pop(1).partition(":")
class Finder:
    def find_spec(self, name, path, target=None):
        if name == awaited:
            signal.raise_signal(signal.SIGINT)
awaited = sys.argv.pop(1)
sys.meta_path.insert(0, Finder())
getattr(import_module(module), function)()
"""
"""Begins as the command's script does, and is interrupted when a module is to be imported."""


@pytest.mark.parametrize(
    ("imported", "arguments"),
    [
        ("api.cli.main", ["--help"]),
        ("typer", ["--version"]),
        ("api.cli.commands.slots", ["slots"]),
        ("numpy._core.multiarray", ["slots"]),
        ("sqlalchemy", ["check"]),
        ("numpy._core.multiarray", ["check"]),
        ("pandas._libs.lib", ["check"]),
        ("pydantic", ["keys", "create", "--role", "admin"]),
        ("api.server.reuse_port", ["serve", "--port", "0"]),
        ("uvicorn", ["serve", "--port", "0"]),
        ("fastapi", ["demo", "--port", "0"]),
        ("api.cli.commands.what_if", ["what-if"]),
        ("ortools.sat.python.cp_model", ["what-if"]),
        ("solver.whatif.solve", ["what-if"]),
    ],
)
def test_ctrl_c_during_an_import_is_one_line(
    tmp_path: Path, clinic_file: Path, imported: str, arguments: list[str]
) -> None:
    of_files = {
        "slots": ["--clinic", str(clinic_file), "--date", "2027-03-01", "--type", "Visit"],
        "check": [str(clinic_file)],
        "what-if": [str(clinic_file), "--clinic", str(clinic_file)],
    }
    given = [*arguments, *of_files.get(arguments[0], [])]
    if arguments[0] == "slots":
        given += ["--now", NOW]
    shown = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT, DECLARED, imported, *given],
        env=os.environ | {"SLOTWRIGHT_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (130, "slotwright: interrupted\n")


@pytest.mark.parametrize("work", ["keys", "patients", "schema"])
def test_what_never_plans_comes_without_the_solver(work: str) -> None:
    script = (
        f"import sys; import api.cli.commands.{work}\n"
        "print({'ortools', 'pandas', 'fastapi', 'api.bookings.schemas'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert loaded.stdout.strip() == b"set()"


def test_slots_as_json(clinic_file: Path) -> None:
    body = json.loads(slots(clinic_file, "--json", "--limit", "2").stdout)
    assert body["total"] == 8
    assert [s["start_time"] for s in body["slots"]] == ["09:00", "10:00"]
    assert body["slots"][0]["start"] == "2027-03-01T09:00:00+01:00"
    again = slots(clinic_file, "--json", "--limit", "2", "--type", small_clinic_type())
    assert json.loads(again.stdout) == body


def test_slots_as_if_a_booking_were_not_there(clinic_file: Path) -> None:
    body = json.loads(slots(clinic_file, "--json", "--without", uid(5, 0)).stdout)
    assert body["total"] == 11


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
        (["--without", "P-1"], "--without"),
        (["--without", uid(5, 9)], "--without"),
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
    assert fine.exit_code == 0
    assert fine.stdout == f"1 booking read from {clinic_file}; no rule is broken.\n"
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


@pytest.mark.parametrize("width", [60, 80, 140])
def test_check_tells_of_a_booking_what_the_desk_knows_it_by(tmp_path: Path, width: int) -> None:
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(small_clinic(bookings=[booking(0, MONDAY, "08:00")])))
    told = run("check", str(path), COLUMNS=str(width))
    assert told.exit_code == 1
    assert "1 booking breaks a rule" in told.stdout
    assert "2027-03-01 08:00  Visit, patient 0, Dr. Vega, Room 1\n" in told.stdout
    assert f"  booking {uid(5, 0)}\n" in told.stdout
    assert "  rule 2: " in told.stdout


@pytest.mark.parametrize("command", [["check"], ["export", "x.json"], ["keys", "list"]])
def test_who_only_looks_makes_no_database(tmp_path: Path, command: list[str]) -> None:
    looked = run(*command, "--data-dir", str(tmp_path / "data"), DATABASE_URL=None)
    assert looked.exit_code == 2
    assert f"there is no database in {tmp_path / 'data'}" in looked.stderr
    assert looked.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo", "--port", "99999"], "'--port': must be at most 65535"),
        (["serve", "--workers", "many"], "'--workers': must be a whole number"),
        (["keys", "create", "--role", "boss"], "'--role': 'boss' is not one of 'viewer'"),
        (
            ["keys", "create", "--role", "admin", "--name", "a/b"],
            "--name: must have 1 to 100 letters, digits, spaces and signs of . _ @ : + -",
        ),
    ],
)
def test_options_are_refused_in_plain_words(arguments: list[str], told: str) -> None:
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert told in " ".join(refused.stderr.split())


def test_a_window_that_ends_before_it_starts(clinic_file: Path) -> None:
    failed = slots(clinic_file, "--preferred-start", "10:00", "--preferred-end", "09:00")
    assert failed.stderr == "slotwright: --preferred-end: must be later than --preferred-start\n"


def test_the_version() -> None:
    assert run("--version").stdout == f"slotwright {version('slotwright')}\n"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["slots", "--json"], ["slots"]])
def test_a_full_standard_output_is_named(clinic_file: Path, arguments: list[str]) -> None:
    given = ["--clinic", str(clinic_file), "--date", "2027-03-01", "--now", NOW, "--type", "Visit"]
    more = given if arguments[0] == "slots" else []
    with Path("/dev/full").open("wb") as full:
        shown = subprocess.run(
            [*SLOTWRIGHT, *arguments, *more], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert shown.returncode == 2
    assert shown.stderr == b"slotwright: standard output: No space left on device\n"


def test_the_shell_can_be_taught_to_complete() -> None:
    shown = run("--show-completion", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert "No such option" not in shown.stderr


@pytest.mark.parametrize(
    "slip",
    [
        ["--date", "soon"],
        ["--date", "2027-01-30"],
        ["--preferred-end", "9"],
        ["--limit", "5001"],
        ["--now", "0001-01-01T00:00+14:00"],
    ],
)
def test_a_slip_is_told_before_anything_slow_is_imported(
    clinic_file: Path, slip: list[str]
) -> None:
    given = ["--clinic", str(clinic_file), "--date", "2027-03-01", "--type", "Visit", "--now", NOW]
    script = (
        "import sys; from typer.testing import CliRunner; from api.cli.main import app\n"
        f"failed = CliRunner().invoke(app, {['slots', *given, *slip]!r})\n"
        "print(failed.exit_code, failed.stderr.count('\\n'))\n"
        "print({'ortools', 'numpy', 'sqlalchemy', 'pydantic_settings'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert shown.stdout.decode().splitlines() == ["2 1", "set()"]


def test_the_limits_of_the_command_and_of_the_api_are_one() -> None:
    assert MOST_SLOTS == schemas.MAX_LIMIT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLOTWRIGHT_WIEGHTS", "1 0 0 0"),
        ("SLOTWRIGHT_WEIGHTS", "1 1 1 1"),
        ("SLOTWRIGHT_HORIZON_DAYS", "-1"),
        ("SLOTWRIGHT_HUB_URL", "hub.example"),
        ("SLOTWRIGHT_HUB_URL", "ftp://hub.example/"),
        ("SLOTWRIGHT_HUB_DELIVERY", "pigeon"),
        ("SLOTWRIGHT_PUBLIC_URL", "clinic.example"),
        ("SLOTWRIGHT_PUBLIC_URL", "https://clinic.example:bad/"),
        ("DATABASE_URL", "mysql://x"),
        ("DATABASE_URL", "postgresql://u@127.0.0.1:bad/x"),
        ("DATABASE_URL", "postgresql://u@127.0.0.1/x?sslmode=on"),
        ("DATABASE_URL", "postgresql://u@127.0.0.1/x?sslmode=verify-full&sslrootcert=/no/such"),
        ("DATABASE_URL", "postgresql://u@127.0.0.1/x?channel_binding=require"),
        ("REDIS_URL", "redis://127.0.0.1:bad/0"),
    ],
)
def test_settings_are_refused_by_name(clinic_file: Path, name: str, value: str) -> None:
    given = ["--clinic", str(clinic_file), "--date", "2027-03-01", "--now", NOW, "--type", "Visit"]
    failed = run("slots", *given, **{name: value})
    assert failed.exit_code == 2
    assert failed.stderr.startswith(f"slotwright: {name}: ")


@pytest.mark.parametrize("options", ["", "?sslmode=require", "?sslmode=verify-full"])
def test_a_database_that_is_not_there_is_named(options: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        port = closed.getsockname()[1]
        url = f"postgresql://someone:secret@127.0.0.1:{port}/x{options}"
        failed = run("keys", "list", DATABASE_URL=url)
    assert failed.exit_code == 2
    expected = f"slotwright: no PostgreSQL at 127.0.0.1:{port} (DATABASE_URL): "
    assert failed.stderr.startswith(expected)
    assert "secret" not in failed.stderr


# With a database


def _answers_at_all(base: str) -> bool:
    try:
        httpx.get(f"{base}/healthz", timeout=5)
    except httpx.HTTPError:
        return False
    return True


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A place for temporary directories whose path is short, as sockets lie in it."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def test_a_killed_service_leaves_no_server_and_loses_nothing(tmp_path: Path, scratch: Path) -> None:
    monday = coming_monday()
    serve = ("serve", "--data-dir", str(tmp_path))
    with service(*serve, TMPDIR=str(scratch)) as (process, base):
        assert httpx.post(f"{base}/clinic/import", json=small_clinic()).status_code == 200
        booked = httpx.post(f"{base}/bookings", json=order(monday, "09:00")).json()
        assert servers_of(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until_gone(tmp_path)
    left = set(scratch.glob("slotwright-console-*"))
    assert left
    with service(*serve, TMPDIR=str(scratch)) as (process, base):
        assert not left & set(scratch.glob("slotwright-console-*"))
        assert httpx.get(f"{base}/bookings/{booked['id']}").json() == booked
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
        wait_until_gone(tmp_path)


def test_commands_join_the_server_of_a_running_service(tmp_path: Path) -> None:
    path = tmp_path / "clinic.json"
    path.write_text(json.dumps(small_clinic(bookings=[booking(0, MONDAY, "10:30")])))
    directory = ["--data-dir", str(tmp_path / "data")]
    with service("serve", *directory) as (_, base):
        imported = beside("import", str(path), *directory)
        assert imported.exit_code == 0, imported.stderr
        assert imported.stdout == (
            "Imported 1 provider, 1 room, 1 appointment type, 1 availability row, 1 booking.\n"
        )
        assert httpx.get(f"{base}/providers").json()[0]["id"] == PROVIDER
        checked = beside("check", *directory)
        assert checked.exit_code == 0, checked.stderr
        assert checked.stdout == (
            f"1 booking read from the database in {tmp_path / 'data'}; no rule is broken.\n"
        )
        out = tmp_path / "out.json"
        exported = beside("export", str(out), *directory)
        assert exported.stdout.startswith(f"Wrote {out}: 1 provider, "), exported.stderr
        written: dict[str, Any] = json.loads(out.read_text())
        assert written["bookings"][0]["start_time"] == "10:30"
        other = tmp_path / "out.yaml"
        other.write_text("shopping: [milk]\n")
        refused = beside("export", str(other), *directory)
        assert refused.exit_code == 2
        assert "no clinic file" in refused.stderr
        exported = beside("export", str(other), "--force", *directory)
        assert exported.stdout.startswith(f"Replaced {other}: 1 provider, "), exported.stderr
        assert other.read_text().startswith("clinic:\n")
        assert read_clinic_file(other) == read_clinic_file(out)
        nowhere = beside("export", str(tmp_path / "no" / "out.json"), *directory)
        assert nowhere.exit_code == 2
        assert nowhere.stderr.count("\n") == 1
    migrated = beside("migrate", *directory)
    assert migrated.exit_code == 0, migrated.stderr


def test_keys_are_listed_whole_and_revoked_by_what_a_person_has_at_hand(tmp_path: Path) -> None:
    directory = ["--data-dir", str(tmp_path)]
    with service("serve", *directory):
        for role in ("viewer", "scheduler", "manager"):
            assert beside("keys", "create", "--role", role, *directory).exit_code == 0
        known = json.loads(beside("keys", "list", "--json", *directory).stdout)
        assert [key["role"] for key in known] == ["viewer", "scheduler", "manager"]
        assert beside("keys", "revoke", known[0]["name"], *directory).exit_code == 0
        assert beside("keys", "revoke", known[1]["id"][:13].upper(), *directory).exit_code == 0
        several = beside("keys", "revoke", "", *directory)
        assert several.exit_code == 2
        assert "no key has this id or name" in several.stderr
        for width in ("60", "80", "140", None):
            shown = beside("keys", "list", *directory, COLUMNS=width).stdout
            for key in known:
                assert key["id"] in shown
                assert key["name"] in shown
        after = json.loads(beside("keys", "list", "--json", *directory).stdout)
        assert [key["revoked_at"] is None for key in after] == [False, False, True]
        with Path("/dev/full").open("wb") as full:
            unseen = subprocess.run(
                [*SLOTWRIGHT, "keys", "create", "--role", "admin", "--name", "Unseen", *directory],
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert unseen.returncode == 2
        assert "could not be shown, and was revoked" in unseen.stderr.decode()
        [*_, last] = json.loads(beside("keys", "list", "--json", *directory).stdout)
        assert last["name"] == "Unseen"
        assert last["revoked_at"] is not None


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


@pytest.mark.parametrize("command", [["demo"], ["serve"], ["serve", "--workers", "2"]])
def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = run(*command, "--port", str(port), "--data-dir", str(tmp_path / "data"))
    assert refused.exit_code == 3
    assert refused.stdout == ""
    assert refused.stderr.startswith(f"slotwright: port {port} is taken; use --port 0")
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_an_address_of_another_machine_is_told_in_one_line() -> None:
    refused = run("serve", "--host", "192.0.2.1", "--port", "0")
    assert refused.exit_code == 3
    assert refused.stderr.startswith("slotwright: cannot listen on 192.0.2.1:0: ")
    assert refused.stderr.count("\n") == 1


def test_a_first_start_is_told_in_two_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with service("serve", "--data-dir", str(tmp_path / "data"), log=log) as (process, base):
        while f"console at {base}/console" not in log.read_text():  # said just after it serves
            assert process.poll() is None
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    prepared = [event for event in events if "schema" in event]
    assert len(prepared) == 1
    assert re.fullmatch(r"database prepared \(schema \d{4}\)", prepared[0])
    assert not any("upgrade" in event for event in events)


def shown_by(process: subprocess.Popen[bytes], until: bytes) -> list[str]:
    """The lines on standard output up to one that begins so."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.decode().rstrip("\n"))
        if line.startswith(until):
            break
    return lines


def test_the_demo_shows_a_query_and_its_answer(tmp_path: Path) -> None:
    with started("demo", "--data-dir", str(tmp_path)) as (process, base):
        kinds = {row["name"]: row["id"] for row in httpx.get(f"{base}/appointment-types").json()}
        assert len(kinds) == 7
        assert len(httpx.get(f"{base}/providers").json()) == 5
        assert len(httpx.get(f"{base}/rooms").json()) == 9
        assert len(httpx.get(f"{base}/locations").json()) == 2
        (pool,) = httpx.get(f"{base}/equipment-pools").json()
        assert (pool["name"], pool["quantity"]) == ("Mobile ultrasound", 1)
        lines = shown_by(process, b"GET ")
        assert lines[0].startswith("Starting the demo")
        assert lines[1].startswith("Starting PostgreSQL in ")
        assert f"Console on {base}/console" in lines
        answer = httpx.get(lines[-1].removeprefix("GET ")).json()
        assert answer["total"] > 50
        assert httpx.get(f"{base}/bookings", params={"date": answer["date"]}).json()
        problems = httpx.get(f"{base}/clinic/export").json()
        assert problems["bookings"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    "moment",
    [
        "2027-03-27 23:30:00",  # a Saturday, an hour before the night of the clock change
        "2028-02-29 10:00:00",
        "2027-12-31 23:30:00",  # New Year in Berlin
    ],
)
def test_the_commands_that_the_demo_prints_work_on_any_date(tmp_path: Path, moment: str) -> None:
    environment = {
        "LD_PRELOAD": str(
            Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
        ),
        "FAKETIME": f"@{moment}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": "UTC",
    }
    with started("demo", "--data-dir", str(tmp_path), **environment) as (process, _):
        shown_by(process, b"Ask for the best one:")
        assert process.stdout is not None
        ask = process.stdout.readline().decode()
        shown_by(process, b"Book it:")
        book = process.stdout.readline().decode()
        asked, booked = (
            json.loads(
                subprocess.run(
                    [*shlex.split(line), "--silent"], capture_output=True, check=True
                ).stdout
            )
            for line in (ask, book)
        )
    best = asked["slots"][0]
    assert booked["status"] == "booked"
    for field in ("provider_id", "room_id", "date", "start_time"):
        assert booked[field] == best[field]
    assert dt.date.fromisoformat(best["date"]) > dt.date.fromisoformat(moment[:10])
