"""The published OpenAPI document, held against a real service by generated requests."""

import datetime as dt
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from schemathesis.specs.openapi import checks as openapi_checks

from tests.support.clinics import PROVIDER, ROOM, RULE, TYPE, booking, coming_monday, small_clinic
from tests.support.service import service

ROOT = Path(__file__).parents[3]


EXAMPLES = 6
"""Generated requests for each route, beside those at the edges of its schema."""


CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]


MONDAY = coming_monday()


BOOKING = booking(0, MONDAY, "10:00")


BOOKING_ID = BOOKING["id"]


OTHER = booking(1, MONDAY, "11:00")


KNOWN = {
    "provider_id": PROVIDER,
    "room_id": ROOM,
    "appointment_type_id": TYPE,
    "booking_id": BOOKING_ID,
    "hold_id": BOOKING_ID,
    "a": BOOKING_ID,
    "b": OTHER["id"],
    "date": MONDAY.isoformat(),
    "start_date": MONDAY.isoformat(),
    "start_time": "09:00",
}
"""Values with which a request gets further than to a 404."""


schema = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.json")


schema.config.seed = 1


schema.config.phases.coverage.unexpected_methods = set()


schema.config.generation.update(max_examples=EXAMPLES, deterministic=True, database="none")


class Served:
    """The service and the rows that requests are steered to."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.client = httpx.Client(base_url=base, timeout=60)
        self.rows: dict[str, str] = {}
        self.bearer: dict[str, str] = {}

    def sign_in(self) -> None:
        """Make the first key, so that those which generated requests make lock nobody out."""
        key = self.client.post("/keys", json={"role": "admin"}).json()["key"]
        self.bearer = {"Authorization": f"Bearer {key}"}
        self.client.headers.update(self.bearer)

    def restore(self) -> None:
        """Bring the clinic back to what it was before the requests of another route."""
        document = small_clinic(
            bookings=[BOOKING, OTHER], overbooking_rules=[{"id": RULE, "max_per_day": 2}]
        )
        answer = self.client.post("/clinic/import", params={"replace": True}, json=document)
        assert answer.status_code == 200, answer.text
        for path in ("providers", "rooms", "appointment-types", "availability"):
            self.rows[f"/{path}/{{row_id}}"] = self.client.get(f"/{path}").json()[0]["id"]
        self.rows["/overbooking-rules/{row_id}"] = RULE

    def solve_one(self) -> None:
        """Have one what-if solved, to be looked at."""
        run = {
            "name": "one",
            "start_date": MONDAY.isoformat(),
            "days": 1,
            "requests": [{"id": "r1", "appointment_type_id": TYPE}],
            "time_limit_seconds": 2,
        }
        answer = self.client.post("/what-if", json=run)
        assert answer.status_code == 202, answer.text
        KNOWN["run_id"] = answer.json()["id"]
        deadline = time.monotonic() + 60
        while self.client.get(f"/what-if/{KNOWN['run_id']}").json()["status"] != "done":
            assert time.monotonic() < deadline
            time.sleep(0.05)  # between two looks


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with (
        tempfile.TemporaryDirectory(prefix="slotwright-fuzz-") as directory,
        service(
            "serve",
            "--data-dir",
            directory,
            SLOTWRIGHT_RATE_LIMITS="off",
            SLOTWRIGHT_LOG_LEVEL="ERROR",
        ) as (_, base),
    ):
        found = Served(base)
        with found.client:
            found.sign_in()
            found.restore()
            found.solve_one()
            yield found


@pytest.fixture
def clinic(served: Served) -> Served:
    served.restore()
    return served


def steered(name: str, value: Any, known: dict[str, str]) -> Any:
    """`value`, or for three in four of those that are well formed what is known."""
    if name not in known or not isinstance(value, str) or not value:
        return value
    well_formed = True
    try:
        UUID(value)
    except ValueError:
        try:
            dt.date.fromisoformat(value)
        except ValueError:
            well_formed = len(value) == 5
    return known[name] if well_formed and sum(value.encode()) % 4 else value


def steer(part: Any, known: dict[str, str]) -> Any:
    if isinstance(part, dict):
        return {name: steer(steered(name, each, known), known) for name, each in part.items()}
    return part


@schema.parametrize()
@settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
def test_every_answer_is_as_published(case: schemathesis.Case, clinic: Served) -> None:
    known = KNOWN | {"row_id": clinic.rows.get(case.path, "")}
    case.path_parameters = steer(case.path_parameters, known)
    case.query = steer(case.query, known)
    case.body = steer(case.body, known)
    if case.path == "/what-if" and isinstance(case.body, dict):
        case.body |= {"time_limit_seconds": 1}  # it is solved, too
    case.headers = {**(case.headers or {}), **clinic.bearer}
    case.call_and_validate(base_url=clinic.base, checks=CHECKS)
