"""The clinic edited in a real browser, the conflicts in view before anything is saved."""

import datetime as dt

import httpx
from playwright.sync_api import expect

from api.console.pages.clinic_row_form import _read
from tests.console.browser import choose
from tests.console.conftest import VEGA, VISIT, Opener
from tests.support.clinics import coming_monday, order

MONDAY = coming_monday()


def test_an_edit_with_conflicts_is_seen_before_it_is_saved(
    clinic: httpx.Client, open_page: Opener
) -> None:
    assert clinic.post("/bookings", json=order(MONDAY, "14:00")).status_code == 201
    page = open_page("/clinic")
    page.get_by_role("tab", name="Hours").click()
    row = page.locator("tr", has_text="Monday").filter(has_text="Dr. Vega")
    row.filter(has_text="13:00").get_by_role("button").click()
    page.get_by_label("From", exact=True).fill("15:00")
    expect(page.get_by_text("1 booking would be outside the rules")).to_be_visible()
    conflict = page.get_by_role("row", name="the provider is not in then")
    for words in ("someone", "Visit", "Mon", "14:00", "Dr. Vega", "Room 1"):
        expect(conflict).to_contain_text(words)
    expect(conflict.get_by_role("link")).to_have_attribute("href", f"./?date={MONDAY}")
    hours = clinic.get("/availability").json()
    assert not [h for h in hours if h["start_time"] == "15:00"], "nothing is saved yet"
    page.get_by_role("button", name="Save all the same").click()
    expect(row.filter(has_text="15:00")).to_be_visible()
    assert [
        h["provider_id"] for h in clinic.get("/availability").json() if h["start_time"] == "15:00"
    ] == [VEGA]


def test_hours_are_made_those_of_every_other_week(clinic: httpx.Client, open_page: Opener) -> None:
    in_them = clinic.post("/bookings", json=order(MONDAY, "14:00")).json()
    next_week = MONDAY + dt.timedelta(days=7)
    between = clinic.post("/bookings", json=order(next_week, "14:00")).json()
    page = open_page("/clinic")
    page.get_by_role("tab", name="Hours").click()
    row = page.locator("tr", has_text="Monday").filter(has_text="Dr. Vega")
    afternoon = row.filter(has_text="13:00")
    expect(afternoon).to_contain_text("every week")
    afternoon.get_by_role("button").click()
    choose(page, "In which weeks", "every other week")
    expect(page.get_by_text("“In which weeks” is above 1")).to_be_visible()
    page.get_by_label("From date", exact=True).fill(MONDAY.isoformat())
    expect(page.get_by_text("1 booking would be outside the rules")).to_be_visible()
    page.get_by_role("button", name="Save all the same").click()
    expect(row.filter(has_text="every other week")).to_be_visible()
    conflicts = {row["id"] for row in clinic.get("/bookings/conflicts").json()}
    assert (in_them["id"] in conflicts, between["id"] in conflicts) == (False, True)


def test_a_provider_takes_longer_and_the_finder_shows_it(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page("/clinic")
    page.get_by_role("tab", name="Who differs").click()
    page.get_by_role("button", name="New provider type").click()
    choose(page, "Provider", "Dr. Vega")
    choose(page, "Type", "Visit")
    page.get_by_label("Duration, minutes").fill("55")
    expect(page.get_by_text("No booking is in the way.")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("tr", has_text="Dr. Vega").filter(has_text="55")).to_be_visible()
    query = {
        "date": MONDAY.isoformat(),
        "appointment_type_id": order(MONDAY, "09:00")["appointment_type_id"],
        "provider_id": VEGA,
    }
    slot = clinic.get("/slots", params=query).json()["slots"][0]
    minutes = [dt.datetime.fromisoformat(slot[name]) for name in ("start", "end")]
    assert minutes[1] - minutes[0] == dt.timedelta(minutes=55)


def test_a_row_is_made_and_taken_away(clinic: httpx.Client, open_page: Opener) -> None:
    page = open_page("/clinic")
    page.get_by_role("tab", name="Rooms").click()
    page.get_by_role("button", name="New room").click()
    page.get_by_label("Name").fill("Room 3")
    expect(page.get_by_text("No booking is in the way.")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Room 3").click()
    page.get_by_role("button", name="Delete …").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("button", name="Room 3")).to_have_count(0)
    assert len(clinic.get("/rooms").json()) == 2


def test_a_tag_typed_without_enter_is_kept_and_new_spellings_ask(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page("/clinic")
    page.get_by_role("button", name="New provider").click()
    page.get_by_label("Name").fill("Dr. Okafor")
    page.get_by_label("Skills").fill("GP")
    expect(page.get_by_text("No booking is in the way.")).to_be_visible()
    save = page.get_by_role("button", name="Save")
    place = save.bounding_box()
    save.click()
    expect(page.get_by_text("New skill “GP”: did you mean “gp”?")).to_be_visible()
    assert save.bounding_box() == place, "a button that moves under the hand is missed"
    page.get_by_role("button", name="Take “gp”").click()
    page.get_by_label("Skills").fill(" acupuncture ")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("New skill “acupuncture”?")).to_be_visible()
    page.get_by_role("button", name="Keep “acupuncture”").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name="Dr. Okafor")).to_contain_text("acupuncture, gp")
    (made,) = [row for row in clinic.get("/providers").json() if row["name"] == "Dr. Okafor"]
    assert sorted(made["skills"]) == ["acupuncture", "gp"]


