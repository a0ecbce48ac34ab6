"""Random problems: tiny ones, of which every legal plan can be gone through, and a busy one."""

import datetime as dt
from dataclasses import replace
from random import Random

from solver.clinic.clinic import OVER_CAPACITY, Clinic
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
)
from solver.clinic.equipment.needs import PoolNeed
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.places import Location, Travel
from solver.clinic.sessions.session import Lead, Session, SessionsRead
from solver.clinic.teams.roles import Member, Role
from solver.planning.problem import Problem, Request
from solver.rules.codes import POLICY
from solver.whatif.apply import apply, outside_the_rules
from solver.whatif.changes import Entity, SetField
from solver.whatif.run import Demand, Run, Scenario
from tests.support.strategies import BEFORE, MONDAY, uid


def tiny_problem(seed: int) -> Problem:
    """A problem of up to 7 requests, always the same for the same seed."""
    chance, of_minutes = Random(seed), Random(f"minutes of {seed}")
    days = chance.choice((1, 1, 2))
    grid = chance.choice((30, 60, 20))
    kinds = [_kind(chance, number) for number in range(chance.choice((1, 2, 3)))]
    providers = [
        Provider(
            uid(1, number),
            f"P{number}",
            skills=frozenset({"gp"} if chance.random() < 0.9 else ()),
            daily_cap=chance.choice((None, None, None, 1, 2)),
            buffer_before=chance.choice((0, 0, 10)),
            buffer_after=chance.choice((0, 0, 5)),
            daily_minutes=of_minutes.choice((None, None, None, 45, 60, 90)),
        )
        for number in range(chance.choice((1, 1, 2)))
    ]
    rooms = [
        Room(
            uid(2, number),
            f"R{number}",
            equipment=frozenset(e for e in ("ecg", "couch") if chance.random() < 0.6),
            turnover_minutes=chance.choice((0, 0, 5, 15)),
        )
        for number in range(chance.choice((1, 2, 2)))
    ]
    rules = [
        OverbookingRule(
            uid(4, number),
            provider_id=chance.choice((None, providers[0].id)),
            appointment_type_id=chance.choice((None, None, kinds[0].id)),
            max_overlap=chance.choice((0, 1, 1, 2)),
            max_per_day=chance.choice((1, 1, 2)),
        )
        for number in range(chance.choice((0, 0, 1, 1, 2)))
    ]
    rows = [row for p in providers for row in _hours(chance, p, days, grid)]
    clinic = Clinic(
        ClinicSettings("Tiny", "Europe/Berlin", grid_minutes=grid),
        tuple(providers),
        tuple(rooms),
        tuple(kinds),
        tuple(rows),
        tuple(rules),
        tuple(_bookings(chance, providers, rooms, kinds, rows)),
        tuple(_provider_types(chance, providers, kinds)),
    )
    clinic = _in_rhythm(_overridden(_at_places(clinic, seed), seed), seed)
    clinic = _with_pools(clinic, seed)
    clinic = with_roles(clinic, seed)
    clinic, read = with_sessions(clinic, seed)
    movable: set[str] = set()
    left: set[str] = set()
    if chance.random() < 0.5:
        horizon = [MONDAY + dt.timedelta(days=ahead) for ahead in range(days)]
        bookings = (b for b in clinic.bookings if b.date in horizon)
        movable = {b.id for b in bookings if chance.random() < 0.7}
    outside = outside_the_rules(clinic, movable, BEFORE, read)
    if chance.random() < 0.3:
        left = {id_ for id_ in sorted(outside) if chance.random() < 0.7}
    most = chance.choice((2, 3, 5, 7)) if not movable else chance.choice((0, 1, 2, 3))
    return Problem(
        clinic,
        MONDAY,
        days,
        tuple(_request(chance, number, kinds, providers, days) for number in range(most)),
        BEFORE,
        movable=frozenset(movable),
        displaced=outside - left,
        left=frozenset(left),
        allow_overbooking=chance.random() < 0.85,
        sessions=read,
    )


