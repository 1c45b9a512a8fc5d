"""Dagster's partition keys as rows of a table.

Windows that follow each other become one, so that a run over a month is one condition and not thirty.

Not here: the condition in SQL (`conditions.py`).
"""

import datetime
from collections.abc import Mapping, Sequence

import dagster as dg

from etl_assets.errors import ConfigurationError
from etl_assets.loading.partitions import Partition, Slice


def partition_of(definition: dg.PartitionsDefinition, keys: Sequence[str], expressions: Mapping[str, str], where: str) -> Partition:
    """The rows of some partitions.

    Args:
        definition: The partitions of the asset.
        keys: Keys among them, at least one, in order.
        expressions: SQL expression by dimension; one of any name where there is only one dimension.
        where: The asset, for errors.

    Raises:
        ConfigurationError: A dimension has no expression, or an expression no dimension.
    """
    if isinstance(definition, dg.MultiPartitionsDefinition):
        dimensions = {one.name: one.partitions_def for one in definition.partitions_defs}
        if set(expressions) != set(dimensions):
            raise ConfigurationError(
                where, f"the partitions have the dimensions {sorted(dimensions)}, partition_expr names {sorted(expressions)}.",
                'write {"partition_expr": {"day": "day", "region": "region"}} with your dimensions.',
            )  # fmt: skip
        alternatives = tuple(
            tuple(
                _slices(dimensions[name], [part], expressions[name], where)[0]
                for name, part in _parts(definition, key).items()
            )
            for key in keys
        )  # fmt: skip
    else:
        if len(expressions) != 1:
            raise ConfigurationError(where, f"the partitions have one dimension, partition_expr names {sorted(expressions)}.", "name one.")
        (expression,) = expressions.values()
        alternatives = tuple((one,) for one in _slices(definition, keys, expression, where))
    return Partition(key=name_of(keys), alternatives=alternatives)


def name_of(keys: Sequence[str]) -> str:
    """What partitions are called together, as Dagster writes a range."""
    return str(keys[0]) if len(keys) == 1 else f"{keys[0]}...{keys[-1]}"


def _parts(definition: dg.MultiPartitionsDefinition, key: str) -> Mapping[str, str]:
    known = key if isinstance(key, dg.MultiPartitionKey) else definition.get_partition_key_from_str(key)
    return dict(known.keys_by_dimension)


def _slices(definition: dg.PartitionsDefinition, keys: Sequence[str], expression: str, where: str) -> list[Slice]:
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return [Slice(expression=expression, values=tuple(map(str, keys)))]
    # In UTC: two times of one zone are equal to Python even where a clock change lies between them.
    windows = sorted((definition.time_window_for_partition_key(key) for key in keys), key=lambda window: _instant(window.start))
    spans = [(windows[0].start, windows[0].end)]
    for window in windows[1:]:
        start, end = spans[-1]
        if _instant(window.start) == _instant(end):
            spans[-1] = (start, window.end)
        else:
            spans.append((window.start, window.end))
    return [Slice(expression=expression, start=start, end=end) for start, end in spans]


def _instant(moment: datetime.datetime) -> datetime.datetime:
    return moment.astimezone(datetime.UTC)


__all__ = ["name_of", "partition_of"]
