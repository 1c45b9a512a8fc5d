"""The tasks of a manifest, made inside a DAG or a TaskGroup: which there are, their options, their order.

Not here: the DAG itself, its schedule and parameters (`dags.py`); what the tasks do (`operators.py`, `watching.py`).
"""

import datetime
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import TaskGroup, conf

from airflow_bridge.alerts import AlertNotifier
from airflow_bridge.compat import airflow_asset, can_watch, retry_policy
from airflow_bridge.containers import ContainerLauncher, KubernetesLauncher, pod_of
from airflow_bridge.launcher import InlineLauncher
from airflow_bridge.manifest import Manifest, ManifestError, Step
from airflow_bridge.operators import AssetsOperator, Bond, FinishOperator, JobOperator, StepOperator, wait_seconds
from airflow_bridge.options import Options, task_options
from airflow_bridge.selection import choose, order

FINISH = "finish"
PRODUCER = "run_job"
_URL = "DAGSTER_URL"
# Closing a run costs little and must not be lost to a restart of a database.
_FINISH_RETRIES = {"retries": 3, "retry_delay": datetime.timedelta(seconds=20)}
_WAITS = retry_policy(wait_seconds)


class Tasks:
    """Makes the tasks of one manifest.

    Attributes:
        steps: That are tasks.
    """

    def __init__(self, manifest: Manifest, options: Options, where: str | Path, *, dag_id: str, group: str = "") -> None:
        self.manifest = manifest
        self.options = options
        self.where = where
        self.dag_id = dag_id
        self.steps = choose(manifest, options.select, options.exclude)
        self._own = task_options(manifest, options, where)
        self._names = {step.key for step in self.steps}
        everything = {name for step in manifest.steps for name in (step.key, step.node)}
        self._finish_id, self._producer_id = _free(FINISH, everything), _free(PRODUCER, everything)
        self._group_ids = {step.group: _free(f"group_{step.group}", everything) for step in manifest.steps if step.group is not None}
        self._order = order(manifest, self._names)
        self._waited = {key for keys in self._order.values() for key in keys}
        self._partial = len(self.steps) < len(manifest.steps)
        whole = manifest.whole
        if whole and options.mode != "steps":
            raise ManifestError(
                f'{where}: the steps of job {manifest.job} are only known while it runs. Next: leave out mode, it is "steps".'
            )
        if whole and self._partial:
            raise ManifestError(
                f"{where}: the steps of job {manifest.job} are only known while it runs. Next: leave out select and exclude."
            )
        if options.mode == "watch" and not can_watch():
            raise ManifestError(f'{where}: mode="watch" needs Airflow 3.3. Next: use mode="steps".')
        if options.mode == "watch" and isinstance(options.launcher, ContainerLauncher):
            raise ManifestError(
                f'{where}: mode="watch" reads Dagster\'s event log where the triggerer runs, which a container cannot. '
                'Next: use mode="steps", or InlineLauncher or SubprocessLauncher.'
            )
        events = sorted({event for alert in options.alerts for event in alert.on})
        self.bond = Bond(
            code=manifest.code,
            job=manifest.job,
            launcher=options.launcher or InlineLauncher(),
            group=group,
            steps=tuple(step.key for step in self.steps) if self._partial else (),
            run_config=options.run_config,
            tags={"airflow/alerts": ",".join(events)} if events else {},
            dagster_url=(os.environ.get(_URL, "") if options.dagster_url is None else options.dagster_url).rstrip("/"),
            finish="" if options.mode == "asset_runs" else self._finish_id,
        )

    def add(self, only: str | None) -> None:
        """Make the tasks in the DAG or TaskGroup that is open.

        Args:
            only: Full id of the one task that is needed; None for all of them.
        """
        wanted = None if only is None else only.removeprefix(f"{self.bond.group}.") if self.bond.group else only
        if self.manifest.whole:
            self._add_whole(wanted)
        elif self.options.mode == "asset_runs":
            self._add_runs(wanted)
        else:
            self._add_steps(wanted)

    def _add_steps(self, only: str | None) -> None:
        watch = self.options.mode == "watch"
        groups: dict[str, TaskGroup] = {}
        made: dict[str, Any] = {}
        for step in self.steps:
            if only is None or only == step.key:
                made[step.key] = self._watcher(step, groups) if watch else self._step(step, groups)
        if only is None:
            _connect(made, self._order)
        ends = [task for task in made.values() if not task.downstream_task_ids] if only is None else []
        if watch and only in (None, self._producer_id):
            watched = {self.bond.task_id(step.key): step.key for step in self.steps}
            ends.append(
                JobOperator(
                    task_id=self._producer_id, watched=watched, outlets=self._outlets(self.steps), **self._shared([], {}, tells=True)
                )
            )
        self._finish(only, ends)

    def _step(self, step: Step, groups: dict[str, TaskGroup]) -> Any:
        own = {**_retries(step), **self._own.get(step.key, {})}
        if _WAITS is not None and step.retry is not None and "retry_delay" not in self._own.get(step.key, {}):
            own["retry_policy"] = _WAITS
        return StepOperator(
            task_id=step.key, step=step.key, outlets=self._outlets([step]), inlets=_assets(step.external), **self._place(step, groups, own)
        )

    def _watcher(self, step: Step, groups: dict[str, TaskGroup]) -> Any:
        from airflow_bridge.watching import WatchOperator

        # Dagster's retries happen in the producer; a watcher that were tried again could not tell whether its step was.
        own = {**self._own.get(step.key, {}), "retries": 0}
        return WatchOperator(
            task_id=step.key,
            step=step.key,
            producer=self.bond.task_id(self._producer_id),
            dag_id=self.dag_id,
            **self._place(step, groups, own),
        )

    def _finish(self, only: str | None, ends: Sequence[Any]) -> None:
        if only not in (None, self._finish_id):
            return
        closes = {step.key: self.bond.task_id(self._producer_id if self.manifest.whole else step.key) for step in self.steps}
        finish = FinishOperator(task_id=self._finish_id, closes=closes, **self._shared([], dict(_FINISH_RETRIES), tells=True, ends=True))
        # A teardown runs whatever became of the tasks before it, and also when somebody marks the DAG run as failed.
        finish.as_teardown(on_failure_fail_dagrun=True)
        if ends:
            finish.set_upstream(list(ends))

    def _add_whole(self, only: str | None) -> None:
        ends = []
        if only in (None, self._producer_id):
            about = [asset for step in self.steps for asset in step.assets]
            shared = self._shared(about, {}, tells=True)
            ends.append(
                JobOperator(
                    task_id=self._producer_id, outlets=self._outlets(self.steps), doc_md=self.manifest.description, about=about, **shared
                )
            )
        self._finish(only, ends)

    def _add_runs(self, only: str | None) -> None:
        """A task per asset, graph asset or check: what is inside one is one Dagster run."""
        node_of = {step.key: step.node for step in self.steps}
        nodes: dict[str, list[Step]] = {}
        for step in self.steps:
            nodes.setdefault(step.node, []).append(step)
        groups: dict[str, TaskGroup] = {}
        made: dict[str, Any] = {}
        waits: dict[str, set[str]] = {}
        for node, steps in nodes.items():
            waits[node] = {node_of[key] for step in steps for key in self._order[step.key]} - {node}
            if only not in (None, node):
                continue
            last = steps[-1]
            own = {name: value for step in steps for name, value in self._own.get(step.key, {}).items()}
            made[node] = AssetsOperator(
                task_id=node,
                assets=[asset for step in steps for asset in step.assets],
                checks=[str(check) for step in steps for check in step.checks],
                outlets=self._outlets(steps),
                inlets=_assets(sorted({key for step in steps for key in step.external})),
                **self._place(last, groups, own),
            )
        if only is None:
            _connect(made, waits)

    def _place(self, step: Step, groups: dict[str, TaskGroup], own: Mapping[str, Any]) -> dict[str, Any]:
        """The options of the task of a step, and the TaskGroup it stands in."""
        about = step.assets or tuple(dict.fromkeys(check.asset for check in step.checks))
        result = self._shared(about, {**_owner(step), **_priority(step), **own}, tells=True)
        self._on_kubernetes(step, result)
        if self.options.pools and step.pool is not None:
            result.setdefault("pool", step.pool)
        documentation = _documentation(step)
        if documentation:
            result.setdefault("doc_md", documentation)
        if self.options.groups and step.group is not None:
            if step.group not in groups:
                # Ids without the group's prefix stay the same when an asset moves to another group.
                name = self.bond.task_id(self._group_ids[step.group])
                groups[step.group] = TaskGroup(name, prefix_group_id=False, tooltip=f"asset group {step.group}")
            result["task_group"] = groups[step.group]
            if self.bond.group:
                result["task_group"].prefix_group_id = False
        result["about"] = about
        return result

    def _on_kubernetes(self, step: Step, result: dict[str, Any]) -> None:
        """Give the task's pod what `dagster-k8s/config` says, when there will be one."""
        config = step.airflow.get("k8s_config")
        if config is None:
            return
        launcher = result.get("launcher") or self.bond.launcher
        try:
            if isinstance(launcher, KubernetesLauncher):
                result["launcher"] = launcher.with_pod(config)
            elif "kubernetes" in conf.get("core", "executor", fallback="").lower():
                result.setdefault("executor_config", {"pod_override": pod_of(config)})
        except ValueError as error:
            raise ManifestError(f"{self.where}: dagster-k8s/config of step {step.key}: {error} Next: correct the tag.") from error

    def _shared(self, about: Sequence[str], own: dict[str, Any], *, tells: bool, ends: bool = False) -> dict[str, Any]:
        result = {"execution_timeout": self.options.timeout, "bond": self.bond, **own}
        events = {event for alert in self.options.alerts for event in alert.on}
        wanted = [("failure", "on_failure_callback"), ("retry", "on_retry_callback")] if tells else []
        wanted += [("success", "on_success_callback")] if ends else []
        for event, callback in wanted:
            if event not in events:
                continue
            teller = AlertNotifier(
                event, self.options.alerts, about, dagster_url=self.bond.dagster_url, group=self.bond.group,
                own_run=self.options.mode == "asset_runs",
            )  # fmt: skip
            before = result.get(callback)
            result[callback] = [*(before if isinstance(before, list) else [before] if before else []), teller]
        return result

    def _outlets(self, steps: Iterable[Step]) -> list[Any]:
        if self.options.outlets == "none":
            return []
        names: dict[str, Any] = {}
        for step in steps:
            every = self.options.outlets == "all" or (self._partial and step.key not in self._waited)
            for key in step.assets if every else step.outlets:
                names[key] = step.airflow.get("uri")
        return [airflow_asset(key, uri) for key, uri in names.items()]


