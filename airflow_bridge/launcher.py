"""How an Airflow task reaches the runner: one request, one response, both plain values. Standard library only.

    InlineLauncher      in the task's own process: dagster and the project are installed beside Airflow
    SubprocessLauncher  by another interpreter: the Airflow worker needs neither
    ContainerLauncher   in a container, by the operators of Airflow's Docker or Kubernetes provider (`containers.py`)

Not here: what the runner does (`runner.py`).
"""

import contextlib
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

_NAMESPACE = uuid.UUID("0b8f2a4e-6c1d-5e3f-9a7b-2d4c6e8f0a1b")
RUNNER = "airflow_bridge.runner"
"""Module that reads a request from standard input, or from its only argument, and writes a response."""
KEPT = "airflow_bridge.kept"
"""Module that a process has imported when it may hold definitions of projects."""
RESPONSE = "AIRFLOW_BRIDGE_RESPONSE"
"""Variable with the path of a file that the runner writes its response to, too."""


def run_id_for(dag_id: str, dag_run_id: str, group: str = "", *, task: str = "", try_number: int = 0) -> str:
    """The Dagster run that belongs to an Airflow run, to a TaskGroup in it, or to one try of a task."""
    more = [group, task, str(try_number)] if task else [group] if group else []
    return str(uuid.uuid5(_NAMESPACE, "\n".join([dag_id, dag_run_id, *more])))


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which run of which job; what the requests have in common.

    Attributes:
        module, attribute, location, job: From the manifest.
        dag_id, dag_run_id: The Airflow run.
        group: TaskGroup that the job is in the DAG; "" where it is the whole DAG. The three together name the Dagster run.
        round: How often tasks of the DAG run were cleared: a run that has ended, or was cancelled, goes on when this has grown.
        steps: Keys of the steps that the DAG has; empty for all of the job.
        partition: Partition key, or a range "first...last"; None for a job without partitions.
        run_config: Dagster's run config.
        tags: For the Dagster run, should this be its first step.
    """

    module: str
    attribute: str
    location: str
    job: str
    dag_id: str
    dag_run_id: str
    group: str = ""
    round: int = 0
    steps: tuple[str, ...] = ()
    partition: str | None = None
    run_config: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The Dagster run that belongs to the Airflow run."""
        return run_id_for(self.dag_id, self.dag_run_id, self.group)


@dataclass(frozen=True, kw_only=True)
class StepRequest(Request):
    """One step to execute.

    Attributes:
        step: Step key.
        attempt: Attempts of this step before this one, in this round.
        retries: Attempts that Airflow grants after the first.
        close: Nothing will close the Dagster run after this step, so it closes with it.
    """

    step: str
    attempt: int = 0
    retries: int = 0
    close: bool = False


@dataclass(frozen=True, kw_only=True)
class JobRequest(Request):
    """Several steps to execute, one after the other, in one process.

    Attributes:
        only: Keys of the steps to execute; empty for all.
    """

    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AssetsRequest(Request):
    """Assets to materialise in a Dagster run of their own.

    Attributes:
        task: Id of the Airflow task.
        try_number: Of the task; each try is a run.
        assets: Asset keys.
        checks: Checks, as "asset key:check name".
    """

    task: str
    try_number: int
    assets: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """The Dagster run of this try."""
        return run_id_for(self.dag_id, self.dag_run_id, self.group, task=self.task, try_number=self.try_number)


