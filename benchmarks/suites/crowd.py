"""Two hundred people who want the same slot at the same moment, over HTTP."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.measure.meter import Meter
from benchmarks.suites.slots import requests
from benchmarks.support.clinics import make_clinic
from benchmarks.support.http_client import Connection, connected
from benchmarks.support.service import Service, coming_monday, fill, first_order, query, service

PEOPLE = 200


LAST = "Time of the last of 200 answers"


@dataclass(frozen=True)
class Answer:
    """What one of the crowd was told, and when."""

    status: int
    code: str
    ms: float


def run(meter: Meter) -> Suite:
    """Return the figures of the suite's part."""
    url, clinic, monday = meter.new_database(), make_clinic(5, 8, load=0.3), coming_monday()
    fill(url, clinic, monday)
    (request,) = requests(clinic, 1)
    with service(url) as running:
        rounds = asyncio.run(_rounds(running, query(request, monday), 3 if meter.quick else 10))
    meter.look(20)
    won = [sum(answer.status == 201 for answer in each) for each in rounds]
    refused = [sum(answer.code == "SLOT_UNAVAILABLE" for answer in each) for each in rounds]
    last = [max(answer.ms for answer in each) for each in rounds]
    return Suite(
        figures=[Figure("A crowd for one slot", LAST, "ms", tuple(last))],
        ratios=[
            Ratio("200 for one slot, most winners of a round", max(won), at_most=1),
            Ratio("200 for one slot, fewest winners of a round", min(won), at_least=1),
            Ratio(
                "200 for one slot, refused with a reason",
                min(refused) / (PEOPLE - 1),
                at_least=1,
            ),
            Ratio("200 for one slot, seconds to the last answer", max(last) / 1000, at_most=2),
        ],
        tables={
            "200 at once for one slot": [
                {
                    "round": number,
                    "winners": won[number - 1],
                    "refused": refused[number - 1],
                    "other answers": PEOPLE - won[number - 1] - refused[number - 1],
                    "first answer, ms": round(min(answer.ms for answer in each), 1),
                    "last answer, ms": round(last[number - 1], 1),
                }
                for number, each in enumerate(rounds, 1)
            ]
        },
    )


async def _rounds(running: Service, path: str, count: int) -> list[list[Answer]]:
    """Have the crowd ask for one slot after another, no two of them in each other's way."""
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(connected(running.base)) for _ in range(PEOPLE)]
        rounds = []
        for number in range(count + 1):
            found = orjson.loads(await crowd[0].expect(200, "GET", path))
            wanted = first_order(found)
            assert wanted is not None
            orders = [wanted | {"patient_ref": f"patient {number}-{i}"} for i in range(PEOPLE)]
            rounds.append(await asyncio.gather(*map(_ask, crowd, orders)))
        return rounds[1:]  # the first opens the service's own connections


async def _ask(connection: Connection, order: dict[str, Any]) -> Answer:
    begin = time.perf_counter()
    status, body = await connection.send("POST", "/bookings", order)
    ms = 1000 * (time.perf_counter() - begin)
    return Answer(status, orjson.loads(body).get("code", ""), ms)
