"""The guide to scaling takes its figures from a report."""

import pytest

from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.report.scaling_guide import BEGIN, END, GUIDE, measured, put
from benchmarks.suites import large_table as table
from benchmarks.suites import processes


def statement(size: str) -> dict[str, object]:
    return {
        "of": "query",
        "table": size,
        "statement": 1,
        "ms": 1.2345,
        "pages": 7,
        "reads bookings by": "an index",
    }


def report() -> dict[str, object]:
    def line(group: str, unit: str) -> list[Figure]:
        return [
            Figure(group, f"{size:g}", unit, (size, 2 * size, 3 * size), size=size)
            for size in (5.0, 50.0)
        ]

    suites = {
        "processes": Suite(
            line(processes.ALONE, "ms") + line(processes.RATE_BY_PROCESSES, "a second")
        ),
        "table": Suite(
            line(table.QUERY, "ms") + line(table.BOOKING, "ms"),
            [Ratio("large to small", 1.1, at_most=1.3)],
            tables={"The statements": [statement("10"), statement("1,000")]},
            texts={"query, 10": "SELECT 1 \n\nResult", "query, 1,000": "SELECT 2 \n\nResult"},
        ),
        "fleet": Suite([], tables={"The fleet": [{"of": "machines", "is": "20"}]}),
    }
    made = {
        "machine": "workbench",
        "processor": "A processor",
        "cores": 2,
        "python": "3.12",
        "commit": "0123456789abcdef",
        "date": "2027-03-01",
        "quick": False,
    }
    return {"made": made, "suites": {name: s.as_json([2.0]) for name, s in suites.items()}}


def test_figures_ratios_and_curves_are_shown() -> None:
    text = measured(report())
    assert "2 cores of A processor" in text
    assert "commit 0123456789ab. The yardstick" in text
    assert "took 2.0." in text
    assert f"| {processes.ALONE} | 50 | 100 | ms |" in text
    assert "|  | 99 of 100 | 149 | ms |" in text
    assert "| ratio | large to small | 1.1 | at most 1.3 |" in text
    assert "| the fleet | machines | 20 |  |" in text
    assert text.count("```mermaid") == 4
    assert 'x-axis ["5", "50"]' in text
    assert "line [10, 100]" in text
    assert "| query | 1 | 1,000 | 1.23 | 7 | an index |" in text
    assert "<summary>query, 1,000</summary>\n\n```text\nSELECT 2\n\nResult\n```" in text
    assert "SELECT 1" not in text


def test_what_is_between_the_marks_is_replaced() -> None:
    once = put(f"before {BEGIN} old {END} after", "new")
    assert once == f"before {BEGIN}\n\nnew\n{END} after"
    assert put(once, "new") == once
    with pytest.raises(ValueError, match="measured"):
        put("no marks", "new")


def test_the_guide_has_its_marks() -> None:
    text = GUIDE.read_text("utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
