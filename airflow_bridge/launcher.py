"""How an Airflow task reaches the runner: one request, one response, both plain values. Standard library only.

    InlineLauncher      in the task's own process: dagster and the project are installed beside Airflow
    SubprocessLauncher  by another interpreter: the Airflow worker needs neither

Not here: what the runner does (`runner.py`).
"""

import dataclasses
import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class StepRequest:
    """One step to execute.

    Attributes:
        module, attribute, location, job: From the manifest.
        step: Step key.
        dag_id, dag_run_id: The Airflow run; together they name the Dagster run.
        attempt: Attempts of this step before this one.
        partition: Partition key, or a range "first...last"; None for a job without partitions.
        tags: Tags for the Dagster run, should this be its first step.
    """

    module: str
    attribute: str
    location: str
    job: str
    step: str
    dag_id: str
    dag_run_id: str
    attempt: int = 0
    partition: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FinishRequest:
    """Close the Dagster run of an Airflow run; fields as in `StepRequest`.

    Attributes:
        steps: Keys of all steps the run should have.
    """

    module: str
    attribute: str
    location: str
    job: str
    dag_id: str
    dag_run_id: str
    steps: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Response:
    """What came of a request.

    Attributes:
        run_id: The Dagster run.
        success: The step succeeded, or every step of the run did.
        retry: Dagster's retry policy allows another attempt.
        message: Why it failed, readable; empty on success.
        materializations: Asset key to row count (None when unknown).
        failed_checks: Asset checks that did not pass, as "asset key:check name".
    """

    run_id: str
    success: bool
    retry: bool = False
    message: str = ""
    materializations: Mapping[str, int | None] = field(default_factory=dict)
    failed_checks: tuple[str, ...] = ()


class LaunchError(Exception):
    """The runner could not be reached; the message names the cause and the next step."""


class Launcher(Protocol):
    """Anything that turns a request into a response."""

    def launch(self, request: StepRequest | FinishRequest) -> Response:
        """Carry out the request and wait for its end."""


@dataclass(frozen=True, kw_only=True)
class InlineLauncher:
    """Runs the request in this process."""

    def launch(self, request: StepRequest | FinishRequest) -> Response:
        """See `Launcher`.

        Raises:
            LaunchError: dagster cannot be imported here.
        """
        try:
            runner: Any = importlib.import_module("airflow_bridge.runner")
        except ImportError as error:
            raise LaunchError(
                f"dagster cannot be imported in this Airflow worker ({error}). Next: install it beside Airflow, or give "
                "SubprocessLauncher(python=...) the interpreter of the project."
            ) from error
        response: Response = runner.handle(request)
        return response


@dataclass(frozen=True, kw_only=True)
class SubprocessLauncher:
    """Runs the request with another interpreter.

    Attributes:
        python: Interpreter of an environment with dagster, this package and the project.
        folder: Working directory, from which the project's module is importable; None for this process's.
    """

    python: str = sys.executable
    folder: str | None = None

    def launch(self, request: StepRequest | FinishRequest) -> Response:
        """See `Launcher`.

        Raises:
            LaunchError: The interpreter cannot be started, or it ended without a response.
        """
        kind = "step" if isinstance(request, StepRequest) else "finish"
        message = json.dumps({"kind": kind, **dataclasses.asdict(request)})
        try:
            done = subprocess.run(
                [self.python, "-m", "airflow_bridge.runner"], input=message, stdout=subprocess.PIPE, text=True, check=False, cwd=self.folder
            )
        except OSError as error:
            raise LaunchError(f"{self.python} cannot be started ({error.strerror}). Next: correct `python` of the launcher.") from error
        # The project may print; the response is the last line.
        lines = done.stdout.strip().splitlines()
        try:
            content = json.loads(lines[-1])
            return Response(**{**content, "failed_checks": tuple(content["failed_checks"])})
        except (IndexError, ValueError, TypeError, KeyError) as error:
            raise LaunchError(
                f"{self.python} ended with code {done.returncode} and no response. Next: see its output above in the task log."
            ) from error


__all__ = ["FinishRequest", "InlineLauncher", "LaunchError", "Launcher", "Response", "StepRequest", "SubprocessLauncher"]
