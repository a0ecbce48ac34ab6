"""A run in pictures: the search, the use of the providers' time, the plan before and after."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

from api.console.drawing.day import hues_of, type_colours
from api.what_if.figures import REASONS, RUN_FIGURES, STAGES, figure
from solver.clinic.clock import format_time, parse_time
from solver.clinic.entities import Clinic
from solver.clinic.windows import Windows

BEST, BOUND = "#0b7285", "#c92a2a"


QUIET = "#7a8794"
"""Readable on light and on dark."""


HEAT = ["#eaf4f8", "#6fb3cf"]
"""From empty to full; dark letters are readable on all of it."""


DEFAULT_HOURS = (480, 1080)


def search_chart(scenario: str, told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return ECharts options: the best found and the bound of the last stage told of."""
    stage = told[-1]["stage"] if told else ""
    steps = [step for step in told if step["stage"] == stage]

    def line(name: str, key: str, colour: str, kind: str) -> dict[str, Any]:
        return {
            "name": name,
            "type": "line",
            "step": "end",
            "data": [[step["seconds"], step[key]] for step in steps],
            "lineStyle": {"color": colour, "type": kind},
            "itemStyle": {"color": colour},
            "symbolSize": 4,
        }

    axis = {"axisLabel": {"color": QUIET}, "nameTextStyle": {"color": QUIET}}
    return {
        "title": {
            "text": f"{scenario}: {STAGES.get(stage, stage)}",
            "left": 0,
            "textStyle": {"fontSize": 13, "color": QUIET, "width": 560, "overflow": "truncate"},
        },
        "animation": False,
        "grid": {"left": 56, "right": 24, "top": 58, "bottom": 28},
        "legend": {"top": 26, "left": 0, "textStyle": {"color": QUIET}},
        "tooltip": {"trigger": "axis"},
        "xAxis": {"type": "value", "name": "s", **axis},
        "yAxis": {"type": "value", "scale": True, **axis},
        "series": [
            line("best found", "incumbent", BEST, "solid"),
            line("bound", "bound", BOUND, "dotted"),
        ],
    }


def heat_map(
    scenario: Mapping[str, Any],
    providers: Mapping[str, str],
    write_day: Callable[[dt.date], str],
) -> dict[str, Any]:
    """Return ECharts options: the share of each provider's open minutes that is used, by day.

    `providers` has their names by id, in the order in which they are to stand.
    """
    days = scenario["kpis"]["provider_utilisation_by_day"]
    cells = [
        [column, row, round(100 * used)]
        for column, day in enumerate(days.values())
        for row, key in enumerate(providers)
        if (used := day.get(key)) is not None
    ]
    label = {"axisLabel": {"color": QUIET}}
    return {
        "animation": False,
        "grid": {"left": 130, "right": 16, "top": 10, "bottom": 28},
        "xAxis": {
            "type": "category",
            "data": [write_day(dt.date.fromisoformat(day)) for day in days],
            **label,
        },
        "yAxis": {
            "type": "category",
            "data": list(providers.values()),
            "inverse": True,
            **label,
        },
        "visualMap": {
            "show": False,
            "min": 0,
            "max": 100,
            "inRange": {"color": HEAT},
        },
        "series": [
            {
                "type": "heatmap",
                "data": cells,
                "label": {"show": True, "formatter": "{@[2]} %", "color": "#1c2530"},
                "itemStyle": {"borderWidth": 1, "borderColor": "#fff8"},
            }
        ],
    }


def figures_table(result: Mapping[str, Any]) -> str:
    """Return the key figures as a table, a column a scenario, with what each changes."""
    rows = {row["kpi"]: row for row in result["comparison"]}
    names = [scenario["name"] for scenario in result["scenarios"]]
    head = "".join(f'<th scope="col" class="sw-figure">{escape(name)}</th>' for name in names)
    body = [
        ("Priority placed", [f"{s['objective']:g}" for s in result["scenarios"]]),
        ("… of at most", [f"{s['bound']:g}" for s in result["scenarios"]]),
    ]
    for key, heading in RUN_FIGURES:
        values, delta = rows[key]["values"], rows[key]["delta"]
        body.append((heading, [figure(key, values[n], delta.get(n)) for n in names]))
    return table(
        f'<th scope="col"></th>{head}',
        (
            f'<th scope="row">{escape(heading)}</th>'
            + "".join(f'<td class="sw-figure">{escape(cell)}</td>' for cell in cells)
            for heading, cells in body
        ),
    )


def unplaced_in_words(
    unplaced: Iterable[Mapping[str, Any]], asked: Mapping[str, str]
) -> list[list[str]]:
    """Return rows of how many of which request, the patient, the reason and the detail.

    Those of one request that share patient, reason and detail are one row.

    Parameters
    ----------
    asked
        What each request of the run is for, in words, by its id.
    """
    counted = Counter(
        (
            row["request_id"].partition("#")[0],
            row.get("patient_ref") or "",
            row["reason"],
            row["detail"],
        )
        for row in unplaced
    )
    return [
        [f"{count} × {asked.get(key, key)}", patient, REASONS.get(reason, reason), detail]
        for (key, patient, reason, detail), count in counted.items()
    ]


