"""What the board's HTML and the week's heat map are made of, without a browser."""

import datetime as dt
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from api.console.drawing.day import By, Drawing, hues_of
from api.console.drawing.run import unplaced_in_words
from api.console.drawing.week_utilisation import week_fill
from api.console.pages.statistics import use_of_open_hours
from data.files.clinic_file import ClinicFile
from data.files.session_row import SessionRow
from solver.clinic.clinic import Clinic
from solver.clinic.equipment.needs import PoolNeed
from solver.clinic.equipment.pools import EquipmentPool
from tests.console.conftest import LINN, SCAN, VEGA, clinic_of_two
from tests.support.clinics import booking
from tests.support.strategies import uid

MONDAY = dt.date(2027, 3, 1)


NOON = dt.datetime(2027, 3, 1, 11, tzinfo=dt.UTC)  # 12:00 in Berlin


PIXELS_AN_HOUR = 96


def clinic_with(*bookings: dict[str, Any]) -> Clinic:
    file = ClinicFile.model_validate(clinic_of_two() | {"bookings": list(bookings)})
    return file.to_clinic(NOON - dt.timedelta(days=1))


def drawn(clinic: Clinic, by: By = "provider") -> str:
    return "".join(
        strip.content() for strip in Drawing(clinic, MONDAY, by, str, NOON).drawn().strips
    )


def test_hours_breaks_buffers_and_marks_are_drawn() -> None:
    clinic = clinic_with(
        booking(1, MONDAY, "09:00"),
        booking(2, MONDAY, "09:15", room_id=uid(2, 1), is_overbooked=True),
        booking(3, MONDAY, "10:00", provider_id=LINN, status="held"),
        booking(4, MONDAY, "14:00", status="cancelled"),
    )
    html = drawn(clinic)
    assert html.count("Break</div>") == 2
    assert html.count('class="sw-open"') == 4
    assert html.count('class="sw-buffer"') == 2  # Dr. Vega's five minutes; Dr. Linn has none
    assert html.count("sw-is-over") == 1
    assert html.count("sw-is-held") == 1
    assert "patient 4" not in html
    over = next(b for b in re.findall("<button.*?</button>", html) if "patient 2" in b)
    assert "left:50.0%;width:50.0%" in over, "two at once stand side by side"
    assert "overbooked" in over
    rooms = drawn(clinic, "room")
    assert "Break" not in rooms
    assert rooms.count('class="sw-buffer"') == 2  # Room 1's five minutes, twice
    assert re.findall('class="sw-head" title=".*?">(.*?)<', rooms) == ["Room 1", "Room 2"]


def test_a_booking_names_the_equipment_that_is_brought_to_it() -> None:
    clinic = clinic_with(booking(1, MONDAY, "09:00"))
    pool = EquipmentPool(uid(8, 0), "Mobile ultrasound", 1)
    taking = (PoolNeed(pool.id, 1),)
    types = tuple(replace(kind, required_pools=taking) for kind in clinic.appointment_types)
    html = drawn(replace(clinic, equipment_pools=(pool,), appointment_types=types))
    (own,) = re.findall("<button.*?</button>", html)
    assert "Room 1, Mobile ultrasound" in own
    assert "Room 1 · Mobile ultrasound</small>" in own


def test_rooms_stand_by_their_places_and_hours_tell_theirs() -> None:
    document = clinic_of_two() | {"bookings": [booking(1, MONDAY, "09:00")]}
    places = [{"id": uid(9, n), "name": name} for n, name in enumerate(("South", "North"))]
    for row, place in zip(document["rooms"], places, strict=True):
        row["location_id"] = place["id"]
    for row in document["availability"]:
        if row["start_time"] == "13:00" and row["provider_id"] == VEGA:
            row["location_id"] = places[1]["id"]
    file = ClinicFile.model_validate(document | {"locations": places})
    clinic = file.to_clinic(NOON - dt.timedelta(days=1))
    rooms = drawn(clinic, "room")
    heads = re.findall('class="sw-head" title="(.*?)">', rooms)
    assert heads == ["Room 2, North", "Room 1, South"]
    assert "Room 2<small>North</small>" in rooms
    assert "Visit · Dr. Vega</small>" in rooms
    hours = drawn(clinic)
    assert hours.count("<small>North</small></div>") == 1, "Dr. Vega's afternoon alone"
    assert "Room 1 · South</small>" in hours
    for row in document["availability"]:
        row["location_id"] = places[0]["id"]
    file = ClinicFile.model_validate(document | {"locations": places})
    hours = drawn(file.to_clinic(NOON - dt.timedelta(days=1)))
    assert "Dr. Vega<small>South</small>" in hours
    assert "Visit · Room 1</small>" in hours, "the place is told once"


