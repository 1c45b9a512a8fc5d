"""The tasks of a converted DAG: thin, every piece of Dagster work lies behind the launcher.

Not here: which tasks there are (`dags.py`); tasks that watch (`watching.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    conf,
)  # fmt: skip

from airflow_bridge.compat import add_partitions, asset_key, can_link, clear_number, run_page, task_states
from airflow_bridge.launcher import (
    AssetsRequest,
    FinishRequest,
    InlineLauncher,
    JobRequest,
    Launcher,
    LaunchError,
    Request,
    Response,
    StepRequest,
)  # fmt: skip
from airflow_bridge.links import DagsterAssetLink, DagsterRunLink
from airflow_bridge.manifest import Code

PARTITION = "partition"
"""Parameter of a DAG run that names its partition."""
RUN_CONFIG = "run_config"
"""Parameter of a DAG run that holds Dagster's run config."""


class StepError(AirflowException):
    """A step failed, and another attempt is granted.

    Attributes:
        wait_seconds: Until then, as Dagster's retry policy has it; None where Airflow decides.
        interrupted: The step was stopped by a signal.
    """

    def __init__(self, message: str, wait_seconds: float | None = None, *, interrupted: bool = False) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        self.interrupted = interrupted


class StepsError(AirflowFailException):
    """The task reports steps that failed in tasks of their own, which have told of it."""

    told_elsewhere = True


def wait_seconds(error: BaseException) -> float | None:
    """Seconds until the next attempt that an error of a step asks for; None where Airflow decides."""
    return error.wait_seconds if isinstance(error, StepError) else None


@dataclass(frozen=True, kw_only=True)
class Bond:
    """What the tasks of one DAG, or of one TaskGroup, have in common.

    Attributes:
        code: Where the definitions are.
        job: The Dagster job.
        launcher: How the tasks reach it.
        group: Id of the TaskGroup; "" for a whole DAG.
        steps: Keys of the steps that are tasks, where they are not all; else empty.
        run_config: Dagster's run config, perhaps with templates.
        tags: For the Dagster run.
        dagster_url: Address of the Dagster UI; "" where it is not known.
        finish: Id of the task that closes the run; "" for none.
    """

    code: Code
    job: str
    launcher: Launcher = field(default_factory=InlineLauncher)
    group: str = ""
    steps: tuple[str, ...] = ()
    run_config: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    dagster_url: str = ""
    finish: str = ""

    def task_id(self, name: str) -> str:
        """Full id of a task."""
        return f"{self.group}.{name}" if self.group else name


