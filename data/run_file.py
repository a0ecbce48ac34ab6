"""The run file: a what-if in one document, its reading with every fault named, its JSON Schema."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from uuid import NAMESPACE_URL, uuid5

import orjson
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from data.clinic_file import (
    BOOKING_EXTRAS,
    AppointmentTypeRow,
    BookingDate,
    BookingRow,
    ClinicRow,
    Date,
    EndTime,
    Fault,
    Id,
    InvalidFileError,
    Name,
    OverbookingRuleRow,
    PatientRef,
    ProviderRow,
    RoomRow,
    StartTime,
    Strict,
    Weekday,
    is_yaml,
    parse_document,
    validate,
)
from data.wording import worded
from solver.clinic.clock import HORIZON_DAYS
from solver.clinic.entities import (
    DAY_MINUTES,
    Clinic,
    InvalidClinicError,
    OverbookingRule,
    Provider,
    Room,
)
from solver.planning.problem import MAX_DAYS, MAX_PRIORITY, MAX_REQUESTS, Request
from solver.whatif.apply import RunDateError, faults
from solver.whatif.changes import (
    MAX_FACTOR,
    AddOverbookingRule,
    AddProvider,
    AddRoom,
    Change,
    CloseRoom,
    Entity,
    OpenHours,
    ProviderOut,
    Remove,
    ScaleDemand,
    SetField,
)
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
Number = StrictInt | StrictFloat


class RequestRow(Strict):
    """A wish for one appointment, or for `count` alike."""

    id: RequestId
    appointment_type_id: Id
    priority: Annotated[StrictInt, Field(ge=1, le=MAX_PRIORITY, description="9 is highest")] = 1
    count: Annotated[StrictInt, Field(ge=1, le=MAX_REQUESTS)] = 1
    dates: Annotated[list[Date], Field(min_length=1)] | None = None
    provider_id: Id | None = None
    preferred_start: StartTime | None = None
    preferred_end: EndTime | None = None
    patient_ref: PatientRef | None = None

    @model_validator(mode="after")
    def _is_valid(self) -> Self:
        with _named_by_field():
            self.to_solver()
        return self

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


class _named_by_field:  # noqa: N801 - a context manager reads as a phrase
    """Tell what the solver's types refuse as a validation error at their field."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, InvalidClinicError):
            raise PydanticCustomError(
                "row", "{message}", {"message": error.message, "field": error.field}
            ) from None


# The changes


class _Change(Strict):
    """A change whose own grammar the solver's type of the same change checks."""

    @model_validator(mode="after")
    def _is_valid(self) -> Self:
        with _named_by_field():
            self.to_change()
        return self

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        raise NotImplementedError


class _Hours(_Change):
    """Some hours of a date; an end that is left out is that end of the day."""

    date: Date
    start_time: StartTime | None = None
    end_time: EndTime | None = None

    @model_validator(mode="after")
    def _has_minutes(self) -> Self:
        if self.hours[0] >= self.hours[1]:
            raise PydanticCustomError(
                "hours", "must be later than start_time", {"field": "end_time"}
            )
        return self

    @property
    def hours(self) -> tuple[int, int]:
        """The minutes it covers."""
        return (
            0 if self.start_time is None else self.start_time,
            DAY_MINUTES if self.end_time is None else self.end_time,
        )


class ProviderOutChange(_Hours):
    """A provider is away."""

    op: Literal["provider_out"]
    provider_id: Id

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return ProviderOut(self.provider_id, self.date, *self.hours)


class CloseRoomChange(_Hours):
    """A room is closed."""

    op: Literal["close_room"]
    room_id: Id

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return CloseRoom(self.room_id, self.date, *self.hours)


class OpenHoursChange(_Change):
    """A provider or a room is open longer, on a date or on a weekday."""

    op: Literal["open_hours"]
    provider_id: Id | None = None
    room_id: Id | None = None
    date: Date | None = None
    weekday: Weekday | None = None
    start_time: StartTime
    end_time: EndTime

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return OpenHours(
            self.start_time, self.end_time, self.provider_id, self.room_id, self.date, self.weekday
        )


def _id_is_optional(schema: dict[str, Any]) -> None:
    schema["required"].remove("id")


_ADDED = ConfigDict(json_schema_extra=_id_is_optional)


class AddProviderChange(ProviderRow):
    """One more provider: a row of the clinic file."""

    model_config = _ADDED
    op: Literal["add_provider"]

    def to_solver(self) -> Provider:
        """Return the row as the solver has it."""
        return ProviderRow.model_validate(self.model_dump(exclude={"op"})).to_solver()

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return AddProvider(self.to_solver())


class AddRoomChange(RoomRow):
    """One more room: a row of the clinic file."""

    model_config = _ADDED
    op: Literal["add_room"]

    def to_solver(self) -> Room:
        """Return the row as the solver has it."""
        return RoomRow.model_validate(self.model_dump(exclude={"op"})).to_solver()

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return AddRoom(self.to_solver())


