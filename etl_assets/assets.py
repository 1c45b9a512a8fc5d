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

Not here: running the function (`materialisation.py`), what a contract means (`contracts.py`), when rows are refused (`gate.py`).
"""

import difflib
import inspect
import typing
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
from pandera.typing import DataFrame

from etl_assets.contracts import Contract
from etl_assets.declarations import fresh_name
from etl_assets.errors import ConfigurationError, ContractDefinitionError
from etl_assets.gate import ROW_COUNT, ROWS_ACCOUNTED_FOR, ROWS_USABLE, RowPolicy
from etl_assets.loading.io_manager import BATCHES, table_of, table_schema
from etl_assets.loading.options import WriteDisposition, WriteOptions
from etl_assets.loading.table import TableRef
from etl_assets.materialisation import RunnableAsset, materialise
from etl_assets.metadata import COLUMNS_MATCH, COLUMNS_UNCHANGED
from etl_assets.retry import RetryPolicy

# A resource of any kind, which Dagster hands over by the parameter's name.
_ANY_RESOURCE: Any = dg.ResourceParam[Any]  # type: ignore[misc]
LAYERS = ("raw", "clean", "mart")


_DEFAULT_ROWS = RowPolicy()
_DEFINED: dict[dg.AssetKey, "DefinedAsset"] = {}


@dataclass(frozen=True, kw_only=True)
class DefinedAsset:
    """What is known of an asset outside its run.

    Attributes:
        contract: Of its rows.
        table: Where PostgresIOManager stores it.
        options: How it is written.
    """

    contract: Contract
    table: TableRef
    options: WriteOptions


def defined_asset(given: dg.AssetKey | str) -> DefinedAsset:
    """An asset that `etl_asset` defined in this process, by its key or the text of it, with or without a prefix that Dagster put before it.

    Raises:
        ConfigurationError: There is no such asset; the message lists those there are.
    """
    key = _key_of(given)
    if key not in _DEFINED and dg.AssetKey(key.path[-2:]) in _DEFINED:
        key = dg.AssetKey(key.path[-2:])
    if key not in _DEFINED:
        known = sorted(other.to_user_string() for other in _DEFINED)
        close = difflib.get_close_matches(key.to_user_string(), known, n=20, cutoff=0.0)
        raise ConfigurationError(
            key.to_user_string(), f"no asset of that key is defined; defined, the closest first: {close}.",
            "correct the key, or name the right module.",
        )  # fmt: skip
    return _DEFINED[key]


def defined_assets() -> Mapping[str, DefinedAsset]:
    """All assets that `etl_asset` defined in this process, by key."""
    return {key.to_user_string(): _DEFINED[key] for key in sorted(_DEFINED, key=lambda key: list(key.path))}


def etl_asset(
    *,
    schema: str,
    ins: Mapping[str, str | dg.AssetKey | dg.AssetIn] | None = None,
    rows: RowPolicy = _DEFAULT_ROWS,
    write: WriteDisposition | str | None = None,
    retry: RetryPolicy | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Make a Dagster asset of a function that returns `DataFrame[Contract]`.

    Args:
        schema: First part of the asset key, and the PostgreSQL schema; the second part is the function's name.
        ins: Asset key of each frame parameter whose name does not say it, such as `{"orders": "shop/orders"}`.
        rows: How rows are accounted for.
        write: How the table changes: "replace", "append", "merge" by the contract's primary key, or "replace_partition"; None for the
            partition of an asset that has partitions, else the whole table. Assets that read only what is new append or merge. Metadata
            says more: `merge_strategy`, `schema_change`, `partition_expr`; see `loading/options.py`.
        retry: Runs the whole step again on a transient error, through Dagster. Connectors and the writer retry by themselves,
            so this is for functions that call something else.
        options: Everything else that `dagster.asset` takes: `group_name`, `owners`, `tags`, `kinds`, `deps`, `pool`, `partitions_def`, ...

    Raises:
        ConfigurationError: `write` or what the metadata says of it is unknown, or contradicts itself.
        ContractDefinitionError: The function has no contract, a merge no primary key, an input no asset key, or it is unclear whose rows
            it carries.
    """

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        return _Definition(
            function, schema, dict(ins or {}), rows, retry, options if write is None else _with_write_mode(options, write)
        ).build()

    return decorate


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
        partitioned = options.get("partitions_def") is not None
        self.write = WriteOptions.of(options.get("metadata") or {}, self.where, partitioned=partitioned)
        if self.write.primary_key:
            raise ContractDefinitionError(
                self.where, "the metadata names a primary_key, and its contract says which that is.", "leave it out of the metadata."
            )
        self.retry = retry
        self.options = options
        self.signature = inspect.signature(function)
        self.hints = self._read_hints()
        returned = self.hints.get("return")
        self.yields = _batches_of(returned) is not None
        self.yielded = _batches_of(returned) if self.yields else returned
        self.contract = self._returned_contract()
        if self.write.disposition is WriteDisposition.MERGE and not (self.contract.primary_key or self.write.merge_key):
            raise ContractDefinitionError(
                self.where, f"a merge needs a key, and contract {self.contract.name} has none.",
                'add `metadata = {"primary_key": [...]}` to its Config.',
            )  # fmt: skip
        self.frames = self._frame_parameters(ins)
        self.carried = self._whose_rows()
        self.checks = self._check_specs()

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the definition says."""
        return self.options.get("metadata") or {}

    def build(self) -> dg.AssetsDefinition:
        options = dict(self.options)
        kinds = set(options.pop("kinds", ())) | {"pandas", "postgres"}
        description = options.pop("description", None) or inspect.getdoc(self.function)
        metadata = {
            **(options.pop("metadata", None) or {}),
            "dagster/column_schema": table_schema(self.contract.table.columns, self.contract.primary_key),
            "contract": self.contract.name,
            "write_mode": self.write.disposition.value,
        }
        io_manager_key = options.get("io_manager_key", "io_manager")
        # Dagster takes resources as parameters or by key, not both; ours are parameters, so all are.
        needed = {*options.pop("required_resource_keys", ()), io_manager_key} - set(self.signature.parameters)
        if self.retry is not None:
            options["retry_policy"] = _dagster_retry(self.retry)
        options.setdefault("group_name", self.key.path[0])
        inputs = {key for given in self.frames.values() if (key := given.key) is not None} | {self.key}
        referenced = {dg.AssetKey.from_user_string(reference.asset) for reference in self.contract.references}
        if referenced - inputs:
            options["deps"] = [*options.get("deps", ()), *sorted(referenced - inputs, key=lambda key: key.to_user_string())]
        decorate = dg.asset(
            key=self.key,
            ins=self.frames,
            kinds=kinds,
            description=description,
            metadata=metadata,
            check_specs=self.checks,
            **options,
        )
        _DEFINED[self.key] = DefinedAsset(contract=self.contract, table=table_of(self.key, self.metadata), options=self.write)
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
        model = _model_of(self.yielded)
        if model is None:
            raise ContractDefinitionError(
                self.where, "the function does not say which contract it returns.",
                "annotate it `-> DataFrame[YourContract]`, or `-> Iterator[DataFrame[YourContract]]` when it yields batches, with "
                "DataFrame from pandera.typing and a pandera DataFrameModel.",
            )  # fmt: skip
        return Contract.of(model)

    def _frame_parameters(self, ins: dict[str, str | dg.AssetKey | dg.AssetIn]) -> dict[str, dg.AssetIn]:
        frames: dict[str, dg.AssetIn] = {}
        for name in self.signature.parameters:
            annotation = self.hints.get(name)
            if name in ins:
                given = ins[name]
                asked = given if isinstance(given, dg.AssetIn) else dg.AssetIn(key=_key_of(given))
                frames[name] = asked._replace(metadata={**(asked.metadata or {}), **_input_metadata(annotation)})
            elif _is_frame(annotation):
                layer, _, table = name.partition("_")
                if layer not in LAYERS or not table:
                    raise ContractDefinitionError(
                        self.where, f"it is not clear which asset the parameter {name!r} is.",
                        f"name it {'_..., '.join(LAYERS)}_..., or say it: ins={{{name!r}: 'schema/table'}}.",
                    )  # fmt: skip
                frames[name] = dg.AssetIn(key=[layer, table], metadata=_input_metadata(annotation))
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
        """One asset check per rule, and those about all rows; the type rules of all columns share the one on columns."""
        contract, rows = self.contract, self.rows
        checks = {
            COLUMNS_MATCH: f"The columns are those of contract {contract.name}, and every value converts to the type of its column.",
            ROWS_ACCOUNTED_FOR: "Rows read = loaded + quarantined + dropped by a declared rule.",
        }
        checks |= {rule.name: rule.says for rule in contract.rules if rule.kind != "type"}
        if rows.says_volume:
            checks[ROW_COUNT] = rows.says_volume
        checks |= {fresh_name(column): f"The newest {column} is not older than {limit}." for column, limit in contract.freshness.items()}
        checks[ROWS_USABLE] = "Every row that was read can be made out, and PostgreSQL can store it in its table."
        checks[COLUMNS_UNCHANGED] = "The columns are those the table had before."
        return [
            dg.AssetCheckSpec(name, asset=self.key, blocking=name == ROWS_ACCOUNTED_FOR, description=says) for name, says in checks.items()
        ]

    # -- running the function ---------------------------------------------------------------------------------------

    def _compute_function(self, io_manager_key: str, needed: set[str]) -> Callable[..., Iterator[Any]]:
        contracts = {name: Contract.of(model) for name in self.frames if (model := _model_of(self.hints.get(name))) is not None}
        asset = RunnableAsset(
            function=self.function,
            key=self.key,
            contract=self.contract,
            input_contracts=contracts,
            carried=self.carried,
            rows=self.rows,
            checks={spec.name: spec for spec in self.checks},
            takes_context=next(iter(self.signature.parameters), None) == "context",
            yields=self.yields,
            metadata=self.metadata,
        )

        def compute(context: dg.AssetExecutionContext, **arguments: Any) -> Iterator[Any]:
            io_manager = arguments[io_manager_key]
            for name in needed:
                del arguments[name]
            yield from materialise(asset, context, arguments, io_manager)

        # Dagster reads parameters off the signature: frames become plain frames, the contract stays with us.
        parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=dg.AssetExecutionContext)]
        for name in self.signature.parameters:
            if name == "context":
                continue
            annotation = self.hints.get(name, inspect.Parameter.empty)
            if name in self.frames and annotation is not arrow.Table:
                annotation = Any if _batches_of(annotation) is not None else pd.DataFrame
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


def _with_write_mode(options: Mapping[str, Any], write: WriteDisposition | str) -> dict[str, Any]:
    """The options with `write` among the metadata, where everything else about writing is."""
    metadata = dict(options.get("metadata") or {})
    said, given = getattr(metadata.get("write_mode"), "value", metadata.get("write_mode")), getattr(write, "value", write)
    if said not in (None, given):
        raise ConfigurationError("etl_asset", f"write is {given!r}, and metadata write_mode {said!r}.", "say one of them.")
    return {**options, "metadata": {**metadata, "write_mode": given}}


def _model_of(annotation: Any) -> type[pa.DataFrameModel] | None:
    if typing.get_origin(annotation) is DataFrame:
        (model,) = typing.get_args(annotation)
        if isinstance(model, type) and issubclass(model, pa.DataFrameModel):
            return model
    return None


def _batches_of(annotation: Any) -> Any:
    """What `Iterator[...]` and its like yield; None for another annotation."""
    if typing.get_origin(annotation) in (Iterator, Iterable, Generator):
        return typing.get_args(annotation)[0]
    return None


def _is_frame(annotation: Any) -> bool:
    """Whether a parameter is the rows of an asset: whole, in batches, or as an Arrow table."""
    inner = _batches_of(annotation) or annotation
    return inner in (pd.DataFrame, arrow.Table) or _model_of(inner) is not None


def _input_metadata(annotation: Any) -> dict[str, Any]:
    return {BATCHES: True} if _batches_of(annotation) is not None else {}


def _key_of(given: str | dg.AssetKey) -> dg.AssetKey:
    return dg.AssetKey.from_user_string(given) if isinstance(given, str) else given


def _dagster_retry(policy: RetryPolicy) -> dg.RetryPolicy:
    return dg.RetryPolicy(
        max_retries=policy.attempts - 1,
        delay=policy.initial_seconds,
        backoff=dg.Backoff.EXPONENTIAL if policy.multiplier > 1 else None,
        jitter=dg.Jitter.FULL if policy.jitter else None,
    )


__all__ = ["DefinedAsset", "RowPolicy", "defined_asset", "defined_assets", "etl_asset"]
