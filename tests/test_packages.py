"""The house itself: the packages imported are ours."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["solver", "models", "data", "api", "migrations", "benchmarks"])
def test_packages_with_common_names_are_ours(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)
    body = Path(module.__file__).read_text().strip()
    assert body.startswith('"""')
    assert body.endswith('"""'), "a package's __init__ holds a docstring only"