def colliding_problem(seed: int) -> Problem:
    """A run in which bookings may move, and changes after which some of them collide."""
    chance, of_minutes = Random(seed), Random(f"minutes of {seed}")
    kinds = [
        AppointmentType(
            uid(3, number), f"T{number}", chance.choice((30, 30, 60)), buffer_after=number * 10
        )
        for number in range(2)
    ]
    providers = [Provider(uid(1, number), f"P{number}") for number in range(2)]
    rooms = [Room(uid(2, number), f"R{number}") for number in range(chance.choice((1, 2, 2)))]
    rules = [OverbookingRule(uid(4, 0), max_overlap=2, max_per_day=2)]
    late = chance.random() < 0.2
    opens, closes = (1290, 1440) if late else (540, 540 + 30 * chance.choice((3, 4, 5)))
    days = 2 if late or chance.random() < 0.2 else 1
    hours = [
        Availability(
            opens if ahead == 0 or not late else 0,
            closes if ahead == 0 else 90,
            provider_id=p.id,
            date=MONDAY + dt.timedelta(days=ahead),
        )
        for p in providers[: chance.choice((1, 2, 2))]
        for ahead in range(days)
        if late or ahead == 0
    ]
    bookings = [
        Booking(
            uid(5, number),
            chance.choice(providers[:1] * 2 + providers).id,
            chance.choice(rooms).id,
            chance.choice(kinds).id,
            MONDAY + dt.timedelta(days=ahead),
            (opens if ahead == 0 or not late else 0) + 30 * chance.choice((0, 0, 1, 1, 2, 3)),
            chance.choice((None, None, "ann")),
            status=chance.choice(("booked",) * 8 + ("checked_in", "held")),
            is_overbooked=chance.random() < 0.25,
            **_kept(chance),
        )
        for number in range(chance.choice((2, 3, 3, 4)))
        for ahead in [chance.choice((0, 0, 1)) if days == 2 else 0]
    ]
    clinic = Clinic(
        ClinicSettings("Colliding", "Europe/Berlin", grid_minutes=30),
        tuple(providers),
        tuple(rooms),
        tuple(kinds),
        tuple(hours),
        tuple(rules[: chance.choice((0, 1, 1))]),
        tuple(bookings),
    )
    clinic = _in_rhythm(_overridden(_at_places(clinic, seed), seed), seed)
    clinic = _with_pools(clinic, seed)
    clinic = with_roles(clinic, seed, share=0.3)
    clinic, read = with_sessions(clinic, seed)
    changes: list[tuple[Entity, str, str, int]] = [
        ("appointment_types", kinds[0].id, "duration_minutes", 60),
        ("appointment_types", kinds[1].id, "buffer_after", 45),
        ("appointment_types", kinds[0].id, "buffer_before", 30),
        ("appointment_types", kinds[0].id, "daily_cap", chance.choice((0, 1, 1, 2))),
        ("rooms", rooms[0].id, "turnover_minutes", chance.choice((15, 30, 60))),
        ("providers", providers[0].id, "buffer_after", 30),
        ("providers", providers[0].id, "daily_cap", chance.choice((0, 1, 1, 2))),
    ]
    if clinic.overbooking_rules:
        changes.append(("overbooking_rules", rules[0].id, "max_overlap", chance.choice((0, 1))))
        changes.append(("overbooking_rules", rules[0].id, "max_per_day", 1))
    chosen = chance.sample(changes, chance.choice((1, 1, 2, 3)))
    if of_minutes.random() < 0.5:
        minutes = of_minutes.choice((0, 30, 60, 75))
        chosen = [
            ("providers", key, "daily_minutes", minutes) if entity == "providers" else change
            for change in chosen
            for entity, key, *_ in [change]
        ]
    if clinic.equipment_pools and of_minutes.random() < 0.5:
        chosen[-1] = ("equipment_pools", clinic.equipment_pools[0].id, "quantity", 1)
    run = Run(
        "Colliding",
        MONDAY,
        days,
        tuple(
            Demand.of(Request(f"r{n}", chance.choice(kinds).id, priority=n + 1), 1)
            for n in range(chance.choice((0, 0, 1, 2)))
        ),
        existing="movable",
        stranded=chance.choice(("save", "save", "leave")),
        scenarios=(
            Scenario("baseline"),
            Scenario("changed", tuple(SetField(*change) for change in chosen)),
        ),
        sessions=read,
    )
    return apply(clinic, run, run.scenarios[-1], BEFORE)


