"""A state machine: any sequence of writes over HTTP does what a plain model in memory says."""

import asyncio
import datetime as dt
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import text

from data.database.engine import create_engine
from data.files.clinic_file import ClinicFile
from solver.clinic.clinic import Clinic
from solver.clinic.clock import format_time, parse_time
from solver.clinic.entities import Booking, Minutes
from solver.clinic.request import SlotRequest
from solver.rules.checked_book import BookChecker
from solver.rules.checked_slots import Reading, SlotChecker
from tests.support.clinics import coming_monday
from tests.support.databases import migrated_server
from tests.support.service import service
from tests.support.strategies import uid

MONDAY = coming_monday()


TYPES = [uid(3, n) for n in range(2)]


PROVIDERS = [uid(1, n) for n in range(2)]


ROOMS = [uid(2, n) for n in range(2)]


STARTS = range(540, 720, 15)


NOW = dt.datetime.now(dt.UTC)


LIVE = ("held", "booked", "checked_in", "completed", "no_show")


def clinic_document() -> dict[str, Any]:
    return {
        "clinic": {"name": "Machine", "timezone": "Europe/Berlin"},
        "providers": [
            {"id": PROVIDERS[0], "name": "P0", "daily_cap": 3, "buffer_after": 5},
            {"id": PROVIDERS[1], "name": "P1"},
        ],
        "rooms": [
            {"id": ROOMS[0], "name": "R0", "turnover_minutes": 10},
            {"id": ROOMS[1], "name": "R1", "equipment": ["ecg"]},
        ],
        "appointment_types": [
            {"id": TYPES[0], "name": "Visit", "duration_minutes": 30, "daily_cap": 4},
            {"id": TYPES[1], "name": "Long", "duration_minutes": 45, "buffer_before": 5},
        ],
        "availability": [
            {"provider_id": p, "weekday": 1, "start_time": "09:00", "end_time": "12:00"}
            for p in PROVIDERS
        ],
        "overbooking_rules": [{"id": uid(4, 0), "max_overlap": 1, "max_per_day": 1}],
        "bookings": [],
    }


class Server:
    """One service for all examples, and a way to its database for what HTTP cannot do."""

    client: httpx.Client
    url: str

    @classmethod
    def execute(cls, statement: str, **values: str) -> None:
        async def work() -> None:
            engine = create_engine(cls.url, pool_size=1)
            async with engine.begin() as connection:
                await connection.execute(text(statement), values)
            await engine.dispose()

        asyncio.run(work())


