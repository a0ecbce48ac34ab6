"""Many wishes judged at once are decided as one after another."""

import datetime as dt
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.bookings.decisions import BookingRequest, Decision, Place, Policy
from data.bookings.in_turn import decide_in_turn, foresee, foresee_lock_keys, lock_keys_of
from data.database.transaction import patient_resource
from data.errors import NotFoundError, RequestError, SlotUnavailableError
from data.what_if.steps import Step, decide_steps
from solver.clinic.clinic import Clinic
from solver.clinic.clock import DateOutOfRangeError
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    Booking,
    ClinicSettings,
    Minutes,
    OverbookingRule,
    Provider,
    Room,
)
from solver.clinic.sessions.session import Session
from solver.scoring.parts import DEFAULT_WEIGHTS, Weights
from tests.support.strategies import KEPT, MONDAY, examples, uid

NOW = dt.datetime(2027, 2, 25, 9, tzinfo=dt.UTC)


POLICY = Policy(NOW, DEFAULT_WEIGHTS, horizon_days=300)


POLICIES = [POLICY] * 5 + [
    Policy(NOW, Weights.parse("0.1 0.2 0.3 0.4"), horizon_days=300),
    Policy(NOW, DEFAULT_WEIGHTS, horizon_days=3),  # beyond which all dates are
]


MINUTES = st.sampled_from([0, 0, 15])


CAPS = st.sampled_from([None, 1, 2, 4])


@st.composite
def open_clinics(draw: st.DrawFn) -> Clinic:
    """Two or three providers and rooms that take whatever comes, all day long."""
    providers = tuple(
        Provider(uid(1, n), f"P{n}", frozenset({"gp"}), draw(CAPS), draw(MINUTES), draw(MINUTES))
        for n in range(draw(st.integers(2, 3)))
    )
    rooms = tuple(
        Room(uid(2, n), f"R{n}", frozenset(), draw(MINUTES)) for n in range(draw(st.integers(2, 3)))
    )
    kinds = tuple(
        AppointmentType(uid(3, n), f"T{n}", 30, draw(MINUTES), draw(MINUTES), daily_cap=draw(CAPS))
        for n in range(2)
    )
    bookings = tuple(
        Booking(
            *(uid(5, n), uid(1, n % 2), uid(2, n % 2), uid(3, 0), MONDAY, 540 + 60 * n, "Ada"),
            **draw(KEPT),
        )
        for n in range(draw(st.integers(0, 2)))
    )
    return Clinic(
        ClinicSettings("Open", "Europe/Berlin"),
        providers,
        rooms,
        kinds,
        tuple(Availability(0, 1440, provider.id, weekday=1) for provider in providers),
        (OverbookingRule(uid(4, 0), max_per_day=1),) if draw(st.booleans()) else (),
        bookings,
        sessions=tuple(draw(st.lists(st.sampled_from(SESSIONS), max_size=2, unique=True))),
    )


SESSIONS = (
    Session(uid(7, 0), "All", 540, 720, weekday=1, max_bookings=2),
    Session(uid(7, 1), "Some", 540, 660, weekday=1, appointment_type_ids=frozenset({uid(3, 0)})),
    Session(uid(7, 2), "P", 540, 720, uid(1, 0), weekday=1, max_bookings=1),
    Session(uid(7, 3), "R", 540, 720, room_id=uid(2, 0), weekday=1, max_bookings=1),
)


@st.composite
def clinics_with_wishes(draw: st.DrawFn) -> tuple[Clinic, list[BookingRequest]]:
    clinic = draw(open_clinics())
    wanted = requests(clinic, draw(st.sampled_from(POLICIES)))
    return clinic, draw(st.lists(wanted, min_size=2, max_size=8))


