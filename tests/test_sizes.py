"""How large folders, modules, classes and functions are; where one has to be larger, why."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("solver", "models", "data", "api", "benchmarks")
MOST_ENTRIES, MOST_OF_MODULE, MOST_OF_CLASS, MOST_OF_FUNCTION = 12, 450, 250, 60
LARGER = {
    "solver/clinic": "a module or a folder for each sort of row, and the dates laid out of them",
    "solver/rules": "a module for each reading of the rules, and what they have in common",
    "data/what_if/carry_out.py apply": "one transaction: look, lock, look again, decide, write",
    "data/bookings/status.py undo": "one transaction: look, lock, look again, decide, write",
    "api/server/app.py create_app": "a list of what the service is made of",
    "api/clinic/rows.py _router": "a function a route, which share the resource",
    "api/console/pages/what_if_run.py _RunPage": "one page: what it shows and what is clicked",
    "api/console/pages/day_board.py _Board": "one page: what it shows and what is clicked",
    "solver/rules/placement_model.py PlacementModel": "a method a rule",
    "solver/rules/whole_book_rules.py": "one reading of every rule",
    "solver/rules/whole_book_rules.py _Reading": "a method a rule",
    "solver/whatif": "a run, its result, and a module for each part of the reading of plans",
    "solver/whatif/plain_rules.py PlainRules": "a method a rule",
    "benchmarks/suites/large_table.py compare": "one measurement, step by step",
    "benchmarks/hospital/book.py hospital_clinic": "a clinic row by row",
    "benchmarks/fleet/suite.py simulated": "one measurement, step by step",
}
"""What is larger, and why it is."""


def entries() -> Iterator[tuple[str, int, int]]:
    for package in PACKAGES:
        folders = [ROOT / package, *(p for p in (ROOT / package).rglob("*") if p.is_dir())]
        for folder in folders:
            if "__pycache__" not in folder.parts:
                names = {p.name for p in folder.iterdir()} - {"__init__.py", "__pycache__"}
                yield str(folder.relative_to(ROOT)), len(names), MOST_ENTRIES


def lines() -> Iterator[tuple[str, int, int]]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            text, name = path.read_text("utf-8"), str(path.relative_to(ROOT))
            yield name, len(text.splitlines()), MOST_OF_MODULE
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    most = MOST_OF_CLASS if isinstance(node, ast.ClassDef) else MOST_OF_FUNCTION
                    count = (node.end_lineno or node.lineno) - node.lineno + 1
                    yield f"{name} {node.name}", count, most


def test_nothing_is_larger_than_it_has_to_be() -> None:
    larger = {name: (count, most) for name, count, most in [*entries(), *lines()] if count > most}
    unexplained = {name: sizes for name, sizes in larger.items() if name not in LARGER}
    assert not unexplained
    assert not LARGER.keys() - larger.keys(), "these are small enough by now"
