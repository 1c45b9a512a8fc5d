"""Asset checks between tables, answered by PostgreSQL after the load: the rows stay, the check tells.

Not here: rules within one table (contracts have them).
"""

import dagster as dg
from psycopg2 import sql

from etl_assets.errors import EtlError
from etl_assets.loading.io_manager import failure
from etl_assets.loading.postgres import PostgresResource

SAMPLE_VALUES = 10


def references_check(
    asset: str,
    column: str,
    *,
    references: str,
    key: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
) -> dg.AssetChecksDefinition:
    """A check that each value of a column is a key of another asset's table; NULL references nothing.

    Args:
        asset: Asset key `schema/table` whose column is looked at.
        column: The column.
        references: Asset key `schema/table` of the other table.
        key: Its column.
        severity: Of a failure; nothing is dropped or blocked in any case.

    Returns:
        A check named `<column>_in_<table>` with failed rows, failed distinct values and a sample as metadata. It needs the
        resource `postgres`.
    """
    asset_key, other_key = dg.AssetKey.from_user_string(asset), dg.AssetKey.from_user_string(references)
    query = sql.SQL(
        "SELECT {column}::text AS value, count(*) AS rows FROM {table} AS t WHERE {column} IS NOT NULL "
        "AND NOT EXISTS (SELECT FROM {other} AS o WHERE o.{key} = t.{column}) GROUP BY 1 ORDER BY 2 DESC, 1"
    )

    @dg.asset_check(
        asset=asset_key,
        name=f"{column}_in_{other_key.path[-1]}",
        additional_deps=[other_key],
        description=f"Every {column} is a {key} of {references}.",
    )
    def check(postgres: PostgresResource) -> dg.AssetCheckResult:
        try:
            orphans = postgres.read_composed(
                query.format(
                    column=sql.Identifier(column), key=sql.Identifier(key),
                    table=sql.Identifier(*asset_key.path[-2:]), other=sql.Identifier(*other_key.path[-2:]),
                )
            )  # fmt: skip
        except EtlError as error:
            raise failure(error, asset) from error
        rows = int(orphans["rows"].sum())
        sample = [dg.TableRecord({"value": str(value), "rows": int(count)}) for value, count in orphans.head(SAMPLE_VALUES).to_numpy()]
        return dg.AssetCheckResult(
            passed=rows == 0,
            severity=severity,
            metadata={
                "failed_rows": rows,
                "failed_values": len(orphans),
                **({"sample": dg.MetadataValue.table(sample)} if sample else {}),
            },
        )

    return check


__all__ = ["references_check"]
