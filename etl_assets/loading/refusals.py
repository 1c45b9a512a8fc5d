"""Rows that cannot be stored: told from failures of the database, found one by one, taken out.

The encoder names the row itself. PostgreSQL names the line of a COPY; where it does not (a foreign key is looked up after the rows), halves
are tried until one row is left. Rows before the bad one are stored, so that each bad row costs one more look at the rows before it.

Not here: what becomes of them (`rows.py`, and whoever asks for the load).
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg2

from etl_assets.errors import UnstorableValueError

MOST_REFUSED: Final = 10_000
"""With more bad rows it is no matter of rows: the load fails with the last of their errors."""
IN_PARTITION: Final = "in_partition"
STORABLE: Final = "storable"
# The name of a table that is built beside its own, or of a staging table.
_BESIDE = re.compile(r'(relation|table) "_etl_[0-9a-f]{16}"')
_LINE = re.compile(r"COPY [^\n]*?, line (\d+)")
_COLUMN = re.compile(r"COPY [^\n]*?, line \d+, column ([^:\n]+)")
# Not about rows: a stream that broke off, numbers of the server's own settings.
_OTHER = {"22P04", "22023"}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a row was not stored.

    Attributes:
        rule: Name of what it breaks, such as "amount_storable" or the constraint's.
        says: The same in words.
        place: Rows of the frame before it; None when unknown.
        label: Its label in the frame; None when unknown.
        column: The column it is about; None for several, or when unknown.
    """

    rule: str
    says: str
    column: str | None = None
    place: int | None = None
    label: int | None = None


def refusal_of(error: BaseException) -> Refusal | None:
    """What an error says of a row; None when it is about something else."""
    if isinstance(error, UnstorableValueError):
        if error.row is None:
            return None
        return Refusal(rule=_named(error.column), says=error.cause, label=error.row, column=error.column)
    state = getattr(error, "pgcode", None)
    if not isinstance(error, psycopg2.Error) or state is None or state in _OTHER or not (state[:2] in ("22", "23") or state == "P0001"):
        return None
    said = error.diag
    context = said.context or ""
    line = _LINE.search(context)
    column = said.column_name or ((found := _COLUMN.search(context)) and found[1])
    if state == "23502":
        rule = f"{said.column_name}_not_null"
    elif said.constraint_name:
        rule = said.constraint_name
    else:
        rule = _named(column)
    says = _BESIDE.sub("the table", str(said.message_primary))
    return Refusal(rule=rule, says=f"{says} (SQLSTATE {state})", place=int(line[1]) - 1 if line else None, column=column or None)


def _named(column: str | None) -> str:
    return f"{column}_{STORABLE}" if column else STORABLE


@contextmanager
def savepoint(cursor: Any) -> Iterator[None]:
    """A block that is undone when it fails, without ending the transaction."""
    cursor.execute("SAVEPOINT etl_rows")
    try:
        yield
    except BaseException:
        if not cursor.connection.closed:
            cursor.execute("ROLLBACK TO SAVEPOINT etl_rows")
        raise
    cursor.execute("RELEASE SAVEPOINT etl_rows")


def in_parts(
    cursor: Any,
    size: int,
    store: Callable[[int, int], int],
    refuse: Callable[[int, Refusal], None],
    *,
    place_of: Callable[[Refusal, int], int | None],
    finest: int = 1,
) -> int:
    """Store things that may hold bad ones: all at once, or around each bad one.

    Args:
        cursor: Inside the load's transaction.
        size: How many things there are.
        store: Stores those from one number to another, and returns a count.
        refuse: Told the number of a bad one.
        place_of: The number of the bad one, from what was said of it and the first number tried; None when unknown.
        finest: Parts of this size are not halved.

    Returns:
        The counts together.

    Raises:
        Exception: What `store` raises when it is about no single one.
    """
    count, open_parts = 0, [(0, size)]
    while open_parts:
        start, stop = open_parts.pop()
        if start >= stop:
            continue
        try:
            with savepoint(cursor):
                count += store(start, stop)
            continue
        except Exception as error:
            found = refusal_of(error)
            if found is None:
                raise
        place = place_of(found, start)
        if place is None and stop - start > finest:
            middle = (start + stop) // 2
            open_parts += [(middle, stop), (start, middle)]
            continue
        bad = start if place is None else place
        refuse(bad, found)
        # The rows before it come first: order decides which of two equal keys stays.
        open_parts += [(bad + 1, stop), (start, bad)]
    return count


__all__ = ["IN_PARTITION", "MOST_REFUSED", "STORABLE", "Refusal", "in_parts", "refusal_of", "savepoint"]
