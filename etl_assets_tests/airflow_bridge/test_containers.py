"""Requests that run in containers, as far as the operators of Airflow's providers: their arguments, and what is made of their answers.

Not here: an engine or a cluster, which Airflow's operators speak to.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.providers.docker.operators.docker import DockerOperator

from airflow_bridge.containers import ContainerLauncher, DockerLauncher, KubernetesLauncher, pod_of
from airflow_bridge.dags import dag_from_manifest
from airflow_bridge.export import manifests_of, read_project, write
from airflow_bridge.job_manifest import Project
from airflow_bridge.launcher import RESPONSE, LaunchError, StepRequest, encode
from airflow_bridge.manifest import Code, ManifestError
from airflow_bridge.operators import StepError

PROJECT = "etl_assets_tests.airflow_bridge.project"
COMMAND = ["python", "-m", "airflow_bridge.runner", "{}"]
REQUEST = StepRequest(module=PROJECT, attribute="defs", location=PROJECT, job="sums", dag_id="sums", dag_run_id="manual", step="numbers")
KUBERNETES = {
    "container_config": {"resources": {"limits": {"memory": "2Gi", "nvidia.com/gpu": "1"}}, "env": [{"name": "MODE", "value": "fast"}]},
    "pod_spec_config": {"nodeSelector": {"disk-type": "ssd"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
    "pod_template_spec_metadata": {"labels": {"team": "data"}},
}
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: nowhere
clusters: [{name: nowhere, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody}}]
users: [{name: nobody, user: {}}]
"""


def test_a_docker_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator runs the runner in the image, with the variables that are named, which no log shows, and is removed at the end."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("DAGSTER_HOME", "/opt/dagster")
    launcher = DockerLauncher(image="project:1.4", variables=["DATABASE_URL"], options={"network_mode": "host", "mem_limit": "2g"})
    made: Any = launcher.operator("sums.numbers", COMMAND)
    assert isinstance(made, DockerOperator)
    assert (made.image, made.command, made.network_mode, made.mem_limit) == ("project:1.4", COMMAND, "host", "2g")
    assert (made.auto_remove, made.mount_tmp_dir, made.environment) == ("force", False, {})
    assert made._private_environment == {
        "DAGSTER_HOME": "/opt/dagster", "DATABASE_URL": "postgresql://secret", RESPONSE: made.retrieve_output_path,
    }  # fmt: skip


def test_a_variable_that_the_worker_has_not() -> None:
    """A variable that the container should get and the worker has not is an error with its name."""
    with pytest.raises(LaunchError, match=r"NOT_THERE is not set for this task\. Next: "):
        DockerLauncher(image="project", variables=["NOT_THERE"]).operator("task", COMMAND)


def test_a_pod() -> None:
    """The operator runs the runner in the image, takes what else it is given, and hands back what the runner writes."""
    launcher = KubernetesLauncher(image="project:1.4", python="/opt/python", options={"namespace": "etl", "env_vars": {"A": "b"}})
    made: Any = launcher.operator("sums.numbers", ["/opt/python", *COMMAND[1:]])
    assert isinstance(made, KubernetesPodOperator)
    assert (made.image, made.cmds, made.arguments, made.namespace) == ("project:1.4", ["/opt/python"], COMMAND[1:], "etl")
    assert (made.do_xcom_push, made.durable, made.env_vars) == (True, False, {"A": "b", RESPONSE: "/airflow/xcom/return.json"})


def test_a_pod_as_dagster_would_make_it(tmp_path: Path) -> None:
    """What `dagster-k8s/config` says of a step is in its pod, for the container that Airflow runs it in."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    options = {"config_file": str(tmp_path / "kubeconfig"), "in_cluster": False, "namespace": "etl", "kubernetes_conn_id": None}
    launcher = KubernetesLauncher(image="project", options=options).with_pod(KUBERNETES)
    made: Any = launcher.operator("task", COMMAND)
    request = made.build_pod_request_obj()
    (container, *_) = request.spec.containers
    assert (container.name, container.image) == ("base", "project")
    assert container.resources.limits == {"memory": "2Gi", "nvidia.com/gpu": "1"}
    assert {"MODE", RESPONSE} <= {one.name for one in container.env}
    assert (request.spec.node_selector, request.spec.tolerations[0].operator) == ({"disk-type": "ssd"}, "Exists")
    assert request.metadata.labels["team"] == "data"


def test_a_pod_with_something_unknown() -> None:
    """A setting that a pod has not is an error with its name."""
    with pytest.raises(ValueError, match="a V1Container of Kubernetes has no memory"):
        pod_of({"container_config": {"memory": "2Gi"}})


def exported(folder: Path, config: Any) -> Path:
    """The manifest of a job whose only step has a `dagster-k8s/config`."""

    @dg.asset(op_tags={"dagster-k8s/config": config})
    def heavy() -> int:
        return 1

    definitions = dg.Definitions(assets=[heavy], jobs=[dg.define_asset_job("one", selection=[heavy])])
    project = Project(definitions, Code(module="module", attribute="defs", location="module"))
    return write(manifests_of(project), folder)[0]


def test_the_pod_of_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step's `dagster-k8s/config` reaches the launcher's pod, or the executor's where that makes pods, and else nothing."""
    manifest = exported(tmp_path, KUBERNETES)
    own = KubernetesLauncher(image="project")
    dag = dag_from_manifest(manifest, launcher=own)
    task: Any = dag.get_task("heavy")
    finish: Any = dag.get_task("finish")
    assert (task.launcher.pod, task.executor_config) == (KUBERNETES, {})
    assert (finish.launcher.pod, own.pod) == ({}, {})
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "KubernetesExecutor")
    executed: Any = dag_from_manifest(manifest).get_task("heavy")
    assert executed.executor_config["pod_override"].spec.node_selector == {"disk-type": "ssd"}
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    local: Any = dag_from_manifest(manifest).get_task("heavy")
    assert local.executor_config == {}


