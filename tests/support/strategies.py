"""Hypothesis strategies: small clinics with every rule in play, and requests against them."""

import datetime as dt
from dataclasses import replace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st

from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    STATUSES,
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    Minutes,
    OverbookingRule,
    Provider,
    ProviderType,
    Room,
)
from solver.clinic.equipment.needs import PoolNeed
from solver.clinic.equipment.pools import EquipmentPool
from solver.clinic.places import Location, Travel
from solver.clinic.request import SlotRequest
from solver.clinic.sessions.session import Lead, Session
from solver.clinic.teams.roles import Member, Role
from solver.rules.codes import POLICY

MONDAY = dt.date(2027, 3, 1)


DAYS = [MONDAY + dt.timedelta(days=offset) for offset in range(-1, 3)]


BEFORE = dt.datetime(2027, 2, 1, tzinfo=ZoneInfo("Europe/Berlin"))


SKILLS = ["gp", "derma", "physio"]


EQUIPMENT = ["ecg", "ultrasound", "laser", "couch"]


# Mostly what most providers and rooms have, so that most requests have an answer.
NEEDED_SKILLS = [frozenset({"gp"}), frozenset[str](), frozenset({"derma"}), frozenset({"gp"})]


NEEDED_EQUIPMENT = [frozenset({"ecg"}), frozenset[str](), frozenset({"laser"}), frozenset({"ecg"})]


def uid(group: int, number: int) -> str:
    """A readable UUID: which group of rows, which number in it."""
    return str(UUID(int=(group << 64) + number))


def examples(number: int) -> settings:
    """Run that many examples, scaled by the profile: `number` is for its default of 100."""
    return settings(max_examples=max(1, number * settings.default.max_examples // 100))


def some(values: list[str], most: int = 4) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(values), max_size=most)


def rare(value: st.SearchStrategy, otherwise: object = None) -> st.SearchStrategy:
    return st.one_of(st.just(otherwise), st.just(otherwise), value)


# Ends of a range are drawn more often than what lies between them.
MOSTLY = st.sampled_from([True, True, True, False, True, True, True, True])


RETIRED = st.sampled_from([None] * 9 + [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)] + [None])


CAPS = rare(st.sampled_from([2, 1, 3, 0, 4, 5]))


GRIDS = (15, 5, 10, 20, 30, 60, 7, 25, 240)


OVERRIDES = rare(
    st.frozensets(st.sampled_from(sorted(POLICY)), min_size=1, max_size=3), otherwise=frozenset()
)


BUFFERS = st.sampled_from([0, 0, 5, 7, 10, 20])


DURATIONS = st.sampled_from([5, 15, 20, 30, 45, 50, 90])


# When a type may start: on the clinic's grid, or in a rhythm of its own.
STARTS = rare(
    st.builds(
        lambda every, offset, anchor, packed: {
            "start_every": every,
            "start_offset": offset % every if every and anchor == "midnight" else 0,
            "start_anchor": anchor,
            "packed": packed,
        },
        st.sampled_from([None, 50, 20, 35, 7, 240]),
        st.sampled_from([0, 0, 10, 13]),
        st.sampled_from(["midnight", "window"]),
        st.booleans(),
    ),
    otherwise={},
)


# What a booking has kept of its minutes: all, some or nothing, in which it is as its type has it.
KEPT = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "duration_minutes": DURATIONS,
            "buffer_before": BUFFERS,
            "buffer_after": BUFFERS,
        },
    ),
)


