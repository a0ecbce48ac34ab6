"""The compose file as the engine would read it, with the settings of the example."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
HOST = "clinic.example.org"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def example_settings() -> dict[str, str]:
    """What ``.env.example`` sets, and passwords."""
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    passwords = {"POSTGRES_PASSWORD": "0123456789abcdef", "SERVICE_PASSWORD": "fedcba9876543210"}
    assert {given[name] for name in passwords} == {""}
    return given | passwords


def read_compose(name: str = "compose.yaml", **settings: str) -> dict[str, Any]:
    """A compose file with its variables filled in; one that is asked for and missing fails."""
    values = example_settings() | settings

    def fill(match: re.Match[str]) -> str:
        variable, operator, default = match.groups()
        value = values.get(variable) or (default if operator == "-" else None)
        assert value, f"{variable} is not in .env.example"
        return value

    text = _VARIABLE.sub(fill, (DEPLOY / name).read_text())
    document: dict[str, Any] = YAML(typ="safe").load(text)
    return document
