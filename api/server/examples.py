"""Examples in the OpenAPI document: one booking in one small clinic, told from all sides."""

from __future__ import annotations

from typing import Any

PROVIDER = "0a5b1a52-6d43-4f4e-9a3c-0d6a3b0c1e01"


ROOM = "0a5b1a52-6d43-4f4e-9a3c-0d6a3b0c1e02"


KIND = "0a5b1a52-6d43-4f4e-9a3c-0d6a3b0c1e03"


BOOKING = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


OTHER_BOOKING = "16fd2706-8baf-433b-82eb-8c7fada847da"


RULE = "f47ac10b-58cc-4372-a567-0e02b2c3d479"


POOL = "5c1f2d3e-8a4b-4c6d-9e7f-1a2b3c4d5e6f"


ENTRY = "9b2d3f6e-5a41-4c59-8a7e-2f4d1c0b9a88"


LOCATION = "6fa459ea-ee8a-4ca4-894e-db77e160355e"


OTHER_LOCATION = "886313e1-3b8a-4372-9b90-0c9aee199e5d"


RUN = "3d813cbb-47fb-432a-91df-831e1593ac29"


DATE = "2027-03-01"


_PROVIDER_ROW = {
    "id": PROVIDER,
    "name": "Dr. Vega",
    "skills": ["gp"],
    "daily_cap": 16,
    "daily_minutes": None,
    "buffer_before": 0,
    "buffer_after": 5,
    "active": True,
}


_ROOM_ROW = {
    "id": ROOM,
    "name": "Room 1",
    "equipment": ["ecg"],
    "turnover_minutes": 5,
    "active": True,
    "location_id": None,
}


_LOCATION_ROW = {"id": LOCATION, "name": "Harbour practice", "active": True}


_TRAVEL_ROW = {"id": ENTRY, "from_id": LOCATION, "to_id": OTHER_LOCATION, "minutes": 25}


_TYPE_ROW = {
    "id": KIND,
    "name": "Visit",
    "duration_minutes": 30,
    "buffer_before": 0,
    "buffer_after": 5,
    "required_skills": ["gp"],
    "required_equipment": [],
    "daily_cap": None,
    "active": True,
    "start_every": 50,
    "start_offset": 0,
    "start_anchor": "window",
    "packed": False,
    "required_pools": [],
    "roles": [],
}


_POOL_ROW = {
    "id": POOL,
    "name": "Mobile ultrasound",
    "quantity": 1,
    "return_minutes": 10,
    "active": True,
}


_OWN_ROW = {
    "id": ENTRY,
    "provider_id": PROVIDER,
    "appointment_type_id": KIND,
    "duration_minutes": 40,
    "buffer_before": None,
    "buffer_after": None,
    "daily_cap": 6,
    "offered": True,
}


_SESSION_ROW = {
    "id": ENTRY,
    "name": "Same-day urgent visits",
    "provider_id": PROVIDER,
    "room_id": None,
    "weekday": 1,
    "date": None,
    "start_time": "11:00",
    "end_time": "12:00",
    "valid_from": None,
    "valid_to": None,
    "every_weeks": 1,
    "appointment_type_ids": [KIND],
    "max_bookings": 4,
    "opens": {"minutes_before": 1440},
    "releases": {"days_before": 0, "at": "08:00"},
    "active": True,
}


_OPEN_ROW = {
    "provider_id": PROVIDER,
    "room_id": None,
    "weekday": 1,
    "date": None,
    "start_time": "09:00",
    "end_time": "12:00",
    "kind": "open",
    "valid_from": None,
    "valid_to": None,
    "every_weeks": 1,
    "location_id": None,
}


_RULE_ROW = {
    "id": RULE,
    "provider_id": PROVIDER,
    "appointment_type_id": None,
    "weekday": None,
    "start_time": None,
    "end_time": None,
    "max_overlap": 1,
    "max_per_day": 2,
}


_CLINIC_ROW = {
    "name": "Corner Practice",
    "timezone": "Europe/Berlin",
    "grid_minutes": 15,
    "preference_decay_minutes": 240,
    "min_notice_minutes": 0,
}


_TIMES = {
    "date": DATE,
    "start_time": "09:00",
    "end_time": "09:30",
    "start": "2027-03-01T09:00:00+01:00",
    "end": "2027-03-01T09:30:00+01:00",
}


