"""The fields that clinic file, run file and requests share, and how each is read."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, Self, TypeGuard
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    StrictInt,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from solver.clinic.clock import format_time, parse_time
from solver.clinic.entities import DAY_MINUTES, MAX_BUFFER_MINUTES, MAX_TAGS
from solver.clinic.grammar.recurrence import MAX_EVERY_WEEKS
from solver.clinic.grammar.sentences import (
    InvalidClinicError,
    KnownFields,
    RowFault,
    Sentence,
    faults_between,
)
from solver.clinic.patients import patient_key
from solver.rules.codes import OVERRIDABLE, PHYSICAL, POLICY, in_order

MAX_CAP = 100_000


MAX_VALUES = 10_000_000
"""In one document, each alias of YAML counted as what it stands for."""


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


# The values fields hold


def _minute(value: object) -> int:
    if not isinstance(value, str):
        raise PydanticCustomError("time", "write a time as HH:MM in quotes, as in '09:30'")
    try:
        return parse_time(value)
    except ValueError:  # its message holds the text, which may hold anything
        raise PydanticCustomError("time", "is no time of day; write HH:MM, as in 09:30") from None


def _start_minute(value: object) -> int:
    minute = _minute(value)
    if minute == DAY_MINUTES:
        raise PydanticCustomError("time", "24:00 can only end a span")
    return minute


def _date(value: object) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value  # YAML reads dates itself
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError("date", "write a date as YYYY-MM-DD, as in 2027-03-01")


def _id(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if is_id(value):
        return value.lower()
    raise PydanticCustomError(
        "uuid", "write an id as a UUID, as in 6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
    )


def is_id(value: object) -> TypeGuard[str]:
    """Whether a value is an id as documents and requests write it."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _names_one(patient_ref: str) -> str:
    if not patient_key(patient_ref):
        raise PydanticCustomError("blank", "must not be blank; leave it out, or write who it is")
    return patient_ref


def _seen(name: str) -> str:
    if not patient_key(name):  # which leaves out what nobody sees
        raise PydanticCustomError("blank", "must not be blank; write what people are to read")
    return name


def _storable(value: str) -> str:
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise PydanticCustomError("text", "must not hold a NUL or half a surrogate pair")
    return value


def _moment(value: object) -> dt.datetime:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = dt.datetime.fromisoformat(value)
    if not isinstance(value, dt.datetime) or value.tzinfo is None or not 2000 <= value.year <= 2500:
        raise PydanticCustomError(
            "moment", "write a moment with its offset, as in 2027-03-01T09:00:00+01:00"
        )
    return value


def _policy_code(value: object) -> str:
    if isinstance(value, str) and value in POLICY:
        return value
    if isinstance(value, str) and value in PHYSICAL:
        raise PydanticCustomError("physical", "cannot be overridden by anybody; leave it out")
    raise PydanticCustomError(
        "policy", "is no rule that can be overridden; write {codes}", {"codes": _ANY_POLICY}
    )


def _each_once(codes: list[str]) -> list[str]:
    for position, code in enumerate(codes):
        if code in codes[:position]:
            raise PydanticCustomError(
                "twice", "stands in the list before; leave it out", {"field": position}
            )
    return [*in_order(codes)]


def _booking_year(value: dt.date) -> dt.date:
    if not 2000 <= value.year <= 2500:
        raise PydanticCustomError("date", "must be in the years 2000 to 2500")
    return value


_ANY_POLICY = f"{', '.join(OVERRIDABLE[:-1])} or {OVERRIDABLE[-1]}"


TIME_SCHEMA = {"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d$", "examples": ["09:30"]}


_END_SCHEMA = {**TIME_SCHEMA, "pattern": r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$"}


StartTime = Annotated[
    int,
    BeforeValidator(_start_minute),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema(TIME_SCHEMA),
]


EndTime = Annotated[
    int,
    BeforeValidator(_minute),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema(_END_SCHEMA),
]


Date = Annotated[
    dt.date, BeforeValidator(_date), WithJsonSchema({"type": "string", "format": "date"})
]


Moment = Annotated[
    dt.datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


BookingDate = Annotated[Date, AfterValidator(_booking_year)]


Id = Annotated[str, BeforeValidator(_id), WithJsonSchema({"type": "string", "format": "uuid"})]


Name = Annotated[
    str, Field(min_length=1, max_length=200), AfterValidator(_storable), AfterValidator(_seen)
]


Tag = Annotated[
    str, Field(min_length=1, max_length=100), AfterValidator(_storable), AfterValidator(_seen)
]


Text = Annotated[str, Field(max_length=2000), AfterValidator(_storable)]


PatientRef = Annotated[
    str, Field(min_length=1, max_length=200), AfterValidator(_storable), AfterValidator(_names_one)
]


def _distinct(tags: list[str]) -> list[str]:
    return sorted(set(tags))


Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS), AfterValidator(_distinct)]


