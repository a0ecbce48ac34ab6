"""The report of a run of suites: one HTML page, one JSON, one summary in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import orjson
from markupsafe import Markup
from plotly import graph_objects as go
from plotly.colors import qualitative

from api.cli.whole_files import write_file
from api.http.chart_templates import chart, sized, template
from benchmarks.measure.compare import Change

NAME = "benchmarks"


BAR_HEIGHT = 30


COLOURS = qualitative.Safe


@dataclass(frozen=True)
class Table:
    """Rows of cells by heading; `numeric` headings stand on the right."""

    rows: Sequence[dict[str, str]]
    numeric: frozenset[str]

    @property
    def headings(self) -> list[str]:
        """All headings, in the order of their first use."""
        return list(dict.fromkeys(heading for row in self.rows for heading in row))

    def as_markdown(self) -> str:
        """Return the table in Markdown."""
        headings = self.headings
        rule = ["---:" if heading in self.numeric else "---" for heading in headings]
        lines = [headings, rule, *([row[h] for h in headings] for row in self.rows)]
        return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def write(report: dict[str, Any], changes: Sequence[Change] | None, directory: Path) -> None:
    """Write the page, the JSON and the summary into a directory.

    Parameters
    ----------
    report
        As :func:`benchmarks.registry.run` returns it.
    changes
        Against an older report, if there is one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    compared = {} if changes is None else {"compared": [change.as_json() for change in changes]}
    text = orjson.dumps(report | compared, option=orjson.OPT_INDENT_2)
    write_file(directory / f"{NAME}.json", text + b"\n")
    write_file(directory / f"{NAME}.html", page(report, changes).encode())
    write_file(directory / f"{NAME}.md", summary(report, changes).encode())


def page(report: dict[str, Any], changes: Sequence[Change] | None) -> str:
    """Return the HTML page."""
    return template("benchmarks.report", "bench.html.j2").render(
        made=report["made"],
        ratios=_ratios(report),
        changes=None if changes is None else _changes(changes),
        sections=[_section(name, suite) for name, suite in report["suites"].items()],
        versions=_table(
            [{"package": name, "version": it} for name, it in report["made"]["versions"].items()]
        ),
    )


def summary(report: dict[str, Any], changes: Sequence[Change] | None) -> str:
    """Return a short summary in Markdown: ratios first, then each figure on this machine."""
    made = report["made"]
    parts = ["# Benchmarks\n"]
    if (ratios := _ratios(report)).rows:
        parts += ["## Ratios\n", ratios.as_markdown()]
    if changes is not None:
        notable = [change for change in changes if change.verdict != "same"]
        parts.append("## Compared\n")
        parts.append(_changes(notable).as_markdown() if notable else "Nothing changed.\n")
    words = f"{made['cores']} cores of {made['processor']}, Python {made['python']}"
    parts.append(f"## On {made['machine']} ({words})\n")
    for name, suite in report["suites"].items():
        parts.append(f"### {name}\n")
        parts.append(_figures(suite).as_markdown())
    commit = f" at {made['commit']}" if made["commit"] else ""
    parts.append(f"`{made['command']}`{commit}, {made['seconds']:.0f} seconds.\n")
    return "\n".join(parts)


# Tables


def _ratios(report: dict[str, Any]) -> Table:
    marks = {None: "", True: "met", False: "missed"}
    rows = []
    for suite in report["suites"].values():
        for ratio in suite["ratios"]:
            aim = ""
            if ratio["at_most"] is not None:
                aim = f"≤ {ratio['at_most']:g}"
            elif ratio["at_least"] is not None:
                aim = f"≥ {ratio['at_least']:g}"
            rows.append(
                {
                    "ratio": ratio["name"],
                    "value": f"{ratio['value']:.4g}",
                    "aim": aim,
                    "": marks[ratio["is_met"]],
                }
            )
    return Table(rows, frozenset({"value", "aim"}))


def _changes(changes: Iterable[Change]) -> Table:
    rows = [
        {
            "figure": f"{change.suite}: {change.group}, {change.label}",
            "new to old": f"{change.ratio:.2f}",
            "interval": f"{change.low:.2f} – {change.high:.2f}",
            "": {"worse": "worse", "better": "better", "same": ""}[change.verdict],
        }
        for change in changes
    ]
    return Table(rows, frozenset({"new to old", "interval"}))