@dataclass(frozen=True, kw_only=True)
class FinishRequest(Request):
    """Close the Dagster run of an Airflow run.

    Attributes:
        states: Airflow's state of each step's task, where it has one: one that was marked as successful by hand is.
    """

    states: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Materialization:
    """An asset that a step made.

    Attributes:
        asset: Asset key.
        row_count: Rows of the asset, or of its partition; None when unknown.
        data_version: As Dagster has it; None for none.
        partitions: Partition keys; empty for an asset without partitions.
    """

    asset: str
    row_count: int | None = None
    data_version: str | None = None
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What an asset check found.

    Attributes:
        asset: Asset key.
        name: Of the check.
        passed: It found nothing.
        severity: "WARN" or "ERROR".
    """

    asset: str
    name: str
    passed: bool
    severity: str

    def __str__(self) -> str:
        return f"{self.asset}:{self.name}"


@dataclass(frozen=True, kw_only=True)
class Response:
    """What came of a request.

    Attributes:
        run_id: The Dagster run.
        success: The step succeeded, or every step of the run did.
        failed: Keys of the steps that failed here.
        skipped: The step had nothing to do: what it reads was not made.
        retry: Another attempt may help, and is granted.
        wait_seconds: Until the next attempt, as Dagster's retry policy has it; None where Airflow decides.
        interrupted: It was stopped by a signal.
        message: Why it failed, readable; empty on success.
        materializations: What the step made.
        checks: What asset checks found.
    """

    run_id: str
    success: bool
    failed: tuple[str, ...] = ()
    skipped: bool = False
    retry: bool = False
    wait_seconds: float | None = None
    interrupted: bool = False
    message: str = ""
    materializations: tuple[Materialization, ...] = ()
    checks: tuple[CheckResult, ...] = ()


class LaunchError(Exception):
    """The runner could not be reached; the message names the cause and the next step.

    Attributes:
        retry: It was reached and ended without a response, as when it is killed; another attempt may help.
    """

    def __init__(self, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry


class Launcher(Protocol):
    """Anything that turns a request into a response."""

    def launch(self, request: Request) -> Response:
        """Carry out the request and wait for its end."""

    def stop(self) -> None:
        """Break off what is being carried out; called when Airflow stops the task."""


@dataclass(kw_only=True)
class SubprocessLauncher:
    """Runs the request with another interpreter.

    Attributes:
        python: Interpreter of an environment with dagster, this package and the project.
        folder: Working directory, from which the project's module is importable; None for this process's.
        variables: Set for the interpreter, beside those of this process.
    """

    python: str = sys.executable
    folder: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    _process: "subprocess.Popen[str] | None" = field(default=None, init=False, repr=False, compare=False)

    def launch(self, request: Request) -> Response:
        """See `Launcher`.

        Raises:
            LaunchError: The interpreter cannot be started, or it ended without a response.
        """
        try:
            self._process = subprocess.Popen(
                [self.python, "-m", RUNNER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # As in InlineLauncher.
                stderr=1,
                text=True,
                cwd=self.folder,
                env={**os.environ, **self.variables} if self.variables else None,
            )
        except OSError as error:
            raise LaunchError(f"{self.python} cannot be started ({error.strerror}). Next: correct `python` of the launcher.") from error
        output, _ = self._process.communicate(encode(request))
        code, self._process = self._process.returncode, None
        return decode(output, f"{self.python} ended with code {code} and no response. Next: see its output above in the task log.")

    def stop(self) -> None:
        """See `Launcher`."""
        if self._process is not None:
            self._process.terminate()


@dataclass(frozen=True, kw_only=True)
class InlineLauncher:
    """Runs the request in this process; in a new interpreter where it holds definitions that are not those of now (`kept.py`)."""

    _anew: SubprocessLauncher = field(default_factory=SubprocessLauncher, init=False, repr=False, compare=False)

    def launch(self, request: Request) -> Response:
        """See `Launcher`.

        Raises:
            LaunchError: dagster cannot be imported here, or a new interpreter ended without a response.
        """
        kept: Any = sys.modules.get(KEPT)
        reason = "" if kept is None else kept.outdated()
        if reason:
            sys.stdout.write(
                f"{reason} This task imports the project anew. Next: start Airflow's scheduler or worker again for warm starts.\n"
            )
            self._anew.variables = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            return self._anew.launch(request)
        try:
            runner: Any = importlib.import_module(RUNNER)
        except ImportError as error:
            raise LaunchError(
                f"dagster cannot be imported in this Airflow worker ({error}). Next: install it beside Airflow, or give "
                "SubprocessLauncher(python=...) the interpreter of the project."
            ) from error
        # Airflow takes what comes on standard error for errors, and Dagster writes its whole log there.
        with contextlib.redirect_stderr(sys.stdout):
            response: Response = runner.handle(request)
        return response

    def stop(self) -> None:
        """See `Launcher`; this process itself is stopped, and Dagster with it."""
        self._anew.stop()


_KINDS: Mapping[str, type[Request]] = {"step": StepRequest, "job": JobRequest, "assets": AssetsRequest, "finish": FinishRequest}


def encode(request: Request) -> str:
    """A request as JSON."""
    (kind,) = (name for name, type_ in _KINDS.items() if isinstance(request, type_))
    return json.dumps({"kind": kind, **dataclasses.asdict(request)})


def request_of(text: str) -> Request:
    """The request that `encode` wrote."""
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}
    kind = str(given.pop("kind"))
    return _KINDS[kind](**given)


def decode(output: str, otherwise: str) -> Response:
    """The response in a runner's output: the last line that is one, since the project may print.

    Args:
        output: What the runner wrote.
        otherwise: The message where it wrote no response.

    Raises:
        LaunchError: There is none.
    """
    for line in reversed(output.strip().splitlines()):
        try:
            content = json.loads(line)
            made = tuple(Materialization(**{**one, "partitions": tuple(one["partitions"])}) for one in content["materializations"])
            checks = tuple(CheckResult(**one) for one in content["checks"])
            return Response(**{**content, "materializations": made, "failed": tuple(content["failed"]), "checks": checks})
        except (ValueError, TypeError, KeyError):
            continue
    raise LaunchError(otherwise, retry=True)


__all__ = [
    "RESPONSE", "RUNNER", "AssetsRequest", "CheckResult", "FinishRequest", "InlineLauncher", "JobRequest", "LaunchError", "Launcher",
    "Materialization", "Request", "Response", "StepRequest", "SubprocessLauncher", "decode", "encode", "request_of", "run_id_for",
]  # fmt: skip