Duration = Annotated[StrictInt, Field(ge=1, le=DAY_MINUTES)]


PolicyCode = Annotated[
    str,
    BeforeValidator(_policy_code),
    WithJsonSchema({"type": "string", "enum": [*OVERRIDABLE]}),
]


Overrides = Annotated[list[PolicyCode], Field(max_length=10), AfterValidator(_each_once)]


OverrideReason = Annotated[
    str, Field(min_length=3, max_length=500), AfterValidator(_storable), AfterValidator(_seen)
]


Buffer = Annotated[StrictInt, Field(ge=0, le=MAX_BUFFER_MINUTES)]


Cap = Annotated[StrictInt, Field(ge=0, le=MAX_CAP)]


Weekday = Annotated[StrictInt, Field(ge=1, le=7, description="ISO weekday, 1 = Monday")]


EveryWeeks = Annotated[
    StrictInt,
    Field(
        ge=1,
        le=MAX_EVERY_WEEKS,
        description="Of a row with a weekday: it holds in the week of valid_from and in each "
        "n-th week after it. Above 1 it needs valid_from.",
    ),
]


class Strict(BaseModel):
    """A model that knows all its fields."""

    model_config = ConfigDict(extra="forbid")


class WithGrammar(Strict):
    """A model with a grammar that the solver's type of the same has.

    It tells every fault of its own: what is wrong between its fields beside what is wrong in one.
    """

    grammar: ClassVar[tuple[Sentence, ...]] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _tells_every_fault(cls, value: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            row = read(value)
        except ValidationError as error:
            between = faults_between(_known_fields(cls, value, error), cls.grammar)
            raise _with_faults(error, between) from None
        try:
            row.require_sound()
        except InvalidClinicError as error:
            raise ValidationError.from_exception_data(cls.__name__, _lines(error.faults)) from None
        return row

    def require_sound(self) -> None:
        """Require that what the solver makes of it is sound."""
        raise NotImplementedError


class SolverRow(WithGrammar):
    """A row that the solver has, too."""

    def require_sound(self) -> None:
        """Require that what the solver makes of it is sound."""
        self.to_solver()

    def to_solver(self) -> object:
        """Return the row as the solver has it."""
        raise NotImplementedError


_SOLVER_NAME = {"start_time": "start", "end_time": "end"}
"""What the solver calls a field that it calls otherwise."""


def _known_fields(kind: type[BaseModel], value: object, error: ValidationError) -> KnownFields:
    """Return the fields of a row that was refused for its form whose own form is right."""
    wrong = {detail["loc"][0] for detail in error.errors(include_url=False) if detail["loc"]}
    given = value if isinstance(value, dict) else {}
    known: dict[str, Any] = {}
    for name, info in kind.model_fields.items():
        if name in given and name not in wrong:
            known[_SOLVER_NAME.get(name, name)] = reader(kind, name).validate_python(given[name])
        elif name not in given and not info.is_required():
            known[_SOLVER_NAME.get(name, name)] = info.get_default(call_default_factory=True)
    return KnownFields(known)


@cache
def reader(kind: type[BaseModel], name: str) -> TypeAdapter[Any]:
    """Return what reads one field by itself."""
    info = kind.model_fields[name]
    of_field: Any = Annotated[info.annotation, info]
    return TypeAdapter(of_field)


def _with_faults(error: ValidationError, faults: Sequence[RowFault]) -> ValidationError:
    """Return what a validation found, and more faults of the same row."""
    if not faults:
        return error
    found = [
        InitErrorDetails(
            type=PydanticCustomError(
                detail["type"], "{told}", {**detail.get("ctx", {}), "told": detail["msg"]}
            ),
            loc=detail["loc"],
            input=detail["input"],
        )
        for detail in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, [*found, *_lines(faults)])


def _lines(faults: Sequence[RowFault]) -> list[InitErrorDetails]:
    return [
        InitErrorDetails(
            type=PydanticCustomError("row", "{message}", {"message": fault.message}),
            loc=(fault.field,),
            input=None,
        )
        for fault in faults
    ]