class BridgeOperator(BaseOperator):
    """What all tasks need: where the code is, and how to reach the runner.

    Attributes:
        bond: What the tasks of the DAG have in common.
        about: Keys of the assets that the task makes or checks.
        own_run: Each try is a Dagster run of its own.
    """

    own_run = False

    def __init__(self, *, bond: Bond, about: Sequence[str] = (), launcher: Launcher | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.bond = bond
        self.about = tuple(about)
        self.launcher = launcher or bond.launcher
        if bond.dagster_url and can_link():
            # Without an address there is nothing to link to.
            self.operator_extra_links = (DagsterRunLink(), DagsterAssetLink()) if self.about else (DagsterRunLink(),)

    def on_kill(self) -> None:
        """Airflow stops the task."""
        self.launcher.stop()

    def ask(self, request: Request) -> Response:
        """Have a request carried out.

        Raises:
            AirflowFailException: It cannot reach Dagster, and trying again would not help.
            StepError: What carried it out ended without a response.
        """
        try:
            return self.launcher.launch(request)
        except LaunchError as error:
            raise (StepError if error.retry else AirflowFailException)(str(error)) from error

    def where(self, context: Any) -> dict[str, Any]:
        """The fields of a request that say which run of which job."""
        bond = self.bond
        run_id = str(context["run_id"])
        dag_id = context["ti"].dag_id
        return {
            "module": bond.code.module,
            "attribute": bond.code.attribute,
            "location": bond.code.location,
            "job": bond.job,
            "dag_id": dag_id,
            "dag_run_id": run_id,
            "group": bond.group,
            "round": clear_number(context),
            "steps": bond.steps,
            "partition": partition(context),
            "run_config": self._run_config(context),
            "tags": {**bond.tags, **_address(dag_id, run_id)},
        }

    def _run_config(self, context: Any) -> dict[str, Any]:
        """The run config of the DAG, with templates filled in, and over it what the DAG run was triggered with."""
        own: Any = self.render_template(dict(self.bond.run_config), context) if self.bond.run_config else {}
        return _merge(own, (context.get("params") or {}).get(RUN_CONFIG) or {})

    def made(self, context: Any, response: Response) -> dict[str, int | None]:
        """Tell Airflow what was made: asset events with row counts, checks, partitions and run; row counts by asset as return value."""
        for check in response.checks:
            if not check.passed:
                self.log.warning("asset check did not pass: %s (%s)", check, check.severity)
        counts: dict[str, int | None] = {}
        of_asset: dict[str, list[Any]] = {}
        for one in response.materializations:
            counts[one.asset] = one.row_count
            of_asset.setdefault(one.asset, []).append(one)
        events = context.get("outlet_events")
        for outlet in self.outlets or ():
            key = asset_key(outlet)
            if events is None or key not in of_asset:
                continue
            made = of_asset[key]
            event = events[outlet]
            extra = {"dagster_run_id": response.run_id, "row_count": made[-1].row_count, "data_version": made[-1].data_version}
            checks = {check.name: check.passed for check in response.checks if check.asset == key}
            event.extra = {name: value for name, value in {**extra, "checks": checks or None}.items() if value is not None}
            keys = sorted({key for one in made for key in one.partitions})
            if getattr(context["dag_run"], "partition_key", None) is None:
                # A run with a partition key gives it to its asset events by itself.
                add_partitions(event, keys)
            if keys:
                event.extra["partitions"] = keys[:100]
        return counts


class StepOperator(BridgeOperator):
    """Executes one step of the Dagster run that belongs to this DAG run."""

    def __init__(self, *, step: str, **options: Any) -> None:
        super().__init__(**options)
        self.step = step

    def execute(self, context: Any) -> dict[str, int | None]:
        """Row counts by asset key; a failure that Dagster would not retry is not retried here either."""
        response = self.ask(
            StepRequest(**self.where(context), step=self.step, attempt=attempt(self, context), retries=self.retries or 0,
                        close=self._nobody_closes(context))
        )  # fmt: skip
        self.log.info("Dagster run %s, step %s", response.run_id, self.step)
        counts = self.made(context, response)
        if response.skipped:
            raise AirflowSkipException(f"step {self.step} has nothing to do: what it reads was not made.")
        if not response.success:
            raise failure(response)
        return counts

    def _nobody_closes(self, context: Any) -> bool:
        """The task was cleared alone: the one that closes the run has ended, and will not run again."""
        if not self.bond.finish or not clear_number(context):
            return False
        name = self.bond.task_id(self.bond.finish)
        return task_states(context, [name])[name] in ("success", "failed")


class JobOperator(BridgeOperator):
    """Executes the steps of the Dagster run, one after the other, in one process; they are watched, or the job cannot be told apart."""

    def __init__(self, *, watched: Mapping[str, str] | None = None, **options: Any) -> None:
        """Set up.

        Args:
            watched: Steps by the ids of the tasks that watch them; None where none does.
            options: Of every task.
        """
        super().__init__(**options)
        self.watched = dict(watched or {})

    def execute(self, context: Any) -> dict[str, int | None]:
        """Row counts by asset key; only steps whose task has not succeeded are executed."""
        states = task_states(context, list(self.watched)) if self.watched else {}
        only = tuple(step for name, step in self.watched.items() if states[name] != "success")
        response = self.ask(JobRequest(**self.where(context), only=only if len(only) < len(self.watched) else ()))
        self.log.info("Dagster run %s", response.run_id)
        counts = self.made(context, response)
        if response.success:
            return counts
        if self.watched and response.failed:
            raise StepsError(response.message)
        raise failure(response)


class AssetsOperator(BridgeOperator):
    """Materialises assets in a Dagster run of their own; Dagster's retries happen inside it."""

    own_run = True

    def __init__(self, *, assets: Sequence[str], checks: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.assets = tuple(assets)
        self.checks = tuple(checks)

    def execute(self, context: Any) -> dict[str, int | None]:
        """Row counts by asset key."""
        ti = context["ti"]
        response = self.ask(
            AssetsRequest(**self.where(context), task=ti.task_id, try_number=ti.try_number, assets=self.assets, checks=self.checks)
        )
        self.log.info("Dagster run %s", response.run_id)
        counts = self.made(context, response)
        if not response.success:
            raise StepError(response.message, interrupted=response.interrupted)
        return counts


class FinishOperator(BridgeOperator):
    """Closes the Dagster run when all steps are over; fails when one did not succeed, so that the DAG run fails too."""

    def __init__(self, *, closes: Mapping[str, str], **options: Any) -> None:
        """Set up.

        Args:
            closes: Ids of tasks by the steps that they execute.
            options: Of every task.
        """
        super().__init__(**options)
        self.closes = dict(closes)

    def execute(self, context: Any) -> None:
        """Ends the Dagster run as success or failure; a task that was marked by hand counts as it was marked."""
        of_tasks = task_states(context, sorted(set(self.closes.values())))
        alone = len(of_tasks) == len(self.closes)
        # A task that failed with several steps says nothing of each of them.
        states = {step: of_tasks[name] for step, name in self.closes.items() if alone or of_tasks[name] == "success"}
        response = self.ask(FinishRequest(**self.where(context), states=states))
        if response.success:
            return
        if response.retry:
            raise failure(response)
        raise (StepsError if "failed" in of_tasks.values() else AirflowFailException)(response.message)


def failure(response: Response) -> AirflowException:
    """What a task raises whose request did not succeed."""
    if response.retry:
        return StepError(response.message, response.wait_seconds, interrupted=response.interrupted)
    return AirflowFailException(response.message)


def attempt(task: BaseOperator, context: Any) -> int:
    """Attempts of a task before this one, since it was last cleared."""
    ti = context["ti"]
    retries = int(task.retries or 0)
    return max(0, int(ti.try_number) - 1 - max(0, _most_tries(ti, retries) - retries))


def _most_tries(ti: Any, retries: int) -> int:
    """The last try that Airflow grants, less one: it grows when the task is cleared."""
    given = getattr(ti, "max_tries", None)
    if given is None:
        server = getattr(ti, "_ti_context_from_server", None)
        given = server.max_tries if server is not None else retries
    return int(given)


def partition(context: Any) -> str | None:
    """The partition of the DAG run: its key where Airflow knows one, else its parameter."""
    given = context.get("partition_key") or (context.get("params") or {}).get(PARTITION)
    return str(given) if given else None


def _address(dag_id: str, dag_run_id: str) -> dict[str, str]:
    """Where the DAG run is to be seen, when Airflow knows its own address."""
    base = conf.get("api", "base_url", fallback="") or conf.get("webserver", "base_url", fallback="")
    if not base.startswith("http"):
        return {}
    return {"airflow/dag_run_url": f"{base.rstrip('/')}{run_page(dag_id, dag_run_id)}"}


def _merge(own: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(own)
    for name, value in over.items():
        before = result.get(name)
        result[name] = _merge(before, value) if isinstance(before, dict) and isinstance(value, Mapping) else value
    return result


__all__ = [
    "PARTITION", "RUN_CONFIG", "AssetsOperator", "Bond", "BridgeOperator", "FinishOperator", "JobOperator", "StepError", "StepOperator",
    "StepsError", "attempt", "failure", "partition", "wait_seconds",
]  # fmt: skip
