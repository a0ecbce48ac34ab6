"""The result of a run, as it is stored, answered, drawn, exported and carried out: JSON, typed.

Times are ``HH:MM``, dates ISO 8601, scores and shares decimals of at most four places. What an
older version of this package left out of the results that it stored is marked as not required.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from solver.planning.problem import PlanStatus, StageName


class PlaceResult(TypedDict):
    """Where an appointment is put, and who is in the roles of its type, if it has some."""

    provider_id: str
    room_id: str
    date: str
    start_time: str
    end_time: str
    team: NotRequired[dict[str, str]]


class NewPlace(PlaceResult):
    """Where a booking is moved to."""

    is_overbooked: NotRequired[bool]


class PlacementResult(PlaceResult):
    """A request that was placed."""

    request_id: str
    appointment_type_id: str
    patient_ref: NotRequired[str]
    score: float
    score_parts: dict[str, float]
    is_overbooked: bool


class UnplacedResult(TypedDict):
    """A request that was not placed: a reason's code, and the same as a sentence."""

    request_id: str
    appointment_type_id: NotRequired[str]
    patient_ref: NotRequired[str]
    reason: str
    detail: str


MoveResult = TypedDict(
    "MoveResult",
    {
        "booking_id": str,
        "patient_ref": NotRequired[str | None],
        "appointment_type_id": NotRequired[str],
        "from": PlaceResult,
        "to": NewPlace | None,
        "reason": NotRequired[str],
        "detail": NotRequired[str],
    },
)
"""A booking that moves; one that is lost has no new place, but a reason and a detail."""


class StageResult(TypedDict):
    """One objective of the lexicographic order: the best found and what bounds it."""

    name: StageName
    objective: float
    bound: float


class ProgressResult(TypedDict):
    """The best found and the bound of a stage at one moment of the search."""

    seconds: float
    stage: StageName
    objective: float
    bound: float
    placed: int


class ModelSize(TypedDict):
    """The size of the largest model that was solved."""

    variables: int
    constraints: int


class MeanScores(TypedDict):
    """The mean score of what was placed and the means of its parts; null without any."""

    mean_score: float | None
    mean_score_parts: dict[str, float | None]


class TimeFigures(TypedDict):
    """How the time of providers and rooms is used: shares, overall and by date and id; minutes."""

    provider_utilisation: float | None
    room_utilisation: float | None
    provider_utilisation_by_day: dict[str, dict[str, float]]
    room_utilisation_by_day: dict[str, dict[str, float]]
    idle_fragments: int
    idle_fragment_minutes: int
    overtime_minutes: int


class EquipmentFigures(TypedDict):
    """How much of each equipment pool is out, by its id; null of a pool that has no piece.

    The most pieces that are out at once, by how many there are; and the minutes for which pieces
    are out, piece by piece, by those of all pieces while the clinic is open.
    """

    pool_peak: dict[str, float | None]
    pool_utilisation: dict[str, float | None]


class Kpis(MeanScores, TimeFigures, EquipmentFigures):
    """The key figures of a scenario; counts are of requests, `moved` and `lost` of bookings."""

    placed: int
    placed_by_priority: dict[str, int]
    placed_by_type: dict[str, int]
    unplaced: int
    overbooked: int
    session_fill: NotRequired[float | None]
    moved: int
    lost: int
    travel_minutes: NotRequired[int]


class ScenarioResult(TypedDict):
    """One scenario solved; objective, bound and gap are those of the priority stage."""

    name: str
    status: PlanStatus
    objective: float
    bound: float
    gap: float
    seconds: float
    stages: list[StageResult]
    placements: list[PlacementResult]
    unplaced: list[UnplacedResult]
    moves: list[MoveResult]
    model: ModelSize
    kpis: Kpis
    progress: list[ProgressResult]


class KpiComparison(TypedDict):
    """One key figure in every scenario, and its difference to the baseline in all others."""

    kpi: str
    values: dict[str, float | None]
    delta: dict[str, float | None]


class RunResult(TypedDict):
    """A run answered."""

    name: str
    seconds: float
    scenarios: list[ScenarioResult]
    comparison: list[KpiComparison]


class ProgressEvent(TypedDict):
    """The state of a scenario's search, as it is streamed while a run is solved."""

    scenario: str
    stage: StageName
    incumbent: float
    bound: float
    gap: float
    placed: int
    seconds: float