def _at_places(clinic: Clinic, seed: int) -> Clinic:
    """The clinic with its rooms at two places and the hours of some providers at one; or not."""
    chance = Random(f"places {seed}")
    if chance.random() < 0.5:
        return clinic
    places = [Location(uid(7, number), f"L{number}") for number in range(2)]
    ids = [places[0].id, places[1].id, None]
    ways = [
        Travel(uid(8, 0), ids[0], ids[1], chance.choice((0, 15, 30, 60))),
        Travel(uid(8, 1), ids[1], ids[0], chance.choice((0, 15, 30, 60))),
    ]
    rows = []
    for row in clinic.availability:
        rows.append(replace(row, location_id=chance.choice((None, None, *ids))))
        if chance.random() < 0.3 and row.date is not None:
            rows.append(replace(row, location_id=chance.choice(ids), end=min(1440, row.end + 60)))
    return replace(
        clinic,
        rooms=tuple(replace(r, location_id=chance.choice((*ids[:2], *ids))) for r in clinic.rooms),
        availability=tuple(rows),
        locations=tuple(places),
        travel=tuple(ways[: chance.choice((0, 1, 2))]),
    )


def _overridden(clinic: Clinic, seed: int) -> Clinic:
    """The clinic with some of its bookings made against rules on purpose."""
    chance = Random(f"overrides {seed}")
    policy = sorted(POLICY - OVER_CAPACITY)

    def overrides(b: Booking) -> frozenset[str]:
        codes = policy + sorted(OVER_CAPACITY) * b.is_overbooked
        return frozenset(chance.sample(codes, chance.choice((0, 0, 1, 2))))

    return clinic.with_bookings(replace(b, overrides=overrides(b)) for b in clinic.bookings)


def _in_rhythm(clinic: Clinic, seed: int) -> Clinic:
    """The clinic with types of which some start in a rhythm of their own."""
    chance = Random(f"starts {seed}")

    def own(kind: AppointmentType) -> AppointmentType:
        if chance.random() < 0.7:
            return kind
        every, anchor = chance.choice((None, 20, 35, 50)), chance.choice(("midnight", "window"))
        offset = chance.choice((0, 10)) if every and anchor == "midnight" else 0
        packed = chance.random() < 0.5
        return replace(
            kind, start_every=every, start_offset=offset, start_anchor=anchor, packed=packed
        )

    return replace(clinic, appointment_types=tuple(map(own, clinic.appointment_types)))


def with_sessions(clinic: Clinic, seed: int) -> tuple[Clinic, SessionsRead]:
    """The clinic with sessions in its first two hours or so, mostly, and how they are read."""
    chance = Random(f"sessions {seed}")
    opens = min((row.start for row in clinic.availability), default=540)
    types = [kind.id for kind in clinic.appointment_types]
    sessions = []
    for number in range(chance.choice((0, 0, 1, 1, 2, 3))):
        start = opens + chance.choice((0, 0, 30, 60))
        owner = chance.choice(
            ({}, {"provider_id": clinic.providers[0].id}, {"room_id": clinic.rooms[0].id})
        )
        when = chance.choice(({"weekday": 1}, {"weekday": 1}, {"date": MONDAY}, {"weekday": 2}))
        sessions.append(
            Session(
                uid(7, number),
                f"S{number}",
                min(start, 1410),
                min(1440, start + chance.choice((30, 60, 120))),
                **owner,
                **when,
                appointment_type_ids=chance.choice(
                    (None, None, None, frozenset(types[:1]), frozenset(types[-1:]), frozenset())
                ),
                max_bookings=chance.choice((None, 0, 1, 1, 2)),
                opens=chance.choice((None, None, None, Lead(days_before=10, at=480))),
                releases=chance.choice((None, Lead(minutes_before=60), Lead(days_before=40, at=0))),
            )
        )
    return replace(clinic, sessions=tuple(sessions)), chance.choice(
        ("now", "now", "released", "ignored")
    )


