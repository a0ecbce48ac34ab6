"""API keys: made, revoked, and looked up by their hash."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args
from uuid import uuid4

from pydantic import AfterValidator
from sqlalchemy import Table, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from data import audit
from data.database.locks import NAMING_LOCK
from data.errors import AlreadyExistsError, NotFoundError
from data.files.wording import Form
from models.access import ApiKey

type Role = Literal["viewer", "scheduler", "manager", "admin"]


LOOKALIKES = (
    *("аa", "вb", "гr", "еe", "ёe", "нh", "іi", "їi", "јj", "кk", "сc", "ѕs", "оo", "рp", "тt"),
    *("мm", "пn", "хx", "уy", "ъb", "ьb", "шw", "щw", "цu", "иu", "ћh", "ђh", "зe", "ґr"),
    *("αa", "βb", "γy", "εe", "ηn", "ιi", "κk", "μu", "νv", "οo", "ρp", "σo", "τt", "υu", "χx"),
    *("ωw", "æae", "œoe", "øo", "đd", "ðd", "ħh", "ıi", "ĸk", "łi", "ŋn", "þp", "ŧt"),
    *("0o", "1i", "3e", "5s", "li"),
)
"""Letters and digits, each with the plain Latin letters that it looks like."""


_LATIN = str.maketrans({pair[0]: pair[1:] for pair in LOOKALIKES})


_GREEK_CAPITALS = str.maketrans("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEZHIKMNOPTYX")
"""They look like other letters than their small ones."""


PAIRS = (("rn", "m"), ("vv", "w"), ("ci", "d"))
"""Two letters, an l being an i here, that look like one."""


ALPHABETS = ("A-Za-zÀ-ÖØ-öø-ňŊ-ž", "ΆΈ-ΊΌΎ-ΡΣ-ώ", "Ѐ-џҐґ")
"""Latin, Greek and Cyrillic, as languages of today write them; no others have lookalikes here."""


RESERVED = (
    audit.ANONYMOUS,
    audit.OPERATOR,
    audit.EXPIRY,
    audit.NO_SHOW_MARKER,
    audit.CALCULATOR,
)
"""Names that stand for others in the audit log, as do those that begin as ``audit.OIDC`` does."""


def _looks(name: str) -> str:
    """Return what two names have in common that a reader may take for one another.

    Made for names of one of the alphabets; others that are stored from before are as they are.
    """
    plain = unicodedata.normalize("NFKD", name).translate(_GREEK_CAPITALS)
    folded = unicodedata.normalize("NFKD", plain.casefold())
    letters = (c for c in folded if not unicodedata.combining(c))
    looks = re.sub(r"[\W_]+", "", "".join(letters).translate(_LATIN))
    for two, one in PAIRS:
        looks = looks.replace(two, one)
    return looks


_RESERVED_LOOKS = frozenset(map(_looks, RESERVED))


def _is_free(name: str) -> str:
    looks = _looks(name)
    if looks in _RESERVED_LOOKS or looks.startswith(_looks(audit.OIDC)):
        raise ValueError(
            "this name stands for others in the audit log, or looks like one that does"
        )
    return name


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _in_one(alphabet: str) -> str:
    signs = rf"{alphabet}0-9._@:+\-"
    return rf"[{signs}](?:[{signs} ]{{0,98}}[{signs}])?"


type Name = Annotated[
    str,
    AfterValidator(_composed),
    Form(
        f"^(?:{'|'.join(map(_in_one, ALPHABETS))})$",
        "must have 1 to 100 letters, digits, spaces and signs of . _ @ : + -, no space at either "
        "end, and letters of one alphabet alone: Latin, Greek or Cyrillic",
    ),
    AfterValidator(_is_free),
]
"""A key's name: letters of one alphabet, digits, spaces and some signs."""


ROLES: tuple[Role, ...] = get_args(Role.__value__)
"""Each may do what the ones before it may."""


MARK = "slotwright_"
"""What every key begins with, so that a leaked one is recognised."""


SECRET_BYTES = 32


_table = ApiKey.__table__


assert isinstance(_table, Table)


API_KEYS = _table


_C = API_KEYS.c


_SHOWN = (_C.id, _C.name, _C.role, _C.created_at, _C.revoked_at)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as everyone may see it."""

    id: str
    name: str
    role: Role
    created_at: dt.datetime
    revoked_at: dt.datetime | None

    @classmethod
    def of(cls, row: Any) -> KnownKey:
        """Return the key of one row."""
        return cls(str(row.id), row.name, row.role, row.created_at, row.revoked_at)


def hash_of(secret: str) -> bytes:
    """Return what is kept of a key; its 256 random bits need no slow hash and no salt."""
    return hashlib.sha256(secret.encode()).digest()


async def create(
    connection: AsyncConnection, role: Role, name: str | None, actor: str
) -> tuple[KnownKey, str]:
    """Make a key; the key itself is returned this once and kept nowhere.

    Raises
    ------
    AlreadyExistsError
        When a key, revoked or not, has this name, or one that looks like it: readers of the audit
        log tell callers apart by it.
    """
    key, secret = uuid4(), MARK + secrets.token_urlsafe(SECRET_BYTES)
    name = name or f"{role}-{str(key)[:8]}"
    await connection.execute(select(func.pg_advisory_xact_lock(NAMING_LOCK)))
    for other in await connection.scalars(select(_C.name)):
        if other == name:
            raise AlreadyExistsError(f"There is a key named {name} already; choose another name.")
        if _looks(other) == _looks(name):
            raise AlreadyExistsError(
                f"There is a key named {other} already, which looks like {name}; "
                "choose another name."
            )
    written = await connection.execute(
        insert(API_KEYS)
        .values(id=key, name=name, role=role, key_hash=hash_of(secret))
        .returning(*_SHOWN)
    )
    known = KnownKey.of(written.one())
    await audit.record(
        connection,
        actor,
        "create",
        "api_key",
        key=known.id,
        after={"name": known.name, "role": known.role},
    )
    return known, secret


async def revoke(connection: AsyncConnection, key: str, actor: str) -> KnownKey:
    """Make a key worthless; one that is so already stays as it is.

    Raises
    ------
    NotFoundError
        When there is no key with this id.
    """
    present = await connection.execute(select(*_SHOWN).where(_C.id == key).with_for_update())
    before = present.one_or_none()
    if before is None:
        raise NotFoundError(f"There is no key {key}.")
    if before.revoked_at is not None:
        return KnownKey.of(before)
    revoked = await connection.execute(
        update(API_KEYS).where(_C.id == key).values(revoked_at=func.now()).returning(*_SHOWN)
    )
    known = KnownKey.of(revoked.one())
    await audit.record(connection, actor, "revoke", "api_key", key=known.id)
    return known


async def every(engine: AsyncEngine) -> Sequence[KnownKey]:
    """Return all keys ever made, oldest first."""
    async with engine.connect() as connection:
        rows = await connection.execute(select(*_SHOWN).order_by(_C.created_at, _C.id))
        return [KnownKey.of(row) for row in rows]


async def by_hash(engine: AsyncEngine) -> dict[bytes, KnownKey]:
    """Return all keys ever made by what is kept of them."""
    async with engine.connect() as connection:
        rows = await connection.execute(select(*_SHOWN, _C.key_hash))
        return {row.key_hash: KnownKey.of(row) for row in rows}
