"""What requests and answers about what-if runs say."""

from __future__ import annotations

import datetime as dt

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from api.bookings.schemas import BookingOut
from api.clinic.schemas import Conflict
from data.files.fields import Id, Name, Strict


class AppliedRun(BaseModel):
    """Which scenario was carried out, when, by whom, and whether its clinic changes were, too."""

    scenario: str
    at: dt.datetime
    by: str
    apply_changes: bool


class RunState(BaseModel):
    """A run and how far it is."""

    model_config = ConfigDict(extra="allow")

    id: Id
    name: str
    status: str = Field(description="queued, running, done, stopped or failed")
    error: str | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    applied: AppliedRun | None = Field(
        description="How it was carried out, which is done once; null if it was not"
    )


class ApplyIn(Strict):
    """Which plan to carry out."""

    scenario: Name
    accept_overbooked: StrictBool = False
    cancel_lost: StrictBool = Field(
        False,
        description="Whether to cancel bookings for which the plan has no place, where it puts "
        "others in theirs.",
    )
    apply_changes: StrictBool = Field(
        False, description="Whether to make the scenario's changes of the clinic, too, and first."
    )


class AppliedBooking(BookingOut):
    """A booking and the request that it is for."""

    request_id: str


class ApplyOut(BaseModel):
    """What was written."""

    scenario: str
    bookings: list[AppliedBooking]
    moved: list[BookingOut]
    cancelled: list[BookingOut] = Field(
        description="Bookings without a place in the plan that had to give way: `cancel_lost`."
    )
    conflicts: list[Conflict] = Field(
        description="Bookings that the changes leave outside the rules, which did not move."
    )