@st.composite
def spans(draw: st.DrawFn, earliest: int = 420, latest: int = 1140) -> tuple[int, int]:
    step = draw(st.sampled_from([60, 30, 15, 1]))
    start = draw(st.integers(earliest // step, latest // step - 1)) * step
    end = draw(st.integers(start // step + 1, latest // step)) * step
    return start, end


@st.composite
def availability(
    draw: st.DrawFn, providers: int, rooms: int, somewhere: st.SearchStrategy
) -> list[Availability]:
    rows = []
    for number in range(providers):
        owner = uid(1, number)
        for _ in range(draw(st.integers(0, 3))):
            start, end = draw(spans())
            rows.append(_row(draw, start, end, provider_id=owner, location_id=draw(somewhere)))
    for number in range(rooms):
        owner = uid(2, number)
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            start, end = draw(spans())
            rows.append(_row(draw, start, end, room_id=owner))
    for _ in range(draw(st.sampled_from([0, 0, 1]))):
        start, end = draw(spans())
        rows.append(_row(draw, start, end, kind="closed", location_id=draw(somewhere)))
    # A long day for most providers, so that most clinics have something to offer.
    for number in range(providers):
        if draw(MOSTLY):
            rows.append(Availability(start=480, end=1020, provider_id=uid(1, number), weekday=1))
    return rows


def _row(draw: st.DrawFn, start: int, end: int, **owner: Any) -> Availability:
    kind = owner.pop("kind", None) or draw(st.sampled_from(["open", "open", "closed"]))
    if draw(st.integers(0, 3)) == 0:
        return Availability(start, end, date=draw(st.sampled_from(DAYS)), kind=kind, **owner)
    valid_from = draw(rare(st.sampled_from(DAYS)))
    return Availability(
        start,
        end,
        weekday=draw(st.sampled_from([1, 1, 1, 2, 7])),
        kind=kind,
        valid_from=valid_from,
        every_weeks=1 if valid_from is None else draw(st.sampled_from([1, 2, 3])),
        valid_to=draw(rare(st.just(DAYS[-1]))),
        **owner,
    )


OTHER_DURATIONS = st.sampled_from([None, None, 10, 25, 40, 75])


@st.composite
def provider_types(
    draw: st.DrawFn, providers: list[Provider], types: list[AppointmentType]
) -> list[ProviderType]:
    """Rows of some providers for some types, or none at all."""
    pairs = [(provider, kind) for provider in providers for kind in types]
    chosen = draw(rare(st.lists(st.sampled_from(pairs), unique=True), otherwise=[]))
    return [
        ProviderType(
            uid(6, number),
            provider.id,
            kind.id,
            duration_minutes=None if kind.roles else draw(OTHER_DURATIONS),
            buffer_before=draw(st.sampled_from([None, None, 0, 10])),
            buffer_after=draw(st.sampled_from([None, None, 0, 15])),
            daily_cap=draw(st.sampled_from([None, None, None, 0, 1, 2])),
            offered=draw(MOSTLY),
        )
        for number, (provider, kind) in enumerate(chosen)
    ]


LATE = st.one_of(
    st.builds(Lead, minutes_before=st.sampled_from([0, 30, 120])),
    st.builds(Lead, days_before=st.sampled_from([0, 1]), at=st.sampled_from([0, 480, 600])),
)


EARLY = st.one_of(
    st.builds(Lead, minutes_before=st.sampled_from([60 * 24 * 20, 60 * 24 * 40])),
    st.builds(Lead, days_before=st.sampled_from([20, 40]), at=st.sampled_from([0, 480, 600])),
)


# When a session opens and is released, in this order.
LEADS = st.one_of(
    st.just((None, None)),
    st.tuples(st.none(), st.one_of(LATE, EARLY)),
    st.tuples(st.one_of(LATE, EARLY), st.none()),
    st.tuples(EARLY, LATE),
)


@st.composite
def sessions(
    draw: st.DrawFn, providers: list[Provider], rooms: list[Room], types: list[AppointmentType]
) -> list[Session]:
    """Sessions of providers, of rooms and of everybody, or none at all."""
    found = []
    for number in range(draw(st.sampled_from([0, 1, 2, 3]))):
        start, end = draw(st.one_of(st.just((420, 1140)), spans()))
        owner = draw(st.sampled_from([{}, {"provider_id": uid(1, 0)}, {"room_id": uid(2, 0)}]))
        when = draw(
            st.one_of(
                st.just({"weekday": 1}),
                st.fixed_dictionaries({"date": st.sampled_from(DAYS)}),
                st.fixed_dictionaries(
                    {
                        "weekday": st.sampled_from([1, 1, 2, 7]),
                        "valid_from": st.sampled_from(DAYS),
                        "valid_to": rare(st.just(DAYS[-1])),
                        "every_weeks": st.sampled_from([1, 2]),
                    }
                ),
            )
        )
        opens, releases = draw(LEADS)
        found.append(
            Session(
                uid(7, number),
                f"S{number}",
                start,
                end,
                **owner,
                **when,
                appointment_type_ids=draw(
                    st.one_of(st.none(), some([kind.id for kind in types]), some([types[-1].id]))
                ),
                max_bookings=draw(st.sampled_from([None, None, 1, 0, 2, 3])),
                opens=opens,
                releases=releases,
                active=draw(MOSTLY),
            )
        )
    return found


@st.composite
def places(draw: st.DrawFn) -> tuple[list[Location], list[Travel]]:
    """Two places or three with ways between them; or mostly none at all."""
    if draw(st.integers(0, 2)):
        return [], []
    known = [
        Location(uid(7, number), f"L{number}", active=draw(MOSTLY) or draw(MOSTLY))
        for number in range(draw(st.sampled_from([2, 2, 3])))
    ]
    ways = [(one, other) for one in known for other in known if one is not other]
    travel = [
        Travel(uid(8, number), one.id, other.id, draw(st.sampled_from([30, 0, 15, 45, 90, 300])))
        for number, (one, other) in enumerate(ways)
        if draw(MOSTLY)
    ]
    return known, travel


@st.composite
def equipment_pools(draw: st.DrawFn, somewhere: st.SearchStrategy) -> list[EquipmentPool]:
    """Up to two pools of few pieces, or none at all; some serve one place alone."""
    return [
        EquipmentPool(
            uid(7, number),
            f"E{number}",
            quantity=draw(st.sampled_from([1, 1, 2, 0, 3])),
            return_minutes=draw(st.sampled_from([0, 15, 7, 45, 1440])),
            active=draw(MOSTLY),
            location_id=draw(rare(somewhere)),
        )
        for number in range(draw(st.sampled_from([0, 1, 0, 2])))
    ]


@st.composite
def needs(draw: st.DrawFn, pools: list[EquipmentPool]) -> tuple[PoolNeed, ...]:
    """What a type takes of some of the pools."""
    chosen = [pool for pool in pools if draw(MOSTLY)]
    return tuple(PoolNeed(pool.id, draw(st.sampled_from([1, 1, 1, 2]))) for pool in chosen)


@st.composite
def roles(draw: st.DrawFn, duration: int) -> tuple[Role, ...]:
    """Up to two roles in an appointment of some minutes, or mostly none at all."""
    return tuple(
        Role(
            f"role {number}",
            draw(st.sampled_from([frozenset(), frozenset({"gp"}), frozenset({"physio"})])),
            from_minute=draw(st.sampled_from([0, 0, duration // 2])),
            to_minute=draw(st.sampled_from([None, None, duration])),
        )
        for number in range(draw(st.sampled_from([0, 0, 1, 0, 2])))
    )


@st.composite
def with_teams(draw: st.DrawFn, clinic: Clinic) -> Clinic:
    """The clinic with teams in its bookings, mostly whole, of whoever is not their provider."""
    if not clinic.has_roles:
        return clinic
    book = []
    for b in clinic.bookings:
        others = draw(st.permutations([p.id for p in clinic.providers if p.id != b.provider_id]))
        keys = [role.key for role in clinic.type_by_id[b.appointment_type_id].roles]
        team = (Member(*each) for each in zip(keys, others, strict=False) if draw(MOSTLY))
        book.append(replace(b, team=tuple(team)))
    return clinic.with_bookings(book)


@st.composite
def clinics(draw: st.DrawFn) -> Clinic:
    """A clinic of up to 3 providers, 3 rooms and 3 types around Monday, 1 March 2027."""
    grid = draw(st.sampled_from(GRIDS))
    retired = draw(RETIRED)
    locations, travel = draw(places())
    somewhere = st.sampled_from([None, *(row.id for row in locations)])
    providers = [
        Provider(
            uid(1, number),
            f"P{number}",
            skills=draw(some(SKILLS)) | ({"gp"} if draw(MOSTLY) else frozenset()),
            daily_cap=draw(CAPS),
            buffer_before=draw(BUFFERS),
            buffer_after=draw(BUFFERS),
            active=retired != (1, number),
            daily_minutes=draw(rare(st.sampled_from([60, 0, 29, 45, 90, 200]))),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    rooms = [
        Room(
            uid(2, number),
            f"R{number}",
            equipment=draw(some(EQUIPMENT)) | ({"ecg", "couch"} if draw(MOSTLY) else frozenset()),
            turnover_minutes=draw(BUFFERS),
            active=retired != (2, number),
            location_id=draw(somewhere),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    pools = draw(equipment_pools(somewhere))
    have_roles = draw(st.integers(0, 2)) == 0
    types = [
        AppointmentType(
            uid(3, number),
            f"T{number}",
            duration_minutes=duration,
            buffer_before=draw(BUFFERS),
            buffer_after=draw(BUFFERS),
            required_skills=draw(st.sampled_from(NEEDED_SKILLS)),
            required_equipment=draw(st.sampled_from(NEEDED_EQUIPMENT)),
            daily_cap=draw(CAPS),
            active=retired != (3, number),
            **draw(STARTS),
            required_pools=draw(needs(pools)),
            roles=draw(roles(duration)) if have_roles else (),
        )
        for number in range(draw(st.integers(1, 3)))
        for duration in [draw(DURATIONS)]
    ]
    rules = [
        OverbookingRule(
            uid(4, number),
            provider_id=draw(rare(st.sampled_from(providers))) and providers[0].id,
            appointment_type_id=draw(rare(st.just(types[0].id))),
            weekday=draw(rare(st.sampled_from([1, 2]))),
            start=draw(rare(st.sampled_from([480, 600, 601]))),
            end=draw(rare(st.sampled_from([720, 1020, 1440]))),
            max_overlap=draw(st.sampled_from([1, 0, 2])),
            max_per_day=draw(st.sampled_from([2, 0, 1, 3])),
        )
        for number in range(draw(st.sampled_from([1, 0, 1, 2, 3])))
    ]
    bookings = [
        Booking(
            uid(5, number),
            provider_id=draw(st.sampled_from(providers)).id,
            room_id=draw(st.sampled_from(rooms)).id,
            appointment_type_id=draw(st.sampled_from(types)).id,
            date=draw(st.sampled_from([MONDAY, MONDAY, MONDAY, *DAYS])),
            start=draw(
                st.one_of(
                    st.integers(480 // grid, 1000 // grid).map(lambda n: n * grid),
                    st.integers(480, 1000),
                    st.sampled_from([0, 1435]),
                )
            ),
            status=draw(st.sampled_from([*STATUSES, "booked", "booked", "booked"])),
            is_overbooked=draw(st.integers(0, 3)) == 0,
            **draw(KEPT),
            overrides=draw(OVERRIDES),
        )
        for number in range(draw(st.sampled_from([4, 0, 2, 6, 8, 10])))
    ]
    clinic = Clinic(
        ClinicSettings(
            "Random",
            "Europe/Berlin",
            grid_minutes=grid,
            preference_decay_minutes=draw(st.sampled_from([240, 240, 60, 37])),
            min_notice_minutes=draw(rare(st.just(90), otherwise=0)),
        ),
        tuple(draw(st.permutations(providers))),
        tuple(draw(st.permutations(rooms))),
        tuple(types),
        tuple(draw(availability(len(providers), len(rooms), somewhere))),
        tuple(rules),
        tuple(bookings),
        tuple(draw(provider_types(providers, types))),
        tuple(draw(sessions(providers, rooms, types))),
        locations=tuple(locations),
        travel=tuple(travel),
        equipment_pools=tuple(pools),
    )
    return draw(with_teams(clinic))


@st.composite
def requests(draw: st.DrawFn, clinic: Clinic) -> SlotRequest:
    """A request for Monday, sometimes for one provider, sometimes made on that very morning.

    Sometimes of an appointment that has kept its minutes, and as it will be at ten that morning;
    sometimes with somebody in a role whom the caller names.
    """
    kind = draw(st.sampled_from(clinic.appointment_types))
    member = draw(st.sampled_from(clinic.providers)).id
    named = st.just(tuple(Member(role.key, member) for role in kind.roles[:1]))
    return SlotRequest(
        appointment_type_id=kind.id,
        date=MONDAY,
        now=draw(rare(st.just(BEFORE.replace(month=3, hour=9, second=1)), otherwise=BEFORE)),
        as_of=draw(rare(st.just(BEFORE.replace(month=3, hour=10)))),
        provider_ids=draw(rare(st.just(frozenset({clinic.providers[0].id})))),
        preferred=draw(rare(spans(0, 1440))),
        minutes=draw(rare(st.builds(Minutes, DURATIONS, BUFFERS, BUFFERS))),
        location_ids=draw(rare(st.just(frozenset(row.id for row in clinic.locations[:1]) or None))),
        team=draw(rare(named, otherwise=())),
    )


@st.composite
def clinics_with_requests(draw: st.DrawFn) -> tuple[Clinic, SlotRequest]:
    clinic = draw(clinics())
    return clinic, draw(requests(clinic))
