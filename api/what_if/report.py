"""The report of a run: one HTML page that a manager reads, complete in itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import cache
from html import escape
from itertools import chain
from typing import Any

from jinja2 import Template
from plotly import graph_objects as go
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from api.http.chart_templates import chart, sized, template
from api.what_if.call_list import by_time, with_whose
from api.what_if.figures import REASONS, STAGES, cells, told, with_delta
from api.what_if.picture import Bar, booked_after, hours_of, names_of
from solver.clinic.clinic import Clinic
from solver.whatif.run import Run
from solver.whatif.run_result import PlaceResult, RunResult, ScenarioResult

BOOKED_COLOUR = "#c3c8cf"


MOVED_COLOUR = "#f08c00"


ROW_HEIGHT = 26


NO_LONGER_THERE = "no longer there"
"""Stands for the name of a row that is gone, in a run that kept no clinic."""


def render(result: RunResult, run: Run, clinic: Clinic) -> str:
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

    def __init__(self, result: RunResult, run: Run, clinic: Clinic) -> None:
        self._result, self._run, self._clinic = result, run, clinic
        self._names = names_of(run, clinic)
        self._kinds = {t.id: t for t in clinic.appointment_types}
        colours = (qualitative.Safe + qualitative.Vivid) * (1 + len(self._kinds) // 20)
        self._colours = dict(zip(self._kinds, colours, strict=False))
        self._bars = {
            scenario["name"]: list(booked_after(scenario, clinic, run.dates))
            for scenario in result["scenarios"]
        }
        every = chain.from_iterable(self._bars.values())
        self._first_minute, self._last_minute = hours_of(clinic, run.dates, every)

    # Tables

    def figures(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the rows of the table of key figures: a heading and a cell a scenario."""
        rows = {row["kpi"]: row for row in self._result["comparison"]}
        yield from told(self._result["comparison"], self._names)
        headings: dict[str, str] = {}
        for part in ("preference", "gap", "room", "overbook"):
            headings[f"mean_score_parts.{part}"] = f"Mean {part} part"
        for key in rows:
            group, _, member = key.partition(".")
            if group == "placed_by_priority":
                headings[key] = f"Placed of priority {member}"
            elif group == "placed_by_type":
                headings[key] = f"Placed: {self._name(member)}"
        for key, heading in headings.items():
            yield heading, cells(rows[key])

    def section(self, scenario: ScenarioResult) -> dict[str, Any]:
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

    def _words(self, place: PlaceResult) -> str:
        who, room = self._name(place["provider_id"]), self._name(place["room_id"])
        time = f"{place['date']} {place['start_time']}–{place['end_time']}"
        return ", ".join([time, who, room, *self._team(place)])

    def _team(self, place: PlaceResult) -> list[str]:
        """Return who is in which role there, in words."""
        return [f"{key}: {self._name(who)}" for key, who in place.get("team", {}).items()]

    def _name(self, key: str) -> str:
        return self._names.get(key, NO_LONGER_THERE)

    def _label(self, key: str) -> str:
        """Return a name for a chart, whose texts know some mark-up."""
        return escape(self._name(key))

    # Charts

    def _heat_map(self, scenario: ScenarioResult) -> go.Figure:
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

    def _gantt(self, scenario: ScenarioResult) -> go.Figure:
        """Draw providers as rows, and the days side by side without the nights between them."""
        groups: dict[str, tuple[str, list[Bar]]] = {"Booked before": (BOOKED_COLOUR, [])}
        for bar in self._bars[scenario["name"]]:
            name, colour = "Booked before", BOOKED_COLOUR
            if bar.kind == "moved":
                name, colour = "Moved", MOVED_COLOUR
            elif bar.kind == "placed":
                name = self._label(bar.appointment_type_id or "")
                colour = self._colours.get(bar.appointment_type_id or "", BOOKED_COLOUR)
            groups.setdefault(name, (colour, []))[1].append(bar)
        figure = go.Figure()
        for name, (colour, placed) in groups.items():
            figure.add_bar(
                orientation="h",
                name=name,
                marker={
                    "color": colour,
                    "line": {"width": 1, "color": "white"},
                    "pattern": {
                        "shape": ["/" if bar.is_overbooked else "" for bar in placed],
                    },
                },
                base=[self._position(bar) for bar in placed],
                x=[bar.span[1] - bar.span[0] for bar in placed],
                y=[self._label(bar.place["provider_id"]) for bar in placed],
                hovertext=[self._hover(bar) for bar in placed],
                hoverinfo="text",
            )
        rows = dict.fromkeys(
            bar.place["provider_id"] for _, placed in groups.values() for bar in placed
        )
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

    def _hover(self, bar: Bar) -> str:
        place, placement = bar.place, bar.placement
        kind = bar.appointment_type_id
        lines = [
            "Moved" if kind is None else self._label(kind),
            f"{place['date']} {place['start_time']}–{place['end_time']}",
            f"{self._label(place['provider_id'])}, {self._label(place['room_id'])}",
            *map(escape, self._team(place)),
        ]
        if placement is not None:
            lines[0] = f"{escape(placement['request_id'])}: {lines[0]}"
            lines.append(f"score {placement['score']:.4f}" + ", overbooked" * bar.is_overbooked)
        return "<br>".join(lines)

    def _position(self, bar: Bar) -> int:
        day = (bar.date - self._run.start_date).days
        length = self._last_minute - self._first_minute
        return day * length + bar.span[0] - self._first_minute

    def _search(self, scenario: ScenarioResult) -> go.Figure:
        """Draw each stage's best and bound over time, and as they were in the end."""
        steps: dict[str, list[tuple[float, float, float]]] = {
            stage["name"]: [(scenario["seconds"], stage["objective"], stage["bound"])]
            for stage in scenario["stages"]
        }
        for progress in reversed(scenario["progress"]):
            if progress["stage"] in steps:  # one with nothing to decide is no stage of the result
                step = progress["seconds"], progress["objective"], progress["bound"]
                steps[progress["stage"]].insert(0, step)
        titles = [STAGES[name] for name in steps]
        figure = make_subplots(1, max(1, len(steps)), subplot_titles=titles)
        for column, name in enumerate(steps, start=1):
            for part, label, colour, dash in (
                (1, "best found", "#0b7285", "solid"),
                (2, "bound", "#c92a2a", "dot"),
            ):
                figure.add_scatter(
                    x=[step[0] for step in steps[name]],
                    y=[step[part] for step in steps[name]],
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
