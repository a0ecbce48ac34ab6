"""Sets of rooms, counted for as long as they are taken."""

from dataclasses import replace

import numpy as np

from solver.clinic.clinic import Clinic
from solver.clinic.entities import (
    AppointmentType,
    Availability,
    ClinicSettings,
    Provider,
    Room,
)
from solver.planning.bounds.lagrangian import best_multipliers
from solver.planning.bounds.room_cuts import RoomSets
from solver.planning.instance.tables import Instance
from solver.planning.model.solving import SolveControl
from solver.planning.problem import Problem, Request
from solver.planning.search.proofs import relax
from solver.planning.search.solve import solve
from tests.support.strategies import BEFORE, MONDAY, uid

UNCONTROLLED = SolveControl(lambda: False)


def two_with_one_laser() -> Problem:
    """Two providers for four hours; half of the requests need the one room with a laser."""
    plain = AppointmentType(uid(3, 0), "Talk", duration_minutes=60)
    laser = replace(plain, id=uid(3, 1), name="Laser", required_equipment=frozenset({"laser"}))
    providers = tuple(Provider(uid(1, n), f"P{n}") for n in range(2))
    clinic = Clinic(
        ClinicSettings("Laser", "Europe/Berlin", grid_minutes=30),
        providers,
        (
            Room(uid(2, 0), "R"),
            Room(uid(2, 1), "L", equipment=frozenset({"laser"}), turnover_minutes=30),
        ),
        (plain, laser),
        tuple(Availability(540, 780, provider_id=p.id, date=MONDAY) for p in providers),
    )
    asked = [Request(f"l{n}", laser.id, priority=5) for n in range(8)]
    return Problem(clinic, MONDAY, 1, tuple(asked), BEFORE)


def test_a_room_is_taken_for_the_appointment_and_its_turnover() -> None:
    instance = Instance(two_with_one_laser())
    sets = RoomSets(instance, [0, 1], [(1, (600, 660))])
    assert sets.after.tolist() == [60, 90]
    alone = int(np.flatnonzero(sets.serves.sum(axis=1) == 1)[0])
    assert sets.serves[alone].tolist() == [False, True]
    assert sets.free[alone, 599:661].tolist() == [1, *[0] * 60, 1]
    both = int(np.flatnonzero(sets.serves.all(axis=1))[0])
    assert sets.free[both, 630] == 1
    assert sets.free[both, 660] == 2


def test_the_bounds_know_that_there_is_one_room() -> None:
    problem = two_with_one_laser()
    instance = Instance(problem)
    plan = solve(problem, time_limit=30, workers=1)
    best = int(plan.stages[0].objective)
    assert best == 15  # three of an hour and a half each in four hours and what follows them
    relaxed = relax(instance, UNCONTROLLED, 30).bound
    assert best <= relaxed < 20
    score = float(plan.stages[1].objective)
    assert score <= best_multipliers(instance, best, time_limit=30).bound(best) < score + 1