def _free(name: str, taken: Collection[str]) -> str:
    """A name that no step has."""
    while name in taken:
        name += "_"
    return name


def _assets(keys: Iterable[str]) -> list[Any]:
    return [airflow_asset(key) for key in keys]


def _connect(tasks: Mapping[str, Any], waits: Mapping[str, Iterable[str]]) -> None:
    for key, upstream in waits.items():
        later = tasks[key]
        for one in upstream:
            # What set_downstream does in the end; before it, it computes the hash of the whole DAG for every edge.
            tasks[one].downstream_task_ids.add(later.task_id)
            later.upstream_task_ids.add(tasks[one].task_id)


def _owner(step: Step) -> dict[str, str]:
    return {"owner": step.owners[0]} if step.owners else {}


def _priority(step: Step) -> dict[str, Any]:
    # Airflow counts from 1, and adds up what is downstream unless told otherwise.
    return {"priority_weight": 1 + step.priority, "weight_rule": "absolute"} if step.priority else {}


def _retries(step: Step) -> dict[str, Any]:
    """For a task that was killed, and before Airflow 3.3, the nearest that Airflow can do; else its policy waits as Dagster does."""
    if step.retry is None:
        return {}
    return {
        "retries": step.retry.max_retries,
        "retry_delay": datetime.timedelta(seconds=step.retry.delay_seconds),
        "retry_exponential_backoff": step.retry.backoff == "exponential",
    }


def _documentation(step: Step) -> str:
    lines = [step.description] if step.description else []
    if len(step.owners) > 1:
        lines.append(f"Owners: {', '.join(step.owners)}")
    if step.checks:
        lines.append("Checks: " + ", ".join(f"{check}{' (blocking)' if check.blocking else ''}" for check in step.checks))
    return "\n\n".join(lines)


__all__ = ["FINISH", "PRODUCER", "Tasks"]