def _with_pools(clinic: Clinic, seed: int) -> Clinic:
    """The clinic, perhaps with a pool or two that some of its types take from."""
    chance, of_places = Random(f"pools {seed}"), Random(f"places of pools {seed}")
    somewhere = (None, None, *(row.id for row in clinic.locations))
    pools = tuple(
        EquipmentPool(
            uid(7, number),
            f"E{number}",
            quantity=chance.choice((1, 1, 2, 3)),
            return_minutes=chance.choice((0, 0, 10, 30)),
            active=chance.random() < 0.95,
            location_id=of_places.choice(somewhere),
        )
        for number in range(chance.choice((0, 0, 1, 1, 2)))
    )
    types = tuple(
        replace(
            kind,
            required_pools=tuple(
                PoolNeed(pool.id, chance.choice((1, 1, 2)))
                for pool in pools
                if chance.random() < 0.6
            ),
        )
        for kind in clinic.appointment_types
    )
    return replace(clinic, appointment_types=types, equipment_pools=pools)


def with_roles(clinic: Clinic, seed: int, share: float = 0.5) -> Clinic:
    """The clinic, perhaps with roles in some of its types and mostly whole teams in its bookings.

    Often with one provider more, who is there for most of the first date.
    """
    chance = Random(f"roles {seed}")
    if chance.random() > share:
        return clinic

    def roles(kind: AppointmentType) -> tuple[Role, ...]:
        shortest = min(
            [kind.duration_minutes]
            + [
                row.duration_minutes
                for row in clinic.provider_types
                if row.appointment_type_id == kind.id and row.duration_minutes is not None
            ]
        )
        return tuple(
            Role(
                f"role {number}",
                frozenset({"gp"} if chance.random() < 0.3 else ()),
                from_minute=chance.choice((0, 0, 10)),
                to_minute=chance.choice((None, None, shortest)),
            )
            for number in range(chance.choice((0, 1, 1, 2)))
        )

    others = [
        Provider(
            uid(1, 8 + number),
            f"N{number}",
            skills=frozenset({"gp"} if chance.random() < 0.7 else ()),
            buffer_after=chance.choice((0, 0, 10)),
        )
        for number in range(chance.choice((0, 1, 1, 2)))
    ]
    opens = min((row.start for row in clinic.availability), default=540)
    rows = [
        Availability(opens, min(1440, opens + 90), provider_id=p.id, date=MONDAY) for p in others
    ]
    book = []
    types = tuple(replace(kind, roles=roles(kind)) for kind in clinic.appointment_types)
    clinic = replace(
        clinic,
        appointment_types=types,
        providers=(*clinic.providers, *others),
        availability=(*clinic.availability, *rows),
    )
    for b in clinic.bookings:
        people = [p.id for p in clinic.providers if p.id != b.provider_id]
        chance.shuffle(people)
        keys = [role.key for role in clinic.type_by_id[b.appointment_type_id].roles]
        team = tuple(Member(*each) for each in zip(keys, people, strict=False))
        book.append(replace(b, team=team if chance.random() < 0.9 else team[:-1]))
    return clinic.with_bookings(book)


def _kind(chance: Random, number: int) -> AppointmentType:
    return AppointmentType(
        uid(3, number),
        f"T{number}",
        duration_minutes=chance.choice((20, 30, 45, 60)),
        buffer_before=chance.choice((0, 0, 10)),
        buffer_after=chance.choice((0, 0, 10)),
        required_skills=frozenset({"gp"} if number and chance.random() < 0.4 else ()),
        required_equipment=frozenset({"ecg"} if chance.random() < 0.3 else ()),
        daily_cap=chance.choice((None, None, None, 1, 2)),
    )


def _provider_types(
    chance: Random, providers: list[Provider], kinds: list[AppointmentType]
) -> list[ProviderType]:
    if chance.random() < 0.6:
        return []
    return [
        ProviderType(
            uid(6, 10 * n + m),
            provider.id,
            kind.id,
            duration_minutes=chance.choice((None, 20, 30, 60)),
            buffer_before=chance.choice((None, None, 0, 10)),
            buffer_after=chance.choice((None, None, 0, 10)),
            daily_cap=chance.choice((None, None, 0, 1)),
            offered=chance.random() < 0.9,
        )
        for n, provider in enumerate(providers)
        for m, kind in enumerate(kinds)
        if chance.random() < 0.5
    ]


def _hours(chance: Random, provider: Provider, days: int, grid: int) -> list[Availability]:
    rows = []
    for ahead in range(days):
        length = grid * chance.choice((2, 3, 4))
        opens = chance.choice((540, 600, 540, 0, 1440 - length))
        if chance.random() < 0.9:
            date = MONDAY + dt.timedelta(days=ahead)
            rows.append(Availability(opens, opens + length, provider_id=provider.id, date=date))
    return rows