@st.composite
def requests(draw: st.DrawFn, clinic: Clinic, policy: Policy) -> BookingRequest:
    """Few places, so that many want the same, or what another has a part of."""
    rooms = [row.id for row in clinic.rooms]
    is_there = draw(st.integers(0, 19)) > 0
    place = Place(
        draw(st.sampled_from([row.id for row in clinic.appointment_types])),
        draw(st.sampled_from([row.id for row in clinic.providers])) if is_there else uid(1, 9),
        MONDAY,
        draw(st.sampled_from([540, 570, 600, 615, 660, 667, 1425])),
        draw(st.sampled_from([None, *rooms, *rooms])),
        draw(st.integers(0, 3)) == 0,
    )
    return BookingRequest(
        place,
        policy,
        draw(st.sampled_from(["Ada", "Ada", "Bo", None])),
        draw(st.integers(0, 3)) == 0,
        ignored=frozenset({uid(5, 0)} if draw(st.integers(0, 4)) == 0 else ()),
        room_before=draw(st.sampled_from([None, *rooms])),
        minutes=draw(st.sampled_from([None, None, Minutes(45, 0, 10), Minutes(15, 5, 0)])),
    )


@given(clinics_with_wishes())
@examples(200)
def test_many_at_once_are_decided_as_one_after_another(
    case: tuple[Clinic, list[BookingRequest]],
) -> None:
    clinic, wanted = case
    outcomes = list(decide_in_turn(clinic, wanted))
    ignored = {key for request in wanted for key in request.ignored}
    book = [b for b in clinic.bookings if b.id not in ignored]
    for number, (request, outcome) in enumerate(zip(wanted, outcomes, strict=True)):
        expected: Decision | Exception
        try:
            expected = request.decide(clinic.with_bookings(book))
        except (RequestError, DateOutOfRangeError) as error:
            expected = error
        else:
            book.append(expected.as_booking(f"won {number}"))
        assert told(outcome) == told(expected)


@given(clinics_with_wishes())
@examples(200)
def test_the_steps_of_a_plan_are_decided_as_wishes(
    case: tuple[Clinic, list[BookingRequest]],
) -> None:
    clinic, drawn = case
    steps = [
        Step(
            replace(request.place, room_id=request.place.room_id or clinic.rooms[0].id),
            request.patient_ref,
            booking_id=next(iter(request.ignored), None),
        )
        for request in drawn
    ]
    policy = drawn[0].policy
    wanted = [
        BookingRequest(
            step.place,
            policy,
            step.patient_ref,
            allow_patient_overlap=False,
            ignored=frozenset({step.booking_id} if step.booking_id else ()),
        )
        for step in steps
    ]
    outcomes = decide_steps(clinic, steps, policy)
    assert list(map(told, outcomes)) == list(map(told, decide_in_turn(clinic, wanted)))


def told(outcome: Decision | Exception) -> Any:
    if isinstance(outcome, Decision):
        return outcome.slot, outcome.lock_keys()
    return type(outcome), str(outcome), getattr(outcome, "extra", None)


@given(clinics_with_wishes())
@examples(100)
def test_what_is_locked_beforehand_is_what_is_won(
    case: tuple[Clinic, list[BookingRequest]],
) -> None:
    clinic, wanted = case
    granted = lock_keys_of(decide_in_turn(clinic, wanted))
    foreseen = foresee(clinic, wanted)[1]
    if any(request.place.room_id is None for request in wanted):
        assert foreseen == granted  # the masks pass nothing here that the model refuses
    else:
        assert foreseen >= granted
        each = [foresee(clinic, [request])[1] for request in wanted]
        assert foreseen == set().union(*each)


# One wish


def open_clinic(grid_minutes: int = 15, **changes: Any) -> Clinic:
    """Two of each, open all day, with one booking: Ada, at ten, with the second provider."""
    rows: dict[str, Any] = {
        "providers": (Provider(uid(1, 0), "P0"), Provider(uid(1, 1), "P1")),
        "rooms": (Room(uid(2, 0), "R0"), Room(uid(2, 1), "R1")),
        "appointment_types": (
            AppointmentType(uid(3, 0), "T0", 30),
            AppointmentType(uid(3, 1), "T1", 45),
        ),
        "availability": tuple(
            Availability(0, 1440, uid(1, n), weekday=day) for n in (0, 1) for day in (1, 2)
        ),
        "overbooking_rules": (),
        "bookings": (Booking(uid(5, 0), uid(1, 1), uid(2, 1), uid(3, 1), MONDAY, 600, "Ada"),),
    }
    settings = ClinicSettings("Open", "Europe/Berlin", grid_minutes)
    return Clinic(settings, **(rows | changes))


