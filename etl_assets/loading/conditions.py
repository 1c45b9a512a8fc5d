"""A partition as an SQL condition.

A window is compared as the expression's type wants it: instants with a timestamp with time zone, the wall clock of the partitions' time
zone with a timestamp without one, whole days with a date.

Not here: which rows of a frame that are (`partitions.py`).
"""

import datetime
from collections.abc import Callable

from psycopg2 import sql

from etl_assets.errors import ConfigurationError
from etl_assets.loading.partitions import Partition, Slice

_MIDNIGHT = datetime.time()


def condition(partition: Partition, type_of: Callable[[str], str], where: str) -> sql.Composed:
    """The partition as an SQL condition.

    Args:
        partition: Its rows.
        type_of: PostgreSQL type of an expression, as `format_type` prints it.
        where: The asset, for errors.

    Raises:
        ConfigurationError: A window cannot be compared with an expression's type.
    """
    types = {expression: type_of(expression) for expression in partition.expressions}
    alternatives = [
        sql.SQL("({})").format(sql.SQL(" AND ").join(_condition(one, types[one.expression], where) for one in alternative))
        for alternative in partition.alternatives
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(alternatives))


def _condition(one: Slice, type_name: str, where: str) -> sql.Composed:
    expression = sql.SQL("({})").format(sql.SQL(one.expression))
    if one.start is None or one.end is None:
        return sql.SQL("{} = ANY ({}::text[]::{}[])").format(expression, sql.Literal(list(one.values)), sql.SQL(type_name))
    start, end = (_bound(moment, one.expression, type_name, where) for moment in (one.start, one.end))
    literal = sql.SQL("{}::{}")
    return sql.SQL("({} >= {} AND {} < {})").format(
        expression, literal.format(sql.Literal(start), sql.SQL(type_name)), expression, literal.format(sql.Literal(end), sql.SQL(type_name))
    )


def _bound(moment: datetime.datetime, expression: str, type_name: str, where: str) -> str:
    if type_name.startswith("timestamp"):
        # The text keeps what psycopg2's own form of a zone with seconds would not.
        return moment.isoformat() if type_name.endswith("with time zone") else moment.replace(tzinfo=None).isoformat()
    if type_name == "date":
        if moment.time() != _MIDNIGHT:
            raise ConfigurationError(
                where, f"a partition starts at {moment.isoformat()}, and {expression} holds whole days.", "use a timestamp column."
            )
        return moment.date().isoformat()
    raise ConfigurationError(
        where,
        f"the partitions are windows of time, and {expression} is of type {type_name}.",
        f'cast it: "partition_expr": "{expression}::date".',
    )


__all__ = ["condition"]
