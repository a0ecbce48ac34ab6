"""Sixteen writers on one week of one clinic: whatever they do at once, no rule is broken."""

import asyncio
import datetime as dt
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from data.clinic_file import ClinicFile
from solver.checker import Checker
from tests.clinics import coming_monday
from tests.faults.service import service
from tests.strategies import uid

SECONDS = float(os.environ.get("STORM_SECONDS", "8"))
WRITERS = 16
MONDAY = coming_monday()


def clinic() -> dict[str, Any]:
    """Small enough to be fought over, with every kind of limit."""
    providers = [
        {
            "id": uid(1, n),
            "name": f"P{n}",
            "skills": ["gp"],
            "daily_cap": 5 if n == 0 else None,
            "buffer_after": 5 * n,
        }
        for n in range(3)
    ]
    rooms = [
        {"id": uid(2, n), "name": f"R{n}", "turnover_minutes": 5 * n, "equipment": ["ecg"][:n]}
        for n in range(3)
    ]
    types = [
        {"id": uid(3, 0), "name": "Visit", "duration_minutes": 30, "required_skills": ["gp"]},
        {"id": uid(3, 1), "name": "Long", "duration_minutes": 60, "daily_cap": 3},
        {"id": uid(3, 2), "name": "ECG", "duration_minutes": 20, "required_equipment": ["ecg"]},
    ]
    rows = [
        {"provider_id": p["id"], "weekday": day, "start_time": "08:00", "end_time": "13:00"}
        for p in providers
        for day in (1, 2)
    ]
    rules = [{"id": uid(4, 0), "max_overlap": 1, "max_per_day": 2}]
    return {
        "clinic": {"name": "Storm", "timezone": "Europe/Berlin"},
        "providers": providers,
        "rooms": rooms,
        "appointment_types": types,
        "availability": rows,
        "overbooking_rules": rules,
    }


@dataclass
class Log:
    """What was answered."""

    answers: list[tuple[str, int, str]] = field(default_factory=list)
    booked: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, what: str, answer: httpx.Response) -> None:
        code = "" if answer.is_success else answer.json().get("code", "no code")
        if answer.status_code == 503:
            code += "" if "retry-after" in answer.headers else " without Retry-After"
        self.answers.append((what, answer.status_code, code))
        if answer.is_success:
            body = answer.json()
            for row in [body["a"], body["b"]] if "a" in body else [body]:
                known = self.booked.get(row["id"])
                if known is None or known["version"] < row["version"]:
                    self.booked[row["id"]] = row


async def write(client: httpx.AsyncClient, log: Log, number: int, until: float) -> None:
    chance = random.Random(number)
    mine: list[str] = []
    while time.monotonic() < until:
        day = MONDAY + dt.timedelta(days=chance.randrange(2))
        kind = uid(3, chance.randrange(3))
        query = {"date": day.isoformat(), "appointment_type_id": kind, "limit": 40}
        offered = (await client.get("/slots", params=query)).json()["slots"]
        roll = chance.random()
        if mine and roll < 0.25:
            key = mine.pop(chance.randrange(len(mine)))
            log.note("cancel", await client.post(f"/bookings/{key}/cancel"))
        elif mine and offered and roll < 0.5:
            slot = chance.choice(offered)
            body = {key: slot[key] for key in ("date", "start_time", "provider_id")}
            answer = await client.post(
                f"/bookings/{chance.choice(mine)}/reschedule",
                json={**body, "accept_overbooked": True},
            )
            log.note("reschedule", answer)
        elif len(mine) > 1 and roll < 0.55:
            a, b = chance.sample(mine, 2)
            log.note("swap", await client.post("/bookings/swap", json={"a": a, "b": b}))
        elif offered:
            slot = chance.choice(offered)
            keys = ["date", "start_time", "provider_id", *(["room_id"] if roll < 0.8 else [])]
            body = {key: slot[key] for key in keys}
            body |= {"appointment_type_id": kind, "accept_overbooked": True}
            body["patient_ref"] = f"patient {number} {chance.randrange(4)}"
            path = "/holds" if roll > 0.95 else "/bookings"
            answer = await client.post(path, json=body)
            log.note(path, answer)
            if answer.status_code == 201:
                mine.append(answer.json()["id"])


async def test_a_storm_breaks_no_rule(tmp_path: Path) -> None:
    log = Log()
    with service("serve", "--data-dir", str(tmp_path)) as (_, base):
        async with httpx.AsyncClient(base_url=base, timeout=30) as client:
            assert (await client.post("/clinic/import", json=clinic())).status_code == 200
            until = time.monotonic() + SECONDS
            await asyncio.gather(*(write(client, log, n, until) for n in range(WRITERS)))
            exported = (await client.get("/clinic/export")).json()
    server_log = (tmp_path / "postgres" / "postgres.log").read_text()

    assert len(log.booked) > 20
    allowed = {200: {""}, 201: {""}, 503: {"TEMPORARILY_UNAVAILABLE"}}
    refusals = {"SLOT_UNAVAILABLE", "PATIENT_CONFLICT", "INVALID_STATE", "STALE_VERSION"}
    odd = [a for a in log.answers if a[2] not in allowed.get(a[1], refusals)]
    assert odd == []
    file = ClinicFile.model_validate(orjson.loads(orjson.dumps(exported)))
    assert list(Checker(file.to_clinic(dt.datetime.now(dt.UTC))).violations()) == []
    stored = {row["id"]: row for row in exported["bookings"]}
    for key, row in log.booked.items():  # nothing acknowledged is lost
        same = ("provider_id", "room_id", "date", "start_time", "status", "is_overbooked")
        assert {name: stored[key][name] for name in same} == {name: row[name] for name in same}
    assert "deadlock" not in server_log


async def test_two_hundred_at_once_for_one_slot(tmp_path: Path) -> None:
    with service("serve", "--data-dir", str(tmp_path)) as (_, base):
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=base, timeout=30, limits=limits) as client:
            assert (await client.post("/clinic/import", json=clinic())).status_code == 200
            order = {
                "appointment_type_id": uid(3, 0),
                "provider_id": uid(1, 1),
                "date": MONDAY.isoformat(),
                "start_time": "09:00",
            }
            answers = await asyncio.gather(
                *(
                    client.post("/bookings", json={**order, "patient_ref": f"p{n}"})
                    for n in range(200)
                )
            )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 1
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"SLOT_UNAVAILABLE"}
    assert set(statuses) <= {201, 409, 503}
    assert all("retry-after" in a.headers for a in answers if a.status_code == 503)
