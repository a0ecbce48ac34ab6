"""Callers share what few can do at a time: who asks for much waits for it itself."""

import asyncio
import datetime as dt
import threading
from typing import Any

import httpx
import pytest

from api.service.fair_semaphore import FairSemaphore
from api.slots import service as slots
from data.clinic.snapshot import Snapshots
from tests.support.clinics import TYPE, coming_monday, small_clinic

MONDAY = coming_monday()


async def test_each_caller_in_turn() -> None:
    turns, done = FairSemaphore(), list[str]()

    async def work(caller: str, name: str) -> None:
        async with turns.take(caller):
            assert not done or done[-1] != "under way"
            done.append("under way")
            await asyncio.sleep(0)
            done[-1] = name

    wanted = [("a", f"a{n}") for n in range(100)] + [("b", "b0"), ("b", "b1"), ("c", "c0")]
    await asyncio.gather(*(work(*each) for each in wanted))
    assert done[:7] == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]
    assert sorted(done) == sorted(name for _, name in wanted)


async def test_who_no_longer_waits_has_no_turn() -> None:
    turns, done = FairSemaphore(), list[str]()
    go_on = asyncio.Event()

    async def work(name: str) -> None:
        async with turns.take("a"):
            await go_on.wait()
            done.append(name)

    tasks = [asyncio.create_task(work(str(n))) for n in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[0].cancel()  # it has the turn
    await asyncio.wait(tasks[:2])
    go_on.set()
    await asyncio.gather(*tasks[2:])
    async with asyncio.timeout(10), turns.take("b"):
        assert done == ["2", "3"]


async def test_a_turn_that_comes_as_its_request_goes_is_passed_on() -> None:
    turns = FairSemaphore()

    async def take() -> None:
        async with turns.take("a"):
            pass

    async with turns.take("a"):
        late, last = asyncio.create_task(take()), asyncio.create_task(take())
        await asyncio.sleep(0)
    late.cancel()  # its turn has come, and it has not seen it yet
    async with asyncio.timeout(10):
        await asyncio.wait([late, last])
    assert (late.cancelled(), last.cancelled()) == (True, False)


async def test_as_many_at_once_as_are_let_and_each_caller_in_turn() -> None:
    turns, done, most = FairSemaphore(3), list[str](), 0
    under_way = set[str]()

    async def work(name: str) -> None:
        nonlocal most
        async with turns.take(name[0]):
            under_way.add(name)
            most = max(most, len(under_way))
            await asyncio.sleep(0)
            under_way.remove(name)
            done.append(name)

    await asyncio.gather(*(work(f"a{n}") for n in range(100)), work("b0"))
    assert (most, len(done)) == (3, 101)
    assert "b0" in done[:6]


async def test_reading_for_a_hundred_queries_leaves_connections_to_others(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.post("/clinic/import", json=small_clinic())
    admin = (await client.post("/keys", json={"role": "admin"})).json()["key"]
    client.headers["Authorization"] = f"Bearer {admin}"
    other = (await client.post("/keys", json={"role": "viewer"})).json()["key"]
    read, go_on = list[dt.date](), asyncio.Event()
    load = Snapshots.load

    async def slow(self: Snapshots, first: dt.date, last: dt.date) -> Any:
        read.append(first)
        await go_on.wait()
        return await load(self, first, last)

    monkeypatch.setattr(Snapshots, "load", slow)

    def ask(date: dt.date, **headers: str) -> asyncio.Task[httpx.Response]:
        query = {"date": date.isoformat(), "appointment_type_id": TYPE}
        return asyncio.create_task(client.get("/slots", params=query, headers=headers))

    many = [ask(MONDAY) for _ in range(100)]
    while sum(map(len, slots.READING._waiting.values())) < 98:
        await asyncio.sleep(0.01)
    assert len(read) == 2
    mine = ask(MONDAY + dt.timedelta(days=1), Authorization=f"Bearer {other}")
    while len(slots.READING._waiting) < 2:
        await asyncio.sleep(0.01)
    go_on.set()
    answers = await asyncio.gather(mine, *many)
    assert {answer.status_code for answer in answers} == {200}
    assert MONDAY + dt.timedelta(days=1) in read[:4]


async def test_a_hundred_queries_of_one_key_do_not_keep_another_waiting(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.post("/clinic/import", json=small_clinic())
    admin = (await client.post("/keys", json={"role": "admin"})).json()["key"]
    client.headers["Authorization"] = f"Bearer {admin}"
    other = (await client.post("/keys", json={"role": "viewer"})).json()["key"]
    began, go_on, solved = threading.Event(), threading.Event(), list[Any]()
    find_slots = slots.find_slots

    def slow(clinic: Any, request: Any, **options: Any) -> Any:
        began.set()
        assert go_on.wait(60)
        solved.append(request.preferred)
        return find_slots(clinic, request, **options)

    monkeypatch.setattr(slots, "find_slots", slow)
    query = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}
    many = [asyncio.create_task(client.get("/slots", params=query)) for _ in range(100)]
    await asyncio.to_thread(began.wait, 60)
    mine = asyncio.create_task(
        client.get(
            "/slots",
            params=query | {"preferred_start": "09:00", "preferred_end": "10:00"},
            headers={"Authorization": f"Bearer {other}"},
        )
    )
    while len(slots.SOLVING._waiting) < 2:
        await asyncio.sleep(0.01)
    go_on.set()
    answers = await asyncio.gather(mine, *many)
    assert {answer.status_code for answer in answers} == {200}
    assert [wish for wish in solved[:3] if wish], "it was the third of a hundred and one"
