"""Which rows and columns of a stored table are read.

Not here: reading (`postgres/copy_out.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg2 import sql
from sqlalchemy.engine import Connection

from etl_assets.loading import session
from etl_assets.loading.conditions import condition
from etl_assets.loading.ddl import name_of, names
from etl_assets.loading.merging import VALID_FROM, VALID_TO
from etl_assets.loading.partitions import Partition
from etl_assets.loading.table import TableRef


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Rows and columns of a table.

    Attributes:
        columns: Names of the columns; None for all.
        partition: Only rows of this partition.
        only_current: Only versions that hold, of a table that keeps all, without their times.
    """

    columns: Sequence[str] | None = None
    partition: Partition | None = None
    only_current: bool = False

    def query(self, connection: Connection, table: TableRef, where: str) -> str:
        """The query, quoted.

        Raises:
            ConfigurationError: The partition is no condition on this table.
        """
        cursor = session.cursor(connection)
        wanted = self.columns
        if wanted is None and self.only_current:
            state = session.state(cursor, table)
            wanted = None if state is None else [name for name in state.by_name if name not in (VALID_FROM, VALID_TO)]
        conditions: list[sql.Composable] = []
        if self.partition is not None:
            conditions.append(condition(cursor, table, self.partition, where))
        if self.only_current:
            conditions.append(sql.SQL("{} IS NULL").format(sql.Identifier(VALID_TO)))
        query = sql.SQL("SELECT {} FROM {}{}").format(
            sql.SQL("*") if wanted is None else names(wanted),
            name_of(table),
            sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL(""),
        )
        return str(query.as_string(cursor))


__all__ = ["Selection"]
