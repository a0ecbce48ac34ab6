"""What can go wrong with a request, each with the code that callers rely on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data.files.faults import Fault


class RequestError(Exception):
    """A request that is refused for a reason its caller can act on."""

    code = "REFUSED"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class NotFoundError(RequestError):
    """There is no such row."""

    code = "NOT_FOUND"


class InvalidFieldError(RequestError):
    """A field's value does not fit; `field` names it."""

    code = "VALIDATION_ERROR"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class InvalidFieldsError(RequestError):
    """Values of fields that do not fit; `faults` names each."""

    code = "VALIDATION_ERROR"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.path}: {fault.message}" for fault in faults))
        self.faults = [*faults]


class AlreadyExistsError(RequestError):
    """There is a row with this id already."""

    code = "ALREADY_EXISTS"


class SlotUnavailableError(RequestError):
    """The placement cannot be booked, for the reasons given."""

    code = "SLOT_UNAVAILABLE"


class PatientConflictError(RequestError):
    """The patient has another booking at that time."""

    code = "PATIENT_CONFLICT"


class InvalidStateError(RequestError):
    """The booking's status does not allow the move."""

    code = "INVALID_STATE"


class StaleVersionError(RequestError):
    """The booking has changed since its caller read it."""

    code = "STALE_VERSION"


class PreconditionFailedError(RequestError):
    """A row of the clinic is not the one that ``If-Match`` names: someone changed it meanwhile."""

    code = "STALE_VERSION"


class IdempotencyKeyReusedError(RequestError):
    """The key came with another request before."""

    code = "IDEMPOTENCY_KEY_REUSED"


class ImportConflictError(RequestError):
    """Bookings of a clinic file cannot stand beside one another in the database."""

    code = "BOOKING_CONFLICT"


class BusyError(RequestError):
    """The database is too busy, or away; the same request may go through in a moment."""

    code = "TEMPORARILY_UNAVAILABLE"


class PlanNotApplicableError(RequestError):
    """The scenario counts on what the clinic does not have, so its plan cannot be carried out."""

    code = "PLAN_NOT_APPLICABLE"


class PlanStaleError(RequestError):
    """The book has changed since the plan was made; `stale` names what no longer fits."""

    code = "PLAN_STALE"
