"""A Dagster project that knows nothing of etl_assets, for the bridge to convert."""

import os
from pathlib import Path

import dagster as dg


@dg.asset(group_name="sources", owners=["team:data"], kinds={"python"}, description="Three numbers.")
def numbers() -> list[int]:
    return [1, 2, 3]


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL))
def flaky(numbers: list[int]) -> int:
    """Fails as often as the file FLAKY_FILE says, then succeeds."""
    file = Path(os.environ["FLAKY_FILE"])
    left = int(file.read_text())
    if left:
        file.write_text(str(left - 1))
        raise RuntimeError("not yet")
    return sum(numbers)


@dg.asset(check_specs=[dg.AssetCheckSpec("is_positive", asset="total")], pool="database")
def total(flaky: int) -> dg.MaterializeResult:  # type: ignore[type-arg]
    return dg.MaterializeResult(
        metadata={"dagster/row_count": flaky}, check_results=[dg.AssetCheckResult(check_name="is_positive", passed=flaky > 100)]
    )


@dg.asset
def hopeless() -> None:
    raise dg.Failure("there is no hope", allow_retries=False)


@dg.asset
def counted() -> int:
    return 3


@dg.asset_check(asset=counted)
def is_small(counted: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=counted < 3)


class Storage(dg.ConfigurableResource["Storage"]):
    """A resource with a secret, as real projects have one."""

    password: str


DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-02-01", timezone="Europe/Madrid")
REGIONS = dg.StaticPartitionsDefinition(["eu", "us"])


def _note(context: dg.AssetExecutionContext) -> None:
    """What the step knows of its partition, for the test to read."""
    with (Path(os.environ["PROJECT_FILES"]) / "partitions").open("a") as file:
        file.write(",".join(map(str, context.partition_keys)) + "\n")


@dg.asset(partitions_def=DAYS)
def by_day(context: dg.AssetExecutionContext) -> None:
    _note(context)


@dg.asset(partitions_def=dg.MultiPartitionsDefinition({"day": DAYS, "region": REGIONS}))
def by_both(context: dg.AssetExecutionContext) -> None:
    _note(context)


@dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="customers"))
def by_customer(context: dg.AssetExecutionContext) -> None:
    _note(context)


job = dg.define_asset_job("sums", selection=["numbers", "flaky", "total"], description="Sums of numbers.")
failing = dg.define_asset_job("failing", selection=["hopeless"])
days = dg.define_asset_job("days", selection=["by_day"])
both = dg.define_asset_job("both", selection=["by_both"])
customers = dg.define_asset_job("customers", selection=["by_customer"])
checked = dg.define_asset_job("checked", selection=["counted"], description="An asset, then a check that is a step of its own.")
daily = dg.ScheduleDefinition(job=job, cron_schedule="0 6 * * *", execution_timezone="Europe/Madrid")
defs = dg.Definitions(
    assets=[numbers, flaky, total, hopeless, counted, by_day, by_both, by_customer],
    asset_checks=[is_small],
    jobs=[job, failing, checked, days, both, customers],
    schedules=[daily],
    resources={
        "io_manager": dg.FilesystemIOManager(base_dir=dg.EnvVar("PROJECT_FILES")),
        "storage": Storage(password=dg.EnvVar("PROJECT_PASSWORD")),
    },
)
