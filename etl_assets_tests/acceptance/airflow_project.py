"""A Dagster project whose assets do what the tests ask for, by files in $TRIAL_FILES.

    <asset>.todo   one line per attempt, the first one is taken: fail, give up, check fails, sleep SECONDS, wait FILE
    <asset>.ran    a line per start of the asset: time, process id, partition

Not here: the tests (`test_airflow.py`), projects whose tables are compared (`airflow_shop.py`).
"""

import os
import time
from pathlib import Path

import dagster as dg

RETRIES = dg.RetryPolicy(max_retries=2, delay=3)


def _act(name: str, partition: str = "") -> str:
    """Do what the file of the asset says, and return what its check has to find."""
    folder = Path(os.environ["TRIAL_FILES"])
    with (folder / f"{name}.ran").open("a") as file:
        file.write(f"{time.time()} {os.getpid()} {partition}\n")
    todo = folder / f"{name}.todo"
    lines = todo.read_text().splitlines() if todo.exists() else []
    if lines:
        todo.write_text("\n".join(lines[1:]))
    action, _, value = (lines or [""])[0].partition(" ")
    if action == "fail":
        raise RuntimeError(f"{name} was asked to fail")
    if action == "give":
        raise dg.Failure(f"{name} was asked to give up", allow_retries=False)
    if action == "sleep":
        time.sleep(float(value))
    if action == "wait":
        while not (folder / value).exists():
            time.sleep(0.05)
    return "bad" if action == "check" else "good"


def _text(context: dg.AssetExecutionContext) -> str:
    return ",".join(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else ""


@dg.asset(group_name="chain", owners=["team:trial"], kinds={"python"}, description="Where it begins.")
def first(context: dg.AssetExecutionContext) -> int:
    context.log.info("first says hello to its log")
    _act("first")
    return 1


@dg.asset(group_name="chain", retry_policy=RETRIES)
def middle(first: int) -> int:
    _act("middle")
    return first + 1


@dg.asset(group_name="chain", check_specs=[dg.AssetCheckSpec("is_good", asset="guarded", blocking=True)])
def guarded(middle: int) -> dg.MaterializeResult:  # type: ignore[type-arg]
    good = _act("guarded") == "good"
    result = dg.AssetCheckResult(check_name="is_good", passed=good)
    return dg.MaterializeResult(metadata={"dagster/row_count": 30}, check_results=[result])


@dg.asset(group_name="chain", deps=[guarded], metadata={"airflow/priority_weight": 7})
def last() -> None:
    _act("last")


@dg.asset(group_name="elsewhere", deps=[last])
def follower() -> None:
    _act("follower")


@dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-01-01", timezone="Europe/Madrid"))
def by_day(context: dg.AssetExecutionContext) -> None:
    _act("by_day", _text(context))


@dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-01-01", timezone="Europe/Madrid"), deps=[by_day])
def after_day(context: dg.AssetExecutionContext) -> None:
    _act("after_day", _text(context))


@dg.asset(output_required=False)
def sometimes() -> object:
    if _act("sometimes") == "good":
        yield dg.Output(1)


@dg.asset
def after_sometimes(sometimes: int) -> int:
    _act("after_sometimes")
    return sometimes


class Greeting(dg.Config):
    """What the asset of the job with a config takes."""

    name: str
    times: int = 1


@dg.asset
def greeted(context: dg.AssetExecutionContext, config: Greeting) -> None:
    _act("greeted", f"{config.name}*{config.times}")


@dg.asset(pool="narrow")
def pooled_one() -> None:
    _act("pooled_one")


@dg.asset(pool="narrow")
def pooled_two() -> None:
    _act("pooled_two")


JOBS = {
    "chain": ["first", "middle", "guarded", "last"],
    "following": ["follower"],
    "days": ["by_day", "after_day"],
    "optional": ["sometimes", "after_sometimes"],
    "configured": ["greeted"],
    "pooled": ["pooled_one", "pooled_two"],
}
ASSETS = [first, middle, guarded, last, follower, by_day, after_day, sometimes, after_sometimes, greeted, pooled_one, pooled_two]
defs = dg.Definitions(
    assets=ASSETS,
    jobs=[dg.define_asset_job(name, selection=keys) for name, keys in JOBS.items()],
    resources={"io_manager": dg.FilesystemIOManager(base_dir=dg.EnvVar("TRIAL_VALUES"))},
)
