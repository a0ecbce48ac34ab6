"""What a validation found wrong with a document or a request, in sentences of our own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

LONGEST = 60
"""Letters of what somebody wrote that a message repeats."""


@dataclass(frozen=True)
class Form:
    """What a text has to look like: a pattern for machines, and words for people.

    An annotation of a text's type, in place of the library's own, which tells people the pattern.
    """

    pattern: str
    words: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the text's schema, and that it has the form."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the text's JSON Schema with the pattern."""
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise PydanticCustomError("form", "{words}", {"words": self.words})
        return text


_OBJECT = "must be an object with named fields"


_WHOLE, _NUMBER, _TRUTH = "must be a whole number", "must be a number", "must be true or false"


_PLAIN = {
    "missing": "is missing",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "string_type": "must be text",
    "string_pattern_mismatch": "has letters or signs that are not taken here",
    "list_type": "must be a list",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
}


_WITH_LIMITS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have at least {min_length} letter(s)",
    "string_too_long": "must have at most {max_length} letter(s)",
    "too_short": "must have at least {min_length} row(s)",
    "too_long": "must have at most {max_length} row(s)",
    "literal_error": "must be {expected}",
    "union_tag_not_found": "{discriminator} is missing",
}


_THEIRS = {
    "Value error, ": "",
    "Assertion failed, ": "",
    "Input should be greater than or equal to": "must be at least",
    "Input should be less than or equal to": "must be at most",
    "Input should be a valid integer, unable to parse string as an integer": _WHOLE,
    "Input should be a valid number, unable to parse string as a number": _NUMBER,
    "Input should be ": "must be ",
    "Input should ": "must ",
}
"""What the library says, and what is said instead where nothing above fits."""


def worded(detail: ErrorDetails, kinds: Iterable[type[BaseModel]] = ()) -> str:
    """Return what is wrong with one field.

    Parameters
    ----------
    kinds
        What the document could have been; an unknown field is told what it may have meant there.
    """
    kind, given = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown("field", str(detail["loc"][-1]), _fields_at(kinds, detail["loc"]))
    if kind == "union_tag_invalid":
        known = [tag.strip("'") for tag in str(given["expected_tags"]).split(", ")]
        return _unknown(str(given["discriminator"]).strip("'"), str(given["tag"]), known)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _WITH_LIMITS:
        text = _WITH_LIMITS[kind].format_map({name: _quoted(name, given[name]) for name in given})
        number = given.get("min_length", given.get("max_length"))
        return text.replace("(s)", "" if number == 1 else "s")
    return plain(detail["msg"])


def plain(message: str) -> str:
    """Return the validation library's message without its own words."""
    for theirs, ours in _THEIRS.items():
        message = message.replace(theirs, ours)
    return message


def _quoted(name: str, value: object) -> str:
    text = str(value)
    return text.strip("'") if name == "discriminator" else text


def _unknown(what: str, given: str, known: Iterable[str]) -> str:
    """Say that there is no such name, and which was meant."""
    names = list(known)
    shown = given if len(given) <= LONGEST else f"{given[:LONGEST]}…"
    close = get_close_matches(given.casefold(), names, n=1)
    if close:
        return f"unknown {what} `{shown}`: did you mean `{close[0]}`?"
    return f"unknown {what} `{shown}`" + (f"; known are {', '.join(names)}" if names else "")


def _fields_at(kinds: Iterable[type[BaseModel]], path: tuple[int | str, ...]) -> list[str]:
    """Return the names of the fields beside the one that `path` ends with."""
    here = list(kinds)
    for part in path[:-1]:
        if isinstance(part, str) and part not in ("body", "query"):
            here = [model for kind in here for model in _inside(kind, part)]
    return list(dict.fromkeys(name for kind in here for name in _fields_of(kind)))


def _fields_of(kind: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields under the names by which they are written."""
    return {field.alias or name: field for name, field in kind.model_fields.items()}


def _inside(kind: type[BaseModel], part: str) -> Iterator[type[BaseModel]]:
    """Yield the models that one step of a path leads to: a field's, or itself by its tag."""
    fields = _fields_of(kind)
    if part in fields:
        yield from models_in(fields[part].annotation)
    elif any(part in get_args(field.annotation) for field in fields.values()):
        yield kind


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in (getattr(annotation, "__value__", None), *get_args(annotation)):
        if inner is not None:
            yield from models_in(inner)
