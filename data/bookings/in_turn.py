"""Many places decided on in turn, each beside those that were won before it, and their locks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from data.bookings.decisions import BookingRequest, Decision, Outcome, has_roles
from data.bookings.index import BookIndex
from data.database.days_to_lock import days_to_lock
from data.database.locks import DayKey
from data.errors import NotFoundError, RequestError
from solver.clinic.clinic import Clinic
from solver.clinic.clock import DateOutOfRangeError
from solver.clinic.request import SlotRequest
from solver.slots.judge import judge_each

FEWEST_AHEAD = 4
"""The smallest batch that is judged at once; verdicts after a conflict are discarded."""


def decide_in_turn(
    clinic: Clinic, requests: Iterable[BookingRequest], *, certify: bool = True
) -> Iterator[Outcome]:
    """Decide in order, each request against the book and what those before it were granted.

    Requests are judged in batches, each as if it were alone. A batch is used up to the first
    request whose `claims` meet what the batch has granted; the rest is judged again.
    """
    requests = list(requests)
    ignored = {key for request in requests for key in request.ignored}
    index = BookIndex(clinic, (b for b in clinic.bookings if b.id not in ignored))
    done, ahead = 0, len(requests)
    while done < len(requests):
        together = requests[done : done + ahead]
        taken: set[str] = set()
        count = 0
        for request, outcome in zip(together, _decide_each(index, together, certify), strict=True):
            if not taken.isdisjoint(request.claims(clinic)):
                break
            yield outcome
            if isinstance(outcome, Decision):
                granted = outcome.as_booking(f"won {done + count}")
                index.add(granted)
                taken |= index.keys_of(granted)
            count += 1
        done, ahead = done + count, max(FEWEST_AHEAD, 2 * count)


def _decide_each(
    index: BookIndex, requests: Sequence[BookingRequest], certify: bool
) -> list[Outcome]:
    """Decide on each request as though it were alone."""
    clinic = index.around(requests)
    outcomes: dict[int, Outcome] = {}
    slot_requests: dict[int, SlotRequest] = {}
    for number, request in enumerate(requests):
        try:
            slot_requests[number] = request.slot_request(clinic)
        except (RequestError, DateOutOfRangeError) as error:
            outcomes[number] = error
    verdicts = judge_each(
        clinic,
        list(slot_requests.values()),
        limit=max(request.most_rooms(clinic) for request in requests),
        weights=requests[0].policy.weights,
        certify=certify,
    )
    for number, verdict in zip(slot_requests, verdicts, strict=True):
        try:
            outcomes[number] = requests[number].settle(clinic, verdict)
        except RequestError as error:
            outcomes[number] = error
    return [outcomes[number] for number in range(len(requests))]


def lock_keys_of(outcomes: Iterable[Outcome]) -> set[DayKey]:
    """Return the days to lock for all that were won."""
    return {
        key for granted in outcomes if isinstance(granted, Decision) for key in granted.lock_keys()
    }


def foresee(
    clinic: Clinic, requests: Sequence[BookingRequest]
) -> tuple[list[str | None], set[DayKey]]:
    """Return the room that each request without one would win, and the days to lock for all."""
    if not any(request.place.room_id is None or has_roles(clinic, request) for request in requests):
        return [None] * len(requests), foresee_lock_keys(clinic, requests)
    outcomes = list(decide_in_turn(clinic, requests, certify=False))
    rooms = [
        granted.slot.room.id
        if isinstance(granted, Decision) and request.place.room_id is None
        else None
        for request, granted in zip(requests, outcomes, strict=True)
    ]
    return rooms, lock_keys_of(outcomes)


def foresee_lock_keys(clinic: Clinic, requests: Sequence[BookingRequest]) -> set[DayKey]:
    """Return the days to lock before deciding on requests that name their rooms.

    Of a team that it is about to choose nobody is known yet: see :func:`foresee`.
    """
    keys: set[DayKey] = set()
    for request in requests:
        with suppress(NotFoundError):
            kind, provider, room = request.rows(clinic)
            assert room is not None
            time = request.place.date, request.place.start
            whose = request.patient_key, request.kept_team
            keys |= days_to_lock(clinic, kind, provider, room, time, *whose)
    return keys
