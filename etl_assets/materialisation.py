"""Running an asset's function: its account, its contract, the gate, and what Dagster is told of all that.

Not here: how an asset is declared (`assets.py`), when rows are refused (`gate.py`), how they are stored (`loading/`).
"""

import contextlib
import functools
import time
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import pandas as pd

from etl_assets.accounting import Account, open_account
from etl_assets.batches import BatchesOfAsset
from etl_assets.contracts import Contract, Split
from etl_assets.declarations import Reference
from etl_assets.errors import ConfigurationError, ContractDefinitionError, ContractViolationError, EtlError, SourceNotFoundError
from etl_assets.gate import (
    ROW_COUNT,
    ROWS_ACCOUNTED_FOR,
    ROWS_USABLE,
    Parted,
    RowPolicy,
    Verdict,
    accounted,
    as_contract,
    judge,
    usable,
    volume,
)
from etl_assets.loading.dagster_partitions import name_of
from etl_assets.loading.io_manager import Delivery, LoadDetails, PostgresIOManager, Stored, TableBatches, failure, table_of
from etl_assets.loading.options import WriteDisposition
from etl_assets.loading.rows import Rows
from etl_assets.loading.table import LoadRequest, RejectedRow, RowCounts
from etl_assets.metadata import (
    COLUMNS_MATCH,
    check_result,
    columns_differ,
    columns_unchanged,
    describe,
    describe_rejected,
    evaluated,
    fresh,
    judged_before,
)
from etl_assets.progress import Report, listening
from etl_assets.receptions import BatchReception, FrameReception, RefusedError
from etl_assets.watermarks import Value

Result = typing.TypeVar("Result")

