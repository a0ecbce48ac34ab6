"""Lists of bookings: page by page, and those outside the rules."""

import datetime as dt
import re
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from data.clinic import snapshot
from data.clinic.snapshot import Snapshots
from tests.support.clinics import PROVIDER, TYPE, booking, coming_monday, order, small_clinic
from tests.support.over_http import load
from tests.support.strategies import uid

MONDAY = coming_monday()


STARTS = ("09:00", "09:30", "10:00", "10:30", "11:00")


def rows(count: int = 5) -> list[dict[str, Any]]:
    return [
        booking(number, MONDAY + dt.timedelta(days=7 * (number // 5)), STARTS[number % 5])
        for number in range(count)
    ]


def next_page(answer: httpx.Response) -> str | None:
    found = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
    return None if found is None else found[1]


async def test_a_list_is_read_page_by_page_in_one_order(client: httpx.AsyncClient) -> None:
    await load(client, small_clinic(bookings=rows(12)))
    whole = (await client.get("/bookings")).json()
    assert len(whole) == 12
    pages, where = [], "/bookings?limit=5&status=booked"
    while where is not None:
        answer = await client.get(where)
        pages.append(answer.json())
        where = next_page(answer)
    assert [len(page) for page in pages] == [5, 5, 2]
    assert [row for page in pages for row in page] == whole


async def test_a_page_goes_on_where_the_last_ended_whatever_was_booked_or_removed(
    client: httpx.AsyncClient,
) -> None:
    await load(client, small_clinic(bookings=rows(5)))
    first = await client.get("/bookings?limit=2")
    await client.post(f"/bookings/{uid(5, 1)}/cancel")
    earlier = booking(9, MONDAY - dt.timedelta(days=7), "09:00")
    await client.post("/clinic/import", json=small_clinic(bookings=[earlier]))
    second = await client.get(next_page(first) or "")
    assert [row["id"] for row in second.json()] == [uid(5, 2), uid(5, 3)]


async def test_a_list_is_narrowed_by_dates_and_patient(client: httpx.AsyncClient) -> None:
    document = small_clinic(bookings=rows(12))
    document["bookings"][3]["patient_ref"] = "Anna  Vega"
    await load(client, document)
    week = dt.timedelta(days=7)

    async def listed(**params: Any) -> set[str]:
        answer = await client.get("/bookings", params=params)
        assert answer.status_code == 200, answer.text
        return {row["id"] for row in answer.json()}

    assert await listed(**{"from": MONDAY + week}) == {uid(5, n) for n in range(5, 12)}
    assert await listed(to=MONDAY) == {uid(5, n) for n in range(5)}
    span = {"from": MONDAY + week, "to": MONDAY + week}
    assert await listed(**span) == {uid(5, n) for n in range(5, 10)}
    assert await listed(patient_ref=" anna vega") == {uid(5, 3)}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"cursor": "NQ=="}, "cursor"),
        ({"cursor": "WyIyMDI3LTAzLTAxIiwgOTk5OTk5LCAiYSJd"}, "cursor"),
        ({"from": "2027-03-02", "to": "2027-03-01"}, "to"),
        ({"from": "soon"}, "from"),
        ({"patient_ref": " "}, "patient_ref"),
    ],
)
async def test_what_is_no_page_is_refused(
    client: httpx.AsyncClient, params: dict[str, Any], field: str
) -> None:
    for path in ("/bookings", "/bookings/conflicts"):
        if path.endswith("conflicts") and field == "patient_ref":
            continue
        answer = await client.get(path, params=params)
        assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")
        assert answer.json()["errors"][0]["field"] == field


