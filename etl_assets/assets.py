"""The decorator that turns a pandera-annotated function into a Dagster asset.

    @etl_asset(schema="clean")
    def planes(raw_planes: pd.DataFrame) -> DataFrame[Planes]:
        '''Aircraft, one row per tail number.'''
        return clean(raw_planes, PLANE_STEPS)

From the annotation follow the asset checks, the Columns tab, the PostgreSQL table and the quarantine. Parameters named
`raw_...`, `clean_...` or `mart_...` are the assets of those schemas; others are named in `ins`. Resources and config are recognised
as Dagster does. An input annotated `DataFrame[Contract]` arrives in the types of that contract.

The gate stands before the write: rows that break the contract are split off, and when too many do, nothing is written. Rows are
accounted for: read = loaded + quarantined + dropped by a declared rule, or nothing is written.

Not here: what a contract means (`contracts.py`), when rows are refused (`gate.py`), how they are stored (`loading/`).
"""

import functools
import inspect
import time
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
from pandera.typing import DataFrame

from etl_assets.accounting import Account, open_account
from etl_assets.contracts import Contract, Split
from etl_assets.errors import ConfigurationError, ContractDefinitionError, ContractViolationError, EtlError
from etl_assets.gate import ROWS_ACCOUNTED_FOR, SOURCE_READABLE, RowPolicy, accounted, judge, most_broken, readable
from etl_assets.loading.io_manager import LoadDetails, PostgresIOManager, attach, failure, table_of, table_schema
from etl_assets.loading.table import RowCounts, TableRef, WriteDisposition, read_disposition
from etl_assets.metadata import check_result, describe
from etl_assets.retry import RetryPolicy
from etl_assets.watermarks import Value

# A resource of any kind, which Dagster hands over by the parameter's name.
_ANY_RESOURCE: Any = dg.ResourceParam[Any]  # type: ignore[misc]
LAYERS = ("raw", "clean", "mart")
# Runs that the bridge made for Airflow carry this tag.
AIRFLOW_TAG = "airflow/dag_id"
COLUMNS_MATCH = "columns_match"
TYPES_MATCH = "types_match"


_DEFAULT_ROWS = RowPolicy()
_DEFINED: dict[dg.AssetKey, "DefinedAsset"] = {}


@dataclass(frozen=True, kw_only=True)
class DefinedAsset:
    """What is known of an asset outside its run.

    Attributes:
        contract: Of its rows.
        table: Where PostgresIOManager stores it.
    """

    contract: Contract
    table: TableRef


def defined_asset(key: dg.AssetKey) -> DefinedAsset:
    """An asset that `etl_asset` defined in this process.

    Raises:
        ConfigurationError: There is no such asset; the message lists those there are.
    """
    if key not in _DEFINED:
        known = sorted(other.to_user_string() for other in _DEFINED)
        raise ConfigurationError(
            key.to_user_string(), f"no asset of that key is defined; defined: {known[:20]}.", "correct the key, or name the right module."
        )
    return _DEFINED[key]


