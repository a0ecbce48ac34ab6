"""The ``slotwright`` command. Commands import what they need when they run: help comes at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperGroup


class _Commands(TyperGroup):
    """Commands whose options are refused in our own words."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is asked for."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from data.files.wording import plain

            error.message = plain(error.message)
            raise


app = typer.Typer(
    cls=_Commands,
    name="slotwright",
    help="The scheduling engine for clinics: every bookable slot, exact, scored and explained.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


LOOPBACK = "127.0.0.1"


BENCH_REPORT = Path("benchmark-report")
"""Where ``bench`` writes unless told, and the console looks for the last report."""


Port = Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one.")]


DataDir = Annotated[
    Path | None, typer.Option(help="Where the embedded database lies.", file_okay=False)
]


ClinicOption = Annotated[
    Path, typer.Option("--clinic", help="A clinic file, JSON or YAML.", metavar="FILE")
]


NowOption = Annotated[
    str | None, typer.Option(help="The moment to answer for, as 2027-03-01T08:00.")
]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"slotwright {version('slotwright')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one line that says what is wrong and what to do."""
    typer.echo(f"slotwright: {message}", err=True)
    raise typer.Exit(code)


@app.command()
def demo(port: Port = 8000, data_dir: DataDir = None) -> None:
    """Start a demo clinic on an embedded database and print one slot query."""

    def command() -> int:
        from api.server.reuse_port import bound_socket

        with bound_socket(LOOPBACK, port) as bound:
            typer.echo("Starting the demo; the first time takes some seconds more …")
            from api.cli.commands import demo as commands_demo

            return commands_demo.demo(bound, data_dir)

    _run(command)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8000,
    data_dir: DataDir = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Service processes.")] = 1,
) -> None:
    """Run the service, on DATABASE_URL or an embedded database."""

    def command() -> int:
        from api.server.reuse_port import bound_socket

        with bound_socket(host, port, is_shared=workers > 1) as bound:
            from api.server.run import serve as begin

            return begin(bound, host, data_dir, workers)

    _run(command)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A clinic file, JSON or YAML.")],
    replace: Annotated[bool, typer.Option(help="Also remove what the file lacks.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Bring a clinic file into the database, all of it or nothing."""
    from api.cli.commands import clinic

    _run(lambda: clinic.import_file(file, replace, data_dir))


@app.command()
def export(
    file: Annotated[
        Path, typer.Argument(help="Where to write: .json, .yaml or .yml; - is standard output.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Also over what is no clinic file.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Write the clinic in the database to a clinic file, as YAML where its name says so."""
    from api.cli.commands import clinic

    _run(lambda: clinic.export_file(file, data_dir, force=force))


@app.command()
def slots(
    clinic: ClinicOption,
    date: Annotated[str, typer.Option(help="YYYY-MM-DD")],
    kind: Annotated[str, typer.Option("--type", help="An appointment type's name or id.")],
    provider: Annotated[
        list[str] | None, typer.Option(help="A provider's name or id; repeatable.")
    ] = None,
    location: Annotated[
        list[str] | None, typer.Option(help="A place's name or id; repeatable.")
    ] = None,
    preferred_start: Annotated[str | None, typer.Option(help="HH:MM")] = None,
    preferred_end: Annotated[str | None, typer.Option(help="HH:MM")] = None,
    rooms: Annotated[
        Literal["best", "all"], typer.Option(help="The best room of each start, or all.")
    ] = "best",
    limit: Annotated[int, typer.Option(help="1 to 5000")] = 50,
    without: Annotated[
        str | None, typer.Option(help="A booking's id; as if it were not there.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="What can be booked then, a moment like --now.")
    ] = None,
    now: NowOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The body of GET /slots.")] = False,
) -> None:
    """Find the slots of a date in a clinic file; no database."""
    from api.cli.commands import slots as command

    fields = {
        "date": date,
        "provider": provider or [],
        "location": location or [],
        "preferred_start": preferred_start,
        "preferred_end": preferred_end,
        "rooms": rooms,
        "limit": limit,
        "without": without,
        "as_of": as_of,
    }
    _run(lambda: command.slots(clinic, kind, fields, now, as_json=as_json))


@app.command("what-if")
def what_if(
    run: Annotated[Path, typer.Argument(help="A run file, JSON or YAML.")],
    clinic: ClinicOption,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the result as JSON; - is standard output. "
            "Without it, a table is printed."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where to write the report, one HTML page.")
    ] = None,
    now: NowOption = None,
) -> None:
    """Plan many requests at once, in several scenarios; no database. Ctrl-C keeps the best."""

    def command() -> int:
        from api.cli.arguments import require_writable

        require_writable("--out", out)
        require_writable("--report", report)
        from api.cli.commands import what_if

        return what_if.what_if(run, clinic, out, report, now)

    _run(command)


@app.command()
def bench(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            help="slots, http, booking, plan, scale, memory: all if none; "
            "console, large-plans, table, table-million, processes, fleet, hospital: "
            "only where named."
        ),
    ] = None,
    report: Annotated[
        Path, typer.Option(help="The directory of the report.", file_okay=False)
    ] = BENCH_REPORT,
    quick: Annotated[bool, typer.Option(help="Under a minute; wide intervals.")] = False,
    compare: Annotated[
        Path | None,
        typer.Option(help="An older benchmarks.json; exit 1 if anything became worse."),
    ] = None,
) -> None:
    """Measure this machine and this version; write an HTML page, JSON and a summary."""

    def command() -> int:
        from importlib.metadata import entry_points

        (measure,) = entry_points(group="slotwright.commands", name="bench")
        ended: int = measure.load()(suites or [], report, compare, quick=quick)
        return ended

    _run(command)


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="A clinic file; without one, the database.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List every rule that a booking breaks; exit 1 if any does. Makes no database."""
    from api.cli.commands import clinic

    _run(lambda: clinic.check(file, data_dir, as_json=as_json))


@app.command()
def migrate(
    make_roles: Annotated[
        bool,
        typer.Option(
            "--make-roles",
            help="First make the roles slotwright_owner, which the tables go to, and "
            "slotwright_service, for the service's DATABASE_URL.",
        ),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Bring the database's schema to the newest version."""
    from api.cli.commands import schema

    _run(lambda: schema.migrate_database(data_dir, make_roles=make_roles))


patients_app = typer.Typer(
    no_args_is_help=True, help="Hand out, or erase, what is stored of one patient."
)


app.add_typer(patients_app, name="patients")


Reference = Annotated[
    str,
    typer.Argument(metavar="REF", help="The patient's reference, in any way of writing it."),
]


@patients_app.command("export")
def export_patient(reference: Reference, data_dir: DataDir = None) -> None:
    """Print all that is stored of a patient, as JSON."""
    from api.cli.commands import patients

    _run(lambda: patients.export_patient(reference, data_dir))


@patients_app.command("erase")
def erase_patient(
    reference: Reference,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Replace a patient by a pseudonym wherever it is stored, and remove the notes.

    It cannot be taken back. A patient who still has an appointment is refused.
    """
    from api.cli.commands import patients

    if not yes:
        typer.confirm(f"Erase all that names {reference}? It cannot be taken back", abort=True)
    _run(lambda: patients.erase_patient(reference, data_dir))


keys_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


app.add_typer(keys_app, name="keys")


@keys_app.command("create")
def create_key(
    role: Annotated[
        Literal["viewer", "scheduler", "manager", "admin"],
        typer.Option(help="What its bearer may do; each role may do what those before it may."),
    ],
    name: Annotated[
        str | None, typer.Option(help="What the audit log is to call its bearer.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make an API key and print it, this once."""
    from api.cli.commands import keys

    _run(lambda: keys.create_key(role, name, data_dir))


@keys_app.command("list")
def list_keys(
    data_dir: DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List every key ever made; not the keys themselves."""
    from api.cli.commands import keys

    _run(lambda: keys.list_keys(data_dir, as_json=as_json))


@keys_app.command("revoke")
def revoke_key(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="Its id, the beginning of the id, or its name: slotwright keys list.",
        ),
    ],
    data_dir: DataDir = None,
) -> None:
    """Make a key worthless."""
    from api.cli.commands import keys

    _run(lambda: keys.revoke_key(key, data_dir))


def _run(command: Callable[[], int]) -> None:
    """Run a command; what a person can mend ends as one line and exit code 2 or 3."""
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        from api.service.interrupt import INTERRUPTED

        fail("interrupted", INTERRUPTED)
    except Exception as error:
        from api.service.error_messages import exit_code_of, explain

        told = explain(error)
        if told is None:
            raise
        fail(told, exit_code_of(error))
    if code:
        raise typer.Exit(code)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except OSError as error:  # of what is printed beside a command: its help, the version
        from api.service.error_messages import exit_code_of, explain

        typer.echo(f"slotwright: {explain(error)}", err=True)
        sys.exit(exit_code_of(error))