# Runs that the bridge made for Airflow carry this tag.
AIRFLOW_TAG = "airflow/dag_id"


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
        checks: Its asset checks, by name.
        takes_context: The function's first parameter is Dagster's context.
        yields: The function yields batches.
        metadata: Of the definition, which says how the table is written.
    """

    function: Callable[..., Any]
    key: dg.AssetKey
    contract: Contract
    input_contracts: Mapping[str, Contract]
    carried: str | None
    rows: RowPolicy
    checks: Mapping[str, dg.AssetCheckSpec]
    takes_context: bool
    yields: bool
    metadata: Mapping[str, Any]

    @property
    def where(self) -> str:
        """The asset, for errors."""
        return str(self.key.to_user_string())


def materialise(asset: RunnableAsset, context: dg.AssetExecutionContext, arguments: dict[str, Any], io_manager: Any) -> Iterator[Any]:
    """Run the function and yield check results and the output; a failure of ours is kept in the load ledger first."""
    # Dagster may have put a prefix before the key that the definition gave.
    asset = replace(asset, key=context.asset_key)
    run = _Run(asset, context, io_manager)
    with run.resources:
        try:
            for event in run.events(arguments):
                if not isinstance(event, dg.AssetCheckResult):
                    yield event
                elif run.is_loaded:
                    yield from evaluated(event, asset.checks[str(event.check_name)], asset.key)
                else:
                    # Of one that does not say its asset Dagster makes up its evaluation twice.
                    yield event._replace(asset_key=asset.key)
            return
        except RefusedError as refused:
            error, details = refused.error, refused.details
        except EtlError as early:
            error, details = early, run.nothing
        if isinstance(io_manager, PostgresIOManager) and not run.is_recorded:
            io_manager.reject(run.delivery, details, error)
        raise failure(error, asset.where) from error


class _Run:
    """One materialisation."""

    def __init__(self, asset: RunnableAsset, context: dg.AssetExecutionContext, io_manager: Any) -> None:
        self.asset = asset
        self.context = context
        self.io_manager = io_manager
        self.where = asset.where
        self.contract = asset.contract
        self.resources = contextlib.ExitStack()
        # The writer records what fails while it loads.
        self.is_recorded = False
        # The rows are in their table, or go to another IO manager.
        self.is_loaded = False
        # Of a Dagster output that the function returned around its frame.
        self._output_metadata: dict[str, Any] = {}

    @property
    def nothing(self) -> LoadDetails:
        """What there is to say of a load before any row was counted."""
        return LoadDetails(spec=self.contract.table, counts=RowCounts(read=0))

    @property
    def delivery(self) -> Delivery:
        """This materialisation; what the function added to its output comes before what the definition says."""
        context = self.context
        added = context.op_execution_context.get_output_metadata("result") or {}
        definition = context.assets_def.partitions_def
        partitioned = context.has_partition_key or context.has_partition_key_range
        return Delivery(
            key=self.asset.key,
            metadata={**self.asset.metadata, **added, **self._output_metadata},
            run_id=context.run.run_id,
            root_run_id=context.run.root_run_id or context.run.run_id,
            partition_keys=tuple(context.partition_keys) if partitioned and definition is not None else (),
            partitions=definition,
            orchestrator=_orchestrator(context),
        )

    @property
    def partition_name(self) -> str | None:
        """What the partitions of this run are called; None for none."""
        keys = self.delivery.partition_keys
        return name_of(keys) if keys else None

    def events(self, arguments: dict[str, Any]) -> Iterator[Any]:
        """Check results, then the output."""
        asset = self.asset
        for name, contract in asset.input_contracts.items():
            if isinstance(arguments[name], pd.DataFrame):
                arguments[name] = as_contract(arguments[name], contract, f"{self.where}, input {name}")
        carried = arguments[asset.carried] if asset.carried is not None else None
        yield from self._batches(arguments, carried) if asset.yields else self._frame(arguments, carried)

    def _frame(self, arguments: dict[str, Any], carried: Any) -> Iterator[Any]:
        """One frame: judged, then handed to the IO manager."""
        asset = self.asset
        started = time.perf_counter()
        with open_account(self._committed) as account:
            frame = self._call(arguments)
        if isinstance(frame, dg.Output):
            self._output_metadata = dict(frame.metadata)
            frame = frame.value
        if not isinstance(frame, pd.DataFrame):
            raise ContractViolationError(
                self.where, f"the function returned a {type(frame).__name__}, not a DataFrame.", "return a pandas DataFrame."
            )
        computed = time.perf_counter()
        split = yield from self._split(frame)
        parted = Parted.of(split, len(frame))
        before = self._rows_before() if asset.rows.most_change is not None else None
        newest = {column: split.valid[column].max() for column in self.contract.freshness if split.valid[column].notna().any()}
        rows_in = _rows_in(carried)
        verdict = judge(parted, account, rows=asset.rows, rows_in=rows_in, rows_before=before, where=self.where)
        metadata: dict[str, Any] = {
            "compute_seconds": round(computed - started, 3),
            "contract_seconds": round(time.perf_counter() - computed, 3),
        }
        stored: Stored | None = None
        refused: RefusedError | None = None

        def finish(request: LoadRequest, lost: Sequence[RejectedRow]) -> LoadRequest:
            nonlocal parted, verdict
            if lost:
                parted = Parted.of(split, len(frame)).without(lost)
                verdict = judge(parted, account, rows=asset.rows, rows_in=rows_in, rows_before=before, where=self.where)
            if verdict.refusal is not None:
                raise RefusedError(verdict.refusal, self._details(verdict, account))
            return replace(request, counts=verdict.counts, rejected=verdict.rejected)

        if verdict.refusal is not None:
            refused = RefusedError(verdict.refusal, self._details(verdict, account))
        elif isinstance(self.io_manager, PostgresIOManager):
            reception = FrameReception(split, finish)
            stored, refused = self._store(self.io_manager, self._details(verdict, account), Rows(reception.frames, reception=reception))
        self.is_loaded = refused is None
        yield from self._check_results(parted, account, newest, before, refused=refused is not None)
        yield accounted(verdict.counts, parted.valid)
        if refused is not None:
            raise refused
        yield columns_unchanged(stored)
        metadata |= {**self._output_metadata, **describe(account), **describe_rejected(self.where, verdict.rejected)}
        yield dg.Output(split.valid if stored is None else stored, metadata=metadata)

    def _store(self, io_manager: PostgresIOManager, details: LoadDetails, rows: Rows) -> tuple[Stored | None, RefusedError | None]:
        """Load, and what came of it, or why the gate refused it in the end."""
        request = io_manager.request(self.delivery, details)
        try:
            with listening(self._tell):
                return io_manager.store(request, rows), None
        except RefusedError as error:
            return None, error
        except EtlError:
            self.is_recorded = True
            raise

    def _batches(self, arguments: dict[str, Any], carried: Any) -> Iterator[Any]:
        """Batches: loaded as they come, judged before the commit, and told of afterwards."""
        asset = self.asset
        io_manager = self._postgres("batches are loaded")
        before = self._rows_before() if asset.rows.most_change is not None else None
        lookup = functools.cache(self._keys) if self.contract.references else None
        batches = BatchesOfAsset(
            lambda: self._call(arguments),
            self.contract,
            lookup=lookup,
            account=lambda: Account(committed=self._committed),
            guarded=self._guarded,
            are_positions_kept=self.delivery.options.disposition is not WriteDisposition.REPLACE,
            where=self.where,
        )
        self.resources.enter_context(contextlib.closing(batches))
        judged: list[Verdict] = []

        def finish(request: LoadRequest) -> LoadRequest:
            account = batches.account
            verdict = judge(batches.parted, account, rows=asset.rows, rows_in=_rows_in(carried), rows_before=before, where=self.where)
            judged[:] = [verdict]
            if verdict.refusal is not None:
                raise RefusedError(verdict.refusal, self._details(verdict, account))
            if self.delivery.options != request.write:
                raise ContractDefinitionError(
                    self.where, "the output of an asset that yields batches says how it is written, and its load has begun by then.",
                    "say it in the metadata of the definition.",
                )  # fmt: skip
            return replace(
                request, counts=verdict.counts, rejected=verdict.rejected, watermarks=account.watermarks, only_new=account.only_new
            )

        rows = Rows(batches.frames, reception=BatchReception(batches, finish), unique=self.contract.unique_rules)
        try:
            # What there is to count is counted while the batches come.
            stored, refused = self._store(io_manager, replace(self.nothing, counts=None), rows)
        except ContractViolationError as error:
            yield columns_differ(error)
            raise
        self.is_loaded = refused is None
        if stored is not None and stored.result.found_committed:
            yield from self._judged_before(io_manager, stored)
            yield dg.Output(stored)
            return
        parted = batches.parted
        yield from self._check_results(parted, batches.account, batches.newest, before, refused=refused is not None)
        yield accounted(judged[0].counts, parted.valid)
        if refused is not None:
            raise refused
        yield columns_unchanged(stored)
        yield dg.Output(stored, metadata={**describe(batches.account), **describe_rejected(self.where, judged[0].rejected)})

    def _judged_before(self, io_manager: PostgresIOManager, stored: Stored) -> Iterator[dg.AssetCheckResult]:
        """The checks of batches that an earlier attempt had judged and loaded: what it put into the quarantine tells."""
        broken = io_manager.postgres.broken_rules(stored.request.identity.load_id)
        counts = stored.result.counts or RowCounts(read=stored.result.rows_loaded)
        names = [name for name in self.asset.checks if name != ROWS_ACCOUNTED_FOR]
        yield from judged_before(names, self.contract, broken, others=ROWS_USABLE)
        yield accounted(counts, stored.result.rows_loaded)

    def _details(self, verdict: Verdict, account: Account) -> LoadDetails:
        return LoadDetails(
            spec=self.contract.table,
            counts=verdict.counts,
            rejected=verdict.rejected,
            watermarks=account.watermarks,
            only_new=account.only_new,
        )

    # -- what is asked of the database -------------------------------------------------------------------------------

    def _committed(self) -> Mapping[str, Value]:
        """The watermarks of this asset, read when a connector asks for one."""
        return self._postgres("watermarks are kept").postgres.watermarks(self.where)

    def _rows_before(self) -> int | None:
        return self._postgres("the number of rows is compared with that of the load before, which is kept").postgres.rows_loaded(
            self.where, self.partition_name
        )

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

    # -- steps --------------------------------------------------------------------------------------------------------

    def _call(self, arguments: dict[str, Any]) -> Any:
        """The function itself."""
        function = self.asset.function
        with listening(self._tell):
            return self._guarded(lambda: function(self.context, **arguments) if self.asset.takes_context else function(**arguments))

    def _tell(self, report: Report) -> None:
        """Progress, in the log of the run."""
        self.context.log.info(str(report))

    def _guarded(self, step: Callable[[], Result]) -> Result:
        """Something of the user's; what it raises by mistake becomes a failure that says where."""
        try:
            return step()
        except (EtlError, dg.Failure, dg.RetryRequested, StopIteration):
            raise
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            file = self.asset.function.__code__.co_filename
            own = next((f for f in reversed(frames) if f.filename == file), frames[-1])
            raise dg.Failure(
                description=f"{self.where}: the function raised {type(error).__name__} ({error}) in {own.filename} line {own.lineno}. "
                "Next: correct the function; the table was left as it was."
            ) from error

    def _split(self, frame: pd.DataFrame) -> typing.Generator[dg.AssetCheckResult, None, Split]:
        lookup = functools.cache(self._keys) if self.contract.references else None
        try:
            split = self.contract.split(frame, where=self.where, lookup=lookup)
        except ContractViolationError as error:
            yield columns_differ(error)
            raise
        return split

    def _check_results(
        self, parted: Parted, account: Account, newest: Mapping[str, Any], before: int | None, *, refused: bool
    ) -> Iterator[dg.AssetCheckResult]:
        checks = self.asset.checks
        types = [outcome for outcome in parted.outcomes if outcome.rule.kind == "type"]
        yield check_result(COLUMNS_MATCH, types, refused=refused)
        for outcome in parted.outcomes:
            if outcome.rule.name in checks:
                yield check_result(outcome.rule.name, [outcome], refused=refused)
        for column, limit in self.contract.freshness.items():
            yield fresh(newest.get(column), column, limit)
        if ROW_COUNT in checks:
            yield volume(self.asset.rows, parted.valid, before)
        yield usable(parted, account, refused=refused)


def _rows_in(carried: Any) -> int | None:
    """Rows of the input whose rows are carried through: batches are counted as they are read, to their end."""
    if carried is None:
        return None
    return carried.drain() if isinstance(carried, TableBatches) else len(carried)


def _orchestrator(context: dg.AssetExecutionContext) -> str:
    return "airflow" if AIRFLOW_TAG in context.run.tags else "dagster"


__all__ = ["AIRFLOW_TAG", "RunnableAsset", "materialise"]
