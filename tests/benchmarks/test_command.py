"""The ``bench`` command, run as a person runs it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from api.cli.main import app
from benchmarks.measure.figures import Figure, Suite
from benchmarks.suites.slots import BY_SIZE


def test_a_quick_suite_end_to_end(tmp_path: Path) -> None:
    impossible = Figure(BY_SIZE, "5 × 8", "ms", (0.001,) * 20)
    old = {"made": {}, "suites": {"slots": Suite([impossible]).as_json([2.0] * 20)}}
    (tmp_path / "old.json").write_text(json.dumps(old))
    where = tmp_path / "report"
    arguments = ["bench", "slots", "--quick", "--report", str(where)]
    arguments += ["--compare", str(tmp_path / "old.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    assert f"worse: slots: {BY_SIZE}, 5 × 8" in result.output
    report = json.loads((where / "benchmarks.json").read_text())
    assert report["made"]["command"] == "slotwright bench slots --quick"
    assert report["made"]["versions"]["ortools"]
    assert [change["verdict"] for change in report["compared"]] == ["worse"]
    suite = report["suites"]["slots"]
    figures = {(row["group"], row["label"]): row for row in suite["figures"]}
    query = figures[BY_SIZE, "5 × 8"]
    assert query["repeats"] == len(query["samples"]) >= 20
    assert 0 < query["median"] <= query["p95"] <= query["p99"]
    assert suite["yardstick"]
    (tree,) = suite["profiles"].values()
    assert tree["ms"] > 0
    assert tree["children"]
    assert BY_SIZE in (where / "benchmarks.html").read_text()
    assert "plain reading to ours" in (where / "benchmarks.md").read_text()


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "speed"])
    assert result.exit_code == 2
    assert "no suite 'speed'" in result.output
    for text in ("{}", "[]", "{", "\N{SNOWMAN}"):
        (tmp_path / "old.json").write_text(text)
        arguments = ["bench", "slots", "--compare", str(tmp_path / "old.json")]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "is no report of benchmarks" in result.output
    result = CliRunner().invoke(app, ["bench", "slots", "--compare", str(tmp_path / "none.json")])
    assert result.exit_code == 2
    assert "none.json" in result.output
