"""The run file: a what-if in one document, its reading with every fault named, its JSON Schema."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import orjson
from pydantic import AfterValidator, Field, StrictBool, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from data.files.changes import _ADDITIONS, _OPS, AnyChange, Number, entity_called
from data.files.clinic_references import REFERRING, TARGETS, references_of, rows_of
from data.files.documents import is_yaml, parse_document
from data.files.faults import Fault, InvalidFileError, validate
from data.files.fields import (
    BookingDate,
    Date,
    EndTime,
    Id,
    Name,
    PatientRef,
    SolverRow,
    StartTime,
    Strict,
    is_id,
)
from solver.clinic.clinic import Clinic
from solver.clinic.clock import HORIZON_DAYS
from solver.clinic.entities import DAY_MINUTES
from solver.clinic.grammar.sentences import RowFault
from solver.clinic.sessions.session import SessionsRead
from solver.planning.problem import MAX_DAYS, MAX_PRIORITY, MAX_REQUESTS, Request
from solver.whatif.apply import RunDateError
from solver.whatif.apply import faults as faults_of_run
from solver.whatif.run import (
    MAX_SCENARIOS,
    MAX_TIME_LIMIT_SECONDS,
    Demand,
    Existing,
    Run,
    Scenario,
    Stranded,
)

SCHEMA_ID = "https://slotwright.dev/schema/run.json"


class InvalidRunFileError(InvalidFileError):
    """A run file that cannot be taken."""

    kind = "run file"


class InvalidRunDatesError(InvalidRunFileError):
    """A run file in which nothing is wrong but its dates, which cannot be booked."""

    code = "DATE_OUT_OF_RANGE"


def _request_id(value: str) -> str:
    stem, mark, number = value.rpartition("#")
    if mark and number.isdecimal():
        raise PydanticCustomError(
            "id", "must not end in # and a number; {stem}#1 is what a count makes", {"stem": stem}
        )
    return value


RequestId = Annotated[Name, AfterValidator(_request_id)]


def _window_has_minutes(row: Any) -> Iterator[RowFault]:
    start = 0 if row.preferred_start is None else row.preferred_start
    end = DAY_MINUTES if row.preferred_end is None else row.preferred_end
    if start >= end:
        yield RowFault("preferred_end", "must be later than preferred_start")


class RequestRow(SolverRow):
    """A wish for one appointment, or for `count` alike."""

    grammar = (_window_has_minutes,)

    id: RequestId
    appointment_type_id: Id
    priority: Annotated[StrictInt, Field(ge=1, le=MAX_PRIORITY, description="9 is highest")] = 1
    count: Annotated[StrictInt, Field(ge=1, le=MAX_REQUESTS)] = 1
    dates: Annotated[list[Date], Field(min_length=1)] | None = None
    provider_id: Id | None = None
    preferred_start: StartTime | None = None
    preferred_end: EndTime | None = None
    patient_ref: PatientRef | None = None

    def to_solver(self) -> Demand:
        """Return the row as the solver has it; a window with one end is open at the other."""
        start, end = self.preferred_start, self.preferred_end
        request = Request(
            self.id,
            self.appointment_type_id,
            self.priority,
            dates=None if self.dates is None else frozenset(self.dates),
            provider_id=self.provider_id,
            preferred=(
                None
                if start is None and end is None
                else (0 if start is None else start, DAY_MINUTES if end is None else end)
            ),
            patient_ref=self.patient_ref,
        )
        return Demand.of(request, self.count)


# The document


class ScenarioRow(Strict):
    """The clinic with changes."""

    name: Name
    changes: list[AnyChange] = Field(default=[], max_length=1000)

    @model_validator(mode="before")
    @classmethod
    def _name_added_rows(cls, value: Any) -> Any:
        """Lift an added row out of a field of its own; give it an id from its content.

        The same content added again in the scenario gets another id.
        """
        if not isinstance(value, dict) or not isinstance(value.get("changes"), list):
            return value
        seen: Counter[str] = Counter()
        changes = []
        for change in value["changes"]:
            operation = change.get("op") if isinstance(change, dict) else None
            if not isinstance(operation, str) or operation not in _ADDITIONS:
                changes.append(change)
                continue
            row = dict(change)
            nested = row.pop(_ADDITIONS[operation], None)
            row = row | nested if isinstance(nested, dict) else dict(change)
            if row.get("id") is None:
                content = orjson.dumps(row, option=orjson.OPT_SORT_KEYS, default=str).decode()
                seen[content] += 1
                row["id"] = str(uuid5(NAMESPACE_URL, f"added:{seen[content]}:{content}"))
            changes.append(row)
        return {**value, "changes": changes}

    def to_solver(self) -> Scenario:
        """Return the scenario as the solver has it."""
        return Scenario(self.name, tuple(change.to_change() for change in self.changes))


class RunFile(Strict):
    """A whole what-if in one document."""

    name: Name
    start_date: BookingDate
    days: Annotated[StrictInt, Field(ge=1, le=MAX_DAYS)]
    existing: Existing = "fixed"
    stranded: Annotated[
        Stranded,
        Field(
            description="Where bookings may move: whether those that are outside the rules before "
            "any change are to be saved, too."
        ),
    ] = "save"
    requests: list[RequestRow] = Field(default=[])
    scenarios: list[ScenarioRow] = Field(
        default=[ScenarioRow(name="baseline")],
        min_length=1,
        max_length=MAX_SCENARIOS,
        description="The first changes nothing.",
    )
    time_limit_seconds: Annotated[
        Number,
        Field(
            ge=1,
            le=MAX_TIME_LIMIT_SECONDS,
            allow_inf_nan=False,
            description="For all scenarios together.",
        ),
    ] = 30
    seed: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] = 0
    allow_overbooking: StrictBool = True
    sessions: Annotated[
        SessionsRead,
        Field(
            description="How sessions are read: as they are now; as though all were released, when "
            "only their most bookings count; or not at all."
        ),
    ] = "now"

    def to_run(self) -> Run:
        """Return the run as the solver has it."""
        return Run(
            self.name,
            self.start_date,
            self.days,
            tuple(row.to_solver() for row in self.requests),
            self.existing,
            self.stranded,
            tuple(row.to_solver() for row in self.scenarios),
            self.time_limit_seconds,
            self.seed,
            self.allow_overbooking,
            self.sessions,
        )


# Reading


def read_run_file(
    path: Path, clinic: Clinic, now: dt.datetime, horizon_days: int = HORIZON_DAYS
) -> Run:
    """Read a run file, JSON or YAML by its name, that asks something of `clinic`.

    `horizon_days` is how far ahead of today its last date may lie.

    Raises
    ------
    InvalidRunFileError
        With every fault found.
    OSError
        When the file cannot be read.
    """
    return parse_run_file(path.read_bytes(), clinic, now, horizon_days, is_yaml=is_yaml(path))


def parse_run_file(
    document: bytes,
    clinic: Clinic,
    now: dt.datetime,
    horizon_days: int = HORIZON_DAYS,
    *,
    is_yaml: bool = False,
) -> Run:
    """Read a document, JSON or YAML.

    Raises
    ------
    InvalidRunFileError
        With every fault found.
    """
    return parse_run(parse_run_document(document, is_yaml=is_yaml), clinic, now, horizon_days)


def parse_run_document(document: bytes, *, is_yaml: bool) -> Any:
    """Read JSON or YAML into what JSON can say, without looking at what it says.

    Raises
    ------
    InvalidRunFileError
        When it is neither.
    """
    value = parse_document(document, is_yaml=is_yaml, error=InvalidRunFileError)
    if not is_yaml:
        return value
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError as problem:  # nested too deep, or a key or value that JSON does not have
        raise InvalidRunFileError(
            [Fault("document", f"not what JSON can say: {problem}")]
        ) from None


def horizon_of(value: Any, today: dt.date) -> tuple[dt.date, dt.date]:
    """Return the first and last date that a document speaks of; `today` where it makes no sense."""
    try:
        start = dt.date.fromisoformat(value["start_date"])
        return start, start + dt.timedelta(days=min(max(value["days"], 1), MAX_DAYS) - 1)
    except (TypeError, KeyError, ValueError, OverflowError):
        return today, today


def run_of(value: object) -> Run:
    """Return the run of a document that has been parsed before."""
    return RunFile.model_validate(value).to_run()


def parse_run(
    value: object, clinic: Clinic, now: dt.datetime, horizon_days: int = HORIZON_DAYS
) -> Run:
    """Read a run from a parsed document.

    Raises
    ------
    InvalidRunDatesError
        When it lies in the past, or reaches further ahead than `horizon_days`, and is sound
        otherwise.
    InvalidRunFileError
        With every fault found, also those that only show when the changes are applied to `clinic`.
    """
    file, found = validate(RunFile, value, _OPS)
    between = [*_faults_between_rows(value, clinic)]
    if file is None:
        between += _faults_of_changes(value, clinic)
    faults = {fault.path: fault for fault in (*found, *between)}
    if file is not None and not file.scenarios[0].changes:
        run = file.to_run()
        unfit = faults_of_run(clinic, run, now, horizon_days)
        if not unfit and not faults:
            return run
        for error in unfit:
            faults.setdefault(error.field, Fault(error.field, error.message))
        if len(faults) == sum(isinstance(error, RunDateError) for error in unfit):
            raise InvalidRunDatesError(list(faults.values()))
    raise InvalidRunFileError(list(faults.values()))


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the run file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **RunFile.model_json_schema(),
    }


def _faults_between_rows(document: Any, clinic: Clinic) -> Iterator[Fault]:
    """Tell what is wrong between the rows of a run, whatever else may be wrong with them.

    That is changes of the baseline, names that stand twice, too many requests, and requests for
    what the clinic does not have.
    """
    scenarios, requests = ([*rows_of(document, name)] for name in ("scenarios", "requests"))
    for position, row in scenarios:
        if position == 0 and row.get("changes"):
            fault = "the first scenario is the baseline, without changes"
            yield Fault("scenarios[0].changes", fault)
    for path, field, rows in (("requests", "id", requests), ("scenarios", "name", scenarios)):
        seen = set()
        for position, row in rows:
            key = row.get(field)
            if isinstance(key, str):
                if key in seen:
                    yield Fault(f"{path}[{position}].{field}", f"{key} stands twice in {path}")
                seen.add(key)
    for position, row in requests:
        for field, there, name in (
            ("appointment_type_id", clinic.type_by_id, "appointment_types"),
            ("provider_id", clinic.provider_by_id, "providers"),
        ):
            key = row.get(field)
            if is_id(key) and key.lower() not in there:
                yield Fault(f"requests[{position}].{field}", f"there is no {key} in {name}")
    counts = [row.get("count", 1) for _, row in requests]
    count = sum(each for each in counts if type(each) is int and each > 0)
    if count > MAX_REQUESTS:
        yield Fault("requests", f"are {count} in all; at most {MAX_REQUESTS} are taken")


def _faults_of_changes(document: Any, clinic: Clinic) -> Iterator[Fault]:
    """Tell ids in the changes of scenarios that nothing has, in a run that cannot be made.

    What is added in a scenario may be named anywhere in it.
    """
    targets = (*TARGETS, *REFERRING, "bookings")
    present = {name: {row.id for row in getattr(clinic, name)} for name in targets}
    for number, scenario in rows_of(document, "scenarios"):
        changes = [
            (position, row | row[nested] if isinstance(row.get(nested), dict) else row)
            for position, row in rows_of(scenario, "changes")
            for nested in (_ADDITIONS.get(str(row.get("op")), ""),)
        ]
        added = {
            row["id"].lower()
            for _, row in changes
            if str(row.get("op")) in _ADDITIONS and is_id(row.get("id"))
        }
        for position, row in changes:
            named = [*references_of(row)]
            if row.get("op") in ("set", "remove"):
                entity, own = row.get("entity"), row.get("id")
                if isinstance(entity, str) and (name := entity_called(entity)) in present:
                    named.append(("id", str(own), name))
            for field, key, target in named:
                if is_id(key) and key.lower() not in present[target] | added:
                    path = f"scenarios[{number}].changes[{position}].{field}"
                    yield Fault(path, f"there is no {key} in {target}")
