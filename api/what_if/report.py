"""The report of a run: one HTML page that a manager reads, complete in itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any

from jinja2 import Template
from plotly import graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from api.http.chart_templates import chart, sized, template
from api.what_if.call_list import by_time, with_whose
from api.what_if.figures import REASONS, RUN_FIGURES, STAGES, figure, with_delta
from solver.clinic.clock import format_time, parse_time
from solver.clinic.entities import Clinic
from solver.clinic.windows import Windows
from solver.whatif.changes import AddProvider, AddRoom
from solver.whatif.run import Run

BOOKED_COLOUR = "#c3c8cf"


MOVED_COLOUR = "#f08c00"


ROW_HEIGHT = 26


NO_LONGER_THERE = "no longer there"
"""Stands for the name of a row that is gone, in a run that kept no clinic."""


def render(result: dict[str, Any], run: Run, clinic: Clinic) -> str:
    """Return the page for a run's result."""
    page = _Page(result, run, clinic)
    return _template().render(
        result=result,
        run=run,
        clinic=clinic,
        first=run.dates[0],
        last=run.dates[-1],
        requests=sum(demand.count for demand in run.demands),
        figures=page.figures(),
        sections=[page.section(scenario) for scenario in result["scenarios"]],
        stages=STAGES,
        reasons=REASONS,
    )


@cache
def _template() -> Template:
    return template("api.what_if", "report.html.j2", with_delta=with_delta)