_PLACE = {
    "appointment_type_id": KIND,
    "provider_id": PROVIDER,
    "date": DATE,
    "start_time": "09:00",
}


_BOOKED: dict[str, Any] = {
    "id": BOOKING,
    "provider_id": PROVIDER,
    "room_id": ROOM,
    "appointment_type_id": KIND,
    **_TIMES,
    "patient_ref": "P-4711",
    "status": "booked",
    "is_overbooked": False,
    "overrides": [],
    "team": {},
    "notes": None,
    "score": 0.8375,
    "version": 1,
    "expires_at": None,
    "created_at": "2027-02-01T08:00:00+01:00",
    "updated_at": "2027-02-01T08:00:00+01:00",
}


_MOVED = _BOOKED | {
    "id": OTHER_BOOKING,
    "start_time": "10:00",
    "end_time": "10:30",
    "start": "2027-03-01T10:00:00+01:00",
    "end": "2027-03-01T10:30:00+01:00",
    "patient_ref": "P-0815",
}


_SLOT = {
    "provider_id": PROVIDER,
    "provider_name": "Dr. Vega",
    "room_id": ROOM,
    "room_name": "Room 1",
    **_TIMES,
    "score": 0.8375,
    "score_parts": {"preference": 1.0, "gap": 0.75, "room": 0.5, "overbook": 1.0},
    "is_overbooked": False,
    "session_ids": [],
    "team": {},
}


_RUN_STATE = {
    "id": RUN,
    "name": "Vega out on Monday",
    "status": "running",
    "error": None,
    "created_at": "2027-02-01T07:00:00Z",
    "started_at": "2027-02-01T07:00:01Z",
    "finished_at": None,
    "applied": None,
}


def _without(row: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in fields}


SCHEMAS: dict[str, Any] = {
    "ApplyIn": {"scenario": "baseline", "accept_overbooked": False},
    "AppointmentTypeCreate": _without(_TYPE_ROW, "id"),
    "AppointmentTypePatch": {"duration_minutes": 45},
    "AppointmentTypeRow": _TYPE_ROW,
    "AvailabilityCreate": _OPEN_ROW,
    "AvailabilityEntry": {"id": ENTRY, **_OPEN_ROW},
    "AvailabilityPatch": {"end_time": "13:00"},
    "BookingIn": {**_PLACE, "patient_ref": "P-4711"},
    "BookingOut": _BOOKED,
    "ClinicFile": {
        "clinic": _CLINIC_ROW,
        "providers": [_PROVIDER_ROW],
        "rooms": [_ROOM_ROW],
        "equipment_pools": [_POOL_ROW],
        "appointment_types": [_TYPE_ROW],
        "availability": [_OPEN_ROW],
        "overbooking_rules": [_RULE_ROW],
        "provider_types": [_OWN_ROW],
        "sessions": [_SESSION_ROW],
        "locations": [_LOCATION_ROW, {**_LOCATION_ROW, "id": OTHER_LOCATION, "name": "Hill"}],
        "travel": [_TRAVEL_ROW],
        "bookings": [],
    },
    "ClinicPatch": {"grid_minutes": 10},
    "ClinicRow": _CLINIC_ROW,
    "ConfirmIn": {"patient_ref": "P-4711"},
    "HoldIn": {**_PLACE, "minutes": 5},
    "LocationCreate": _without(_LOCATION_ROW, "id"),
    "LocationPatch": {"active": False},
    "LocationRow": _LOCATION_ROW,
    "MoveIn": {"version": 1},
    "TravelCreate": _without(_TRAVEL_ROW, "id"),
    "TravelPatch": {"minutes": 30},
    "TravelRow": _TRAVEL_ROW,
    "VisitIn": {"version": 1, "confirm": False},
    "UndoIn": {"version": 2},
    "BookingPatch": {"patient_ref": "P-4711", "notes": "Needs a wheelchair.", "version": 1},
    "OverbookingRuleCreate": _without(_RULE_ROW, "id"),
    "OverbookingRulePatch": {"max_per_day": 3},
    "OverbookingRuleRow": _RULE_ROW,
    "ProviderCreate": _without(_PROVIDER_ROW, "id"),
    "ProviderPatch": {"daily_cap": 12},
    "ProviderRow": _PROVIDER_ROW,
    "ProviderTypeCreate": _without(_OWN_ROW, "id"),
    "ProviderTypePatch": {"duration_minutes": 45},
    "ProviderTypeRow": _OWN_ROW,
    "RescheduleIn": {
        "date": DATE,
        "start_time": "18:30",
        "version": 1,
        "override": ["OUTSIDE_PROVIDER_HOURS"],
        "override_reason": "Comes from far away.",
    },
    "RoomCreate": _without(_ROOM_ROW, "id"),
    "RoomPatch": {"turnover_minutes": 10},
    "RoomRow": _ROOM_ROW,
    "RunFile": {
        "name": "Vega out on Monday",
        "start_date": DATE,
        "days": 5,
        "requests": [{"id": "r1", "appointment_type_id": KIND, "count": 4}],
        "scenarios": [
            {"name": "baseline", "changes": []},
            {
                "name": "Vega out",
                "changes": [{"op": "provider_out", "provider_id": PROVIDER, "date": DATE}],
            },
        ],
        "time_limit_seconds": 30,
    },
    "RunState": _RUN_STATE,
    "EquipmentPoolCreate": _without(_POOL_ROW, "id"),
    "EquipmentPoolPatch": {"quantity": 2},
    "EquipmentPoolRow": _POOL_ROW,
    "PoolNeedRow": {"pool_id": POOL, "quantity": 1},
    "SessionCreate": _without(_SESSION_ROW, "id"),
    "SessionPatch": {"max_bookings": 6, "releases": None},
    "SessionRow": _SESSION_ROW,
    "SlotsOut": {
        "date": DATE,
        "appointment_type_id": KIND,
        "total": 11,
        "slots": [_SLOT],
        "next_available_date": None,
        "blocked_by": {},
        "opens_later": [{"at": f"{DATE}T08:00:00+01:00", "count": 4}],
    },
    "SwapIn": {"a": BOOKING, "b": OTHER_BOOKING},
    "SwapOut": {"a": _BOOKED, "b": _MOVED},
}
"""By the name of the schema."""