class AddOverbookingRuleChange(OverbookingRuleRow):
    """One more overbooking rule: a row of the clinic file."""

    model_config = _ADDED
    op: Literal["add_overbooking_rule"]

    def to_solver(self) -> OverbookingRule:
        """Return the row as the solver has it."""
        return OverbookingRuleRow.model_validate(self.model_dump(exclude={"op"})).to_solver()

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return AddOverbookingRule(self.to_solver())


_ROWS: dict[Entity, type[Strict]] = {
    "clinic": ClinicRow,
    "providers": ProviderRow,
    "rooms": RoomRow,
    "appointment_types": AppointmentTypeRow,
    "overbooking_rules": OverbookingRuleRow,
    "bookings": BookingRow,
}
_MINUTES = {"start_time": "start", "end_time": "end"}


def _entity(value: object) -> object:
    """Read an entity's name, in the singular or the plural."""
    if isinstance(value, str):
        name = value.replace("-", "_")
        if name == "availability":
            raise PydanticCustomError(
                "entity", "has no ids; use open_hours, provider_out or close_room"
            )
        return next((known for known in _ROWS if name in (known, known.removesuffix("s"))), name)
    return value


EntityName = Annotated[
    Entity,
    BeforeValidator(_entity),
    WithJsonSchema({"enum": [*_ROWS, *(name.removesuffix("s") for name in [*_ROWS][1:])]}),
]


class SetChange(_Change):
    """One field of one row has another value."""

    op: Literal["set"]
    entity: EntityName
    id: Id | None = None
    field: str
    value: Any

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        if (self.id is None) != (self.entity == "clinic"):
            raise InvalidClinicError("id", "every entity but the clinic has one")
        row = _ROWS[self.entity]
        names = [
            name
            for name in row.model_fields
            if name != "id" and not (row is BookingRow and name in BOOKING_EXTRAS)
        ]
        if self.field not in names:
            raise InvalidClinicError("field", f"must be one of {', '.join(names)}")
        known = row.model_fields[self.field]
        of_field: Any = Annotated[known.annotation, known]
        try:
            value = TypeAdapter(of_field).validate_python(self.value)
        except ValidationError as error:
            raise InvalidClinicError("value", worded(error.errors()[0])) from None
        if isinstance(value, list):
            value = frozenset(value)
        return SetField(self.entity, self.id, _MINUTES.get(self.field, self.field), value)


class RemoveChange(_Change):
    """A row is gone."""

    op: Literal["remove"]
    entity: EntityName
    id: Id

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return Remove(self.entity, self.id)


class ScaleDemandChange(_Change):
    """More requests, or fewer."""

    op: Literal["scale_demand"]
    factor: Annotated[Number, Field(ge=0, le=MAX_FACTOR, allow_inf_nan=False)]
    appointment_type_id: Id | None = None

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return ScaleDemand(Fraction(Decimal(str(self.factor))), self.appointment_type_id)


type AnyChange = Annotated[
    ProviderOutChange
    | CloseRoomChange
    | OpenHoursChange
    | AddProviderChange
    | AddRoomChange
    | AddOverbookingRuleChange
    | SetChange
    | RemoveChange
    | ScaleDemandChange,
    Field(discriminator="op"),
]
_ADDITIONS = {
    "add_provider": "provider",
    "add_room": "room",
    "add_overbooking_rule": "overbooking_rule",
}
_OPS = frozenset(
    {"provider_out", "close_room", "open_hours", "set", "remove", "scale_demand", *_ADDITIONS}
)


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
    if file is None:
        raise InvalidRunFileError(found)
    found += _own_faults(file)
    if found:
        raise InvalidRunFileError(found)
    run = file.to_run()
    unfit = faults(clinic, run, now, horizon_days)
    if not unfit:
        return run
    is_about_dates = all(isinstance(error, RunDateError) for error in unfit)
    refusal = InvalidRunDatesError if is_about_dates else InvalidRunFileError
    raise refusal([Fault(error.field, error.message) for error in unfit])


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the run file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **RunFile.model_json_schema(),
    }


def _own_faults(file: RunFile) -> Iterator[Fault]:
    """Tell what is wrong between the rows of a run."""
    if file.scenarios[0].changes:
        yield Fault("scenarios[0].changes", "the first scenario is the baseline, without changes")
    for path, field, rows in (
        ("requests", "id", [row.id for row in file.requests]),
        ("scenarios", "name", [row.name for row in file.scenarios]),
    ):
        seen = set()
        for position, key in enumerate(rows):
            if key in seen:
                yield Fault(f"{path}[{position}].{field}", f"{key} stands twice in {path}")
            seen.add(key)
    if (count := sum(row.count for row in file.requests)) > MAX_REQUESTS:
        yield Fault("requests", f"are {count} in all; at most {MAX_REQUESTS} are taken")
