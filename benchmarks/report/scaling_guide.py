"""The measured part of ``docs/scaling.md``: the suites that a plan for many clinics rests on.

``python -m benchmarks.report.scaling_guide`` runs them, writes their report, and puts one table
and its curves between the marks in the guide. ``--quick`` takes three minutes instead of fifteen
or more, with a smaller table of bookings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.registry import run
from benchmarks.report.page import write
from benchmarks.suites import large_table as table
from benchmarks.suites import processes

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"


BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


SUITES = ("processes", "table", "fleet")


CURVES = {
    processes.ALONE: "milliseconds",
    processes.RATE_BY_PROCESSES: "queries a second",
    table.QUERY: "milliseconds",
    table.BOOKING: "milliseconds",
}
"""What is drawn, and the unit on its axis."""


def measured(report: dict[str, Any]) -> str:
    """Return the table and the curves of a report, in Markdown."""
    made, suites = report["made"], report["suites"]
    words = f"{made['cores']} cores of {made['processor']}, Python {made['python']}"
    commit = (made["commit"] or "")[:12]
    quick = ", a quick run with few repeats" if made["quick"] else ""
    yard = np.median([ms for suite in suites.values() for ms in suite["yardstick"]])
    lines = [
        f"On {made['machine']} ({words}), {made['date']}, commit {commit}{quick}. The yardstick, "
        f"about two milliseconds on a quiet machine, took {yard:.1f}.",
        "",
        "| figure | of | value | |",
        "| --- | --- | ---: | --- |",
        *(f"| {' | '.join(cells)} |" for cells in _rows(suites)),
        "",
    ]
    for title, unit in CURVES.items():
        lines += [*_chart(title, unit, suites), ""]
    lines += _statements(suites["table"])
    return "\n".join(lines)


def put(text: str, block: str) -> str:
    """Return the guide with `block` between its marks.

    Raises
    ------
    ValueError
        When it has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the guide has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{block}\n{END}{after}"


def _rows(suites: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for suite in suites.values():
        order = list(dict.fromkeys(row["group"] for row in suite["figures"]))
        for row in sorted(suite["figures"], key=lambda row: order.index(row["group"])):
            yield row["group"], row["label"], f"{row['median']:.3g}", row["unit"]
            if row["unit"] == "ms" and row["repeats"] > 1:
                yield "", "99 of 100", f"{row['p99']:.3g}", "ms"
        for ratio in suite["ratios"]:
            aim = "" if ratio["at_most"] is None else f"at most {ratio['at_most']:g}"
            yield "ratio", ratio["name"], f"{ratio['value']:.3g}", aim
    for row in suites["fleet"]["tables"].get("The fleet", ()):
        yield "the fleet", row["of"], row["is"], ""


def _statements(suite: dict[str, Any]) -> Iterator[str]:
    """Yield what each statement reads, and the plans of those on the larger table."""
    rows = suite["tables"].get("The statements", ())
    names = ("of", "statement", "table", "ms", "pages", "reads bookings by")
    if rows:
        yield f"| {' | '.join(names)} |"
        yield f"| --- | {' | '.join(['---:'] * 4)} | --- |"
    for row in sorted(rows, key=lambda row: row["statement"]):
        cells = (f"{row[name]:.3g}" if name == "ms" else f"{row[name]}" for name in names)
        yield f"| {' | '.join(cells)} |"
    yield ""
    for title, text in suite["texts"].items():
        if rows and title.endswith(rows[-1]["table"]):
            lines = (line.rstrip() for line in text.splitlines())
            yield from (f"<details><summary>{title}</summary>", "", "```text", *lines, "```", "")
            yield from ("</details>", "")


def _chart(title: str, unit: str, suites: dict[str, Any]) -> list[str]:
    """Return a curve as GitHub draws it."""
    rows = [row for suite in suites.values() for row in suite["figures"] if row["group"] == title]
    sizes = ", ".join(f'"{row["size"]:,.0f}"' for row in rows)
    values = ", ".join(f"{row['median']:.4g}" for row in rows)
    return [
        "```mermaid",
        "xychart-beta",
        f'  title "{title}"',
        f"  x-axis [{sizes}]",
        f'  y-axis "{unit}" 0 --> {1.1 * max(row["median"] for row in rows):.4g}',
        f"  line [{values}]",
        "```",
    ]


def main() -> None:
    """Measure, and write the report and the guide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", type=Path, default=Path("benchmark-report") / "scaling")
    given = parser.parse_args()
    report = run(SUITES, quick=given.quick, tell=lambda name: print(f"{name} …", flush=True))
    write(report, None, given.report)
    GUIDE.write_text(put(GUIDE.read_text("utf-8"), measured(report)), "utf-8")


if __name__ == "__main__":
    main()