PARAMETERS: dict[str, Any] = {
    "date": DATE,
    "appointment_type_id": KIND,
    "booking_id": BOOKING,
    "hold_id": BOOKING,
    "run_id": RUN,
    "idempotency-key": "0d7b6a8e-1",
    "preferred_start": "09:00",
    "preferred_end": "12:00",
}
"""By the name of the parameter, which means the same in every route."""


def _problem(status: int, title: str, code: str, detail: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **more,
    }


PROBLEMS: dict[int, dict[str, Any]] = {
    401: _problem(401, "Unauthorized", "UNAUTHENTICATED", "Send an API key."),
    403: _problem(403, "Forbidden", "FORBIDDEN", "This takes the role manager."),
    404: _problem(404, "Not Found", "NOT_FOUND", f"There is no booking {BOOKING}."),
    408: _problem(408, "Request Timeout", "REQUEST_TIMEOUT", "The body did not come in time."),
    409: _problem(
        409,
        "Conflict",
        "SLOT_UNAVAILABLE",
        "The place is not free.",
        reasons=["PROVIDER_BUSY"],
    ),
    412: _problem(
        412,
        "Precondition Failed",
        "STALE_VERSION",
        "Someone has changed this row since it was read; read it again and repeat the edit.",
    ),
    413: _problem(413, "Content Too Large", "BODY_TOO_LARGE", "The body has too many bytes."),
    415: _problem(
        415,
        "Unsupported Media Type",
        "UNSUPPORTED_MEDIA_TYPE",
        "Send the body as application/json: set the header Content-Type.",
    ),
    421: _problem(
        421,
        "Misdirected Request",
        "MISDIRECTED_REQUEST",
        "As long as no key has been made, the service answers to localhost only.",
    ),
    422: _problem(
        422,
        "Unprocessable Content",
        "VALIDATION_ERROR",
        "start_time: is no time of day; write HH:MM, as in 09:30",
        errors=[{"field": "start_time", "message": "is no time of day; write HH:MM, as in 09:30"}],
    ),
    429: _problem(429, "Too Many Requests", "RATE_LIMITED", "Too many requests."),
    500: _problem(
        500,
        "Internal Server Error",
        "INTERNAL_ERROR",
        "Something went wrong here; it has been logged.",
    ),
    503: _problem(
        503,
        "Service Unavailable",
        "TEMPORARILY_UNAVAILABLE",
        "The service is busy or its database is away; please repeat the request.",
    ),
}
"""By status."""
