"""The clinic file: its rows, their reading with every fault named, and its JSON Schema.

The same rows are what the HTTP API takes and gives, so a field is described once.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from uuid import NAMESPACE_URL, UUID, uuid5

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.nodes import MappingNode

from data.wording import worded
from solver.clinic.clock import format_time, parse_time
from solver.clinic.entities import (
    DAY_MINUTES,
    MAX_BUFFER_MINUTES,
    MAX_TAGS,
    AppointmentType,
    Availability,
    Booking,
    Clinic,
    ClinicSettings,
    InvalidClinicError,
    Kind,
    OverbookingRule,
    Provider,
    Room,
    Status,
)
from solver.clinic.patients import patient_key

SCHEMA_ID = "https://slotwright.dev/schema/clinic.json"
MAX_CAP = 100_000
MAX_VALUES = 10_000_000
"""In one document, each alias of YAML counted as what it stands for."""
MAX_OBJECTS = 1_000_000
"""In one document: rows, and what is in them."""
MAX_YAML = 2 * 1024 * 1024
"""Bytes of a YAML document, which takes a thousand times as long to read as JSON."""
MAX_FAULTS = 1000
"""That are named of one document."""
FIRST_ROWS = 100
"""Of each list, whose faults are named where the document has too many."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a document: where, and what would be right."""

    path: str
    message: str


class InvalidFileError(ValueError):
    """A file that cannot be taken; carries every fault."""

    kind = "file"
    code = "VALIDATION_ERROR"

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{fault.path}: {fault.message}" for fault in faults))
        self.faults = faults

    def __reduce__(self) -> tuple[type[Self], tuple[list[Fault]]]:
        """Say how it is made anew in another process."""
        return type(self), (self.faults,)


class InvalidClinicFileError(InvalidFileError):
    """A clinic file that cannot be taken."""

    kind = "clinic file"
    code = "INVALID_CLINIC_FILE"


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
    if isinstance(value, str) and _UUID.fullmatch(value):
        return value.lower()
    raise PydanticCustomError(
        "uuid", "write an id as a UUID, as in 6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
    )


def _storable(value: str) -> str:
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise PydanticCustomError("text", "must not hold a NUL or half a surrogate pair")
    return value


def _names_one(patient_ref: str) -> str:
    if not patient_key(patient_ref):
        raise PydanticCustomError("blank", "must not be blank; leave it out, or write who it is")
    return patient_ref


def _seen(name: str) -> str:
    if not patient_key(name):  # which leaves out what nobody sees
        raise PydanticCustomError("blank", "must not be blank; write what people are to read")
    return name


def _moment(value: object) -> dt.datetime:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = dt.datetime.fromisoformat(value)
    if not isinstance(value, dt.datetime) or value.tzinfo is None or not 2000 <= value.year <= 2500:
        raise PydanticCustomError(
            "moment", "write a moment with its offset, as in 2027-03-01T09:00:00+01:00"
        )
    return value


def _booking_year(value: dt.date) -> dt.date:
    if not 2000 <= value.year <= 2500:
        raise PydanticCustomError("date", "must be in the years 2000 to 2500")
    return value


