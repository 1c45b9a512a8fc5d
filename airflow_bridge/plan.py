"""The steps of a Dagster job: what runs, in which order, and how values go from one step to the next.

Beside `runner.py` the only module that reads what Dagster does not publish (execution plans); contract tests guard both against a new
Dagster release. Imports no airflow.

Not here: what a manifest says of a step (`job_manifest.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import StepKind
from dagster._core.system_config.objects import ExecutionConfig, OpConfig, ResolvedRunConfig


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A value that one step stores and another one loads.

    Attributes:
        upstream: Key of the step that stores it.
        io_manager: Key of the IO manager that keeps it.
        depends_only: There is no value: the step only waits.
    """

    upstream: str
    io_manager: str
    depends_only: bool


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step of a job's execution plan.

    Attributes:
        key: Step key.
        node: Name of the asset, graph or op at the top of the job.
        assets: Keys of the assets it materialises.
        checks: Asset key and name of the checks it evaluates.
        upstream: Keys of the steps it waits for.
        edges: What it loads.
        dynamic: How often it runs is only known while the job runs.
        tags: Of its op.
        pool: Its pool; None for none.
        retry_policy: Dagster's policy; None for none.
    """

    key: str
    node: str
    assets: tuple[dg.AssetKey, ...]
    checks: tuple[tuple[dg.AssetKey, str], ...]
    upstream: tuple[str, ...]
    edges: tuple[Edge, ...]
    dynamic: bool
    tags: Mapping[str, str]
    pool: str | None
    retry_policy: dg.RetryPolicy | None


def plan_of(job: dg.JobDefinition) -> list[PlannedStep]:
    """The steps of a job, each after its upstream; resources are left out, so that no variable has to be set."""
    without_config = {
        key: dg.IOManagerDefinition.hardcoded_io_manager(_NoStorage())
        if isinstance(resource, dg.IOManagerDefinition)
        else dg.ResourceDefinition.hardcoded_resource(None)
        for key, resource in job.resource_defs.items()
    }
    # The steps do not depend on values of the run config, and what it demands is not known here.
    no_config = ResolvedRunConfig(ops=_NoConfig(), execution=ExecutionConfig("in_process", {}))
    plan: Any = ExecutionPlan.build(job.with_top_level_resources(without_config), no_config)
    upstream = plan.get_all_step_deps()
    steps = {step.key: step for step in plan.get_all_steps_in_topo_order()}
    planned = []
    for step in steps.values():
        outputs = [output.properties for output in step.step_outputs]
        planned.append(
            PlannedStep(
                key=step.key,
                node=step.node_handle.root.name,
                assets=tuple(o.asset_key for o in outputs if o.asset_key is not None and o.asset_check_key is None),
                checks=tuple((o.asset_check_key.asset_key, o.asset_check_key.name) for o in outputs if o.asset_check_key is not None),
                upstream=tuple(sorted(upstream.get(step.key, ()))),
                edges=tuple(_edges(job, steps, step)),
                dynamic=step.kind is not StepKind.COMPUTE or any(o.is_dynamic for o in outputs),
                tags=dict(step.tags),
                pool=step.pool,
                retry_policy=job.get_retry_policy_for_handle(step.node_handle),
            )
        )
    return planned


def _edges(job: dg.JobDefinition, steps: Mapping[str, Any], step: Any) -> list[Edge]:
    found = []
    for given in step.step_inputs:
        handles = getattr(given.source, "step_output_handle_dependencies", None) or ()
        for handle in handles:
            source = steps.get(handle.step_key)
            if source is None:
                continue
            definition = job.get_node(source.node_handle).definition.output_def_named(handle.output_name)
            nothing = definition.dagster_type.is_nothing or given.dagster_type_key == "Nothing"
            found.append(Edge(upstream=handle.step_key, io_manager=definition.io_manager_key, depends_only=nothing))
    return found


class _NoConfig(dict[str, OpConfig]):
    """Every op has an empty config."""

    def __missing__(self, key: str) -> OpConfig:
        return OpConfig.from_dict({})


class _NoStorage(dg.IOManager):
    """Stands where an IO manager would, while a plan is looked at and nothing runs."""

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        raise NotImplementedError

    def load_input(self, context: dg.InputContext) -> object:
        raise NotImplementedError


__all__ = ["Edge", "PlannedStep", "plan_of"]