def test_a_wrong_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `dagster-k8s/config` that Kubernetes would refuse is an import error where the DAG has pods, and else the task's error."""
    manifest = exported(tmp_path, {"pod_spec_config": {"tolerations": [{"keys": "gpu"}]}})
    said = r"dagster-k8s/config of .* a V1Toleration of Kubernetes has no keys\. Next: "
    task: Any = dag_from_manifest(manifest, launcher=KubernetesLauncher(image="project")).get_task("heavy")
    with pytest.raises(LaunchError, match=said):
        task.launcher.operator("heavy", COMMAND)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "KubernetesExecutor")
    with pytest.raises(ManifestError, match=said):
        dag_from_manifest(manifest)


def test_watching_needs_the_event_log(tmp_path: Path) -> None:
    """Mode watch is refused with a launcher that runs requests in containers: the triggerer could not read what happens."""
    write(manifests_of(read_project(PROJECT), ["sums"]), tmp_path)
    with pytest.raises(ManifestError, match=r'mode="watch" reads Dagster\'s event log where the triggerer runs.* Next: '):
        dag_from_manifest(tmp_path / "sums.json", mode="watch", launcher=DockerLauncher(image="project"))


class Local(ContainerLauncher):
    """Runs what would run in a container on this machine, by an operator like those of the providers."""

    command: str = ""

    def operator(self, task_id: str, command: Any) -> Any:
        class Operator(DockerOperator):
            def execute(self, context: Any) -> Any:
                path = Path(os.environ[RESPONSE])
                done = subprocess.run([sys.executable, *command[1:]], check=False, stdout=subprocess.DEVNULL, env={**os.environ})
                if done.returncode:
                    raise AirflowException("exit code")
                return json.loads(path.read_text())

        return Operator(task_id=task_id, image=self.image, command=list(command))


def launched(monkeypatch: pytest.MonkeyPatch, folder: Path, **variables: str) -> Any:
    """What comes of the first step of the project's sums."""
    (folder / "dagster.yaml").write_text("")
    for name, value in {
        "DAGSTER_HOME": str(folder),
        "PROJECT_FILES": str(folder),
        RESPONSE: str(folder / "response.json"),
        **variables,
    }.items():
        monkeypatch.setenv(name, value)
    context = {"ti": type("TaskInstance", (), {"task_id": "numbers"})()}
    monkeypatch.setattr("airflow_bridge.containers.get_current_context", lambda: context)
    return Local(image="project").launch(REQUEST)


def test_what_the_runner_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The runner takes its request as an argument and writes its response to the file that the operator brings back."""
    response = launched(monkeypatch, tmp_path)
    assert (response.message, [one.asset for one in response.materializations]) == ("", ["numbers"])


def test_a_container_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container that ends badly, as one that is killed, may be tried again; Airflow's retries decide."""
    with pytest.raises(LaunchError, match=r"the container of project failed: exit code.* Next: ") as raised:
        launched(monkeypatch, tmp_path, PYTHONHOME="/nowhere")
    assert raised.value.retry


def test_a_launcher_that_may_be_tried_again(tmp_path: Path) -> None:
    """A task whose launcher was broken off is tried again; one whose launcher cannot start at all is not."""
    write(manifests_of(read_project(PROJECT), ["sums"]), tmp_path)

    class Broken(DockerLauncher):
        retry = True

        def launch(self, request: Any) -> Any:
            raise LaunchError("broken off", retry=self.retry)

    launcher = Broken(image="project")
    task: Any = dag_from_manifest(tmp_path / "sums.json", launcher=launcher).get_task("numbers")
    with pytest.raises(StepError):
        task.ask(REQUEST)
    launcher.retry = False
    with pytest.raises(AirflowFailException):
        task.ask(REQUEST)


def test_a_request_is_one_argument() -> None:
    """A request is a line of JSON, so that a command can hold it."""
    assert json.loads(encode(REQUEST))["step"] == "numbers"