class _Page:
    """What the template is filled with."""

    def __init__(self, result: dict[str, Any], run: Run, clinic: Clinic) -> None:
        self._result, self._run, self._clinic = result, run, clinic
        added = [
            change.provider if isinstance(change, AddProvider) else change.room
            for scenario in run.scenarios
            for change in scenario.changes
            if isinstance(change, AddProvider | AddRoom)
        ]
        self._names = {
            row.id: row.name
            for row in (*clinic.providers, *clinic.rooms, *clinic.appointment_types, *added)
        }
        self._kinds = {t.id: t for t in clinic.appointment_types}
        colours = (qualitative.Safe + qualitative.Vivid) * (1 + len(self._kinds) // 20)
        self._colours = dict(zip(self._kinds, colours, strict=False))
        self._first_minute, self._last_minute = self._hours()

    # Tables

    def figures(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the rows of the table of key figures: a heading and a cell a scenario."""
        rows = {row["kpi"]: row for row in self._result["comparison"]}
        headings = dict(RUN_FIGURES)
        for part in ("preference", "gap", "room", "overbook"):
            headings[f"mean_score_parts.{part}"] = f"Mean {part} part"
        for key in rows:
            group, _, member = key.partition(".")
            if group == "placed_by_priority":
                headings[key] = f"Placed of priority {member}"
            elif group == "placed_by_type":
                headings[key] = f"Placed: {self._name(member)}"
        for key, heading in headings.items():
            values, delta = rows[key]["values"], rows[key]["delta"]
            yield heading, [figure(key, values[name], delta.get(name)) for name in values]

    def section(self, scenario: dict[str, Any]) -> dict[str, Any]:
        """Return what one scenario's section shows."""
        return {
            "scenario": scenario,
            "unplaced": [
                {
                    **row,
                    "patient": row.get("patient_ref") or "–",
                    "kind": self._name(row["appointment_type_id"])
                    if "appointment_type_id" in row
                    else "",
                }
                for row in scenario["unplaced"]
            ],
            "moves": [
                {
                    "patient": move["patient_ref"] or "–",
                    "kind": self._name(move["appointment_type_id"]),
                    "old": self._words(move["from"]),
                    "new": self._words(move["to"]) if move["to"] else None,
                    "detail": move.get("detail", ""),
                }
                for move in by_time(with_whose(scenario["moves"], self._clinic.bookings))
            ],
            "charts": [
                (title, chart(figure))
                for title, figure in (
                    ("Utilisation of providers by day", self._heat_map(scenario)),
                    ("The plan", self._gantt(scenario)),
                    ("The search: best found and bound over time", self._search(scenario)),
                )
            ],
        }

    def _words(self, place: dict[str, Any]) -> str:
        who, room = self._name(place["provider_id"]), self._name(place["room_id"])
        return f"{place['date']} {place['start_time']}–{place['end_time']}, {who}, {room}"

    def _name(self, key: str) -> str:
        return self._names.get(key, NO_LONGER_THERE)

    def _label(self, key: str) -> str:
        """Return a name for a chart, whose texts know some mark-up."""
        return escape(self._name(key))

    # Charts

    def _heat_map(self, scenario: dict[str, Any]) -> go.Figure:
        days = scenario["kpis"]["provider_utilisation_by_day"]
        providers = list(dict.fromkeys(key for day in days.values() for key in day))
        figure = go.Figure(
            go.Heatmap(
                x=[f"{dt.date.fromisoformat(day):%a %d %b}" for day in days],
                y=[self._label(key) for key in providers],
                z=[[days[day].get(key) for day in days] for key in providers],
                zmin=0,
                zmax=1,
                colorscale="Teal",
                texttemplate="%{z:.0%}",
                hovertemplate="%{y}, %{x}: %{z:.1%}<extra></extra>",
                colorbar={"tickformat": ".0%"},
            )
        )
        figure.update_yaxes(autorange="reversed")
        return sized(figure, 90 + ROW_HEIGHT * len(providers))

    def _gantt(self, scenario: dict[str, Any]) -> go.Figure:
        """Draw providers as rows, and the days side by side without the nights between them."""
        bars = {"Booked before": (BOOKED_COLOUR, list(self._standing(scenario)))}
        moved = [move["to"] for move in scenario["moves"] if move["to"]]
        if moved:
            bars["Moved"] = (MOVED_COLOUR, moved)
        for placement in scenario["placements"]:
            kind = placement["appointment_type_id"]
            colour = self._colours.get(kind, BOOKED_COLOUR)
            own = bars.setdefault(self._label(kind), (colour, []))
            own[1].append(placement)
        figure = go.Figure()
        for name, (colour, placed) in bars.items():
            figure.add_bar(
                orientation="h",
                name=name,
                marker={
                    "color": colour,
                    "line": {"width": 1, "color": "white"},
                    "pattern": {
                        "shape": ["/" if p.get("is_overbooked") else "" for p in placed],
                    },
                },
                base=[self._position(p["date"], p["start_time"]) for p in placed],
                x=[parse_time(p["end_time"]) - parse_time(p["start_time"]) for p in placed],
                y=[self._label(p["provider_id"]) for p in placed],
                hovertext=[self._hover(p) for p in placed],
                hoverinfo="text",
            )
        rows = list(dict.fromkeys(p["provider_id"] for _, placed in bars.values() for p in placed))
        places = {key: place for place, key in enumerate(self._names)}
        order = sorted(rows, key=lambda key: places.get(key, len(places)))
        length = self._last_minute - self._first_minute
        middles = [length * (i + 0.5) for i in range(self._run.days)]
        figure.update_xaxes(
            tickvals=middles,
            ticktext=[f"{day:%a %d %b}" for day in self._run.dates],
            range=[0, length * self._run.days],
            showgrid=False,
        )
        for edge in range(1, self._run.days):
            figure.add_vline(x=length * edge, line={"width": 1, "color": "#888"})
        figure.update_yaxes(
            categoryorder="array",
            categoryarray=[self._label(key) for key in order],
            autorange="reversed",
        )
        figure.update_layout(barmode="overlay", bargap=0.25, legend={"orientation": "h"})
        return sized(figure, 160 + ROW_HEIGHT * len(order))

    def _standing(self, scenario: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the bookings that were there before and stay."""
        moved = {move["booking_id"] for move in scenario["moves"]}
        dates = frozenset(self._run.dates)
        for b in self._clinic.bookings:
            if b.id in moved or not b.is_live or b.date not in dates:
                continue
            kind = self._kinds[b.appointment_type_id]
            yield {
                "provider_id": b.provider_id,
                "room_id": b.room_id,
                "appointment_type_id": kind.id,
                "date": b.date.isoformat(),
                "start_time": format_time(b.start),
                "end_time": format_time(min(1440, b.start + kind.duration_minutes)),
            }

    def _hover(self, bar: dict[str, Any]) -> str:
        lines = [
            self._label(bar["appointment_type_id"]) if "appointment_type_id" in bar else "Moved",
            f"{bar['date']} {bar['start_time']}–{bar['end_time']}",
            f"{self._label(bar['provider_id'])}, {self._label(bar['room_id'])}",
        ]
        if "request_id" in bar:
            lines[0] = f"{escape(bar['request_id'])}: {lines[0]}"
            lines.append(f"score {bar['score']:.4f}" + ", overbooked" * bar["is_overbooked"])
        return "<br>".join(lines)

    def _hours(self) -> tuple[int, int]:
        """Return the first and the last minute of a day that the chart shows."""
        spans = [
            span
            for day in self._run.dates
            for windows in Windows.on(self._clinic, day).provider.values()
            for span in windows
        ]
        spans += [
            (parse_time(place["start_time"]), parse_time(place["end_time"]))
            for scenario in self._result["scenarios"]
            for place in (
                *scenario["placements"],
                *(move["to"] for move in scenario["moves"] if move["to"]),
                *self._standing(scenario),
            )
        ]
        starts, ends = zip(*spans, strict=True) if spans else ((480,), (1080,))
        return min(starts), max(ends)

    def _position(self, date: str, start: str) -> int:
        day = (dt.date.fromisoformat(date) - self._run.start_date).days
        length = self._last_minute - self._first_minute
        return day * length + parse_time(start) - self._first_minute

    def _search(self, scenario: dict[str, Any]) -> go.Figure:
        """Draw each stage's best and bound as they were told, and as they were in the end."""
        steps = {
            stage["name"]: [{**stage, "seconds": scenario["seconds"]}]
            for stage in scenario["stages"]
        }
        for progress in reversed(scenario["progress"]):
            if progress["stage"] in steps:  # one with nothing to decide is no stage of the result
                steps[progress["stage"]].insert(0, progress)
        titles = [STAGES[name] for name in steps]
        figure = make_subplots(1, max(1, len(steps)), subplot_titles=titles)
        for column, name in enumerate(steps, start=1):
            for key, label, colour, dash in (
                ("objective", "best found", "#0b7285", "solid"),
                ("bound", "bound", "#c92a2a", "dot"),
            ):
                figure.add_scatter(
                    x=[p["seconds"] for p in steps[name]],
                    y=[p[key] for p in steps[name]],
                    name=label,
                    mode="lines+markers",
                    marker={"size": 4},
                    line={"shape": "hv", "color": colour, "dash": dash},
                    showlegend=column == 1,
                    row=1,
                    col=column,
                )
            figure.update_xaxes(title_text="seconds", row=1, col=column)
        return sized(figure, 320)