def etl_asset(
    *,
    schema: str,
    ins: Mapping[str, str | dg.AssetKey | dg.AssetIn] | None = None,
    rows: RowPolicy = _DEFAULT_ROWS,
    write: WriteDisposition | str = WriteDisposition.REPLACE,
    retry: RetryPolicy | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Make a Dagster asset of a function that returns `DataFrame[Contract]`.

    Args:
        schema: First part of the asset key, and the PostgreSQL schema; the second part is the function's name.
        ins: Asset key of each frame parameter whose name does not say it, such as `{"orders": "shop/orders"}`.
        rows: How rows are accounted for.
        write: How the table changes: "replace", "append" or "merge" by the contract's primary key. Assets that read only what is new
            append or merge.
        retry: Runs the whole step again on a transient error, through Dagster. Connectors and the writer retry by themselves,
            so this is for functions that call something else.
        options: Everything else that `dagster.asset` takes: `group_name`, `owners`, `tags`, `kinds`, `deps`, `pool`, ...

    Raises:
        ConfigurationError: `write` is unknown.
        ContractDefinitionError: The function has no contract, a merge no primary key, an input no asset key, or it is unclear whose rows
            it carries.
    """

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        return _Definition(function, schema, dict(ins or {}), rows, retry, {**options, "write": write}).build()

    return decorate


class _RefusedError(Exception):
    """The gate refused the rows; carries what is to be kept of them."""

    def __init__(self, error: EtlError, details: LoadDetails) -> None:
        super().__init__(error, details)
        self.error = error
        self.details = details


class _Definition:
    """One asset being defined."""

    def __init__(
        self,
        function: Callable[..., Any],
        schema: str,
        ins: dict[str, str | dg.AssetKey | dg.AssetIn],
        rows: RowPolicy,
        retry: RetryPolicy | None,
        options: dict[str, Any],
    ) -> None:
        self.function = function
        self.key = dg.AssetKey([schema, str(options.pop("name", function.__name__))])
        self.where = self.key.to_user_string()
        self.rows = rows
        self.disposition = read_disposition(options.pop("write"), self.where)
        self.retry = retry
        self.options = options
        self.signature = inspect.signature(function)
        self.hints = self._read_hints()
        self.contract = self._returned_contract()
        if self.disposition is WriteDisposition.MERGE and not self.contract.primary_key:
            raise ContractDefinitionError(
                self.where, f"a merge needs a key, and contract {self.contract.name} has none.",
                'add `metadata = {"primary_key": [...]}` to its Config.',
            )  # fmt: skip
        self.frames = self._frame_parameters(ins)
        self.carried = self._whose_rows()
        self.checks = _check_names(self.contract, reads_sources=not self.frames)

    def build(self) -> dg.AssetsDefinition:
        options = dict(self.options)
        kinds = set(options.pop("kinds", ())) | {"pandas", "postgres"}
        description = options.pop("description", None) or inspect.getdoc(self.function)
        metadata = {
            **options.pop("metadata", {}),
            "dagster/column_schema": table_schema(self.contract.table.columns, self.contract.primary_key),
            "contract": self.contract.name,
        }
        io_manager_key = options.get("io_manager_key", "io_manager")
        # Dagster takes resources as parameters or by key, not both; ours are parameters, so all are.
        needed = {*options.pop("required_resource_keys", ()), io_manager_key} - set(self.signature.parameters)
        if self.retry is not None:
            options["retry_policy"] = _dagster_retry(self.retry)
        options.setdefault("group_name", self.key.path[0])
        decorate = dg.asset(
            key=self.key,
            ins=self.frames,
            kinds=kinds,
            description=description,
            metadata=metadata,
            check_specs=self._check_specs(),
            **options,
        )
        _DEFINED[self.key] = DefinedAsset(contract=self.contract, table=table_of(self.key, self.options.get("metadata", {})))
        return typing.cast("dg.AssetsDefinition", decorate(self._compute_function(io_manager_key, needed)))

    # -- reading the function ---------------------------------------------------------------------------------------

    def _read_hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self.function, include_extras=True)
        except (NameError, TypeError) as error:
            raise ContractDefinitionError(
                self.where, f"an annotation cannot be read ({error}).", "import the name, and define contracts above their assets."
            ) from error

    def _returned_contract(self) -> Contract:
        model = _model_of(self.hints.get("return"))
        if model is None:
            raise ContractDefinitionError(
                self.where, "the function does not say which contract it returns.",
                "annotate it `-> DataFrame[YourContract]`, with DataFrame from pandera.typing and a pandera DataFrameModel.",
            )  # fmt: skip
        return Contract.of(model)

    def _frame_parameters(self, ins: dict[str, str | dg.AssetKey | dg.AssetIn]) -> dict[str, dg.AssetIn]:
        frames: dict[str, dg.AssetIn] = {}
        for name in self.signature.parameters:
            annotation = self.hints.get(name)
            if name in ins:
                given = ins[name]
                frames[name] = given if isinstance(given, dg.AssetIn) else dg.AssetIn(key=_key_of(given))
            elif annotation is pd.DataFrame or _model_of(annotation) is not None:
                layer, _, table = name.partition("_")
                if layer not in LAYERS or not table:
                    raise ContractDefinitionError(
                        self.where, f"it is not clear which asset the parameter {name!r} is.",
                        f"name it {'_..., '.join(LAYERS)}_..., or say it: ins={{{name!r}: 'schema/table'}}.",
                    )  # fmt: skip
                frames[name] = dg.AssetIn(key=[layer, table])
        unknown = sorted(set(ins) - set(self.signature.parameters))
        if unknown:
            raise ContractDefinitionError(self.where, f"ins names {unknown}, which are no parameters.", "correct ins.")
        return frames

    def _whose_rows(self) -> str | None:
        """The parameter whose rows are carried; None when rows come from connectors or are built."""
        if self.rows.built:
            return None
        if self.rows.carried_from is not None:
            if self.rows.carried_from not in self.frames:
                raise ContractDefinitionError(
                    self.where, f"rows.carried_from names {self.rows.carried_from!r}; inputs: {sorted(self.frames)}.", "correct it."
                )
            return self.rows.carried_from
        if len(self.frames) > 1:
            raise ContractDefinitionError(
                self.where, f"it is not clear whose rows are carried through; inputs: {sorted(self.frames)}.",
                'say rows=RowPolicy(carried_from="...") or, for a join or an aggregate, rows=RowPolicy(built=True).',
            )  # fmt: skip
        return next(iter(self.frames), None)

    def _check_specs(self) -> list[dg.AssetCheckSpec]:
        specs = [
            dg.AssetCheckSpec(COLUMNS_MATCH, asset=self.key, description=f"The columns are those of contract {self.contract.name}."),
            dg.AssetCheckSpec(
                ROWS_ACCOUNTED_FOR,
                asset=self.key,
                blocking=True,
                description="Rows read = loaded + quarantined + dropped by a declared rule.",
            ),
        ]
        specs += [dg.AssetCheckSpec(name, asset=self.key, description=says) for name, says in self.checks.items()]
        return specs

    # -- running the function ---------------------------------------------------------------------------------------

    def _compute_function(self, io_manager_key: str, needed: set[str]) -> Callable[..., Iterator[Any]]:
        takes_context = next(iter(self.signature.parameters), None) == "context"

        def compute(context: dg.AssetExecutionContext, **arguments: Any) -> Iterator[Any]:
            io_manager = arguments[io_manager_key]
            for name in needed:
                del arguments[name]
            try:
                yield from self._run(context, arguments, takes_context, io_manager)
                return
            except _RefusedError as refused:
                error, details = refused.error, refused.details
            except EtlError as early:
                nothing = LoadDetails(
                    spec=self.contract.table, counts=RowCounts(read=0), orchestrator=_orchestrator(context), disposition=self.disposition
                )
                error, details = early, nothing
            if isinstance(io_manager, PostgresIOManager):
                io_manager.reject(self.key, self.options.get("metadata", {}), context.run.run_id, details, error)
            raise failure(error, self.where) from error

        # Dagster reads parameters off the signature: frames become plain frames, the contract stays with us.
        parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=dg.AssetExecutionContext)]
        for name in self.signature.parameters:
            if name == "context":
                continue
            annotation = pd.DataFrame if name in self.frames else self.hints.get(name, inspect.Parameter.empty)
            parameters.append(inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation))
        parameters += [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=_ANY_RESOURCE) for name in sorted(needed)
        ]
        compute.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        compute.__annotations__ = {p.name: p.annotation for p in parameters if p.annotation is not inspect.Parameter.empty}
        compute.__name__ = compute.__qualname__ = self.function.__name__
        compute.__module__ = self.function.__module__
        compute.__doc__ = self.function.__doc__
        return compute

    def _run(self, context: dg.AssetExecutionContext, arguments: dict[str, Any], takes_context: bool, io_manager: Any) -> Iterator[Any]:
        rows_in = len(arguments[self.carried]) if self.carried is not None else None
        for name in self.frames:
            model = _model_of(self.hints.get(name))
            if model is not None and isinstance(arguments[name], pd.DataFrame):
                arguments[name] = _as_contract(arguments[name], Contract.of(model), f"{self.where}, input {name}")
        started = time.perf_counter()
        with open_account(functools.partial(self._committed, io_manager)) as account:
            frame = self._call(context, arguments, takes_context)
        if not isinstance(frame, pd.DataFrame):
            raise ContractViolationError(
                self.where, f"the function returned a {type(frame).__name__}, not a DataFrame.", "return a pandas DataFrame."
            )
        computed = time.perf_counter()
        split = yield from self._split(frame)
        verdict = judge(split, account, rows=self.rows, rows_in=rows_in, returned=len(frame), where=self.where)
        details = LoadDetails(
            spec=self.contract.table,
            counts=verdict.counts,
            orchestrator=_orchestrator(context),
            rejected=verdict.rejected,
            disposition=self.disposition,
            watermarks=account.watermarks,
        )
        yield from self._check_results(split, account, refused=verdict.refusal is not None)
        yield accounted(verdict.counts, len(split.valid))
        if verdict.refusal is not None:
            raise _RefusedError(verdict.refusal, details)
        if account.only_new and self.disposition is WriteDisposition.REPLACE:
            raise ContractDefinitionError(
                self.where, "it reads only what is new, and replace would drop the rows loaded before.",
                'say write="append", or write="merge" when rows are read again, in etl_asset.',
            )  # fmt: skip
        metadata = {
            "compute_seconds": round(computed - started, 3),
            "contract_seconds": round(time.perf_counter() - computed, 3),
            **describe(account),
        }
        yield dg.Output(attach(split.valid, details), metadata=metadata)

    def _committed(self, io_manager: Any) -> Mapping[str, Value]:
        """The watermarks of this asset, read when a connector asks for one."""
        if not isinstance(io_manager, PostgresIOManager):
            raise ConfigurationError(
                self.where, f"watermarks are kept by PostgresIOManager, this asset is stored by {type(io_manager).__name__}.",
                "read everything, or store the asset in PostgreSQL.",
            )  # fmt: skip
        return io_manager.postgres.watermarks(self.where)

    def _call(self, context: dg.AssetExecutionContext, arguments: dict[str, Any], takes_context: bool) -> Any:
        """The function itself; what it raises by mistake becomes a failure that says where."""
        try:
            return self.function(context, **arguments) if takes_context else self.function(**arguments)
        except (EtlError, dg.Failure, dg.RetryRequested):
            raise
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = next((f for f in reversed(frames) if f.filename == self.function.__code__.co_filename), frames[-1])
            raise dg.Failure(
                description=f"{self.where}: the function raised {type(error).__name__} ({error}) in {own.filename} line {own.lineno}. "
                "Next: correct the function; the table was left as it was."
            ) from error

    def _split(self, frame: pd.DataFrame) -> typing.Generator[dg.AssetCheckResult, None, Split]:
        try:
            split = self.contract.split(frame, where=self.where)
        except ContractViolationError as error:
            yield dg.AssetCheckResult(check_name=COLUMNS_MATCH, passed=False, description=error.cause, severity=dg.AssetCheckSeverity.ERROR)
            raise
        yield dg.AssetCheckResult(check_name=COLUMNS_MATCH, passed=True, metadata={"columns": len(self.contract.columns)})
        return split

    def _check_results(self, split: Split, account: Account, *, refused: bool) -> Iterator[dg.AssetCheckResult]:
        if SOURCE_READABLE in self.checks:
            yield readable(account, refused=refused)
        types = [outcome for outcome in split.outcomes if outcome.rule.kind == "type"]
        if types:
            yield check_result(TYPES_MATCH, types, refused=refused)
        for outcome in split.outcomes:
            if outcome.rule.name in self.checks:
                yield check_result(outcome.rule.name, [outcome], refused=refused)


def _orchestrator(context: dg.AssetExecutionContext) -> str:
    return "airflow" if AIRFLOW_TAG in context.run.tags else "dagster"


def _check_names(contract: Contract, *, reads_sources: bool) -> dict[str, str]:
    """One asset check per rule; the type rules of all columns share one."""
    checks = {rule.name: rule.says for rule in contract.rules if rule.kind != "type"}
    if len(checks) < len(contract.rules):
        checks[TYPES_MATCH] = "Every value converts to the type of its column."
    if reads_sources:
        checks[SOURCE_READABLE] = "Every row of the source can be read."
    return checks


def _as_contract(frame: pd.DataFrame, contract: Contract, where: str) -> pd.DataFrame:
    """A stored frame in the types of its contract."""
    split = contract.split(frame, where=where)
    if split.rejected:
        raise ContractViolationError(
            where, f"{len(split.rejected)} stored rows do not keep contract {contract.name}: {most_broken(split)}.",
            "materialise the upstream asset again.",
        )  # fmt: skip
    return split.valid


def _model_of(annotation: Any) -> type[pa.DataFrameModel] | None:
    if typing.get_origin(annotation) is DataFrame:
        (model,) = typing.get_args(annotation)
        if isinstance(model, type) and issubclass(model, pa.DataFrameModel):
            return model
    return None


def _key_of(given: str | dg.AssetKey) -> dg.AssetKey:
    return dg.AssetKey.from_user_string(given) if isinstance(given, str) else given


def _dagster_retry(policy: RetryPolicy) -> dg.RetryPolicy:
    return dg.RetryPolicy(
        max_retries=policy.attempts - 1,
        delay=policy.initial_seconds,
        backoff=dg.Backoff.EXPONENTIAL if policy.multiplier > 1 else None,
        jitter=dg.Jitter.FULL if policy.jitter else None,
    )


__all__ = ["DefinedAsset", "RowPolicy", "defined_asset", "etl_asset"]