def request(
    start: int, room: int | None = None, patient: str | None = "Bo", **changes: Any
) -> BookingRequest:
    room_id = None if room is None else uid(2, room)
    place = Place(uid(3, 0), uid(1, 0), MONDAY, start, room_id)
    fields = {name: changes.pop(name) for name in list(changes) if name in Place.__slots__}
    return BookingRequest(replace(place, **fields), POLICY, patient, False, **changes)


def decide(wanted: BookingRequest, clinic: Clinic | None = None, **changes: Any) -> Decision:
    return wanted.decide(clinic or open_clinic(), **changes)


def test_without_a_room_the_best_is_taken_or_the_one_before_or_one_that_is_not_refused() -> None:
    def room(wanted: BookingRequest, *refused: int) -> str:
        return decide(wanted, refused=frozenset(uid(2, n) for n in refused)).slot.room.name

    assert room(request(540)) == "R0"
    assert room(request(540), 0) == "R1"
    assert room(request(540, room_before=uid(2, 1))) == "R1"
    assert room(request(540, room_before=uid(2, 1)), 1) == "R0"
    assert room(request(600, room_before=uid(2, 1))) == "R0"  # Ada is there
    assert room(request(540, 1, room_before=uid(2, 0))) == "R1"
    for wanted in (request(540), request(540, room_before=uid(2, 1))):
        with pytest.raises(SlotUnavailableError) as refusal:
            room(wanted, 0, 1)
        assert refusal.value.extra == {"reasons": ["ROOM_BUSY"]}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (request(540, provider_id=uid(1, 9)), f"There is no provider {uid(1, 9)}."),
        (request(540, 9), f"There is no room {uid(2, 9)}."),
        (request(540, appointment_type_id=uid(3, 9)), f"There is no appointment type {uid(3, 9)}."),
    ],
)
def test_what_is_not_there_is_named_and_locks_nothing(wanted: BookingRequest, told: str) -> None:
    with pytest.raises(NotFoundError, match=told):
        decide(wanted)
    assert foresee_lock_keys(open_clinic(), [wanted]) == set()
    there = request(540, 0)
    assert foresee_lock_keys(open_clinic(), [wanted, there]) == decide(there).lock_keys()
    assert [type(o) for o in decide_in_turn(open_clinic(), [wanted, there])] == [
        NotFoundError,
        Decision,
    ]


@pytest.mark.parametrize(
    ("wanted", "told", "extra"),
    [
        (request(600, 1), "This place cannot be booked.", {"reasons": ["ROOM_BUSY"]}),
        (
            request(615, provider_id=uid(1, 1)),
            "This place could only be overbooked; send accept_overbooked to take it.",
            {"reasons": ["WOULD_BE_OVERBOOKED"]},
        ),
        (
            request(615, patient="Ada"),
            "The patient has another booking at that time, or too near to it for the way; "
            "send allow_patient_overlap to book all the same.",
            {"reasons": ["PATIENT_CONFLICT"], "booking_id": uid(5, 0)},
        ),
    ],
)
def test_a_refusal_says_why_and_what_to_do(
    wanted: BookingRequest, told: str, extra: dict[str, Any]
) -> None:
    clinic = open_clinic(overbooking_rules=(OverbookingRule(uid(4, 0), max_per_day=1),))
    with pytest.raises(RequestError) as refusal:
        decide(wanted, clinic)
    assert (refusal.value.detail, refusal.value.extra) == (told, extra)
    if wanted.place.room_id is None:
        place = replace(wanted.place, accept_overbooked=True)
        seen = decide(replace(wanted, place=place, allow_patient_overlap=True), clinic)
        assert seen.as_booking("new") == Booking(
            "new",
            wanted.place.provider_id,
            uid(2, 0),
            uid(3, 0),
            MONDAY,
            615,
            wanted.patient_ref,
            "booked",
            wanted.place.provider_id == uid(1, 1),
            *Minutes(30, 0, 0),
        )


@pytest.mark.parametrize(
    ("start", "conflicts"), [(570, False), (575, True), (600, True), (640, True), (645, False)]
)
def test_a_patient_is_in_one_place_from_the_start_to_the_end(start: int, conflicts: bool) -> None:
    clinic = open_clinic(grid_minutes=5)
    outcome, *_ = decide_in_turn(clinic, [request(start, 0, "Ada")])
    assert isinstance(outcome, Decision) is not conflicts
    (seen,) = decide_in_turn(clinic, [request(start, 0, "Ada", ignored=frozenset({uid(5, 0)}))])
    assert isinstance(seen, Decision)


