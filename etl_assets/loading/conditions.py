"""A partition as an SQL condition on its table.

A window is compared as the expression's type wants it: instants with a timestamp with time zone, the wall clock of the partitions' time
zone with a timestamp without one, whole days with a date. An expression that is the name of a column means the column, whatever else SQL
knows by that name.

Not here: which rows of a frame that are (`partitions.py`).
"""

import datetime
from collections.abc import Sequence
from typing import Any

import psycopg2
from psycopg2 import sql

from etl_assets.errors import ConfigurationError
from etl_assets.loading import session
from etl_assets.loading.ddl import name_of
from etl_assets.loading.partitions import Partition, Slice
from etl_assets.loading.refusals import savepoint
from etl_assets.loading.table import TableRef

_MIDNIGHT = datetime.time()


def condition(cursor: Any, table: TableRef, partition: Partition, where: str) -> sql.Composed:
    """The partition as an SQL condition.

    Args:
        cursor: Inside a transaction.
        table: The table, which is there.
        partition: Its rows.
        where: The asset, for errors.

    Raises:
        ConfigurationError: PostgreSQL does not understand an expression, a key is no value of its type, or a window cannot be compared
            with it.
    """
    state = session.state(cursor, table)
    columns = state.by_name if state is not None else {}
    known = {expression: _resolved(cursor, table, expression, expression in columns, where) for expression in partition.expressions}
    alternatives = [
        sql.SQL("({})").format(sql.SQL(" AND ").join(_condition(one, *known[one.expression], where) for one in alternative))
        for alternative in partition.alternatives
    ]
    found = sql.SQL("({})").format(sql.SQL(" OR ").join(alternatives))
    query = sql.SQL("SELECT FROM {} WHERE {} LIMIT 0").format(name_of(table), found)
    _tried(cursor, query, where, f"the partition {partition.key!r} is no value of {', '.join(partition.expressions)}")
    return found


def _resolved(cursor: Any, table: TableRef, expression: str, is_column: bool, where: str) -> tuple[sql.Composable, str]:
    """The expression, quoted where it is a column, and its type without digits."""
    composed: sql.Composable = sql.Identifier(expression) if is_column else sql.SQL("({})").format(sql.SQL(expression))
    query = sql.SQL("SELECT {} AS one FROM {} WHERE {} IS NULL LIMIT 0").format(composed, name_of(table), composed)
    cannot = f"the partition expression {expression!r} cannot be used"
    (column,) = _tried(cursor, query, where, cannot)
    cursor.execute("SELECT format_type(%s, -1)", (column.type_code,))
    type_name = str(cursor.fetchone()[0])
    if type_name == "record":
        raise ConfigurationError(where, f"{cannot} (it is several values).", "name one column or expression by dimension.")
    return composed, type_name


def _tried(cursor: Any, query: sql.Composed, where: str, what: str) -> Sequence[Any]:
    """The columns of a query that returns no rows."""
    try:
        with savepoint(cursor):
            cursor.execute(query)
            return tuple(cursor.description or ())
    except psycopg2.errors.InsufficientPrivilege:
        raise
    except (psycopg2.ProgrammingError, psycopg2.DataError) as error:
        said = (error.diag.message_primary or str(error)).splitlines()[0]
        raise ConfigurationError(where, f"{what} ({said}).", "correct partition_expr, or the partitions.") from error


def _condition(one: Slice, expression: sql.Composable, type_name: str, where: str) -> sql.Composed:
    if one.start is None or one.end is None:
        return sql.SQL("{} = ANY ({}::text[]::{}[])").format(expression, sql.Literal(list(one.values)), sql.SQL(type_name))
    start, end = (_bound(moment, one.expression, type_name, where) for moment in (one.start, one.end))
    literal = sql.SQL("{}::{}")
    return sql.SQL("({} >= {} AND {} < {})").format(
        expression, literal.format(sql.Literal(start), sql.SQL(type_name)), expression, literal.format(sql.Literal(end), sql.SQL(type_name))
    )


def _bound(moment: datetime.datetime, expression: str, type_name: str, where: str) -> str:
    if type_name.startswith("timestamp"):
        return moment.isoformat() if type_name.endswith("with time zone") else moment.replace(tzinfo=None).isoformat()
    if type_name == "date":
        if moment.time() != _MIDNIGHT:
            raise ConfigurationError(
                where, f"a partition starts at {moment.isoformat()}, and {expression} holds whole days.", "use a timestamp column."
            )
        return moment.date().isoformat()
    raise ConfigurationError(
        where, f"the partitions are windows of time, and {expression} is of type {type_name}.",
        f'cast it: {{"partition_expr": "{expression}::date"}}.',
    )  # fmt: skip


__all__ = ["condition"]
