"""A run in pictures: the search, the use of the providers' time, the plan before and after."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any, Literal

from api.console.drawing.day import hues_of, type_colours
from api.what_if.figures import REASONS, STAGES, told
from api.what_if.picture import Bar, booked_after, booked_before, hours_of
from solver.clinic.clinic import Clinic
from solver.whatif.run_result import (
    ProgressEvent,
    RunResult,
    ScenarioResult,
    UnplacedResult,
)

BEST, BOUND = "#0b7285", "#c92a2a"


QUIET = "#7a8794"
"""Readable on light and on dark."""


HEAT = ["#eaf4f8", "#6fb3cf"]
"""From empty to full; dark letters are readable on all of it."""


LOOKS = {"booked": "sw-stands", "moved": "sw-moved", "placed": ""}
"""The style of each kind of bar."""


def search_chart(scenario: str, events: Sequence[ProgressEvent]) -> dict[str, Any]:
    """Return ECharts options: the best found and the bound of the stage of the last event."""
    stage = events[-1]["stage"] if events else ""
    steps = [step for step in events if step["stage"] == stage]

    def line(
        name: str, key: Literal["incumbent", "bound"], colour: str, kind: str
    ) -> dict[str, Any]:
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
    scenario: ScenarioResult,
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


def figures_table(result: RunResult, known: Mapping[str, str]) -> str:
    """Return the key figures as a table, a column a scenario, with what each changes.

    The rows that are `known` have names by their ids.
    """
    names = [scenario["name"] for scenario in result["scenarios"]]
    head = "".join(f'<th scope="col" class="sw-figure">{escape(name)}</th>' for name in names)
    body = [
        ("Priority placed", [f"{s['objective']:g}" for s in result["scenarios"]]),
        ("… of at most", [f"{s['bound']:g}" for s in result["scenarios"]]),
    ]
    body += told(result["comparison"], known)
    return table(
        f'<th scope="col"></th>{head}',
        (
            f'<th scope="row">{escape(heading)}</th>'
            + "".join(f'<td class="sw-figure">{escape(cell)}</td>' for cell in row)
            for heading, row in body
        ),
    )


def unplaced_in_words(
    unplaced: Iterable[UnplacedResult], asked: Mapping[str, str]
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
        """Return the types' colours, and those of bookings that stay and that move."""
        rest = "".join(
            f'<span><span class="sw-swatch sw-bar-item {looks}"></span>{words}</span>'
            for looks, words in (("sw-stands", "booked already"), ("sw-moved", "moved"))
        )
        return type_colours(self.clinic) + rest

    def before(self) -> str:
        """Return the bookings as they are."""
        return self._html(list(booked_before(self.clinic, self.dates)))

    def after(self, scenario: ScenarioResult) -> str:
        """Return the bookings and the plan of a scenario."""
        return self._html(list(booked_after(scenario, self.clinic, self.dates)))

    def _html(self, bars: Sequence[Bar]) -> str:
        first, last = hours_of(self.clinic, self.dates, bars)
        rows: dict[str, list[str]] = defaultdict(list)
        for provider in self.clinic.providers:
            if provider.active:
                rows[provider.id] = []
        for bar in bars:
            rows[bar.place["provider_id"]].append(self._bar(bar, first, last))
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

    def _bar(self, bar: Bar, first: int, last: int) -> str:
        start, end = bar.span
        day = (bar.date - self.dates[0]).days
        length = (last - first) * len(self.dates)
        left = 100 * (day * (last - first) + start - first) / length
        kind = bar.appointment_type_id or ""
        words = ", ".join(
            word
            for word in (
                bar.title,
                self.names.get(kind, ""),
                self.write_time(bar.place["start_time"]),
                self.names.get(bar.place["room_id"], ""),
                "overbooked" if bar.is_overbooked else "",
            )
            if word
        )
        return (
            f'<span class="sw-bar-item {LOOKS[bar.kind]}{" sw-is-over" * bar.is_overbooked}" '
            f'title="{escape(words, quote=True)}" style="--hue:{self._hues.get(kind, 0)};'
            f'left:{left:.3f}%;width:{100 * (end - start) / length:.3f}%"></span>'
        )
