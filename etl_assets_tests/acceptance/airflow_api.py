"""Airflow's REST API, as far as the tests need it.

Not here: servers (`airflow_servers.py`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from airflow_bridge.local_airflow import USER, RunningAirflow

OVER = ("success", "failed")


@dataclass
class AirflowApi:
    """One Airflow, by its address.

    Attributes:
        airflow: That runs.
    """

    airflow: RunningAirflow
    _session: requests.Session = field(default_factory=requests.Session)

    def log_in(self) -> None:
        answer = self._session.post(
            f"{self.airflow.url}/auth/token", json={"username": USER, "password": self.airflow.password}, timeout=60
        )
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, body: Any = None, **parameters: Any) -> Any:
        if "Authorization" not in self._session.headers:
            self.log_in()
        answer = self._session.request(method, f"{self.airflow.url}/api/v2/{path}", json=body, params=parameters, timeout=60)
        if not answer.ok:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def until(self, what: str, look: Callable[[], Any], limit_seconds: float = 180) -> Any:
        """Wait for something that is true."""
        end = time.monotonic() + limit_seconds
        last: Any = None
        while time.monotonic() < end:
            try:
                last = look()
            except (requests.ConnectionError, AssertionError) as error:
                last = error
            else:
                if last:
                    return last
            time.sleep(0.4)
        raise AssertionError(f"{what} did not come in {limit_seconds} s; last: {last}")

    def trigger(
        self, dag: str, *, partition_key: str | None = None, conf: Mapping[str, Any] | None = None, run_id: str | None = None
    ) -> str:
        """Start a DAG run; returns its id."""
        self.until(f"DAG {dag}", lambda: self.call("PATCH", f"dags/{dag}", {"is_paused": False}))
        body: dict[str, Any] = {"logical_date": None}
        for name, value in (("partition_key", partition_key), ("conf", conf), ("dag_run_id", run_id)):
            if value is not None:
                body[name] = value
        return str(self.call("POST", f"dags/{dag}/dagRuns", body)["dag_run_id"])

    def run(self, dag: str, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"dags/{dag}/dagRuns/{run_id}")
        return found

    def ended(self, dag: str, run_id: str, limit_seconds: float = 240) -> str:
        """State of the DAG run when it is over."""

        def look() -> str | None:
            state = str(self.run(dag, run_id)["state"])
            return state if state in OVER else None

        return str(self.until(f"the end of {dag} {run_id}", look, limit_seconds))

    def tasks(self, dag: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Task instances by task id."""
        found = self.call("GET", f"dags/{dag}/dagRuns/{run_id}/taskInstances", limit=500)["task_instances"]
        return {one["task_id"]: one for one in found}

    def states(self, dag: str, run_id: str) -> dict[str, str | None]:
        return {name: one["state"] for name, one in self.tasks(dag, run_id).items()}

    def until_task(self, dag: str, run_id: str, task: str, *states: str | None, limit_seconds: float = 180) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.tasks(dag, run_id).get(task)
            return found if found is not None and found["state"] in states else None

        found: dict[str, Any] = self.until(f"{dag}.{task} in {states}", look, limit_seconds)
        return found

    def clear(self, dag: str, run_id: str, *tasks: str, downstream: bool = False, only_failed: bool = False) -> list[str]:
        """Clear tasks of a run; all when none is named."""
        body: dict[str, Any] = {"dry_run": False, "dag_run_id": run_id, "only_failed": only_failed, "include_downstream": downstream}
        if tasks:
            body["task_ids"] = list(tasks)
        found = self.call("POST", f"dags/{dag}/clearTaskInstances", body)["task_instances"]
        return sorted(one["task_id"] for one in found)

    def mark(self, dag: str, run_id: str, task: str, state: str) -> None:
        self.call("PATCH", f"dags/{dag}/dagRuns/{run_id}/taskInstances/{task}", {"new_state": state})

    def log(self, dag: str, run_id: str, task: str, try_number: int = 1) -> str:
        """The text of a task's log, with its exceptions."""
        found = self.call("GET", f"dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/logs/{try_number}", full_content="true")
        lines = []
        for one in found["content"]:
            lines.append(str(one.get("event", one)) if isinstance(one, dict) else str(one))
            lines += [str(error["exc_value"]) for error in (one.get("error_detail") or [])] if isinstance(one, dict) else []
        return "\n".join(lines)

    def xcom(self, dag: str, run_id: str, task: str, key: str = "return_value") -> Any:
        return self.call("GET", f"dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/xcomEntries/{key}", deserialize="true")["value"]

    def links(self, dag: str, run_id: str, task: str) -> dict[str, str | None]:
        found: dict[str, str | None] = self.call("GET", f"dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/links")["extra_links"]
        return found

    def asset_events(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", "assets/events", source_dag_id=dag, source_run_id=run_id)["asset_events"]
        return found

    def import_errors(self) -> dict[str, str]:
        """Texts by file name."""
        found = self.call("GET", "importErrors", limit=100)["import_errors"]
        return {one["filename"]: one["stack_trace"] for one in found}
