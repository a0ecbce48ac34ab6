"""Tables of which nothing is ever cut."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from api.cli.tables import counted, new_table, print_table, run_table, slot_table
from api.what_if.figures import RUN_FIGURES, figure, told


def slot(n: int, **changes: Any) -> dict[str, Any]:
    parts = {"preference": 1.0, "gap": 0.5, "room": 0.3333, "overbook": 1.0}
    row = {
        "start_time": "09:00",
        "end_time": "09:30",
        "provider_name": "Dr. Mei Lindqvist",
        "room_name": f"Procedure room {n}",
        "score": 0.8249,
        "score_parts": parts,
        "is_overbooked": False,
    }
    return row | changes


def printed(table: Any, width: int | None) -> str:
    """What a terminal of that width shows; None is a pipe."""
    text = StringIO()
    given = {"force_terminal": True, "width": width, "color_system": None} if width else {}
    print_table(Console(file=text, **given), table)  # type: ignore[arg-type]
    return text.getvalue()


@pytest.mark.parametrize("width", [60, 80, 140, None])
def test_a_table_of_slots_loses_no_column(width: int | None) -> None:
    shown = printed(slot_table({"slots": [slot(1), slot(2)]}, "A check-up"), width)
    assert "Overbooked" not in shown
    assert shown.count("09:00-09:30") == 2
    for word in ("Lindqvist", "Procedure", "0.82", "1.00", "0.50", "0.33", "Fit"):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= (width or 200)
    assert "…" not in shown


def test_overbooked_places_are_told() -> None:
    shown = printed(slot_table({"slots": [slot(1), slot(2, is_overbooked=True)]}, "x"), 80)
    assert "Overbooked" in shown
    assert shown.count("yes") == 1


def test_what_fits_in_no_line_is_told_in_several() -> None:
    table = new_table("Keys")
    for heading in ("Id", "Name", "Note"):
        table.add_column(heading, no_wrap=True)
    table.add_row("i" * 36, "n" * 30, "")
    assert [line.split() for line in printed(table, 60).splitlines()] == [
        ["Keys"],
        [],
        ["Id", "i" * 36],
        ["Name", "n" * 30],
    ]
    assert len(printed(table, 140).splitlines()) == 4
    assert len(printed(table, None).splitlines()) == 4


def test_names_are_only_ever_text() -> None:
    shown = printed(slot_table({"slots": [slot(1, room_name="[red]Room[/]")]}, "x"), 80)
    assert "[red]Room[/]" in shown


def test_shares_are_told_in_per_cent() -> None:
    assert figure("provider_utilisation", 0.4698, 0.0121) == "47.0% (+1.2)"
    assert figure("placed", 4, -2) == "4 (-2)"
    assert figure("mean_score", None, None) == "–"


def test_figures_of_pools_have_their_names_and_those_of_nothing_are_left_out() -> None:
    values = {"travel_minutes": 0, "placed": 3, "pool_peak.p": 0.5, "pool_utilisation.q": None}
    rows = [{"kpi": kpi, "values": {"now": v}, "delta": {}} for kpi, v in values.items()]
    assert list(told(rows, {"p": "Scanner"})) == [
        ("Placed", ["3"]),
        ("Scanner: most out at once", ["50.0%"]),
        ("Equipment: in use", ["–"]),
    ]
    travelled = {"kpi": "travel_minutes", "values": {"now": 0, "then": 40}, "delta": {"then": 40}}
    assert list(told([travelled], {})) == [("On the way, minutes", ["0", "40 (+40)"])]


def test_many_scenarios_are_all_shown() -> None:
    names = [f"Scenario number {n}" for n in range(20)]
    figures = [
        {"kpi": kpi, "values": dict.fromkeys(names, 0.5), "delta": {}} for kpi, _ in RUN_FIGURES
    ]
    scenarios = [{"name": n, "status": "optimal", "objective": 4, "bound": 4} for n in names]
    run = {"name": "x", "scenarios": scenarios, "comparison": figures}
    shown = printed(run_table(run, {}), 80)
    assert all(name in shown for name in names)
    assert "50.0%" in shown


def test_one_is_singular() -> None:
    assert (counted(1, "place"), counted(0, "place"), counted(2, "place")) == (
        "1 place",
        "0 places",
        "2 places",
    )
