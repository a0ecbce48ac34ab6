"""How the clinic did: use of time, no-shows, and how full the hours of the week are."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

import anyio.to_thread
import numpy as np
from anyio import CapacityLimiter
from fastapi import Request, Response
from nicegui import ui
from numpy.typing import NDArray

from api.console.backend import Backend, Visit, read_date
from api.console.drawing.run import BEST, BOUND, HEAT, QUIET, table
from api.console.drawing.week_utilisation import HOURS, week_fill
from api.console.layout import DENSE, date_field, show, telling
from data.clinic.snapshot import load_clinic
from solver.clinic.clinic import Clinic
from solver.whatif.kpis import equipment, session_fill

TITLE = "Statistics"


DEFAULT_DAYS = 28


FILL_AT_ONCE = CapacityLimiter(1)


type Figures = Sequence[Mapping[str, Any]]


type Tiles = Sequence[tuple[str, str]]
"""Figures of all together: what each is called, and how much it is."""


def add(backend: Backend) -> None:
    """Add the page."""

    @ui.page("/statistics")
    async def page(request: Request) -> Response | None:
        return await show(backend, request, TITLE, lambda visit: _Statistics(visit).start())


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
            self._first = date_field("From", start)
            self._last = date_field("To", today + dt.timedelta(days=7))
            self._providers = (
                ui.select(
                    {p["id"]: p["name"] for p in providers},
                    label="Provider",
                    multiple=True,
                    clearable=True,
                )
                .props(f"{DENSE} hide-bottom-space")
                .classes("w-48")
            )
            for field in (self._first, self._last, self._providers):
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
            async with (await self._visit.service()).engine.connect() as connection:
                clinic = await load_clinic(connection, first, last)
            days = [first + dt.timedelta(days=ahead) for ahead in range((last - first).days + 1)]
            fill = await anyio.to_thread.run_sync(
                week_fill, clinic, days, self._providers.value or (), limiter=FILL_AT_ONCE
            )
            shared = await anyio.to_thread.run_sync(_shared, clinic, days, limiter=FILL_AT_ONCE)
            self._area.clear()
            with self._area:
                self._draw(figures, fill, shared)

    def _draw(self, figures: Figures, fill: NDArray[np.float64], shared: Tiles) -> None:
        ui.html(_in_tiles(_in_short(figures)), sanitize=False).classes("w-full")
        if shared:
            ui.html(_in_tiles(shared), sanitize=False).classes("w-full")
        ui.html(self._by_provider(figures), sanitize=False).classes("sw-wide").props(
            'tabindex=0 role=region aria-label="By provider"'
        )
        with ui.element("div").classes("sw-halves w-full"):
            for title, options in (
                ("Use of the open hours, by day", self._trend(figures)),
                ("How full the hours of the week are", self._week(fill)),
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
            f'<th scope="col" class="sw-figure">{title}</th>'
            for title in (*titles, "No-show rate", "Use", "Score")
        )

        def cells(name: str, rows: list[Mapping[str, Any]]) -> str:
            sums = [str(sum(row[count] for row in rows)) for count in counts]
            sums.append(_rate(rows))
            scores = [row["mean_score"] for row in rows if row["mean_score"] is not None]
            sums.append(_use(rows))
            sums.append(f"{_mean(scores):.2f}" if scores else "–")
            figures = "".join(f'<td class="sw-figure">{value}</td>' for value in sums)
            return f'<th scope="row">{escape(name)}</th>{figures}'

        return table(head, (cells(*each) for each in sorted(grouped.items())))

    def _trend(self, figures: Figures) -> dict[str, Any]:
        by_day: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in figures:
            by_day[row["date"]].append(row)
        days = sorted(by_day)
        label = {"axisLabel": {"color": QUIET}}
        return {
            "animation": False,
            "grid": {"left": 48, "right": 40, "top": 40, "bottom": 28},
            "legend": {"top": 0, "textStyle": {"color": QUIET}},
            "tooltip": {"trigger": "axis"},
            "xAxis": {
                "type": "category",
                "data": [self._visit.short_day(day, "MMMd") for day in days],
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
                    "connectNulls": True,
                    "data": [
                        None if share is None else round(100 * share)
                        for share in (use_of_open_hours(by_day[day]) for day in days)
                    ],
                    "itemStyle": {"color": BEST},
                },
                {
                    "name": "no-shows",
                    "type": "bar",
                    "yAxisIndex": 1,
                    "data": [_sum(by_day[day], "no_shows") for day in days],
                    "itemStyle": {"color": BOUND},
                },
            ],
        }

    def _week(self, fill: NDArray[np.float64]) -> dict[str, Any]:
        hours = [hour for hour in range(HOURS) if not np.isnan(fill[:, hour]).all()]
        shown = range(min(hours), max(hours) + 1) if hours else range(8, 18)
        label = {"axisLabel": {"color": QUIET}}
        cells = [
            [hour - shown.start, day, round(100 * fill[day, hour])]
            for day in range(7)
            for hour in shown
            if not np.isnan(fill[day, hour])
        ]
        times = [self._visit.time(dt.time(hour)) for hour in shown]
        return {
            "animation": False,
            "grid": {"left": 56, "right": 12, "top": 8, "bottom": 28},
            "xAxis": {"type": "category", "data": times, **label},
            "yAxis": {
                "type": "category",
                "data": list(self._visit.weekdays("abbreviated").values()),
                "inverse": True,
                **label,
            },
            "visualMap": {"show": False, "min": 0, "max": 100, "inRange": {"color": HEAT}},
            "series": [
                {
                    "type": "heatmap",
                    "data": cells,
                    "label": {"show": True, "formatter": "{@[2]} %", "color": "#1c2530"},
                    "itemStyle": {"borderWidth": 1, "borderColor": "#fff8"},
                }
            ],
        }


def _shared(clinic: Clinic, days: Sequence[dt.date]) -> Tiles:
    """Return how full sessions are, and how much of each equipment pool is out at most, and used.

    They are the clinic's, whichever providers are shown, and counted as those of a plan are.
    """
    tiles: list[tuple[str, str]] = []
    live = [b for b in clinic.bookings if b.is_live and days[0] <= b.date <= days[-1]]
    if (share := session_fill(clinic, days, live)) is not None:
        tiles.append(("Sessions filled", f"{share:.0%}"))
    figures = equipment(clinic, days, [b for b in clinic.bookings if b.is_live])
    for pool in clinic.equipment_pools:
        peak, used = figures["pool_peak"][pool.id], figures["pool_utilisation"][pool.id]
        if peak is not None:
            use = "" if used is None else f", {used:.0%} used"
            tiles.append((f"{pool.name}, most at once", f"{peak:.0%}{use}"))
    return tiles


def _in_short(figures: Figures) -> Tiles:
    """Return the figures of all together."""
    return (
        ("Appointments", str(_sum(figures, "booked"))),
        ("Use of the open hours", _use(figures)),
        ("No-show rate", _rate(figures)),
        ("Cancelled", str(_sum(figures, "cancelled"))),
        ("Overbooked", str(_sum(figures, "overbooked"))),
    )


def _in_tiles(tiles: Tiles) -> str:
    return '<dl class="sw-tiles">{}</dl>'.format(
        "".join(f"<div><dt>{escape(title)}</dt><dd>{value}</dd></div>" for title, value in tiles)
    )


def use_of_open_hours(rows: Figures) -> float | None:
    """Return the share of the open minutes that appointments take; None where nobody is in.

    Minutes over minutes: an open day with nothing booked counts as one, and a short day for less
    than a long one.
    """
    open_minutes = _sum(rows, "open_minutes")
    return _sum(rows, "busy_minutes") / open_minutes if open_minutes else None


def _use(rows: Figures) -> str:
    share = use_of_open_hours(rows)
    return "–" if share is None else f"{share:.0%}"


def _sum(rows: Figures, name: str) -> int:
    return sum(row[name] for row in rows)


def _rate(rows: Figures) -> str:
    """Return the no-shows' share of what was booked."""
    booked = _sum(rows, "booked")
    return f"{_sum(rows, 'no_shows') / booked:.1%}" if booked else "–"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
