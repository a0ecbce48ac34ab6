"""Documents, JSON or YAML, read within bounds."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import orjson
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.nodes import MappingNode

from data.files.faults import Fault, InvalidFileError
from data.files.fields import MAX_VALUES

MAX_OBJECTS = 1_000_000
"""In one document: rows, and what is in them."""


MAX_YAML = 2 * 1024 * 1024
"""Bytes of a YAML document, which takes a thousand times as long to read as JSON."""


def is_yaml(path: Path) -> bool:
    """Whether a file is YAML, by its name."""
    return path.suffix.lower() in (".yaml", ".yml")


def yaml_of(document: object) -> str:
    """Write a document as YAML, its keys in the order they have."""
    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.allow_unicode = True
    writer.width = 100
    text = StringIO()
    writer.dump(document, text)
    return text.getvalue()


def parse_document(document: bytes, *, is_yaml: bool, error: type[InvalidFileError]) -> object:
    """Read JSON or YAML; what is neither is raised as `error`, naming line and column.

    So is what would take more memory or time than a clinic has use for.
    """
    return _parse_yaml(document, error) if is_yaml else _parse_json(document, error)


def _parse_json(document: bytes, invalid: type[InvalidFileError]) -> object:
    # counted before it is parsed: what a few bytes say may take a hundred in memory
    values = document.count(b",") + document.count(b"[") + document.count(b"{")
    if values > MAX_VALUES or document.count(b"{") > MAX_OBJECTS:
        raise invalid(
            [Fault("document", f"has more than {MAX_VALUES} values or {MAX_OBJECTS} objects")]
        )
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise invalid(
            [Fault(f"line {error.lineno}, column {error.colno}", f"not JSON: {error.msg}")]
        ) from None


def _parse_yaml(document: bytes, invalid: type[InvalidFileError]) -> object:
    if len(document) > MAX_YAML:
        raise invalid([Fault("document", f"more than {MAX_YAML} bytes are taken as JSON only")])
    try:
        reader = YAML(typ="safe", pure=True)
        reader.Constructor = _Constructor
        value = reader.load(document.decode())
        _require_bounded(value)
        orjson.dumps(value)  # what JSON cannot say, no field takes
    except Exception as error:  # scalars that cannot be built raise whatever building raised
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "document"
        problem = getattr(error, "problem", None) or "cannot be read"
        raise invalid([Fault(place, f"not YAML: {problem}")]) from None
    return value


class _Constructor(SafeConstructor):
    """Builds what YAML 1.2 knows, and so no merge keys: each can double what it merges."""

    def flatten_mapping(self, node: MappingNode) -> None:
        """Refuse a mapping with a merge key."""
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise ConstructorError(None, None, "merge keys (<<) are not taken", key.start_mark)


def _require_bounded(value: object) -> None:
    """Refuse aliases that stand for more than a file could hold, or for themselves."""
    left = MAX_VALUES
    waiting = [value]
    while waiting:
        each = waiting.pop()
        inner = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        left -= len(inner)
        if left < 0:
            raise ValueError
        waiting.extend(inner)
