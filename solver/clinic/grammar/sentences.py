"""A row's grammar, sentence by sentence, so that a row tells everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple


class RowFault(NamedTuple):
    """What is wrong with a row: the field, and what would be right there."""

    field: str
    message: str


class InvalidClinicError(ValueError):
    """A row that breaks the clinic's grammar; names the field and says what would be right.

    `others` are what is wrong with it besides.
    """

    def __init__(self, field: str, message: str, *others: RowFault) -> None:
        self.faults = RowFault(field, message), *others
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in self.faults))
        self.field = field
        self.message = message


type Sentence = Callable[[Any], Iterator[RowFault]]
"""Tells what is wrong with a row in one respect, reading the fields that it is about."""


class UnknownFieldError(Exception):
    """A field whose value is not known."""


class KnownFields:
    """A row of which some fields are known: what cannot be said without the others is not said."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        raise UnknownFieldError(name)


def faults_between(fields: KnownFields, grammar: tuple[Sentence, ...]) -> list[RowFault]:
    """Return what is wrong with the fields of a row that are known, of each field the first."""
    found: list[RowFault] = []
    for sentence in grammar:
        with suppress(UnknownFieldError):
            found.extend(sentence(fields))
    return _one_a_field(found)


def require_sound(row: object, grammar: tuple[Sentence, ...]) -> None:
    """Require that a row keeps to its grammar.

    See :func:`require_none` for what it raises.
    """
    require_none([fault for sentence in grammar for fault in sentence(row)])


def require_none(faults: Iterable[RowFault]) -> None:
    """Require that there are no faults.

    Raises
    ------
    InvalidClinicError
        With all there are, of each field the first.
    """
    if found := _one_a_field(faults):
        (field, message), *others = found
        raise InvalidClinicError(field, message, *others)


def _one_a_field(faults: Iterable[RowFault]) -> list[RowFault]:
    found: dict[str, RowFault] = {}
    for fault in faults:
        found.setdefault(fault.field, fault)
    return [*found.values()]


def minutes_within(field: str, low: int, high: int) -> Sentence:
    """Return the sentence that a field, where it is not None, is so many minutes."""

    def sentence(row: Any) -> Iterator[RowFault]:
        value = getattr(row, field)
        if value is not None and not low <= value <= high:
            yield RowFault(field, f"must be {low} to {high} minutes, not {value}")

    return sentence


def at_least_0(field: str, or_null: str = "") -> Sentence:
    """Return the sentence that a field, where it is not None, is no negative number."""

    def sentence(row: Any) -> Iterator[RowFault]:
        value = getattr(row, field)
        if value is not None and value < 0:
            yield RowFault(field, f"must be {or_null}at least 0")

    return sentence


def cap(field: str) -> Sentence:
    """Return the sentence that a field is None or no negative number."""
    return at_least_0(field, "null or ")


def tags(field: str, most: int) -> Sentence:
    """Return the sentence that a field holds at most so many names, none of them empty."""

    def sentence(row: Any) -> Iterator[RowFault]:
        names = getattr(row, field)
        if len(names) > most:
            yield RowFault(field, f"must hold at most {most} entries")
        if not all(names):
            yield RowFault(field, "must not hold an empty name")

    return sentence
