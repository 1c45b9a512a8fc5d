"""Launchers that run each request in a container, by the operators of Airflow's Docker and Kubernetes providers.

    dags_from_folder("manifests", launcher=DockerLauncher(image="project:1.4", variables=("DATABASE_URL",)))
    dags_from_folder("manifests", launcher=KubernetesLauncher(image="project:1.4", options={"namespace": "etl"}))

The image holds dagster, this package and the project, importable from its working directory; Airflow's workers need none of them. What
Dagster's tag `dagster-k8s/config` says of a step goes to its pod.

Not here: requests and responses (`launcher.py`).
"""

import dataclasses
import inspect
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, BaseOperator, get_current_context

from airflow_bridge.launcher import RESPONSE, RUNNER, LaunchError, Request, Response, decode, encode

_POD_CONTAINER = "base"
"""What both Airflow's executor and its operator call the container of a task."""
_XCOM = "/airflow/xcom/return.json"
"""Where the sidecar of Airflow's Kubernetes operator looks for a result."""
_FILE = "/tmp/airflow_bridge_response.json"  # noqa: S108 - in a container of its own
"""Where the Docker operator shall: what attaching to a container shows may be cut into pieces."""


@dataclass(kw_only=True)
class ContainerLauncher:
    """What both kinds have in common.

    Attributes:
        image: With dagster, this package and the project.
        python: Interpreter in the image.
        options: Further arguments of the provider's operator.
    """

    image: str
    python: str = "python"
    options: Mapping[str, Any] = field(default_factory=dict)
    _operator: Any = field(default=None, init=False, repr=False, compare=False)

    def launch(self, request: Request) -> Response:
        """Carry out the request in a container, and wait for its end.

        Raises:
            LaunchError: The provider is missing, or the container could not run or gave no response.
        """
        context: Any = get_current_context()
        command = [self.python, "-m", RUNNER, encode(request)]
        self._operator = self.operator(str(context["ti"].task_id), command)
        try:
            # Unwrapped: Airflow warns of an operator inside another one, which is what is wanted here.
            answer = inspect.unwrap(type(self._operator).execute)(self._operator, context)
        except AirflowException as error:
            raise LaunchError(f"the container of {self.image} failed: {error} Next: see its log above.", retry=True) from error
        finally:
            self._operator = None
        return decode(json.dumps(answer), f"the container of {self.image} gave no response. Next: see its log above.")

    def stop(self) -> None:
        """Stop the container; called when Airflow stops the task."""
        if self._operator is not None:
            self._operator.on_kill()

    def operator(self, task_id: str, command: Sequence[str]) -> BaseOperator:
        """The provider's operator for one command.

        Raises:
            LaunchError: The provider is missing.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class DockerLauncher(ContainerLauncher):
    """Runs each request in a Docker container; needs apache-airflow-providers-docker.

    Attributes:
        variables: Names of variables that the container gets from the worker, secrets too; DAGSTER_HOME is one of them when it is set.
    """

    variables: Sequence[str] = ()

    def operator(self, task_id: str, command: Sequence[str]) -> BaseOperator:
        """See `ContainerLauncher`."""
        try:
            from airflow.providers.docker.operators.docker import DockerOperator
        except ImportError as error:
            raise LaunchError("DockerLauncher needs a provider. Next: install apache-airflow-providers-docker.") from error
        missing = [name for name in self.variables if name not in os.environ]
        if missing:
            raise LaunchError(f"{', '.join(missing)} is not set for this task. Next: set it in the worker's environment.")
        passed = {name: os.environ[name] for name in ("DAGSTER_HOME", *self.variables) if name in os.environ}
        chosen = {
            "auto_remove": "force",
            "mount_tmp_dir": False,
            "retrieve_output_path": _FILE,
            **self.options,
        }
        # Shown in no log.
        chosen["private_environment"] = {
            **passed,
            RESPONSE: str(chosen["retrieve_output_path"]),
            **self.options.get("private_environment", {}),
        }
        made = DockerOperator(task_id=task_id, image=self.image, command=list(command), retrieve_output=True, **chosen)
        # It would read the response by pickle.
        made.pickling_library = json
        return made


@dataclass(kw_only=True)
class KubernetesLauncher(ContainerLauncher):
    """Runs each request in a pod; needs apache-airflow-providers-cncf-kubernetes.

    Variables and secrets reach the pod as for any other: `options={"env_from": ..., "secrets": ...}`.

    Attributes:
        pod: What Dagster's tag `dagster-k8s/config` says.
    """

    pod: Mapping[str, Any] = field(default_factory=dict)

    def with_pod(self, config: Mapping[str, Any]) -> "KubernetesLauncher":
        """The same for a step with a `dagster-k8s/config`."""
        return dataclasses.replace(self, pod=config)

    def operator(self, task_id: str, command: Sequence[str]) -> BaseOperator:
        """See `ContainerLauncher`."""
        try:
            from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
        except ImportError as error:
            raise LaunchError("KubernetesLauncher needs a provider. Next: install apache-airflow-providers-cncf-kubernetes.") from error
        try:
            pod = {"full_pod_spec": pod_of(self.pod)} if self.pod else {}
        except ValueError as error:
            raise LaunchError(f"dagster-k8s/config of this step: {error} Next: correct the tag and export again.") from error
        # Another try is another attempt of the step. The option has a new name since Airflow 3.3.
        again = "durable" if "durable" in inspect.signature(KubernetesPodOperator.__init__).parameters else "reattach_on_restart"
        chosen = {
            again: False,
            **pod,
            **self.options,
            "env_vars": {RESPONSE: _XCOM, **self.options.get("env_vars", {})},
        }
        made: BaseOperator = KubernetesPodOperator(
            task_id=task_id, image=self.image, cmds=list(command[:1]), arguments=list(command[1:]), do_xcom_push=True, **chosen
        )
        return made


def pod_of(config: Mapping[str, Any]) -> Any:
    """A Kubernetes pod from Dagster's `dagster-k8s/config`, for the container that Airflow calls "base".

    Raises:
        ValueError: It names something that a pod has not.
    """
    container = _model("V1Container", {**config.get("container_config", {}), "name": _POD_CONTAINER})
    spec = _model("V1PodSpec", {**config.get("pod_spec_config", {}), "containers": []})
    spec.containers = [container, *(spec.containers or [])]
    metadata = _model("V1ObjectMeta", config.get("pod_template_spec_metadata", {}))
    return _model("V1Pod", {"metadata": metadata, "spec": spec})


def _model(name: str, given: Any) -> Any:
    """An object of the Kubernetes client from plain values, whose names are written in either way: `node_selector`, `nodeSelector`."""
    from kubernetes.client import models

    listed = re.fullmatch(r"list\[(.+)\]", name)
    if listed is not None and isinstance(given, list):
        return [_model(listed[1], one) for one in given]
    kind = getattr(models, name, None)
    if kind is None or not isinstance(given, Mapping):
        return given
    names = {**{camel: snake for snake, camel in kind.attribute_map.items()}, **{snake: snake for snake in kind.attribute_map}}
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"a {name} of Kubernetes has no {', '.join(unknown)}.")
    return kind(**{names[key]: _model(kind.openapi_types[names[key]], value) for key, value in given.items()})


__all__ = ["ContainerLauncher", "DockerLauncher", "KubernetesLauncher", "pod_of"]
