"""How the clinic did: use of time, no-shows, and how full the hours of the week are."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from nicegui import ui

from api.console.backend import Backend, Visit, read_date
from api.console.frame import frame, telling, to_sign_in
from api.console.run_drawing import BEST, BOUND, QUIET, table
from data import stats

TITLE = "Statistics"
DEFAULT_DAYS = 28
WEEKDAYS = tuple(f"{dt.date(2024, 1, day):%a}" for day in range(1, 8))

type Figures = Sequence[Mapping[str, Any]]


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/statistics")
    async def page(request: Request) -> Response | None:
        visit = await Visit.of(backend, request)
        if visit is None:
            return to_sign_in()
        with frame(visit, TITLE):
            await _Statistics(visit).start()
        return None


class _Statistics:
    """One open page of statistics."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    async def start(self) -> None:
        """Draw the page."""
        settings = await self._visit.get("/clinic")
        providers = await self._visit.get("/providers")
        today = dt.datetime.now(ZoneInfo(settings["timezone"])).date()
        ui.label(TITLE).classes("text-xl").props("role=heading aria-level=1")
        with ui.element("div").classes("sw-bar"):
            start = today - dt.timedelta(days=DEFAULT_DAYS)
            self._first = ui.date_input("From", value=start.isoformat())
            self._last = ui.date_input("To", value=(today + dt.timedelta(days=7)).isoformat())
            self._providers = ui.select(
                {p["id"]: p["name"] for p in providers},
                label="Provider",
                multiple=True,
                clearable=True,
            )
            for field in (self._first, self._last, self._providers):
                field.props("dense outlined options-dense hide-bottom-space").classes("w-48")
                field.on_value_change(self._show)
        self._area = ui.column().classes("w-full")
        await self._show()

    async def _show(self) -> None:
        first, last = read_date(self._first.value), read_date(self._last.value)
        if first is None or last is None:
            return
        async with telling():
            figures = await self._visit.get(
                "/stats",
                **{"from": first.isoformat(), "to": last.isoformat()},
                provider_id=self._providers.value or None,
            )
            starts = await stats.starts(
                self._visit.backend.context.engine, first, last, self._providers.value or ()
            )
            self._area.clear()
            with self._area:
                self._draw(figures, starts)

    def _draw(self, figures: Figures, starts: Mapping[tuple[int, int], int]) -> None:
        ui.html(self._by_provider(figures), sanitize=False).classes("sw-wide").props(
            'tabindex=0 role=region aria-label="By provider"'
        )
        with ui.element("div").classes("sw-halves w-full"):
            for title, options in (
                ("Use of the open hours, by day", self._trend(figures)),
                ("Appointments by weekday and hour", _week(starts)),
            ):
                with ui.column():
                    ui.label(title).classes("text-lg").props("role=heading aria-level=2")
                    ui.echart(options).classes("h-72 w-full")

    def _by_provider(self, figures: Figures) -> str:
        grouped: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in figures:
            grouped[row["provider_name"]].append(row)
        counts = ("booked", "completed", "cancelled", "no_shows", "overbooked")
        titles = ("Booked", "Completed", "Cancelled", "No-shows", "Overbooked")
        head = '<th scope="col">Provider</th>' + "".join(
            f'<th scope="col" class="sw-figure">{title}</th>' for title in (*titles, "Use", "Score")
        )

        def cells(name: str, rows: list[Mapping[str, Any]]) -> str:
            sums = [str(sum(row[count] for row in rows)) for count in counts]
            scores = [row["mean_score"] for row in rows if row["mean_score"] is not None]
            open_days = [row["utilisation"] for row in rows if row["utilisation"]]
            sums.append(f"{_mean(open_days):.0%}" if open_days else "–")
            sums.append(f"{_mean(scores):.2f}" if scores else "–")
            figures = "".join(f'<td class="sw-figure">{value}</td>' for value in sums)
            return f'<th scope="row">{escape(name)}</th>{figures}'

        return table(head, (cells(*each) for each in sorted(grouped.items())))

    def _trend(self, figures: Figures) -> dict[str, Any]:
        used: defaultdict[str, list[float]] = defaultdict(list)
        missed: defaultdict[str, list[int]] = defaultdict(list)
        for row in figures:
            if row["utilisation"]:
                used[row["date"]].append(row["utilisation"])
            missed[row["date"]].append(row["no_shows"])
        days = sorted(missed)
        label = {"axisLabel": {"color": QUIET}}
        return {
            "animation": False,
            "grid": {"left": 48, "right": 40, "top": 34, "bottom": 28},
            "legend": {"textStyle": {"color": QUIET}},
            "tooltip": {"trigger": "axis"},
            "xAxis": {
                "type": "category",
                "data": [self._visit.day(day, "d MMM") for day in days],
                **label,
            },
            "yAxis": [
                {"type": "value", "name": "%", **label},
                {"type": "value", "minInterval": 1, "splitLine": {"show": False}, **label},
            ],
            "series": [
                {
                    "name": "use, %",
                    "type": "line",
                    "data": [round(100 * _mean(used[day])) if used[day] else None for day in days],
                    "itemStyle": {"color": BEST},
                },
                {
                    "name": "no-shows",
                    "type": "bar",
                    "yAxisIndex": 1,
                    "data": [sum(missed[day]) for day in days],
                    "itemStyle": {"color": BOUND},
                },
            ],
        }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _week(starts: Mapping[tuple[int, int], int]) -> dict[str, Any]:
    hours = [hour for _, hour in starts] or [8, 17]
    shown = range(min(hours), max(hours) + 1)
    label = {"axisLabel": {"color": QUIET}}
    return {
        "animation": False,
        "grid": {"left": 48, "right": 12, "top": 8, "bottom": 28},
        "tooltip": {},
        "xAxis": {"type": "category", "data": [f"{hour}:00" for hour in shown], **label},
        "yAxis": {"type": "category", "data": WEEKDAYS, "inverse": True, **label},
        "visualMap": {
            "show": False,
            "min": 0,
            "max": max(starts.values(), default=1),
            "inRange": {"color": ["#e3f0f4", "#0b5c7a"]},
        },
        "series": [
            {
                "type": "heatmap",
                "data": [
                    [hour - shown.start, day - 1, starts.get((day, hour), 0)]
                    for day in range(1, 8)
                    for hour in shown
                ],
            }
        ],
    }
