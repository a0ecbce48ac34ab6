"""Suites that measure a real service measure what they say, and their time is planned."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.measure.figures import Suite
from benchmarks.measure.meter import Meter
from benchmarks.registry import SUITES, USUAL
from benchmarks.suites import crowd
from benchmarks.suites import large_table as table
from benchmarks.support.service import Databases

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


@pytest.fixture(scope="module")
def meter() -> Iterator[Meter]:
    with Databases() as databases:
        yield Meter(quick=True, new_database=databases.new)


def met(suite: Suite) -> dict[str, bool | None]:
    return {row["name"]: row["is_met"] for row in (ratio.as_json() for ratio in suite.ratios)}


def test_the_usual_suites_fit_into_ten_minutes_and_a_minute() -> None:
    usual = [SUITES[name] for name in USUAL]
    assert 0 < sum(entry.seconds for entry in usual) < 600
    assert 0 < sum(entry.quick_seconds for entry in usual) < 60


def test_every_suite_and_its_time_is_documented() -> None:
    text = DOCUMENT.read_text("utf-8")
    for name in SUITES:
        assert f"`{name}`" in text
    rows = {"whole": "seconds", "`--quick`": "quick_seconds"}
    for name, field in rows.items():
        told = [getattr(SUITES[suite], field) for suite in USUAL]
        assert f"| {name} | {' | '.join(map(str, [*told, sum(told)]))} |" in text


def test_one_of_two_hundred_wins_and_the_others_are_told(meter: Meter) -> None:
    suite = crowd.run(meter)
    promised = met(suite)
    assert len(promised) == 4
    assert all(is_met for name, is_met in promised.items() if "seconds" not in name), promised
    (figure,) = suite.figures
    assert len(figure.samples) == 3
    (rounds,) = suite.tables.values()
    assert [row["winners"] for row in rounds] == [1, 1, 1]
    assert [row["refused"] for row in rounds] == [199, 199, 199]


def test_a_larger_table_is_read_by_the_same_indexes(meter: Meter) -> None:
    suite = table.compare(meter, 2 * table.SMALL, rounds=1)
    pages = next(ratio for ratio in suite.ratios if ratio.name.startswith("pages"))
    assert 0 < pages.value <= 2
    statements = suite.tables["The statements"]
    kinds = {(row["of"], row["table"]) for row in statements}
    assert len(kinds) == 6
    for row in statements:
        assert "Seq Scan" not in row["reads bookings by"], row
    sizes = [row["MiB with indexes"] for row in suite.tables["The tables"]]
    assert 1.5 * sizes[0] < sizes[1] < 3 * sizes[0]
    assert all("EXPLAIN" not in text and "Execution Time" in text for text in suite.texts.values())