def _figures(suite: dict[str, Any]) -> Table:
    rows = []
    for row in suite["figures"]:
        many = row["repeats"] > 1
        rows.append(
            {
                "figure": f"{row['group']}, {row['label']}",
                "median": f"{row['median']:.4g}",
                "p95": f"{row['p95']:.4g}" if many and not row["more_is_better"] else "",
                "p99": f"{row['p99']:.4g}" if many and not row["more_is_better"] else "",
                "unit": row["unit"],
                "repeats": f"{row['repeats']}",
            }
        )
    return Table(rows, frozenset({"median", "p95", "p99", "repeats"}))


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    numeric = {
        heading
        for heading in headings
        if all(isinstance(row.get(heading), int | float | None) for row in rows)
    }
    shown = [{heading: _cell(row.get(heading)) for heading in headings} for row in rows]
    return Table(shown, frozenset(numeric))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


# Sections and their charts


def _section(name: str, suite: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "seconds": suite["seconds"],
        "planned": suite.get("planned"),
        "notes": suite["notes"],
        "charts": list(_charts(suite)),
        "tables": [
            *((title, _table(rows)) for title, rows in suite["tables"].items()),
            ("Figures", _figures(suite)),
        ],
        "texts": suite.get("texts", {}),
    }


def _charts(suite: dict[str, Any]) -> Iterator[tuple[str, Markup]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in suite["figures"]:
        groups.setdefault(row["group"], []).append(row)
    for title, lines in suite["curves"].items():
        yield title, chart(_curves(lines))
    if not suite["curves"]:
        for title, rows in groups.items():
            yield f"{title} ({rows[0]['unit']})", chart(_bars(rows))
    for title, tree in suite["profiles"].items():
        yield f"Where the time goes: {title}", chart(_flames(tree))


def _bars(rows: Sequence[dict[str, Any]]) -> go.Figure:
    """Draw medians as bars; what exceeds them reaches to the 99th of 100."""
    figure = go.Figure(
        go.Bar(
            orientation="h",
            y=[escape(row["label"]) for row in rows],
            x=[row["median"] for row in rows],
            text=[f"{row['median']:.4g}" for row in rows],
            textposition="inside",
            marker={"color": COLOURS[0]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [max(0.0, row["p99"] - row["median"]) for row in rows],
                "arrayminus": [0.0 for _ in rows],
            },
            hovertemplate="%{y}: %{x:.4g}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", type="category")
    return sized(figure, 90 + BAR_HEIGHT * len(rows))


def _curves(lines: dict[str, list[list[float]]]) -> go.Figure:
    """Draw lines; those named as a bound have the colour of what they bound, and dots.

    Sizes that span more than a hundredfold go on logarithmic axes.
    """
    figure = go.Figure()
    plain = [name for name in lines if not name.endswith(", bound")]
    for name, points in lines.items():
        is_bound = name not in plain
        colour = COLOURS[plain.index(name.removesuffix(", bound")) % len(COLOURS)]
        x, y = ([point[axis] for point in points] for axis in (0, 1))
        figure.add_scatter(
            x=x,
            y=y,
            name=escape(name),
            mode="lines+markers",
            marker={"size": 4, "color": colour},
            line={"color": colour, "dash": "dot" if is_bound else "solid"},
        )
    values = [abs(point[0]) for points in lines.values() for point in points if point[0]]
    are_sizes = len(values) > 1 and all(value >= 1 for value in values)
    if are_sizes and max(values) >= 50 * min(values):
        figure.update_xaxes(type="log")
        figure.update_yaxes(type="log")
    elif not are_sizes:
        figure.update_traces(line={"shape": "hv"})
    return sized(figure, 420)


def _flames(tree: dict[str, Any]) -> go.Figure:
    """Draw a call tree from the top down, as wide as the time that was spent in each call."""
    ids: list[str] = []
    labels: list[str] = []
    parents: list[str] = []
    values: list[float] = []

    def add(node: dict[str, Any], parent: str) -> None:
        own = f"{len(ids)}"
        ids.append(own)
        labels.append(escape(node["name"]))
        parents.append(parent)
        values.append(max(node["ms"], sum(child["ms"] for child in node["children"])))
        for child in node["children"]:
            add(child, own)

    add(tree, "")
    figure = go.Figure(
        go.Icicle(
            ids=ids,
            labels=labels,
            parents=parents,
            values=values,
            branchvalues="total",
            tiling={"orientation": "v"},
            sort=False,
            hovertemplate="%{label}<br>%{value:.1f} ms, %{percentRoot:.1%}<extra></extra>",
            marker={"colorscale": "YlOrRd"},
        )
    )
    return sized(figure, 620)