def test_only_a_patients_own_live_booking_of_the_day_is_in_the_way() -> None:
    ada = open_clinic().bookings[0]
    for other in (
        replace(ada, patient_ref="Bo"),
        replace(ada, patient_ref=None),
        replace(ada, status="cancelled"),
        replace(ada, date=MONDAY + dt.timedelta(days=1)),
    ):
        # It does not end the search for one that is.
        clinic = open_clinic(bookings=(other, replace(ada, id=uid(5, 1))))
        assert isinstance(decide(request(615, 0, "Ada"), open_clinic(bookings=(other,))), Decision)
        with pytest.raises(RequestError) as refusal:
            decide(request(615, 0, "Ada"), clinic)
        assert refusal.value.extra["booking_id"] == uid(5, 1)
    assert isinstance(decide(request(615, 0, None)), Decision)


TUESDAY = MONDAY + dt.timedelta(days=1)


SUNDAY = MONDAY - dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("start", "provider_days", "room_days"),
    [
        (600, [MONDAY], [MONDAY]),
        (1410, [MONDAY, TUESDAY], [MONDAY, TUESDAY]),
        (1400, [MONDAY, TUESDAY], [MONDAY]),  # the room is free again at midnight
        (1390, [MONDAY, TUESDAY], [MONDAY]),  # the provider a minute later
        (1380, [MONDAY], [MONDAY]),
        (0, [SUNDAY, MONDAY], [MONDAY]),
        (10, [SUNDAY, MONDAY], [MONDAY]),
        (20, [MONDAY], [MONDAY]),
    ],
)
def test_the_days_to_lock_are_those_that_are_touched(
    start: int, provider_days: list[dt.date], room_days: list[dt.date]
) -> None:
    clinic = open_clinic(
        grid_minutes=10,
        providers=(
            Provider(uid(1, 0), "P0", buffer_before=20, buffer_after=21),
            Provider(uid(1, 1), "P1"),
        ),
        rooms=(Room(uid(2, 0), "R0", turnover_minutes=10),),
        appointment_types=(AppointmentType(uid(3, 0), "T0", 30, daily_cap=5),),
        bookings=(),
    )
    plain = {("provider", uid(1, 0), day) for day in provider_days}
    plain |= {("room", uid(2, 0), day) for day in room_days}
    cap, patient = (
        ("appointment_type", uid(3, 0), MONDAY),
        ("patient", patient_resource("bo"), MONDAY),
    )
    assert decide(request(start), clinic).lock_keys() == plain | {cap, patient}
    assert decide(request(start, patient=None), clinic).lock_keys() == plain | {cap}
    uncapped = replace(clinic.appointment_types[0], daily_cap=None)
    clinic = replace(clinic, appointment_types=(uncapped,))
    assert decide(request(start), clinic).lock_keys() == plain | {patient}
    clinic = replace(clinic, sessions=(*SESSIONS, replace(SESSIONS[0], id=uid(7, 9), end=600)))
    session = {("session", SESSIONS[0].id, MONDAY)} if start == 600 else set()
    assert decide(request(start), clinic).lock_keys() == plain | {patient} | session


def test_a_place_is_won_beside_those_won_before_it_alone() -> None:
    """What stands aside for one wish of a batch does so for all of them."""
    moving = request(600, 1, "Ada", ignored=frozenset({uid(5, 0)}))
    outcomes = list(decide_in_turn(open_clinic(), [request(600, 1), moving, request(600, 0)]))
    assert [isinstance(each, Decision) for each in outcomes] == [True, False, False]
    reasons = [o.extra["reasons"] for o in outcomes if isinstance(o, SlotUnavailableError)]
    assert reasons == [["ROOM_BUSY", "PROVIDER_BUSY"], ["PROVIDER_BUSY", "PATIENT_CONFLICT"]]


def capped(clinic: Clinic) -> Clinic:
    kind, *others = clinic.appointment_types
    return replace(clinic, appointment_types=(replace(kind, daily_cap=1), *others))


