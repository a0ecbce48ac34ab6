"""What the report of benchmarks shows."""

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.measure.compare import compare
from benchmarks.measure.figures import Figure, Ratio, Suite
from benchmarks.report.page import page, summary, write

FIGURES = [
    Figure("Queries", "5 × 8", "ms", (4.0, 4.2, 4.4, 5.0), size=5),
    Figure("Queries", "<many> & more", "ms", (9.0, 9.5), size=500),
]
SUITE = Suite(
    FIGURES,
    [Ratio("large to small", 2.25, at_most=2), Ratio("placed", 1.0, at_least=1), Ratio("bare", 7)],
    notes=["Something to know."],
    tables={"Plans": [{"planner": "ours", "gap %": 0.25}, {"planner": "HiGHS", "status": "none"}]},
    curves={"Over time": {"ours": [[0.1, 5.0], [2.0, 7.0]], "ours, bound": [[0.1, 9.0]]}},
    profiles={
        "A query": {
            "name": "all",
            "ms": 5.0,
            "children": [{"name": "f<x>", "ms": 4.0, "children": []}],
        }
    },
)


def report(suite: Suite = SUITE) -> dict[str, Any]:
    made = {
        "machine": "workbench",
        "processor": "A processor",
        "cores": 2,
        "system": "A system",
        "python": "3.12",
        "commit": "0123456789abcdef+",
        "versions": {"ortools": "9.15"},
        "command": "slotwright bench slots",
        "quick": False,
        "seeds": "fixed",
        "seconds": 12.5,
    }
    return {"made": made, "suites": {"slots": suite.as_json([2.0, 2.1]) | {"seconds": 12.0}}}


def slower() -> dict[str, Any]:
    figure = Figure("Queries", "5 × 8", "ms", (14.0, 14.2, 14.4, 15.0), size=5)
    return report(Suite([figure]))


def test_the_page_is_complete_in_itself() -> None:
    text = page(report(), None)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text.split('id="plotly"')[0])
    assert text.count('id="plotly"') == 1
    assert "01234567890" not in text
    assert "commit 0123456789ab and changes" in text
    charts = re.findall(
        r'<script type="application/json" data-chart="([^"]+)">(.*?)</script>', text
    )
    assert len(charts) == 2
    for name, figure in charts:
        assert f'id="{name}"' in text
        assert json.loads(figure)["data"]
    assert "<many>" not in text
    assert "f<x>" not in text


def test_ratios_come_first_and_say_whether_their_aim_is_met() -> None:
    text = summary(report(), None)
    assert "| large to small | 2.25 | ≤ 2 | missed |" in text
    assert "| placed | 1 | ≥ 1 | met |" in text
    assert "| bare | 7 |  |  |" in text
    assert text.index("Ratios") < text.index("workbench") < text.index("5 × 8")
    assert "| Queries, 5 × 8 | 4.3 | 4.91 | 4.982 | ms | 4 |" in text


def test_what_changed_is_told() -> None:
    changes = compare(report(), slower())
    text = summary(slower(), changes)
    assert re.search(r"\| slots: Queries, 5 × 8 \| 3\.33 \| .* \| worse \|", text)
    assert "worse" in page(slower(), changes)
    assert "Nothing changed." in summary(report(), compare(report(), report()))
    assert "Compared" not in summary(report(), None)


def test_what_is_written_can_be_compared_with(tmp_path: Path) -> None:
    write(report(), None, tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "benchmarks.html",
        "benchmarks.json",
        "benchmarks.md",
    }
    known = json.loads((tmp_path / "new" / "benchmarks.json").read_text())
    assert known == report()
    assert Figure.from_json(known["suites"]["slots"]["figures"][0]) == FIGURES[0]
