"""A scenario's changes as a run file writes them."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from data.files.clinic_file import (
    BOOKING_EXTRAS,
    AppointmentTypeRow,
    BookingRow,
    ClinicRow,
    OverbookingRuleRow,
    ProviderRow,
    ProviderTypeRow,
    RoomRow,
)
from data.files.fields import Date, EndTime, Id, StartTime, Strict, Weekday, WithGrammar, reader
from data.files.place_rows import LocationRow, TravelRow
from data.files.pool_rows import EquipmentPoolRow
from data.files.session_row import LeadRow, SessionRow
from data.files.wording import worded
from solver.clinic.entities import DAY_MINUTES, OverbookingRule, Provider, ProviderType, Room
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.grammar.sentences import InvalidClinicError, RowFault
from solver.clinic.places import Location
from solver.clinic.sessions.session import Session
from solver.whatif.changes import (
    MAX_FACTOR,
    AddLocation,
    AddOverbookingRule,
    AddPool,
    AddProvider,
    AddProviderType,
    AddRoom,
    AddSession,
    Change,
    CloseRoom,
    Entity,
    OpenHours,
    ProviderOut,
    Remove,
    ScaleDemand,
    SetField,
)

Number = StrictInt | StrictFloat


# The changes


class _Change(WithGrammar):
    """A change whose own grammar the solver's type of the same change has."""

    def require_sound(self) -> None:
        """Require that what the solver makes of it is sound."""
        self.to_change()

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        raise NotImplementedError


class _Hours(_Change):
    """Some hours of a date; an end that is left out is that end of the day."""

    grammar = ProviderOut.GRAMMAR

    date: Date
    start_time: StartTime | None = None
    end_time: EndTime | None = None

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

    grammar = OpenHours.GRAMMAR

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


class AddProviderTypeChange(ProviderTypeRow):
    """One provider does one type otherwise: a row of the clinic file."""

    model_config = _ADDED
    op: Literal["add_provider_type"]

    def to_solver(self) -> ProviderType:
        """Return the row as the solver has it."""
        return ProviderTypeRow.model_validate(self.model_dump(exclude={"op"})).to_solver()

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return AddProviderType(self.to_solver())


class AddSessionChange(SessionRow):
    """One more session: a row of the clinic file."""

    model_config = _ADDED
    op: Literal["add_session"]

    def to_solver(self) -> Session:
        """Return the row as the solver has it."""
        return SessionRow.model_validate(self.model_dump(exclude={"op"})).to_solver()

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return AddSession(self.to_solver())


class AddLocationChange(LocationRow):
    """One more place: a row of the clinic file."""

    model_config = _ADDED
    op: Literal["add_location"]

    def to_solver(self) -> Location:
        """Return the row as the solver has it."""
        return LocationRow.model_validate(self.model_dump(exclude={"op"})).to_solver()

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return AddLocation(self.to_solver())


class AddPoolChange(EquipmentPoolRow):
    """One more pool of equipment: a row of the clinic file."""

    model_config = _ADDED
    op: Literal["add_pool"]

    def to_solver(self) -> EquipmentPool:
        """Return the row as the solver has it."""
        return EquipmentPoolRow.model_validate(self.model_dump(exclude={"op"})).to_solver()

    def to_change(self) -> Change:
        """Return the change as the solver has it."""
        return AddPool(self.to_solver())


_ROWS: dict[Entity, type[Strict]] = {
    "clinic": ClinicRow,
    "providers": ProviderRow,
    "rooms": RoomRow,
    "appointment_types": AppointmentTypeRow,
    "overbooking_rules": OverbookingRuleRow,
    "provider_types": ProviderTypeRow,
    "sessions": SessionRow,
    "locations": LocationRow,
    "travel": TravelRow,
    "equipment_pools": EquipmentPoolRow,
    "bookings": BookingRow,
}


_MINUTES = {"start_time": "start", "end_time": "end"}


def entity_called(text: str) -> str:
    """Return the entity that a name, in the singular or the plural, means; else the name."""
    name = text.replace("-", "_")
    return next((known for known in _ROWS if name in (known, known.removesuffix("s"))), name)


def _entity(value: object) -> object:
    """Read an entity's name."""
    if not isinstance(value, str):
        return value
    if (name := entity_called(value)) == "availability":
        raise PydanticCustomError(
            "entity", "has no ids; use open_hours, provider_out or close_room"
        )
    return name


EntityName = Annotated[
    Entity,
    BeforeValidator(_entity),
    WithJsonSchema({"enum": [*dict.fromkeys([*_ROWS, *(n.removesuffix("s") for n in _ROWS)])]}),
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
        faults = []
        if (self.id is None) != (self.entity == "clinic"):
            faults.append(RowFault("id", "every entity but the clinic has one"))
        row = _ROWS[self.entity]
        names = [
            name
            for name in row.model_fields
            if name != "id" and not (row is BookingRow and name in BOOKING_EXTRAS)
        ]
        value: Any = None
        if self.field not in names:
            faults.append(RowFault("field", f"must be one of {', '.join(names)}"))
        else:
            try:
                value = reader(row, self.field).validate_python(self.value)
            except ValidationError as error:
                faults.append(RowFault("value", worded(error.errors()[0])))
        if faults:
            raise InvalidClinicError(*faults[0], *faults[1:])
        if self.field in ("required_pools", "roles"):
            value = tuple(need.to_solver() for need in value)
        elif isinstance(value, list):
            value = frozenset(value)
        if isinstance(value, LeadRow):
            value = value.to_solver()
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
    | AddProviderTypeChange
    | AddSessionChange
    | AddLocationChange
    | AddPoolChange
    | SetChange
    | RemoveChange
    | ScaleDemandChange,
    Field(discriminator="op"),
]


_ADDITIONS = {
    "add_provider": "provider",
    "add_room": "room",
    "add_overbooking_rule": "overbooking_rule",
    "add_provider_type": "provider_type",
    "add_session": "session",
    "add_location": "location",
    "add_pool": "equipment_pool",
}


_OPS = frozenset(
    {"provider_out", "close_room", "open_hours", "set", "remove", "scale_demand", *_ADDITIONS}
)