@pytest.mark.parametrize(
    ("grid", "best_first", "shown", "minutes"),
    [
        (15, ["09:30", "09:00", "09:15"], ["09:00", "09:15", "09:30"], 15),
        (15, ["09:30", "09:37", "09:15"], ["09:15", "09:30", "09:37"], 7),  # one is packed
        (7, ["09:27", "09:13", "09:06", "09:20"], ["09:06", "09:13", "09:20", "09:27"], 7),
        (
            1,
            ["09:07", "09:08", "09:11", "09:13", "09:02", "09:03", "09:20", "09:17"],
            ["09:02", "09:07", "09:13", "09:20"],
            5,
        ),
    ],
)
def test_places_on_offer_never_cover_one_another(
    grid: int, best_first: list[str], shown: list[str], minutes: int
) -> None:
    clinic = clinic_with()
    clinic = replace(clinic, settings=replace(clinic.settings, grid_minutes=grid))
    slots = [
        {
            "provider_id": VEGA,
            "provider_name": "Dr. Vega",
            "room_id": uid(2, 0),
            "room_name": "Room 1",
            "start_time": start,
            "score": 0.9,
            "is_overbooked": False,
        }
        for start in best_first
    ]
    day = Drawing(clinic, MONDAY, "provider", str, NOON).drawn()
    html = day.offers("provider", slots, str)[VEGA]
    assert sorted(re.findall('data-start-time="(.*?)"', html)) == shown
    (height,) = set(re.findall("height:(.*?)px", html))
    assert float(height) == pytest.approx(minutes * PIXELS_AN_HOUR / 60, abs=0.05)


def test_a_booking_is_drawn_as_long_as_it_is() -> None:
    clinic = clinic_with(
        booking(1, MONDAY, "09:00", duration_minutes=60, buffer_before=0, buffer_after=15),
        booking(2, MONDAY, "11:00"),
    )
    first, second = re.findall("<button.*?</button>", drawn(clinic))
    assert f"height:{PIXELS_AN_HOUR:.1f}px" in first
    assert f"height:{PIXELS_AN_HOUR / 2:.1f}px" in second
    assert f"height:{PIXELS_AN_HOUR / 4:.1f}px" in drawn(clinic), "the buffer that it keeps"
    assert week_fill(clinic, [MONDAY], [VEGA])[0, 9] == 1


def test_the_line_of_now_is_there_on_the_day_itself_alone() -> None:
    day = Drawing(clinic_with(), MONDAY, "provider", str, NOON).drawn()
    assert f"--top:{3 * PIXELS_AN_HOUR}px" in day.now_line(MONDAY, NOON)
    assert day.now_line(MONDAY, NOON + dt.timedelta(days=1)) == ""
    assert day.now_line(MONDAY, NOON + dt.timedelta(hours=9)) == ""


def test_a_change_is_drawn_in_its_strip_alone() -> None:
    one = clinic_with(booking(1, MONDAY, "09:00"))
    two = clinic_with(booking(1, MONDAY, "09:00"), booking(2, MONDAY, "10:00", provider_id=LINN))
    before = Drawing(one, MONDAY, "provider", str, NOON).drawn()
    after = Drawing(two, MONDAY, "provider", str, NOON).drawn(before)
    assert [a is b for a, b in zip(before.strips, after.strips, strict=True)] == [False, True]
    assert "patient 2" in after.strips[0].content()
    other = Drawing(two, MONDAY + dt.timedelta(days=1), "provider", str, NOON).drawn(after)
    assert "patient" not in "".join(strip.content() for strip in other.strips)
    wrong = Drawing(two, MONDAY, "provider", str, NOON, {uid(5, 1): "the room is closed"})
    assert "needs a new place: the room is closed" in wrong.drawn(after).strips[1].content()


