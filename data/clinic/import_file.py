"""A clinic file as an import takes it: rows, and its bookings as text that PostgreSQL copies.

Reading a large document holds the interpreter for seconds and takes many times its size in memory,
so it is done in a process of its own, which gives both back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from data.database.aside import worker_process
from data.files.clinic_file import (
    AppointmentTypeRow,
    BookingRow,
    ClinicFile,
    InvalidClinicFileError,
    ProviderTypeRow,
    check_clinic_file,
)
from data.files.clinic_references import ExistingRows, faults_between_rows
from data.files.documents import parse_document
from solver.clinic.patients import patient_key

LARGE = 512 * 1024
"""Bytes of a document from which on it is read in a process of its own."""


COLUMNS = (
    "id",
    "provider_id",
    "room_id",
    "appointment_type_id",
    "date",
    "start_minute",
    "duration_minutes",
    "buffer_before",
    "buffer_after",
    "own_duration",
    "own_before",
    "own_after",
    "type_duration",
    "type_before",
    "type_after",
    "is_own_told",
    "patient_ref",
    "patient_key",
    "status",
    "is_overbooked",
    "notes",
    "expires_at",
    "overrides",
    "team",
)
"""What :attr:`Incoming.bookings` has of each booking."""


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True)
class Incoming:
    """A clinic file that has been read and found sound."""

    file: ClinicFile
    """All of it but the bookings."""
    bookings: bytes
    """One line a booking, in the text format of ``COPY``."""
    ids: bytes
    """The bookings' ids, 16 bytes each."""

    @property
    def count(self) -> int:
        """How many bookings there are."""
        return len(self.ids) // 16

    @classmethod
    def of(cls, file: ClinicFile) -> Incoming:
        """Return a file that has been read as an import takes it."""
        return cls._of(file, file.bookings)

    @classmethod
    def _of(cls, file: ClinicFile, bookings: Iterable[BookingRow]) -> Incoming:
        lines, ids = bytearray(), bytearray()
        of_type = {row.id: _minutes(row) for row in file.appointment_types}
        own = {(r.provider_id, r.appointment_type_id): _minutes(r) for r in file.provider_types}
        for row in bookings:
            pair = row.provider_id, row.appointment_type_id
            told = own.get(pair, NONE) + of_type.get(row.appointment_type_id, NONE)
            lines += _line(row, told, is_own_told=pair in own)
            ids += UUID(row.id).bytes
        return cls(file.model_copy(update={"bookings": []}), bytes(lines), bytes(ids))


async def read(document: bytes, *, is_yaml: bool, known: ExistingRows) -> Incoming:
    """Read a document beside the event loop.

    See :func:`data.files.clinic_file.parse_clinic_file` for what it raises.
    """
    if len(document) < LARGE:
        return await asyncio.to_thread(_read, document, is_yaml, known)
    pool = worker_process()
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(pool, _read, document, is_yaml, known)
    finally:  # a thread waits for the process to end, and keeps the pool until then
        loop.run_in_executor(None, partial(pool.shutdown, cancel_futures=True))


def _read(document: bytes, is_yaml: bool, known: ExistingRows) -> Incoming:
    value = parse_document(document, is_yaml=is_yaml, error=InvalidClinicFileError)
    del document
    if isinstance(value, dict) and isinstance(value.get("bookings", []), list):
        has_faults = any(islice(faults_between_rows(value, known), 1))
        try:
            if not has_faults:
                head = {name: rows for name, rows in value.items() if name != "bookings"}
                file = ClinicFile.model_validate(head)
                return Incoming._of(file, _rows(value.get("bookings", [])))  # noqa: SLF001
        except ValidationError:
            pass  # told below, with all others
    return Incoming.of(check_clinic_file(value, known))


def _rows(bookings: list[Any]) -> Iterator[BookingRow]:
    """Validate bookings one by one, so that few are in memory at once."""
    for row in bookings:
        yield BookingRow.model_validate(row)


type _Minutes = tuple[int | None, ...]
"""A duration and buffers, as far as they are told."""


NONE: _Minutes = (None, None, None)


def _minutes(row: BookingRow | ProviderTypeRow | AppointmentTypeRow) -> _Minutes:
    return row.duration_minutes, row.buffer_before, row.buffer_after


def _line(row: BookingRow, told: _Minutes, *, is_own_told: bool) -> bytes:
    """Return a booking's line.

    `told` are the duration and buffers that the file's row of its provider for its type has, and
    those of its type; `is_own_told`, whether the file has such a row.
    """
    minutes = (*_minutes(row), *told)
    fields = (
        row.id,
        row.provider_id,
        row.room_id,
        row.appointment_type_id,
        row.date.isoformat(),
        str(row.start_time),
        *(None if each is None else str(each) for each in minutes),
        "t" if is_own_told else "f",
        row.patient_ref,
        patient_key(row.patient_ref),
        row.status,
        "t" if row.is_overbooked else "f",
        row.notes,
        None if row.expires_at is None else row.expires_at.isoformat(),
        None if row.overrides is None else f"{{{','.join(row.overrides)}}}",
        None if row.team is None else orjson.dumps(row.team).decode(),
    )
    texts = ("\\N" if field is None else field.translate(_ESCAPES) for field in fields)
    return ("\t".join(texts) + "\n").encode()
