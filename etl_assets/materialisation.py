"""Running an asset's function: its account, its contract, the gate, and what Dagster is told of all that.

Not here: how an asset is declared (`assets.py`), when rows are refused (`gate.py`), how they are stored (`loading/`).
"""

import datetime
import functools
import time
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pandas as pd

from etl_assets.accounting import Account, open_account
from etl_assets.contracts import Contract, Split
from etl_assets.declarations import Reference
from etl_assets.errors import ConfigurationError, ContractDefinitionError, ContractViolationError, EtlError, SourceNotFoundError
from etl_assets.gate import ROW_COUNT, SOURCE_READABLE, RowPolicy, accounted, judge, most_broken, readable, volume
from etl_assets.loading.io_manager import LoadDetails, PostgresIOManager, attach, failure, table_of
from etl_assets.loading.table import RowCounts, WriteDisposition
from etl_assets.metadata import check_result, describe
from etl_assets.watermarks import Value

# Runs that the bridge made for Airflow carry this tag.
AIRFLOW_TAG = "airflow/dag_id"
COLUMNS_MATCH = "columns_match"
COLUMNS_UNCHANGED = "columns_unchanged"
TYPES_MATCH = "types_match"


@dataclass(frozen=True, kw_only=True)
class RunnableAsset:
    """What running an asset needs to know of its definition.

    Attributes:
        function: The user's function.
        key: Asset key.
        contract: Of the rows it returns.
        input_contracts: Of parameters that are annotated with one.
        carried: Parameter whose rows are carried through; None when rows come from connectors or are built.
        rows: How rows are accounted for.
        disposition: How the table changes.
        checks: Asset checks besides those of columns and rows, by name.
        takes_context: The function's first parameter is Dagster's context.
        metadata: Of the definition, for the table's schema.
    """

    function: Callable[..., Any]
    key: dg.AssetKey
    contract: Contract
    input_contracts: Mapping[str, Contract]
    carried: str | None
    rows: RowPolicy
    disposition: WriteDisposition
    checks: Mapping[str, str]
    takes_context: bool
    metadata: Mapping[str, Any]

    @property
    def where(self) -> str:
        """The asset, for errors."""
        return str(self.key.to_user_string())


class _RefusedError(Exception):
    """The gate refused the rows; carries what is to be kept of them."""

    def __init__(self, error: EtlError, details: LoadDetails) -> None:
        super().__init__(error, details)
        self.error = error
        self.details = details


def materialise(asset: RunnableAsset, context: dg.AssetExecutionContext, arguments: dict[str, Any], io_manager: Any) -> Iterator[Any]:
    """Run the function and yield check results and the output; a failure of ours is kept in the load ledger first."""
    try:
        yield from _Run(asset, context, io_manager).events(arguments)
        return
    except _RefusedError as refused:
        error, details = refused.error, refused.details
    except EtlError as early:
        nothing = LoadDetails(
            spec=asset.contract.table, counts=RowCounts(read=0), orchestrator=_orchestrator(context), disposition=asset.disposition
        )
        error, details = early, nothing
    if isinstance(io_manager, PostgresIOManager):
        io_manager.reject(asset.key, asset.metadata, context.run.run_id, details, error)
    raise failure(error, asset.where) from error