def table(head: str, rows: Iterable[str]) -> str:
    """Return a table of cells that are HTML already."""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="sw-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


@dataclass(frozen=True)
class Gantt:
    """Providers as rows, the days of a run side by side without the nights between them."""

    clinic: Clinic
    names: Mapping[str, str]
    dates: Sequence[dt.date]
    write_day: Callable[[dt.date], str]
    write_time: Callable[[str], str]

    @cached_property
    def _hues(self) -> dict[str, int]:
        return hues_of(self.clinic)

    def legend(self) -> str:
        """Return the types' colours, and those of what stands and what moves."""
        rest = "".join(
            f'<span><span class="sw-swatch sw-bar-item {looks}"></span>{words}</span>'
            for looks, words in (("sw-stands", "booked already"), ("sw-moved", "moved"))
        )
        return type_colours(self.clinic) + rest

    def before(self) -> str:
        """Return the bookings as they stand."""
        return self._html(self._standing(frozenset()))

    def after(self, scenario: Mapping[str, Any]) -> str:
        """Return the bookings and the plan of a scenario."""
        moved = {move["booking_id"] for move in scenario["moves"]}
        bars = self._standing(moved)
        bars += [("sw-moved", "moved", move["to"]) for move in scenario["moves"] if move["to"]]
        bars += [("", p["request_id"], p) for p in scenario["placements"]]
        return self._html(bars)

    def _standing(self, without: frozenset[str] | set[str]) -> list[tuple[str, str, Any]]:
        kinds, dates = self.clinic.type_by_id, frozenset(self.dates)
        return [
            (
                "sw-stands",
                booking.patient_ref or "",
                {
                    "provider_id": booking.provider_id,
                    "room_id": booking.room_id,
                    "appointment_type_id": booking.appointment_type_id,
                    "date": booking.date.isoformat(),
                    "start_time": format_time(booking.start),
                    "end_time": format_time(
                        min(
                            1440,
                            booking.start + kinds[booking.appointment_type_id].duration_minutes,
                        )
                    ),
                },
            )
            for booking in self.clinic.bookings
            if booking.is_live and booking.date in dates and booking.id not in without
        ]

    def _html(self, bars: list[tuple[str, str, Any]]) -> str:
        first, last = self._hours([bar for _, _, bar in bars])
        rows: dict[str, list[str]] = defaultdict(list)
        for provider in self.clinic.providers:
            if provider.active:
                rows[provider.id] = []
        for looks, title, bar in bars:
            rows[bar["provider_id"]].append(self._bar(looks, title, bar, first, last))
        days = len(self.dates)
        head = "".join(f"<span>{escape(self.write_day(day))}</span>" for day in self.dates)
        lanes = "".join(
            f'<div class="sw-name">{escape(self.names.get(key, key))}</div>'
            f'<div class="sw-lane">{"".join(items)}</div>'
            for key, items in rows.items()
        )
        return (
            f'<div class="sw-gantt" style="--days:{days}"><div></div>'
            f'<div class="sw-dates">{head}</div>{lanes}</div>'
        )

    def _bar(self, looks: str, title: str, bar: Mapping[str, Any], first: int, last: int) -> str:
        start, end = parse_time(bar["start_time"]), parse_time(bar["end_time"])
        day = (dt.date.fromisoformat(bar["date"]) - self.dates[0]).days
        length = (last - first) * len(self.dates)
        left = 100 * (day * (last - first) + start - first) / length
        kind = bar.get("appointment_type_id")
        hue = self._hues.get(kind or "", 0)
        words = ", ".join(
            word
            for word in (
                title,
                self.names.get(kind or "", ""),
                self.write_time(bar["start_time"]),
                self.names.get(bar["room_id"], ""),
                "overbooked" if bar.get("is_overbooked") else "",
            )
            if word
        )
        return (
            f'<span class="sw-bar-item {looks}{" sw-is-over" * bool(bar.get("is_overbooked"))}" '
            f'title="{escape(words, quote=True)}" style="--hue:{hue};left:{left:.3f}%;'
            f'width:{100 * (end - start) / length:.3f}%"></span>'
        )

    def _hours(self, bars: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        spans = [
            span
            for day in self.dates
            for windows in Windows.on(self.clinic, day).provider.values()
            for span in windows
        ]
        spans += [(parse_time(bar["start_time"]), parse_time(bar["end_time"])) for bar in bars]
        if not spans:
            return DEFAULT_HOURS
        return min(start for start, _ in spans), max(end for _, end in spans)
