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

from data.files.clinic_file import ClinicFile
from solver.clinic.clinic import Clinic
from solver.clinic.clock import parse_time
from solver.clinic.entities import Booking
from solver.clinic.request import SlotRequest
from solver.rules.checked_book import BookChecker
from solver.rules.checked_slots import SlotChecker
from tests.support.clinics import coming_monday
from tests.support.service import service
from tests.support.strategies import uid

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
            "daily_minutes": 130 if n == 1 else None,
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
    morning = {"weekday": 1, "start_time": "08:00", "end_time": "10:00"}
    sessions = [
        {"id": uid(7, 0), "name": "All", "max_bookings": 4} | morning,
        {"id": uid(7, 1), "name": "Visits", "provider_id": uid(1, 2)}
        | {"appointment_type_ids": [uid(3, 0)], "max_bookings": 2}
        | morning,
    ]
    return {
        "clinic": {"name": "Storm", "timezone": "Europe/Berlin"},
        "providers": providers,
        "rooms": rooms,
        "appointment_types": types,
        "availability": rows,
        "overbooking_rules": rules,
        "sessions": sessions,
    }


@dataclass(frozen=True)
class Episode:
    """A booking as an answer told it, and when its request was sent and answered."""

    row: dict[str, Any]
    sent: float
    answered: float


@dataclass(frozen=True)
class Refusal:
    """A place refused with `code`; `aside` are the bookings that would have given up theirs."""

    code: str
    place: dict[str, Any]
    sent: float
    answered: float
    aside: frozenset[str] = frozenset()


@dataclass
class Log:
    """What was answered."""

    answers: list[tuple[str, int, str]] = field(default_factory=list)
    booked: dict[str, dict[str, Any]] = field(default_factory=dict)
    episodes: dict[str, list[Episode]] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    async def send(
        self,
        client: httpx.AsyncClient,
        what: str,
        path: str,
        body: dict[str, Any] | None = None,
        place: dict[str, Any] | None = None,
        aside: frozenset[str] = frozenset(),
    ) -> httpx.Response:
        """Post, and note the answer; `place` is what was asked for, if it was one place."""
        sent = time.monotonic()
        answer = await client.post(path, json=body)
        answered = time.monotonic()
        self.note(what, answer)
        if answer.is_success:
            told = answer.json()
            for row in [told["a"], told["b"]] if "a" in told else [told]:
                self.episodes.setdefault(row["id"], []).append(Episode(row, sent, answered))
        elif answer.status_code == 409 and place is not None:
            code = answer.json()["code"]
            self.refusals.append(Refusal(code, place, sent, answered, aside))
        return answer

    def possibly_live(self, refusal: Refusal) -> list[dict[str, Any]]:
        """Return the places that were taken at some moment while the request was under way."""
        found = []
        for key, episodes in self.episodes.items():
            episodes.sort(key=lambda episode: episode.row["version"])
            ends = [*(later.answered for later in episodes[1:]), float("inf")]
            for episode, end in zip(episodes, ends, strict=True):
                under_way = episode.sent <= refusal.answered and refusal.sent <= end
                if under_way and episode.row["status"] != "cancelled" and key not in refusal.aside:
                    found.append(episode.row)
        return found

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
            await log.send(client, "cancel", f"/bookings/{key}/cancel")
        elif mine and offered and roll < 0.5:
            slot = chance.choice(offered)
            body = {key: slot[key] for key in ("date", "start_time", "provider_id")}
            key = chance.choice(mine)
            own = {name: log.booked[key][name] for name in ("appointment_type_id", "patient_ref")}
            await log.send(
                client,
                "reschedule",
                f"/bookings/{key}/reschedule",
                {**body, "accept_overbooked": True},
                {**body, **own},
                frozenset({key}),
            )
        elif len(mine) > 1 and roll < 0.55:
            a, b = chance.sample(mine, 2)
            await log.send(client, "swap", "/bookings/swap", {"a": a, "b": b})
        elif offered:
            slot = chance.choice(offered)
            keys = ["date", "start_time", "provider_id", *(["room_id"] if roll < 0.8 else [])]
            body = {key: slot[key] for key in keys}
            body |= {"appointment_type_id": kind, "accept_overbooked": True}
            body["patient_ref"] = f"patient {number} {chance.randrange(4)}"
            path = "/holds" if roll > 0.95 else "/bookings"
            answer = await log.send(client, path, path, body, body)
            if answer.status_code == 201:
                mine.append(answer.json()["id"])


def undue(log: Log, empty: Clinic) -> list[Refusal]:
    """Return the refusals of places that nothing stood against.

    More bookings never make a place free, so one that all those possibly there at the time leave
    feasible was refused without a cause.
    """
    found = []
    for refusal in log.refusals:
        place = refusal.place
        rows = log.possibly_live(refusal)
        start = parse_time(place["start_time"])
        if refusal.code == "PATIENT_CONFLICT":
            end = start + empty.type_by_id[place["appointment_type_id"]].duration_minutes
            is_due = any(
                row["patient_ref"] == place["patient_ref"]
                and row["date"] == place["date"]
                and parse_time(row["start_time"]) < end
                and start < parse_time(row["end_time"])
                for row in rows
            )
        elif refusal.code == "SLOT_UNAVAILABLE":
            checker = SlotChecker(empty.with_bookings(map(as_booking, rows)))
            request = SlotRequest(
                place["appointment_type_id"],
                dt.date.fromisoformat(place["date"]),
                dt.datetime.now(dt.UTC),
            )
            provider = empty.provider_by_id[place["provider_id"]]
            is_due = all(
                checker.read(request, provider, room, start).broken
                for room in empty.rooms
                if place.get("room_id") in (None, room.id)
            )
        else:
            continue
        if not is_due:
            found.append(refusal)
    return found


def as_booking(row: dict[str, Any]) -> Booking:
    return Booking(
        row["id"],
        row["provider_id"],
        row["room_id"],
        row["appointment_type_id"],
        dt.date.fromisoformat(row["date"]),
        parse_time(row["start_time"]),
        is_overbooked=row["is_overbooked"],
    )


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
    assert list(BookChecker(file.to_clinic(dt.datetime.now(dt.UTC))).violations()) == []
    stored = {row["id"]: row for row in exported["bookings"]}
    for key, row in log.booked.items():  # nothing acknowledged is lost
        same = ("provider_id", "room_id", "date", "start_time", "status", "is_overbooked")
        assert {name: stored[key][name] for name in same} == {name: row[name] for name in same}
    assert "deadlock" not in server_log
    assert any(refusal.code == "SLOT_UNAVAILABLE" for refusal in log.refusals)
    assert undue(log, file.to_clinic(dt.datetime.now(dt.UTC)).with_bookings(())) == []