def test_sessions_are_the_ground_with_what_they_are_kept_for_and_until_when() -> None:
    row = {"weekday": 1, "start_time": "09:00", "end_time": "10:00"}
    of_day = [
        row | {"id": uid(7, 0), "name": "Scans", "provider_id": VEGA, "max_bookings": 3}
        | {"appointment_type_ids": [SCAN], "releases": {"days_before": 0, "at": "12:00"}},
        row | {"id": uid(7, 1), "name": "Urgent", "start_time": "13:00", "end_time": "15:00"}
        | {"appointment_type_ids": [], "opens": {"minutes_before": 90},
           "releases": {"days_before": 0, "at": "12:30"}},
        row | {"id": uid(7, 2), "name": "Off", "active": False},
        row | {"id": uid(7, 3), "name": "Room", "room_id": uid(2, 0)},
    ]  # fmt: skip
    clinic = clinic_with(
        booking(1, MONDAY, "09:00", appointment_type_id=SCAN),
        booking(2, MONDAY, "09:00", appointment_type_id=SCAN, provider_id=LINN),
    )
    clinic = replace(clinic, sessions=tuple(SessionRow(**row).to_solver() for row in of_day))

    def grounds(now: dt.datetime, by: By = "provider") -> list[list[str]]:
        strips = Drawing(clinic, MONDAY, by, str, now).drawn().strips
        ground = re.compile('class="sw-session.*?aria-label="(.*?)"')
        return [ground.findall(strip.content()) for strip in strips]

    early = NOON - dt.timedelta(hours=3)
    urgent = "Urgent, kept for nobody, can be booked from 11:30, kept until 12:30"
    scans = "Scans, kept for Scan, 1 of 3 booked"
    assert grounds(early) == [[urgent], [urgent, f"{scans}, kept until 12:00"]]
    assert grounds(NOON)[1] == [
        "Urgent, kept for nobody, kept until 12:30",
        f"{scans}, released: open to everything",
    ]
    assert grounds(early, "room") == [[urgent, "Room, for everything"], [urgent]]
    first = Drawing(clinic, MONDAY, "provider", str, early).drawn()
    later = Drawing(clinic, MONDAY, "provider", str, NOON).drawn(first)
    assert "(not open yet)" in first.strips[0].content()
    assert "(released)" in later.strips[1].content()
    assert "in a session" in first.legend
    assert "in a session" not in Drawing(clinic_with(), MONDAY, "room", str, NOON).drawn().legend


def test_names_cannot_become_markup() -> None:
    evil = '<img src=x onerror="alert(1)">'
    clinic = clinic_with(booking(1, MONDAY, "09:00", patient_ref=evil))
    assert "<img" not in drawn(clinic)


def test_a_type_keeps_its_colour_whatever_the_order_of_the_rows() -> None:
    document = clinic_of_two()
    one = ClinicFile.model_validate(document).to_clinic(NOON)
    document["appointment_types"].reverse()
    other = ClinicFile.model_validate(document).to_clinic(NOON)
    assert hues_of(one) == hues_of(other)
    assert len(set(hues_of(one).values())) == 2


def test_how_full_the_hours_of_the_week_are() -> None:
    clinic = clinic_with(
        booking(1, MONDAY, "09:00"),
        booking(2, MONDAY, "09:15", is_overbooked=True, room_id=uid(2, 1)),
        booking(3, MONDAY, "10:45", appointment_type_id=SCAN, room_id=uid(2, 1)),
        booking(4, MONDAY, "10:00", provider_id=LINN, status="held"),
        booking(5, MONDAY, "12:00"),
    )
    both = week_fill(clinic, [MONDAY, MONDAY + dt.timedelta(days=7)])
    assert both.shape == (7, 24)
    assert both[0, 9] == 45 / 240  # two providers, two Mondays; shared minutes count once
    assert both[0, 10] == 15 / 240
    assert both[0, 11] == 30 / 240
    assert np.isnan(both[0, 12]), "nobody is in at noon, whoever comes"
    assert np.isnan(both[1]).all(), "no Tuesday was looked at"
    assert week_fill(clinic, [MONDAY], [VEGA])[0, 9] == 45 / 60
    assert week_fill(clinic, [MONDAY], [LINN])[0, 9] == 0


def test_use_is_minutes_over_minutes() -> None:
    full = {"open_minutes": 360, "busy_minutes": 180}
    empty = {"open_minutes": 180, "busy_minutes": 0}
    closed = {"open_minutes": 0, "busy_minutes": 0}
    assert use_of_open_hours([full, empty, closed]) == 180 / 540, "an empty open day counts"
    assert use_of_open_hours([empty]) == 0
    assert use_of_open_hours([closed]) is None


def test_what_is_unplaced_for_one_reason_is_one_row() -> None:
    row = {"reason": "LOST_TO_CONTENTION", "detail": "Full."}
    rows = [{"request_id": f"r1#{n}", **row} for n in (3, 4)]
    rows.append(
        {
            "request_id": "r2",
            "patient_ref": "Ada",
            "reason": "NO_ROOM_WITH_EQUIPMENT",
            "detail": "None.",
        }
    )
    assert unplaced_in_words(rows, {"r1": "Visit (r1)"}) == [
        ["2 × Visit (r1)", "", "Lost to other requests", "Full."],
        ["1 × r2", "Ada", "No room has the equipment", "None."],
    ]
