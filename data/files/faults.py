"""The faults of a document: each with its place and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ValidationError

from data.files.wording import worded

MAX_FAULTS = 1000
"""That are named of one document."""


FIRST_ROWS = 100
"""Of each list, whose faults are named where the document has too many."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a document: where, and what would be right."""

    path: str
    message: str


class InvalidFileError(ValueError):
    """A file that cannot be taken; carries every fault."""

    kind = "file"
    code = "VALIDATION_ERROR"

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{fault.path}: {fault.message}" for fault in faults))
        self.faults = faults

    def __reduce__(self) -> tuple[type[Self], tuple[list[Fault]]]:
        """Say how it is made anew in another process."""
        return type(self), (self.faults,)


def faults_of(
    error: ValidationError,
    root: tuple[str | int, ...] = (),
    tags: frozenset[str] = frozenset(),
    kinds: tuple[type[BaseModel], ...] = (),
) -> list[Fault]:
    """Return a validation's errors as faults with their paths.

    `tags` are the names by which a union's members are told apart; they are in no path. `kinds`
    are what was validated against, for :func:`data.files.wording.worded`.
    """
    faults = []
    for detail in error.errors(include_url=False, include_input=False):
        path = [*root, *(part for part in detail["loc"] if part not in tags)]
        if field := detail.get("ctx", {}).get("field"):
            path.append(field)
        faults.append(Fault(format_path(path), worded(detail, kinds)))
    return faults


def format_path(parts: list[str | int]) -> str:
    """Write a path as ``bookings[3].start_time``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.lstrip(".") or "document"


def validate[Model: BaseModel](
    kind: type[Model], value: object, tags: frozenset[str] = frozenset()
) -> tuple[Model | None, list[Fault]]:
    """Return a parsed document as `kind`, or else its faults; of too many, its first rows'.

    `tags` are those of :func:`faults_of`.
    """
    try:
        return kind.model_validate(value), []
    except ValidationError as error:
        count = error.error_count()
        if count <= MAX_FAULTS:
            return None, faults_of(error, tags=tags, kinds=(kind,))
    named: list[Fault] = []
    try:
        kind.model_validate(_beginning(value))
    except ValidationError as error:
        named = faults_of(error, tags=tags, kinds=(kind,))[:MAX_FAULTS]
    return None, [*named, Fault("document", f"has {count} faults, of which not all are named")]


def _beginning(value: object, depth: int = 5) -> object:
    """Return the first rows of every list in a document."""
    if isinstance(value, dict) and depth:
        return {key: _beginning(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_beginning(each, depth - 1) for each in value[:FIRST_ROWS]] if depth else []
    return value