class BookMachine(RuleBasedStateMachine):
    """What the service answers, beside what the model expects."""

    @initialize()
    def start(self) -> None:
        document = clinic_document()
        answer = Server.client.post("/clinic/import", params={"replace": True}, json=document)
        assert answer.status_code == 200, answer.text
        self.clinic: Clinic = ClinicFile.model_validate(document).to_clinic(NOW)
        self.book: dict[str, Booking] = {}
        self.window = next(
            row
            for row in Server.client.get("/availability").json()
            if row["provider_id"] == PROVIDERS[1]
        )

    # The model

    def readings(
        self,
        kind: str,
        provider: str,
        room: str | None,
        start: int,
        others: list[Booking],
        minutes: Minutes | None = None,
    ) -> list[tuple[str, Reading]]:
        """The rooms a placement is feasible in, best first; of a new one or with kept minutes."""
        clinic = self.clinic.with_bookings(b for b in others if b.status in LIVE)
        request = SlotRequest(kind, MONDAY, NOW, minutes=minutes)
        found = []
        for place in clinic.rooms:
            if room in (None, place.id):
                reading = SlotChecker(clinic).read(
                    request, clinic.provider_by_id[provider], place, start
                )
                if reading.score is not None:
                    found.append((-reading.score, place.id, reading))
        return [(place, reading) for _, place, reading in sorted(found, key=lambda f: f[:2])]

    def busy_patient(self, patient: str, kind: str, start: int, others: list[Booking]) -> bool:
        end = start + self.clinic.type_by_id[kind].duration_minutes
        return any(
            b.patient_ref == patient
            and b.status in LIVE
            and b.start < end
            and start < b.start + self.clinic.kind_of(b).duration_minutes
            for b in others
        )

    def others(self, *keys: str) -> list[Booking]:
        return [b for key, b in self.book.items() if key not in keys]

    def expect(self, answer: httpx.Response, status: int, code: str | None = None) -> Any:
        body = answer.json()
        assert (answer.status_code, body.get("code")) == (status, code), answer.text
        return body

    def take(self, body: dict[str, Any], minutes: Minutes | None = None) -> None:
        """Note a booking as the service says it is, with the minutes that its type has now."""
        if minutes is None:
            kind = self.clinic.type_by_id[body["appointment_type_id"]]
            minutes = Minutes(kind.duration_minutes, kind.buffer_before, kind.buffer_after)
        start = parse_time(body["start_time"])
        assert parse_time(body["end_time"]) == start + minutes.duration
        self.book[body["id"]] = Booking(
            body["id"],
            body["provider_id"],
            body["room_id"],
            body["appointment_type_id"],
            MONDAY,
            start,
            body["patient_ref"],
            body["status"],
            body["is_overbooked"],
            *minutes,
        )

    # What is done

    @rule(
        path=st.sampled_from(["/bookings", "/bookings", "/holds"]),
        kind=st.sampled_from(TYPES),
        provider=st.sampled_from(PROVIDERS),
        room=st.sampled_from([None, *ROOMS]),
        start=st.sampled_from(STARTS),
        patient=st.sampled_from(["ada", "bo", "cy", "di"]),
        accept=st.booleans(),
    )
    def place(
        self,
        path: str,
        kind: str,
        provider: str,
        room: str | None,
        start: int,
        patient: str,
        accept: bool,
    ) -> None:
        answer = Server.client.post(
            path,
            json={
                "appointment_type_id": kind,
                "provider_id": provider,
                "room_id": room,
                "date": MONDAY.isoformat(),
                "start_time": format_time(start),
                "patient_ref": patient,
                "accept_overbooked": accept,
            },
        )
        found = self.readings(kind, provider, room, start, self.others())
        is_elsewhere = self.busy_patient(patient, kind, start, self.others())
        if found and is_elsewhere:
            self.expect(answer, 409, "PATIENT_CONFLICT")
        elif not found or (found[0][1].is_overbooked and not accept):
            reasons = self.expect(answer, 409, "SLOT_UNAVAILABLE")["reasons"]
            assert ("PATIENT_CONFLICT" in reasons) == is_elsewhere
        else:
            body = self.expect(answer, 201)
            assert body["room_id"] == found[0][0]
            assert body["is_overbooked"] == found[0][1].is_overbooked
            assert body["status"] == ("held" if path == "/holds" else "booked")
            self.take(body)

    def chosen(self, data: Any) -> Booking:
        """A booking by when it was made: ids differ from run to run."""
        return list(self.book.values())[data.draw(st.integers(0, len(self.book) - 1))]

    @precondition(lambda self: self.book)
    @rule(
        data=st.data(),
        move=st.sampled_from(
            [
                ("cancel", ("held", "booked", "checked_in"), "cancelled"),
                ("check-in", ("booked", "no_show"), "checked_in"),
                ("complete", ("checked_in",), "completed"),
            ]
        ),
    )
    def move(self, data: Any, move: tuple[str, tuple[str, ...], str]) -> None:
        booking = self.chosen(data)
        path, allowed, status = move
        insisting = {} if path == "cancel" else {"confirm": True}
        answer = Server.client.post(f"/bookings/{booking.id}/{path}", json=insisting)
        if booking.status in allowed:
            assert self.expect(answer, 200)["status"] == status
            self.book[booking.id] = replace(booking, status=status)
        else:
            self.expect(answer, 409, "INVALID_STATE")

    @precondition(lambda self: any(b.status == "held" for b in self.book.values()))
    @rule(data=st.data(), expire=st.booleans())
    def confirm(self, data: Any, expire: bool) -> None:
        held = [b for b in self.book.values() if b.status == "held"]
        booking = held[data.draw(st.integers(0, len(held) - 1))]
        if expire:
            Server.execute(
                "UPDATE bookings SET expires_at = now() - interval '1 ms' WHERE id = :id",
                id=booking.id,
            )
            self.book[booking.id] = replace(booking, status="cancelled")
        answer = Server.client.post(f"/holds/{booking.id}/confirm")
        if expire:
            self.expect(answer, 409, "INVALID_STATE")
        elif self.may_stay(booking):
            self.take(self.expect(answer, 200), kept(booking))
        else:
            self.expect(answer, 409, "SLOT_UNAVAILABLE")

    def may_stay(self, booking: Booking) -> bool:
        """Whether it could be booked afresh where it stands, or breaks no rule there."""
        kind, room = booking.appointment_type_id, booking.room_id
        others = self.others(booking.id)
        found = self.readings(kind, booking.provider_id, room, booking.start, others, kept(booking))
        if found and (booking.is_overbooked or not found[0][1].is_overbooked):
            return True
        live = self.clinic.with_bookings(b for b in self.book.values() if b.status in LIVE)
        return all(v.booking.id != booking.id for v in BookChecker(live).violations())

    @precondition(lambda self: self.book)
    @rule(
        data=st.data(),
        provider=st.sampled_from([None, *PROVIDERS]),
        room=st.sampled_from([None, *ROOMS]),
        start=st.sampled_from(STARTS),
        accept=st.booleans(),
    )
    def reschedule(
        self, data: Any, provider: str | None, room: str | None, start: int, accept: bool
    ) -> None:
        booking = self.chosen(data)
        answer = Server.client.post(
            f"/bookings/{booking.id}/reschedule",
            json={
                "date": MONDAY.isoformat(),
                "start_time": format_time(start),
                "provider_id": provider,
                "room_id": room,
                "accept_overbooked": accept,
            },
        )
        others = self.others(booking.id)
        kind, target = booking.appointment_type_id, provider or booking.provider_id
        found = self.readings(kind, target, room, start, others)
        if booking.status != "booked":
            self.expect(answer, 409, "INVALID_STATE")
        elif found and self.busy_patient(booking.patient_ref or "", kind, start, others):
            self.expect(answer, 409, "PATIENT_CONFLICT")
        elif not found or (found[0][1].is_overbooked and not accept):
            self.expect(answer, 409, "SLOT_UNAVAILABLE")
        else:
            body = self.expect(answer, 200)
            rooms = [place for place, _ in found]
            assert body["room_id"] == (booking.room_id if booking.room_id in rooms else rooms[0])
            self.take(body)

    @precondition(lambda self: len(self.book) > 1)
    @rule(data=st.data())
    def swap(self, data: Any) -> None:
        order = data.draw(st.permutations(range(len(self.book))))
        first, second = (list(self.book.values())[position] for position in order[:2])
        a, b = first.id, second.id
        answer = Server.client.post("/bookings/swap", json={"a": a, "b": b})
        if {first.status, second.status} != {"booked"}:
            self.expect(answer, 409, "INVALID_STATE")
        elif answer.status_code == 200:
            body = answer.json()
            for key, other in (("a", second), ("b", first)):
                assert body[key]["provider_id"] == other.provider_id
                assert body[key]["room_id"] == other.room_id
                assert body[key]["start_time"] == format_time(other.start)
                self.take(body[key])
        else:
            code = answer.json()["code"]
            assert code in ("SLOT_UNAVAILABLE", "PATIENT_CONFLICT")
            if code == "SLOT_UNAVAILABLE":
                assert not self.could_swap(first, second)

    def could_swap(self, first: Booking, second: Booking) -> bool:
        """Whether the exchange can be booked, one after the other, in either order."""
        accept = first.is_overbooked or second.is_overbooked
        for one, other in ((first, second), (second, first)):
            others = self.others(one.id, other.id)
            placed = self.try_at(one, other, others, accept=accept)
            if placed and self.try_at(other, one, [*others, placed], accept=accept):
                return True
        return False

    def try_at(
        self, booking: Booking, place: Booking, others: list[Booking], *, accept: bool
    ) -> Booking | None:
        found = self.readings(
            booking.appointment_type_id, place.provider_id, place.room_id, place.start, others
        )
        if not found or (found[0][1].is_overbooked and not accept):
            return None
        return replace(
            booking,
            provider_id=place.provider_id,
            room_id=place.room_id,
            start=place.start,
            is_overbooked=found[0][1].is_overbooked,
            duration_minutes=None,
            buffer_before=None,
            buffer_after=None,
        )

    @rule(end=st.sampled_from([660, 690, 720]), cap=st.sampled_from([None, 1, 3]))
    def edit(self, end: int, cap: int | None) -> None:
        """Change a window and a cap; what they strand is told."""
        Server.client.patch(f"/providers/{PROVIDERS[0]}", json={"daily_cap": cap})
        answer = Server.client.patch(
            f"/availability/{self.window['id']}", json={"end_time": format_time(end)}
        )
        before = self.broken()
        self.clinic = replace(
            self.clinic,
            providers=tuple(
                replace(p, daily_cap=cap) if p.id == PROVIDERS[0] else p
                for p in self.clinic.providers
            ),
            availability=tuple(
                replace(row, end=end) if row.provider_id == PROVIDERS[1] else row
                for row in self.clinic.availability
            ),
        )
        stranded = {key for key, rule in self.broken() - before if rule == 2}
        told = {c["booking_id"] for c in answer.json()["conflicts"] if c["rule"] == 2}
        assert told == stranded

    @rule(
        minutes=st.builds(
            Minutes, st.sampled_from([45, 20, 60]), st.sampled_from([5, 0, 20]), st.just(0)
        )
    )
    def resize(self, minutes: Minutes) -> None:
        """Change what a type takes: of later bookings only, so that it strands nothing."""
        fields = {
            "duration_minutes": minutes.duration,
            "buffer_before": minutes.before,
            "buffer_after": minutes.after,
        }
        answer = Server.client.patch(f"/appointment-types/{TYPES[1]}", json=fields)
        assert self.expect(answer, 200)["conflicts"] == []
        first, second = self.clinic.appointment_types
        changed = first, self.clinic.with_minutes(second, minutes)
        self.clinic = replace(self.clinic, appointment_types=changed)

    def broken(self) -> set[tuple[str, int]]:
        clinic = self.clinic.with_bookings(self.book.values())
        return {(v.booking.id, v.rule) for v in BookChecker(clinic).violations()}

    # What always holds

    @invariant()
    def the_book_is_the_same(self) -> None:
        if not hasattr(self, "book"):
            return
        listed = Server.client.get("/bookings").json()
        seen = {
            row["id"]: (
                *(row["provider_id"], row["room_id"], row["status"]),
                *(row["start_time"], row["end_time"]),
            )
            for row in listed
        }
        assert seen == {
            b.id: (
                *(b.provider_id, b.room_id, b.status),
                *(format_time(b.start), format_time(b.start + kept(b).duration)),
            )
            for b in self.book.values()
        }


def kept(booking: Booking) -> Minutes:
    """The minutes of a booking that the service has made."""
    duration, before, after = (
        minutes
        for minutes in (booking.duration_minutes, booking.buffer_before, booking.buffer_after)
        if minutes is not None
    )
    return Minutes(duration, before, after)


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with (
        tempfile.TemporaryDirectory(prefix="slotwright-test-") as directory,
        migrated_server(Path(directory)) as database,
        service("serve", DATABASE_URL=database.url) as (_, base),
        httpx.Client(base_url=base, timeout=30) as client,
    ):
        Server.client, Server.url = client, database.admin_url
        yield


@pytest.mark.usefixtures("server")
class TestBook(BookMachine.TestCase):
    settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