async def test_bookings_outside_the_rules_are_listed_with_all_that_they_break(
    client: httpx.AsyncClient,
) -> None:
    await load(client, small_clinic(bookings=rows(10)))
    assert (await client.get("/bookings/conflicts")).json() == []
    await client.patch(f"/providers/{PROVIDER}", json={"skills": []})
    closed = {"date": MONDAY.isoformat(), "start_time": "00:00", "end_time": "10:00"}
    await client.post("/availability", json={**closed, "kind": "closed"})
    answer = await client.get("/bookings/conflicts", params={"limit": 3})
    assert answer.headers["x-total-count"] == "10"
    first, _, third = answer.json()
    assert first["booking_id"] == first["id"] == uid(5, 0)
    assert (first["patient_ref"], first["appointment_type_name"]) == ("patient 0", "Visit")
    assert (first["provider_name"], first["room_name"]) == ("Dr. Vega", "Room 1")
    assert [(r["rule"], r["code"]) for r in first["rules"]] == [
        (1, "PROVIDER_LACKS_SKILLS"),
        (2, "OUTSIDE_PROVIDER_HOURS"),
        (2, "OUTSIDE_ROOM_HOURS"),
    ]
    assert first["rules"][1]["detail"] == "outside the open windows of Dr. Vega"
    assert [r["rule"] for r in third["rules"]] == [1]
    seen = answer.json()
    while (where := next_page(answer)) is not None:
        answer = await client.get(where)
        seen += answer.json()
    assert [row["id"] for row in seen] == [uid(5, n) for n in range(10)]
    params = {"from": MONDAY.isoformat(), "to": MONDAY.isoformat(), "provider_id": uid(1, 8)}
    assert (await client.get("/bookings/conflicts", params=params)).json() == []
    del params["provider_id"]
    of_the_day = await client.get("/bookings/conflicts", params=params)
    assert [row["id"] for row in of_the_day.json()] == [uid(5, n) for n in range(5)]


async def test_a_booking_in_an_hour_that_the_clock_skips_is_told_of(
    client: httpx.AsyncClient,
) -> None:
    change = dt.date(dt.datetime.now(dt.UTC).year + 1, 3, 31)
    change -= dt.timedelta(days=change.isoweekday() % 7)  # the last Sunday of March
    document = small_clinic(
        clinic={"name": "Small", "timezone": "Asia/Tokyo"},
        bookings=[booking(0, change, "02:30"), booking(1, change, "03:00")],
    )
    hours = {"provider_id": PROVIDER, "weekday": 7, "start_time": "00:00", "end_time": "24:00"}
    document["availability"].append(hours)
    warned = await client.post("/clinic/import", json=document)
    assert warned.json()["warnings"] == []
    edit = await client.patch("/clinic", json={"timezone": "Europe/Berlin"})
    told = [(c["booking_id"], c["rule"], c["code"]) for c in edit.json()["conflicts"]]
    assert told == [(uid(5, 0), 0, "CLOCK_CHANGE")]
    (standing,) = (await client.get("/bookings/conflicts")).json()
    assert standing["rules"][0]["code"] == "CLOCK_CHANGE"
    document["clinic"]["timezone"] = "Europe/Berlin"
    (warning,) = (await client.post("/clinic/import", json=document)).json()["warnings"]
    assert (warning["booking_id"], warning["code"]) == (uid(5, 0), "CLOCK_CHANGE")


async def test_ranges_of_dates_are_kept_by_their_rows_and_looking_ahead_keeps_nothing(
    client: httpx.AsyncClient, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(client, small_clinic(bookings=rows(10)))
    monkeypatch.setattr(snapshot, "KEPT_ROWS", 20)
    snapshots = Snapshots(engine)
    for days in range(10):
        day = MONDAY + dt.timedelta(days=days)
        await snapshots.load(day, day)
        await snapshots.load(MONDAY, day)
    assert sum(kept.size for kept in snapshots._kept.values()) <= 20
    fresh = Snapshots(engine)
    seen = [
        (day, len(c.bookings)) async for day, c in fresh.ahead(MONDAY, MONDAY + dt.timedelta(9))
    ]
    assert [count for _, count in seen] == [5, 0, 0, 0, 0, 0, 0, 5, 0, 0]
    assert not fresh._kept
    params = {"date": MONDAY.isoformat(), "appointment_type_id": TYPE}
    await client.post("/bookings", json=order(MONDAY, "11:30"))
    answer = (await client.get("/slots", params=params)).json()
    assert answer["slots"] == []
    assert answer["next_available_date"] == (MONDAY + dt.timedelta(days=7)).isoformat()


@pytest.mark.parametrize(
    ("path", "field", "message"),
    [
        (
            "/bookings",
            "foo",
            "unknown field `foo`; known are limit, cursor, from, to, provider_id, room_id, date, "
            "status, patient_ref",
        ),
        ("/bookings", "frm", "unknown field `frm`: did you mean `from`?"),
        (
            "/bookings/conflicts",
            "first",
            "unknown field `first`; known are limit, cursor, from, to, provider_id, room_id",
        ),
        (
            "/stats?from=2027-03-01&to=2027-03-02",
            "last",
            "unknown field `last`; known are from, to, provider_id",
        ),
    ],
)
async def test_an_unknown_parameter_is_told_the_names_of_the_query(
    client: httpx.AsyncClient, path: str, field: str, message: str
) -> None:
    answer = await client.get(f"{path}{'&' if '?' in path else '?'}{field}=2026-12-01")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": field, "message": message}]
