"""What the daily caps leave beside bookings and assignments."""

from dataclasses import replace

from solver.clinic.clinic import uses_allowance
from solver.planning.instance.capacity import NO_CAP
from solver.planning.instance.tables import Instance
from solver.rules.codes import PROVIDER_DAILY_CAP
from tests.support.random_problems import tiny_problem

INSTANCES = [Instance(tiny_problem(seed)) for seed in range(30)]


def test_fixed_bookings_take_the_places_of_their_type_and_provider() -> None:
    capped = 0
    for instance in INSTANCES:
        capacity, fixed = instance.capacity, instance.fixed
        for d in range(len(instance.dates)):
            for k, kind in enumerate(instance.kinds):
                cap, booked = kind.row.daily_cap, sum((s.kind, s.day) == (k, d) for s in fixed)
                assert capacity.has_type_cap[k] == (cap is not None)
                assert capacity.type_left[k, d] == (NO_CAP if cap is None else cap) - booked
                capped += cap is not None
            for p, provider in enumerate(instance.providers):
                own = [s for s in fixed if (s.provider, s.day) == (p, d)]
                here = [s.booking.is_overbooked for s in own]
                cap = provider.daily_cap
                assert capacity.has_provider_cap[p] == (cap is not None)
                regular = NO_CAP if cap is None else cap
                assert capacity.regular_left[p, d] == regular - here.count(False)
                assert capacity.overbooked[p, d] == sum(uses_allowance(s.booking) for s in own)
                capped += cap is not None
                lengths = [s.minutes for s in own]
                taken = sum(m for m, over in zip(lengths, here, strict=True) if not over)
                most = provider.daily_minutes
                assert capacity.has_minutes_cap[p] == (most is not None)
                assert capacity.minutes_left[p, d] == (NO_CAP if most is None else most) - taken
                capped += most is not None
    assert capped


def test_a_providers_cap_for_a_type_counts_overbooked_ones_and_lets_stay_what_overrides_it() -> (
    None
):
    capped = 0
    for instance in INSTANCES:
        clinic, capacity = instance.clinic, instance.capacity
        for row in clinic.provider_types:
            if row.daily_cap is None:
                continue
            p, k = instance.provider_at[row.provider_id], clinic.type_at[row.appointment_type_id]
            for d in range(len(instance.dates)):
                here = [s for s in instance.fixed if (s.provider, s.kind, s.day) == (p, k, d)]
                within = [s for s in here if PROVIDER_DAILY_CAP not in s.booking.overrides]
                assert capacity.pair_left[k][p, d] == row.daily_cap - len(here)
                assert capacity.pair_left_to_stay[k][p, d] == row.daily_cap - len(within)
                capped += 1
    assert capped


def test_a_placement_takes_its_types_minutes_and_needs_as_many() -> None:
    problem = INSTANCES[0].problem
    kinds = tuple(replace(kind, duration_minutes=30) for kind in problem.clinic.appointment_types)
    providers = tuple(
        replace(p, daily_cap=None, daily_minutes=75) for p in problem.clinic.providers
    )
    clinic = replace(
        problem.clinic, appointment_types=kinds, providers=providers, bookings=(), provider_types=()
    )
    capacity = Instance(replace(problem, clinic=clinic)).capacity
    assert capacity.is_limited.all()
    assert (capacity.most_regular == 2).all()
    for left in (75, 45, 15):
        assert capacity.minutes_left[0, 0] == left
        assert capacity.takes_regular(0)[0, 0] == (left >= 30)
        capacity.take(0, 0, 0, is_overbooked=True)
        capacity.take(0, 0, 0, is_overbooked=False)


def test_what_is_taken_from_a_copy_is_left_in_the_original() -> None:
    instance = INSTANCES[0]
    before, capacity = instance.capacity, instance.capacity.after([])
    capacity.take(0, 0, 0, is_overbooked=False)
    capacity.take(0, 0, 0, is_overbooked=True)
    assert capacity.type_left[0, 0] == before.type_left[0, 0] - 2
    assert capacity.regular_left[0, 0] == before.regular_left[0, 0] - 1
    assert capacity.overbooked[0, 0] == before.overbooked[0, 0] + 1


def test_what_is_outside_the_horizon_or_at_nobody_takes_no_place_there() -> None:
    instance = next(instance for instance in INSTANCES if instance.fixed)
    own, capacity = instance.fixed[0], instance.capacity
    beyond = [own._replace(day=-1), own._replace(day=len(instance.dates))]
    unchanged = capacity.after(beyond)
    assert (unchanged.type_left == capacity.type_left).all()
    assert (unchanged.regular_left == capacity.regular_left).all()
    assert (unchanged.minutes_left == capacity.minutes_left).all()
    nobody = own._replace(provider=-1, day=0)
    of_type = capacity.after([nobody])
    assert of_type.type_left.sum() == capacity.type_left.sum() - 1
    assert (of_type.regular_left == capacity.regular_left).all()
    assert (of_type.overbooked == capacity.overbooked).all()


def test_a_cap_below_what_is_booked_leaves_less_than_nothing() -> None:
    problem = next(i.problem for i in INSTANCES if any(s.provider >= 0 for s in i.fixed))
    providers = tuple(replace(p, daily_cap=1) for p in problem.clinic.providers)
    capped = Instance(replace(problem, clinic=replace(problem.clinic, providers=providers)))
    own = next(s for s in capped.fixed if s.provider >= 0 and 0 <= s.day < len(capped.dates))
    regular = own._replace(booking=replace(own.booking, is_overbooked=False))
    capacity = capped.capacity.after([regular, regular])
    assert capacity.regular_left[own.provider, own.day] < 0