class _Run:
    """One materialisation."""

    def __init__(self, asset: RunnableAsset, context: dg.AssetExecutionContext, io_manager: Any) -> None:
        self.asset = asset
        self.context = context
        self.io_manager = io_manager
        self.where = asset.where
        self.contract = asset.contract

    def events(self, arguments: dict[str, Any]) -> Iterator[Any]:
        """Check results, then the output."""
        asset = self.asset
        rows_in = len(arguments[asset.carried]) if asset.carried is not None else None
        for name, contract in asset.input_contracts.items():
            if isinstance(arguments[name], pd.DataFrame):
                arguments[name] = _as_contract(arguments[name], contract, f"{self.where}, input {name}")
        started = time.perf_counter()
        with open_account(self._committed) as account:
            frame = self._call(arguments)
        if not isinstance(frame, pd.DataFrame):
            raise ContractViolationError(
                self.where, f"the function returned a {type(frame).__name__}, not a DataFrame.", "return a pandas DataFrame."
            )
        computed = time.perf_counter()
        split = yield from self._split(frame)
        before = self._rows_before() if asset.rows.most_change is not None else None
        verdict = judge(split, account, rows=asset.rows, rows_in=rows_in, returned=len(frame), rows_before=before, where=self.where)
        details = LoadDetails(
            spec=self.contract.table,
            counts=verdict.counts,
            orchestrator=_orchestrator(self.context),
            rejected=verdict.rejected,
            disposition=asset.disposition,
            watermarks=account.watermarks,
        )
        refused = verdict.refusal is not None
        yield from self._check_results(split, account, refused=refused)
        if ROW_COUNT in asset.checks:
            yield volume(asset.rows, len(split.valid), before)
        yield accounted(verdict.counts, len(split.valid))
        if verdict.refusal is not None:
            raise _RefusedError(verdict.refusal, details)
        if account.only_new and asset.disposition is WriteDisposition.REPLACE:
            raise ContractDefinitionError(
                self.where, "it reads only what is new, and replace would drop the rows loaded before.",
                'say write="append", or write="merge" when rows are read again, in etl_asset.',
            )  # fmt: skip
        yield self._columns_unchanged()
        metadata = {
            "compute_seconds": round(computed - started, 3),
            "contract_seconds": round(time.perf_counter() - computed, 3),
            **describe(account),
        }
        yield dg.Output(attach(split.valid, details), metadata=metadata)

    # -- what is asked of the database -------------------------------------------------------------------------------

    def _committed(self) -> Mapping[str, Value]:
        """The watermarks of this asset, read when a connector asks for one."""
        return self._postgres("watermarks are kept").postgres.watermarks(self.where)

    def _rows_before(self) -> int | None:
        return self._postgres("the number of rows is compared with that of the load before, which is kept").postgres.rows_loaded(self.where)

    def _keys(self, reference: Reference) -> "pd.Series[Any]":
        """The keys that a column references."""
        table = table_of(dg.AssetKey.from_user_string(reference.asset), {})
        postgres = self._postgres("references are looked up").postgres
        if not postgres.has_table(table.table, schema=table.schema):
            raise SourceNotFoundError(
                self.where, f"it references {reference}, which has no table yet.", f"materialise {reference.asset} first."
            )
        return postgres.read_table(table.table, schema=table.schema, columns=[reference.column])[reference.column]

    def _postgres(self, what: str) -> PostgresIOManager:
        if not isinstance(self.io_manager, PostgresIOManager):
            raise ConfigurationError(
                self.where, f"{what} by PostgresIOManager, this asset is stored by {type(self.io_manager).__name__}.",
                "store the asset in PostgreSQL.",
            )  # fmt: skip
        return self.io_manager

    def _columns_unchanged(self) -> dg.AssetCheckResult:
        """Tell when the load is about to change the shape of the table that people read."""
        changed = ""
        if isinstance(self.io_manager, PostgresIOManager):
            changed = self.io_manager.postgres.difference(table_of(self.asset.key, self.asset.metadata), self.contract.table)
        return dg.AssetCheckResult(
            check_name=COLUMNS_UNCHANGED,
            passed=not changed,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"The table changes: {changed}" if changed else None,
            metadata={"change": changed} if changed else {},
        )

    # -- steps --------------------------------------------------------------------------------------------------------

    def _call(self, arguments: dict[str, Any]) -> Any:
        """The function itself; what it raises by mistake becomes a failure that says where."""
        function = self.asset.function
        try:
            return function(self.context, **arguments) if self.asset.takes_context else function(**arguments)
        except (EtlError, dg.Failure, dg.RetryRequested):
            raise
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = next((f for f in reversed(frames) if f.filename == function.__code__.co_filename), frames[-1])
            raise dg.Failure(
                description=f"{self.where}: the function raised {type(error).__name__} ({error}) in {own.filename} line {own.lineno}. "
                "Next: correct the function; the table was left as it was."
            ) from error

    def _split(self, frame: pd.DataFrame) -> typing.Generator[dg.AssetCheckResult, None, Split]:
        lookup = functools.cache(self._keys) if self.contract.references else None
        try:
            split = self.contract.split(frame, where=self.where, lookup=lookup)
        except ContractViolationError as error:
            yield dg.AssetCheckResult(check_name=COLUMNS_MATCH, passed=False, description=error.cause, severity=dg.AssetCheckSeverity.ERROR)
            raise
        yield dg.AssetCheckResult(check_name=COLUMNS_MATCH, passed=True, metadata={"columns": len(self.contract.columns)})
        return split

    def _check_results(self, split: Split, account: Account, *, refused: bool) -> Iterator[dg.AssetCheckResult]:
        if SOURCE_READABLE in self.asset.checks:
            yield readable(account, refused=refused)
        types = [outcome for outcome in split.outcomes if outcome.rule.kind == "type"]
        if types:
            yield check_result(TYPES_MATCH, types, refused=refused)
        for outcome in split.outcomes:
            if outcome.rule.name in self.asset.checks:
                yield check_result(outcome.rule.name, [outcome], refused=refused)
        for column, limit in self.contract.freshness.items():
            yield _fresh(split.valid[column], column, limit)


def fresh_name(column: str) -> str:
    """Name of the check on the age of a column."""
    return f"{column}_fresh"


def _fresh(values: "pd.Series[Any]", column: str, limit: datetime.timedelta) -> dg.AssetCheckResult:
    """The check on the age of a column; nothing is blocked by it. A column without values is not fresh."""
    newest = values.max() if values.notna().any() else None
    now = datetime.datetime.now(datetime.UTC)
    if newest is None:
        age = None
    elif isinstance(newest, datetime.datetime):
        age = now - newest
    else:
        age = datetime.timedelta(days=(now.date() - newest).days)
    return dg.AssetCheckResult(
        check_name=fresh_name(column),
        passed=age is not None and age <= limit,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "newest": "none" if newest is None else str(newest),
            **({} if age is None else {"age_hours": round(age.total_seconds() / 3600, 2)}),
        },
    )


def _orchestrator(context: dg.AssetExecutionContext) -> str:
    return "airflow" if AIRFLOW_TAG in context.run.tags else "dagster"


def _as_contract(frame: pd.DataFrame, contract: Contract, where: str) -> pd.DataFrame:
    """A stored frame in the types of its contract."""
    split = contract.split(frame, where=where)
    if split.rejected:
        raise ContractViolationError(
            where, f"{len(split.rejected)} stored rows do not keep contract {contract.name}: {most_broken(split)}.",
            "materialise the upstream asset again.",
        )  # fmt: skip
    return split.valid


__all__ = [
    "AIRFLOW_TAG", "COLUMNS_MATCH", "COLUMNS_UNCHANGED", "TYPES_MATCH", "RunnableAsset", "fresh_name", "materialise",
]  # fmt: skip