_TIME_SCHEMA = {"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d$", "examples": ["09:30"]}
_END_SCHEMA = {**_TIME_SCHEMA, "pattern": r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$"}
StartTime = Annotated[
    int,
    BeforeValidator(_start_minute),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema(_TIME_SCHEMA),
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
Buffer = Annotated[StrictInt, Field(ge=0, le=MAX_BUFFER_MINUTES)]
Cap = Annotated[StrictInt, Field(ge=0, le=MAX_CAP)]
Weekday = Annotated[StrictInt, Field(ge=1, le=7, description="ISO weekday, 1 = Monday")]


class Strict(BaseModel):
    """A model that knows all its fields."""

    model_config = ConfigDict(extra="forbid")


class _Row(Strict):
    """A row whose own grammar the solver's type of the same row checks."""

    @model_validator(mode="after")
    def _is_valid(self) -> Self:
        try:
            self.to_solver()
        except InvalidClinicError as error:
            raise PydanticCustomError(
                "row", "{message}", {"message": error.message, "field": error.field}
            ) from None
        return self

    def to_solver(self) -> object:
        """Return the row as the solver has it."""
        raise NotImplementedError


class ClinicRow(_Row):
    """What holds for the clinic as a whole."""

    name: Name
    timezone: Annotated[Name, Field(examples=["Europe/Berlin"])]
    grid_minutes: Literal[5, 10, 15, 20, 30, 60] = 15
    preference_decay_minutes: Annotated[StrictInt, Field(ge=1, le=DAY_MINUTES)] = 240
    min_notice_minutes: Annotated[StrictInt, Field(ge=0, le=527_040)] = 0

    def to_solver(self) -> ClinicSettings:
        """Return the row as the solver has it."""
        return ClinicSettings(**dict(self))


class ProviderRow(_Row):
    """A clinician."""

    id: Id
    name: Name
    skills: Tags = []
    daily_cap: Cap | None = None
    buffer_before: Buffer = 0
    buffer_after: Buffer = 0
    active: StrictBool = True

    def to_solver(self) -> Provider:
        """Return the row as the solver has it."""
        return Provider(**{**dict(self), "skills": frozenset(self.skills)})


class RoomRow(_Row):
    """A place."""

    id: Id
    name: Name
    equipment: Tags = []
    turnover_minutes: Buffer = 0
    active: StrictBool = True

    def to_solver(self) -> Room:
        """Return the row as the solver has it."""
        return Room(**{**dict(self), "equipment": frozenset(self.equipment)})


class AppointmentTypeRow(_Row):
    """What is booked."""

    id: Id
    name: Name
    duration_minutes: Annotated[StrictInt, Field(ge=1, le=DAY_MINUTES)]
    buffer_before: Buffer = 0
    buffer_after: Buffer = 0
    required_skills: Tags = []
    required_equipment: Tags = []
    daily_cap: Cap | None = None
    active: StrictBool = True

    def to_solver(self) -> AppointmentType:
        """Return the row as the solver has it."""
        return AppointmentType(
            **{
                **dict(self),
                "required_skills": frozenset(self.required_skills),
                "required_equipment": frozenset(self.required_equipment),
            }
        )


class AvailabilityRow(_Row):
    """An open or closed span of a provider, a room or (closed only) the clinic."""

    provider_id: Id | None = None
    room_id: Id | None = None
    weekday: Weekday | None = None
    date: Date | None = None
    start_time: StartTime
    end_time: EndTime
    kind: Kind = "open"
    valid_from: Date | None = None
    valid_to: Date | None = None

    def to_solver(self) -> Availability:
        """Return the row as the solver has it."""
        fields = dict(self)
        return Availability(fields.pop("start_time"), fields.pop("end_time"), **fields)


class OverbookingRuleRow(_Row):
    """An allowance to book over regular capacity; without an id it gets one from its content."""

    id: Id
    provider_id: Id | None = None
    appointment_type_id: Id | None = None
    weekday: Weekday | None = None
    start_time: StartTime | None = None
    end_time: EndTime | None = None
    max_overlap: Cap = 1
    max_per_day: Cap = 1

    @model_validator(mode="before")
    @classmethod
    def _name_by_content(cls, value: Any) -> Any:
        if isinstance(value, dict) and "id" not in value:
            content = orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()
            return {**value, "id": str(uuid5(NAMESPACE_URL, f"overbooking-rule:{content}"))}
        return value

    def to_solver(self) -> OverbookingRule:
        """Return the row as the solver has it."""
        fields = dict(self)
        return OverbookingRule(start=fields.pop("start_time"), end=fields.pop("end_time"), **fields)


class BookingRow(_Row):
    """One appointment placed.

    Three fields are written only where they say something: `notes`; on a hold, `expires_at`; and
    `end_time` where the type has grown since and the booking is guarded up to its former end.
    """

    id: Id
    provider_id: Id
    room_id: Id
    appointment_type_id: Id
    date: BookingDate
    start_time: StartTime
    patient_ref: PatientRef | None = None
    status: Status = "booked"
    is_overbooked: StrictBool = False
    notes: Text | None = None
    expires_at: Moment | None = None
    end_time: EndTime | None = None

    def to_solver(self) -> Booking:
        """Return the row as the solver has it."""
        fields = dict(self)
        for name in BOOKING_EXTRAS:
            del fields[name]
        return Booking(start=fields.pop("start_time"), **fields)

    def to_json(self) -> dict[str, Any]:
        """Return the row with every field, the extra ones only where set."""
        document = self.model_dump(mode="json")
        for name in BOOKING_EXTRAS:
            if document[name] is None:
                del document[name]
        return document


BOOKING_EXTRAS = ("notes", "expires_at", "end_time")


class ClinicFile(Strict):
    """A whole clinic in one document."""

    clinic: ClinicRow
    providers: list[ProviderRow] = []
    rooms: list[RoomRow] = []
    appointment_types: list[AppointmentTypeRow] = []
    availability: list[AvailabilityRow] = []
    overbooking_rules: list[OverbookingRuleRow] = []
    bookings: list[BookingRow] = []

    def to_clinic(self, now: dt.datetime) -> Clinic:
        """Return the clinic as the solver has it, without the holds expired at `now`."""
        return Clinic(
            self.clinic.to_solver(),
            tuple(row.to_solver() for row in self.providers),
            tuple(row.to_solver() for row in self.rooms),
            tuple(row.to_solver() for row in self.appointment_types),
            tuple(row.to_solver() for row in self.availability),
            tuple(row.to_solver() for row in self.overbooking_rules),
            tuple(
                row.to_solver()
                for row in self.bookings
                if row.status != "held" or row.expires_at is None or row.expires_at > now
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the document with every field, a booking's extra ones only where set."""
        document = self.model_dump(mode="json")
        for booking in document["bookings"]:
            for name in BOOKING_EXTRAS:
                if booking[name] is None:
                    del booking[name]
        return document


# Reading


def read_clinic_file(path: Path) -> ClinicFile:
    """Read a clinic file, JSON or YAML by its name.

    Raises
    ------
    InvalidClinicFileError
        With every fault found.
    OSError
        When the file cannot be read.
    """
    return parse_clinic_file(path.read_bytes(), is_yaml=is_yaml(path))


def is_yaml(path: Path) -> bool:
    """Whether a file is YAML, by its name."""
    return path.suffix.lower() in (".yaml", ".yml")


def yaml_of(document: object) -> str:
    """Write a document as YAML, its keys in the order they have."""
    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.allow_unicode = True
    writer.width = 100
    text = StringIO()
    writer.dump(document, text)
    return text.getvalue()


def parse_clinic_file(
    document: bytes, *, is_yaml: bool = False, known: Mapping[str, frozenset[str]] | None = None
) -> ClinicFile:
    """Read a document; `known` are ids by list that its rows may also refer to.

    Raises
    ------
    InvalidClinicFileError
        With every fault found.
    """
    value = parse_document(document, is_yaml=is_yaml, error=InvalidClinicFileError)
    return check_clinic_file(value, known or {})


def check_clinic_file(value: object, known: Mapping[str, frozenset[str]]) -> ClinicFile:
    """Return a parsed document as a clinic file; see :func:`parse_clinic_file`."""
    file, found = validate(ClinicFile, value)
    faults = {fault.path: fault for fault in found}
    for fault in islice(reference_faults(value, known), MAX_FAULTS):
        faults.setdefault(fault.path, fault)
    if file is None or faults:
        raise InvalidClinicFileError(list(faults.values()))
    return file


def validate[Model: BaseModel](
    kind: type[Model], value: object, tags: frozenset[str] = frozenset()
) -> tuple[Model | None, list[Fault]]:
    """Return a parsed document as `kind`, or else its faults; of too many, its first rows'.

    `tags` are those of :func:`faults_of`.
    """
    try:
        return kind.model_validate(value), []
    except ValidationError as error:
        count = error.error_count()
        if count <= MAX_FAULTS:
            return None, faults_of(error, tags=tags, kinds=(kind,))
    named: list[Fault] = []
    try:
        kind.model_validate(_beginning(value))
    except ValidationError as error:
        named = faults_of(error, tags=tags, kinds=(kind,))[:MAX_FAULTS]
    return None, [*named, Fault("document", f"has {count} faults, of which not all are named")]


def _beginning(value: object, depth: int = 5) -> object:
    """Return the first rows of every list in a document."""
    if isinstance(value, dict) and depth:
        return {key: _beginning(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_beginning(each, depth - 1) for each in value[:FIRST_ROWS]] if depth else []
    return value


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the clinic file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **ClinicFile.model_json_schema(),
    }


def faults_of(
    error: ValidationError,
    root: tuple[str | int, ...] = (),
    tags: frozenset[str] = frozenset(),
    kinds: tuple[type[BaseModel], ...] = (),
) -> list[Fault]:
    """Return a validation's errors as faults with their paths.

    `tags` are the names by which a union's members are told apart; they are in no path. `kinds`
    are what was validated against, for :func:`data.wording.worded`.
    """
    faults = []
    for detail in error.errors(include_url=False, include_input=False):
        path = [*root, *(part for part in detail["loc"] if part not in tags)]
        if field := detail.get("ctx", {}).get("field"):
            path.append(field)
        faults.append(Fault(format_path(path), worded(detail, kinds)))
    return faults


def format_path(parts: list[str | int]) -> str:
    """Write a path as ``bookings[3].start_time``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.lstrip(".") or "document"


def parse_document(document: bytes, *, is_yaml: bool, error: type[InvalidFileError]) -> object:
    """Read JSON or YAML; what is neither is raised as `error`, naming line and column.

    So is what would take more memory or time than a clinic has use for.
    """
    return _parse_yaml(document, error) if is_yaml else _parse_json(document, error)


def _parse_json(document: bytes, invalid: type[InvalidFileError]) -> object:
    # counted before it is parsed: what a few bytes say may take a hundred in memory
    values = document.count(b",") + document.count(b"[") + document.count(b"{")
    if values > MAX_VALUES or document.count(b"{") > MAX_OBJECTS:
        raise invalid(
            [Fault("document", f"has more than {MAX_VALUES} values or {MAX_OBJECTS} objects")]
        )
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise invalid(
            [Fault(f"line {error.lineno}, column {error.colno}", f"not JSON: {error.msg}")]
        ) from None


def _parse_yaml(document: bytes, invalid: type[InvalidFileError]) -> object:
    if len(document) > MAX_YAML:
        raise invalid([Fault("document", f"more than {MAX_YAML} bytes are taken as JSON only")])
    try:
        reader = YAML(typ="safe", pure=True)
        reader.Constructor = _Constructor
        value = reader.load(document.decode())
        _require_bounded(value)
        orjson.dumps(value)  # what JSON cannot say, no field takes
    except Exception as error:  # scalars that cannot be built raise whatever building raised
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "document"
        problem = getattr(error, "problem", None) or "cannot be read"
        raise invalid([Fault(place, f"not YAML: {problem}")]) from None
    return value


class _Constructor(SafeConstructor):
    """Builds what YAML 1.2 knows, and so no merge keys: each can double what it merges."""

    def flatten_mapping(self, node: MappingNode) -> None:
        """Refuse a mapping with a merge key."""
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise ConstructorError(None, None, "merge keys (<<) are not taken", key.start_mark)


def _require_bounded(value: object) -> None:
    """Refuse aliases that stand for more than a file could hold, or for themselves."""
    left = MAX_VALUES
    waiting = [value]
    while waiting:
        each = waiting.pop()
        inner = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        left -= len(inner)
        if left < 0:
            raise ValueError
        waiting.extend(inner)


_REFERENCES = {
    "provider_id": "providers",
    "room_id": "rooms",
    "appointment_type_id": "appointment_types",
}


def reference_faults(document: object, known: Mapping[str, frozenset[str]]) -> Iterator[Fault]:
    """Tell ids that stand twice and references to nothing, whatever else may be wrong."""
    ids: dict[str, set[str]] = {}
    for name in ("providers", "rooms", "appointment_types", "overbooking_rules", "bookings"):
        ids[name] = set()
        for position, row in _rows(document, name):
            key = row.get("id")
            if isinstance(key, str):
                if key.lower() in ids[name]:
                    yield Fault(f"{name}[{position}].id", f"{key} stands twice in {name}")
                ids[name].add(key.lower())
    present = {name: ids[name] | known.get(name, frozenset()) for name in _REFERENCES.values()}
    for name in ("availability", "overbooking_rules", "bookings"):
        for position, row in _rows(document, name):
            for field, target in _REFERENCES.items():
                key = row.get(field)
                if isinstance(key, str) and key.lower() not in present[target]:
                    yield Fault(f"{name}[{position}].{field}", f"there is no {key} in {target}")


def _rows(document: object, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = document.get(name) if isinstance(document, dict) else None
    for position, row in enumerate(rows if isinstance(rows, list) else ()):
        if isinstance(row, dict):
            yield position, row
