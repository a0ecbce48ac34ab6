"""The tables by name, for whoever writes SQL."""

from __future__ import annotations

from sqlalchemy import Table

from models import audit, events, idempotency, what_if
from models import bookings as book_tables
from models import clinic as tables
from models.base import Base


def table_of(model: type[Base]) -> Table:
    """Return the table of a model."""
    table = model.__table__
    assert isinstance(table, Table)
    return table


CLINIC = table_of(tables.ClinicSettings)
PROVIDERS = table_of(tables.Provider)
ROOMS = table_of(tables.Room)
TYPES = table_of(tables.AppointmentType)
PROVIDER_TYPES = table_of(tables.ProviderType)
EQUIPMENT_POOLS = table_of(tables.EquipmentPool)
AVAILABILITY = table_of(tables.Availability)
OVERBOOKING_RULES = table_of(tables.OverbookingRule)
LOCATIONS = table_of(tables.Location)
TRAVEL = table_of(tables.Travel)
SESSIONS = table_of(tables.Session)
BOOKINGS = table_of(book_tables.Booking)
BOOKING_ROLES = table_of(book_tables.BookingRole)
IDEMPOTENCY_KEYS = table_of(idempotency.IdempotencyKey)
AUDIT_LOG = table_of(audit.AuditEntry)
WHAT_IF_RUNS = table_of(what_if.WhatIfRun)
WHAT_IF_EVENTS = table_of(what_if.WhatIfEvent)
OUTBOX = table_of(events.OutboxEvent)