def in_session(clinic: Clinic) -> Clinic:
    return replace(clinic, sessions=SESSIONS[:1])


def one_room(clinic: Clinic) -> Clinic:
    return replace(clinic, rooms=clinic.rooms[:1], bookings=())


@pytest.mark.parametrize(
    ("second", "clinic", "told"),
    [
        (request(555, 0), open_clinic(), ["ROOM_BUSY", "PROVIDER_BUSY"]),
        (request(555, 1), open_clinic(), ["PROVIDER_BUSY"]),
        (request(555, 0, provider_id=uid(1, 1)), open_clinic(), ["ROOM_BUSY"]),
        (request(555, provider_id=uid(1, 1)), one_room(open_clinic()), ["ROOM_BUSY"]),
        (request(720, 1, provider_id=uid(1, 1)), capped(open_clinic()), ["TYPE_DAILY_CAP"]),
        (request(690, 1, provider_id=uid(1, 1)), in_session(open_clinic()), ["SESSION_FULL"]),
        (request(555, 1, "Cy", provider_id=uid(1, 1)), open_clinic(), ["PATIENT_CONFLICT"]),
    ],
)
def test_what_the_one_before_has_just_won_counts(
    second: BookingRequest, clinic: Clinic, told: Any
) -> None:
    first = request(540, 0, "Cy")
    between = request(
        1200, len(clinic.rooms) - 1, "Dee", provider_id=uid(1, 1), appointment_type_id=uid(3, 1)
    )
    assert isinstance(decide(second, clinic), Decision)
    for wanted in ([first, second], [first, between, second]):
        *granted, lost = decide_in_turn(clinic, wanted)
        assert all(isinstance(each, Decision) for each in granted)
        assert isinstance(lost, RequestError)
        assert lost.extra["reasons"] == told


@pytest.mark.parametrize(
    ("before", "start"), [((SUNDAY, 1410), 0), ((TUESDAY, 0), 1410), ((MONDAY, 600), 630)]
)
def test_what_stands_on_the_days_beside_counts(before: tuple[dt.date, int], start: int) -> None:
    standing = Booking(uid(5, 1), uid(1, 0), uid(2, 1), uid(3, 0), *before)
    late = tuple(Availability(0, 1440, uid(1, 0), weekday=day) for day in (7, 1, 2))
    providers = (Provider(uid(1, 0), "P0", buffer_after=15), Provider(uid(1, 1), "P1"))
    clinic = open_clinic(providers=providers, availability=late, bookings=(standing,))
    (outcome,) = decide_in_turn(clinic, [request(start, 0)])
    assert isinstance(outcome, SlotUnavailableError)
    assert outcome.extra == {"reasons": ["PROVIDER_BUSY"]}


def test_each_has_its_own_moment() -> None:
    """At half past midnight a place at a quarter past is gone."""
    later = replace(POLICY, now=dt.datetime(2027, 3, 1, 0, 30, tzinfo=ZoneInfo("Europe/Berlin")))
    pair = [request(15, 0), replace(request(15, 1, provider_id=uid(1, 1)), policy=later)]
    for one, other in (pair, pair[::-1]):
        outcomes = list(decide_in_turn(open_clinic(), [one, other]))
        assert [isinstance(o, Decision) for o in outcomes] == [one is pair[0], other is pair[0]]


def test_the_hours_of_rooms_and_the_rules_of_providers_count() -> None:
    closed = Availability(540, 600, room_id=uid(2, 0), weekday=1, kind="closed")
    opened = Availability(0, 1440, uid(1, 0), weekday=1)
    (outcome,) = decide_in_turn(open_clinic(availability=(opened, closed)), [request(570, 0)])
    assert isinstance(outcome, SlotUnavailableError)
    for provider in (None, uid(1, 0), uid(1, 1)):
        rule = OverbookingRule(uid(4, 0), provider_id=provider, max_per_day=1)
        clinic = open_clinic(overbooking_rules=(rule,))
        beside_ada = request(615, 0, provider_id=uid(1, 1), accept_overbooked=True)
        (outcome,) = decide_in_turn(clinic, [beside_ada])
        assert isinstance(outcome, Decision) is (provider != uid(1, 0))