def test_two_who_edit_one_row_do_not_undo_each_other(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page("/clinic")
    page.get_by_role("button", name="Dr. Vega").click()
    page.get_by_label("Name").fill("Dr. Vega-Ruiz")
    theirs = {"buffer_after": 10, "name": "Dr. V."}
    assert clinic.patch(f"/providers/{VEGA}", json=theirs).status_code == 200
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Somebody else has changed this meanwhile")).to_be_visible()
    expect(page.get_by_text("Name: now “Dr. V.”, here “Dr. Vega-Ruiz”")).to_be_visible()
    expect(page.get_by_text("Buffer after, minutes: now “10”")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Dr. Vega-Ruiz")).to_be_visible()
    row = clinic.get(f"/providers/{VEGA}").json()
    assert (row["name"], row["buffer_after"]) == ("Dr. Vega-Ruiz", 10)


def test_a_fraction_is_sent_as_it_was_typed() -> None:
    """The service then says what is wrong with it; a whole number is one however it is typed."""
    assert [_read("buffer_before", typed) for typed in (1.5, 2.0, "3", None)] == [1.5, 2, 3, None]
    assert isinstance(_read("buffer_before", 2.0), int)


def test_hours_are_kept_for_one_type_until_a_time_on_the_day(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page("/clinic")
    page.get_by_role("tab", name="Sessions").click()
    page.get_by_role("button", name="New session").click()
    page.get_by_label("Name").fill("Urgent")
    choose(page, "Provider", "Dr. Vega")
    choose(page, "Weekday", "Monday")
    page.get_by_label("From", exact=True).fill("11:00")
    page.get_by_label("Until", exact=True).fill("12:00")
    choose(page, "Kept for", "Visit")
    page.keyboard.press("Escape")
    choose(page, "Kept until", "days before")
    kept = page.get_by_role("group", name="Kept until: when")
    kept.get_by_label("How many").fill("0")
    kept.get_by_label("at", exact=True).fill("08:00")
    expect(page.get_by_text("No booking is in the way.")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    row = page.locator("tr", has_text="Urgent")
    for words in ("Dr. Vega", "Monday", "Visit", "on the day itself"):
        expect(row).to_contain_text(words)
    (made,) = clinic.get("/sessions").json()
    assert made["appointment_type_ids"] == [VISIT]
    assert made["releases"] == {"days_before": 0, "at": "08:00"}
    row.get_by_role("button").click()
    choose(page, "Kept until", "its end")
    page.get_by_role("button", name="Save").click()
    expect(row).not_to_contain_text("on the day itself")
    (changed,) = clinic.get("/sessions").json()
    assert changed == made | {"releases": None}


def test_equipment_that_moves_is_added_and_a_type_takes_it(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page("/clinic")
    page.get_by_role("tab", name="Equipment").click()
    page.get_by_role("button", name="New equipment pool").click()
    page.get_by_label("Name").fill("Mobile ultrasound")
    page.get_by_label("Pieces", exact=True).fill("2")
    page.get_by_label("Back after, minutes").fill("15")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("tr", has_text="Mobile ultrasound")).to_contain_text("15")
    (pool,) = clinic.get("/equipment-pools").json()
    assert (pool["quantity"], pool["return_minutes"], pool["active"]) == (2, 15, True)
    page.get_by_role("tab", name="Types").click()
    row = page.locator("tr", has_text="Visit")
    row.get_by_role("button").click()
    page.get_by_label("Mobile ultrasound: pieces").fill("1")
    expect(page.get_by_text("No booking is in the way.")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("1 × Mobile ultrasound")
    kind = clinic.get(f"/appointment-types/{VISIT}").json()
    assert kind["required_pools"] == [{"pool_id": pool["id"], "quantity": 1}]


def test_rooms_are_put_at_two_places_and_the_finder_asks_for_one(
    clinic: httpx.Client, open_page: Opener
) -> None:
    page = open_page("/clinic")
    page.get_by_role("tab", name="Places").click()
    for name in ("North", "South"):
        page.get_by_role("button", name="New place", exact=True).click()
        page.get_by_label("Name").fill(name)
        expect(page.get_by_text("No booking is in the way.")).to_be_visible()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    page.get_by_role("tab", name="Ways").click()
    page.get_by_role("button", name="New way", exact=True).click()
    choose(page, "From", "North")
    expect(page.get_by_role("option")).to_have_count(0)  # both choices have the same
    choose(page, "To", "South")
    page.get_by_label("Minutes", exact=True).fill("20")
    expect(page.get_by_text("No booking is in the way.")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("tr", has_text="North")).to_contain_text("20")
    page.get_by_role("tab", name="Rooms").click()
    page.get_by_role("button", name="Room 2").click()
    choose(page, "Place", "South")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row", name="Room 2")).to_contain_text("South")
    page.goto(f"{clinic.base_url}/console/find?date={MONDAY}&type={VISIT}")
    rooms = page.locator(".sw-slot")
    expect(rooms.filter(has_text="Room 1").first).to_be_visible()
    choose(page, "Place", "South")
    expect(rooms.filter(has_text="Room 1")).to_have_count(0)
    expect(rooms.first).to_contain_text("Room 2, South")