def _bookings(
    chance: Random,
    providers: list[Provider],
    rooms: list[Room],
    kinds: list[AppointmentType],
    rows: list[Availability],
) -> list[Booking]:
    bookings = []
    for number in range(chance.choice((0, 1, 2, 3))):
        row = chance.choice(rows) if rows else None
        near = 540 if row is None else row.start
        start = min(1380, max(0, near + chance.choice((-60, -5, 0, 0, 20, 30, 60))))
        ahead = chance.choice((-1, 0, 0, 0, 0, 1, 2))
        bookings.append(
            Booking(
                uid(5, number),
                (chance.choice(providers)).id,
                chance.choice(rooms).id,
                chance.choice(kinds).id,
                MONDAY + dt.timedelta(days=ahead),
                start,
                chance.choice((None, "ann", "bob")),
                is_overbooked=chance.random() < 0.2,
                **_kept(chance),
            )
        )
    return bookings


def _kept(chance: Random) -> dict[str, int]:
    """What a booking has kept of its minutes; of the others nothing, they are as their types."""
    if chance.random() < 0.6:
        return {}
    return {
        "duration_minutes": chance.choice((15, 20, 30, 45, 60)),
        "buffer_before": chance.choice((0, 0, 10)),
        "buffer_after": chance.choice((0, 0, 10)),
    }


def _request(
    chance: Random,
    number: int,
    kinds: list[AppointmentType],
    providers: list[Provider],
    days: int,
) -> Request:
    dates = frozenset(
        MONDAY + dt.timedelta(days=d) for d in range(-1, days + 1) if chance.random() < 0.7
    )
    return Request(
        f"r{number}",
        chance.choice(kinds).id,
        priority=chance.choice((1, 1, 2, 5)),
        dates=chance.choice((None, None, dates)),
        provider_id=chance.choice((None, None, None, providers[0].id)),
        preferred=chance.choice((None, (540, 600), (600, 720))),
        patient_ref=chance.choice((None, None, None, "ann", "bob")),
    )


def busy_problem(seed: int, requests: int = 40) -> Problem:
    """Two days of a clinic that is asked for more than it can give."""
    chance, of_minutes = Random(seed), Random(f"minutes of {seed}")
    skills, equipment = ("gp", "derma"), ("ecg", "couch")
    kinds = [
        AppointmentType(
            uid(3, number),
            f"T{number}",
            duration_minutes=minutes,
            buffer_after=chance.choice((0, 5)),
            required_skills=frozenset({skills[number % 2]}),
            required_equipment=frozenset(equipment[: number % 3]),
            daily_cap=chance.choice((None, None, 8)),
        )
        for number, minutes in enumerate((15, 20, 30, 45, 60))
    ]
    providers = [
        Provider(
            uid(1, number),
            f"P{number}",
            skills=frozenset(skills if number else skills[:1]),
            daily_cap=chance.choice((None, 8)),
            buffer_after=chance.choice((0, 5)),
            daily_minutes=of_minutes.choice((None, None, 150)),
        )
        for number in range(3)
    ]
    rooms = [
        Room(
            uid(2, number),
            f"R{number}",
            equipment=frozenset(equipment[: 2 - number % 3]),
            turnover_minutes=chance.choice((0, 5)),
        )
        for number in range(3)
    ]
    clinic = Clinic(
        ClinicSettings("Busy", "Europe/Berlin", grid_minutes=5),
        tuple(providers),
        tuple(rooms),
        tuple(kinds),
        tuple(
            Availability(480, 720, provider_id=p.id, weekday=day)
            for p in providers
            for day in (1, 2)
        ),
        (
            OverbookingRule(
                uid(4, 0), appointment_type_id=kinds[0].id, max_overlap=1, max_per_day=1
            ),
        ),
        (
            Booking(uid(5, 0), providers[0].id, rooms[0].id, kinds[0].id, MONDAY, 540, "ann"),
            Booking(uid(5, 1), providers[1].id, rooms[1].id, kinds[2].id, MONDAY, 603, "bob"),
        ),
    )
    asked = [_request(chance, number, kinds, providers, 2) for number in range(requests)]
    return Problem(_with_pools(clinic, seed), MONDAY, 2, tuple(asked), BEFORE)
