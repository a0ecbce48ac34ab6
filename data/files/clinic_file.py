"""The clinic file: its rows, their reading with every fault named, and its JSON Schema.

The same rows are what the HTTP API takes and gives, so a field is described once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import orjson
from pydantic import Field, StrictBool, StrictInt, model_validator

from data.files.clinic_references import NO_EXISTING_ROWS, ExistingRows, faults_between_rows
from data.files.documents import is_yaml, parse_document
from data.files.faults import MAX_FAULTS, InvalidFileError, validate
from data.files.fields import (
    BookingDate,
    Buffer,
    Cap,
    Date,
    Duration,
    EndTime,
    EveryWeeks,
    Id,
    Moment,
    Name,
    Overrides,
    PatientRef,
    SolverRow,
    StartTime,
    Strict,
    Tags,
    Text,
    Weekday,
)
from data.files.place_rows import LocationRow, TravelRow
from data.files.pool_rows import EquipmentPoolRow, PoolNeedRow
from data.files.role_rows import Members, Roles, team_of
from data.files.session_row import SessionRow
from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    DAY_MINUTES,
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    Kind,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
    Status,
)
from solver.clinic.equipment.needs import MAX_POOLS
from solver.clinic.grammar.rhythm import MAX_GRID_MINUTES, StartAnchor

SCHEMA_ID = "https://slotwright.dev/schema/clinic.json"


class InvalidClinicFileError(InvalidFileError):
    """A clinic file that cannot be taken."""

    kind = "clinic file"
    code = "INVALID_CLINIC_FILE"


class ClinicRow(SolverRow):
    """What holds for the clinic as a whole."""

    grammar = ClinicSettings.GRAMMAR

    name: Name
    timezone: Annotated[Name, Field(examples=["Europe/Berlin"])]
    grid_minutes: Annotated[StrictInt, Field(ge=1, le=MAX_GRID_MINUTES)] = 15
    preference_decay_minutes: Annotated[StrictInt, Field(ge=1, le=DAY_MINUTES)] = 240
    min_notice_minutes: Annotated[StrictInt, Field(ge=0, le=527_040)] = 0

    def to_solver(self) -> ClinicSettings:
        """Return the row as the solver has it."""
        return ClinicSettings(**dict(self))


class ProviderRow(SolverRow):
    """A clinician."""

    grammar = Provider.GRAMMAR

    id: Id
    name: Name
    skills: Tags = []
    daily_cap: Cap | None = None
    daily_minutes: Annotated[
        Cap | None,
        Field(description="Most minutes of regular bookings a day, buffers left aside."),
    ] = None
    buffer_before: Buffer = 0
    buffer_after: Buffer = 0
    active: StrictBool = True

    def to_solver(self) -> Provider:
        """Return the row as the solver has it."""
        return Provider(**{**dict(self), "skills": frozenset(self.skills)})


class RoomRow(SolverRow):
    """A place."""

    grammar = Room.GRAMMAR

    id: Id
    name: Name
    equipment: Tags = []
    turnover_minutes: Buffer = 0
    active: StrictBool = True
    location_id: Annotated[Id | None, Field(description="Where it is; null: nowhere told.")] = None

    def to_solver(self) -> Room:
        """Return the row as the solver has it."""
        return Room(**{**dict(self), "equipment": frozenset(self.equipment)})


class AppointmentTypeRow(SolverRow):
    """What is booked."""

    grammar = AppointmentType.GRAMMAR

    id: Id
    name: Name
    duration_minutes: Duration
    buffer_before: Buffer = 0
    buffer_after: Buffer = 0
    required_skills: Tags = []
    required_equipment: Tags = []
    daily_cap: Cap | None = None
    active: StrictBool = True
    start_every: Annotated[
        Annotated[StrictInt, Field(ge=1, le=MAX_GRID_MINUTES)] | None,
        Field(description="Minutes from one start to the next; null: those of the clinic's grid."),
    ] = None
    start_offset: Annotated[
        StrictInt,
        Field(
            ge=0,
            lt=MAX_GRID_MINUTES,
            description="Minutes from midnight to the first start; less than start_every.",
        ),
    ] = 0
    start_anchor: Annotated[
        StartAnchor,
        Field(
            description="What starts are counted from: midnight, or where each open window of the "
            "provider opens."
        ),
    ] = "midnight"
    packed: Annotated[
        StrictBool,
        Field(description="Whether it may also start right behind what its provider has booked."),
    ] = False
    required_pools: Annotated[
        list[PoolNeedRow],
        Field(max_length=MAX_POOLS, description="What it takes of equipment pools, each once."),
    ] = []
    roles: Roles = []

    def to_solver(self) -> AppointmentType:
        """Return the row as the solver has it."""
        return AppointmentType(
            **{
                **dict(self),
                "required_skills": frozenset(self.required_skills),
                "required_equipment": frozenset(self.required_equipment),
                "required_pools": tuple(need.to_solver() for need in self.required_pools),
                "roles": tuple(role.to_solver() for role in self.roles),
            }
        )


class ProviderTypeRow(SolverRow):
    """What is different when one provider does one type; without an id it gets one of the two."""

    grammar = ProviderType.GRAMMAR

    id: Id
    provider_id: Id
    appointment_type_id: Id
    duration_minutes: Duration | None = None
    buffer_before: Buffer | None = None
    buffer_after: Buffer | None = None
    daily_cap: Cap | None = None
    offered: StrictBool = True

    @model_validator(mode="before")
    @classmethod
    def _name_by_pair(cls, value: Any) -> Any:
        if isinstance(value, dict) and "id" not in value:
            return {**value, "id": cls.id_of(value.get("provider_id"), value)}
        return value

    @staticmethod
    def id_of(provider_id: object, row: Mapping[str, Any]) -> str:
        """Return the id of the row of a provider for the type that `row` names, if it has none."""
        pair = f"{provider_id}:{row.get('appointment_type_id')}".lower()
        return str(uuid5(NAMESPACE_URL, f"provider-type:{pair}"))

    @property
    def is_unnamed(self) -> bool:
        """Whether its id is that which a row without one gets."""
        return self.id == self.id_of(self.provider_id, dict(self))

    def to_solver(self) -> ProviderType:
        """Return the row as the solver has it."""
        return ProviderType(**dict(self))


class AvailabilityRow(SolverRow):
    """An open or closed span of a provider, a room or (closed only) the clinic."""

    grammar = Availability.GRAMMAR

    provider_id: Id | None = None
    room_id: Id | None = None
    weekday: Weekday | None = None
    date: Date | None = None
    start_time: StartTime
    end_time: EndTime
    kind: Kind = "open"
    valid_from: Date | None = None
    valid_to: Date | None = None
    every_weeks: EveryWeeks = 1
    location_id: Annotated[
        Id | None, Field(description="Where that is; null: anywhere. A room's row has none.")
    ] = None

    def to_solver(self) -> Availability:
        """Return the row as the solver has it."""
        fields = dict(self)
        return Availability(fields.pop("start_time"), fields.pop("end_time"), **fields)


class OverbookingRuleRow(SolverRow):
    """An allowance to book over regular capacity; without an id it gets one from its content."""

    grammar = OverbookingRule.GRAMMAR

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


class BookingRow(SolverRow):
    """One appointment placed.

    Its duration and buffers are those it was made with; left out, those that a stored booking has,
    else its type's. The rules that it `overrides` a stored booking keeps, too, where they are left
    out, and its `team`. `notes`, and `expires_at` of a hold, are written only where they say
    something.
    """

    grammar = Booking.GRAMMAR

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
    duration_minutes: Duration | None = None
    buffer_before: Buffer | None = None
    buffer_after: Buffer | None = None
    overrides: Overrides | None = None
    team: Members | None = None

    def to_solver(self) -> Booking:
        """Return the row as the solver has it."""
        fields = dict(self) | {"team": team_of(self.team)}
        del fields["notes"], fields["expires_at"]
        codes = frozenset(fields.pop("overrides") or ())
        return Booking(start=fields.pop("start_time"), overrides=codes, **fields)

    def to_json(self) -> dict[str, Any]:
        """Return the row with every field, the extra ones only where set."""
        document = self.model_dump(mode="json")
        for name in BOOKING_EXTRAS:
            if document[name] is None:
                del document[name]
        return document


BOOKING_EXTRAS = (
    "notes",
    "expires_at",
    "duration_minutes",
    "buffer_before",
    "buffer_after",
    "overrides",
    "team",
)


class ClinicFile(Strict):
    """A whole clinic in one document."""

    clinic: ClinicRow
    providers: list[ProviderRow] = []
    rooms: list[RoomRow] = []
    equipment_pools: list[EquipmentPoolRow] = []
    appointment_types: list[AppointmentTypeRow] = []
    availability: list[AvailabilityRow] = []
    overbooking_rules: list[OverbookingRuleRow] = []
    provider_types: list[ProviderTypeRow] = []
    sessions: list[SessionRow] = []
    locations: list[LocationRow] = []
    travel: list[TravelRow] = []
    bookings: list[BookingRow] = []

    def to_clinic(self, now: dt.datetime) -> Clinic:
        """Return the clinic as the solver has it, without the holds expired at `now`.

        A booking whose row leaves its duration or a buffer out has from now on that of its type,
        as its provider does it.
        """
        clinic = Clinic(
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
            provider_types=tuple(row.to_solver() for row in self.provider_types),
            sessions=tuple(row.to_solver() for row in self.sessions),
            locations=tuple(row.to_solver() for row in self.locations),
            travel=tuple(row.to_solver() for row in self.travel),
            equipment_pools=tuple(row.to_solver() for row in self.equipment_pools),
        )
        return clinic.with_bookings(map(clinic.keeping, clinic.bookings))

    def to_json(self) -> dict[str, Any]:
        """Return the document with every field, a booking's extra ones only where set."""
        document = self.model_dump(mode="json", exclude={"bookings"})
        return document | {"bookings": [booking.to_json() for booking in self.bookings]}


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


def parse_clinic_file(
    document: bytes, *, is_yaml: bool = False, known: ExistingRows = NO_EXISTING_ROWS
) -> ClinicFile:
    """Read a document; its rows may also refer to those that are `known`.

    Raises
    ------
    InvalidClinicFileError
        With every fault found.
    """
    value = parse_document(document, is_yaml=is_yaml, error=InvalidClinicFileError)
    return check_clinic_file(value, known)


def check_clinic_file(value: object, known: ExistingRows) -> ClinicFile:
    """Return a parsed document as a clinic file; see :func:`parse_clinic_file`."""
    file, found = validate(ClinicFile, value)
    faults = {fault.path: fault for fault in found}
    for fault in islice(faults_between_rows(value, known), MAX_FAULTS):
        faults.setdefault(fault.path, fault)
    if file is None or faults:
        raise InvalidClinicFileError(list(faults.values()))
    return file


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the clinic file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **ClinicFile.model_json_schema(),
    }
