"""An Airflow of one's own on this machine, to try converted DAGs: all its parts, each a process of its own. Standard library only.

    with LocalAirflow(home=..., dags=..., database_url=..., port=8080).start() as airflow:
        airflow.wait_until_healthy()

It listens on loopback only and has one user with a password made for it. For production see the documentation of Airflow.

Not here: what the DAGs are (`dags.py`).
"""

import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
USER = "admin"
_PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_STOP_SECONDS = 20
_PRELOAD = '''"""Read by Airflow in every process: tasks start warm."""

from airflow_bridge.preload import warm

warm()
'''


class LocalAirflowError(Exception):
    """Airflow could not be started; the message names the cause and the next step."""


@dataclass(frozen=True, kw_only=True)
class LocalAirflow:
    """How to start it.

    Attributes:
        home: Airflow's own folder: password, logs, configuration. Made when missing.
        dags: Folder of the DAG files.
        database_url: Of an empty PostgreSQL database, or the one of an earlier start.
        port: Of the UI and the REST API, on loopback.
        slots: Tasks that run at the same time.
        executor: "LocalExecutor", or "CeleryExecutor" with `workers`.
        workers: Celery workers, each with as many slots.
        variables: Environment of all parts, beside that of this process.
        warm: Import what tasks need once, before they are forked.
        python: Interpreter of the environment that has Airflow.
    """

    home: Path
    dags: Path
    database_url: str
    port: int
    slots: int = 4
    executor: str = "LocalExecutor"
    workers: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)
    warm: bool = True
    python: str = sys.executable

    def start(self) -> "RunningAirflow":
        """Make or migrate the database and start all parts; they need some more seconds to be healthy.

        Raises:
            LocalAirflowError: The port is taken, or the database cannot be used.
        """
        if not _is_free(self.port):
            raise LocalAirflowError(f"port {self.port} is taken. Next: stop what listens there, or choose another port.")
        (self.home / "config").mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        self.dags.mkdir(parents=True, exist_ok=True)
        settings = self.home / "config" / "airflow_local_settings.py"
        if self.warm:
            settings.write_text(_PRELOAD)
        else:
            settings.unlink(missing_ok=True)
        password = self._kept("password", secrets.token_urlsafe(12))
        passwords = self.home / "passwords.json"
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({USER: password}))
        running = RunningAirflow(self, password, self._environment())
        running.migrate()
        try:
            for name in self._parts():
                running.restart(name)
        except BaseException:
            running.stop()
            raise
        return running

    def command(self, part: str) -> list[str]:
        """Of one part."""
        airflow = [self.python, "-m", "airflow"]
        if part.startswith("worker"):
            return [*airflow, "celery", "worker", "--skip-serve-logs", "--celery-hostname", f"{part}@%h", "--concurrency", str(self.slots)]
        if part == "api-server":
            return [*airflow, "api-server", "--host", HOST, "--port", str(self.port), "--workers", "1"]
        return [*airflow, part, *(["--skip-serve-logs"] if part in ("scheduler", "triggerer") else [])]

    def _parts(self) -> Sequence[str]:
        return ("api-server", "scheduler", "dag-processor", "triggerer", *(f"worker-{number + 1}" for number in range(self.workers)))

    def _kept(self, name: str, value: str) -> str:
        """A secret that was made at the first start."""
        path = self.home / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(value)
        return path.read_text()

    def _environment(self) -> dict[str, str]:
        own = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": f"http://{HOST}:{self.port}",
            "AIRFLOW__API_AUTH__JWT_SECRET": self._kept("jwt_secret", secrets.token_hex(32)),
            "AIRFLOW__API__SECRET_KEY": self._kept("secret_key", secrets.token_hex(32)),
            "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{self.port}/execution/",
            "AIRFLOW__CORE__EXECUTOR": self.executor,
            "AIRFLOW__CORE__FERNET_KEY": self._kept("fernet_key", _fernet_key()),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": str(self.slots * max(1, self.workers)),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            # SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3, which Airflow does not bring.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database_url.replace("postgresql://", "postgresql+psycopg2://", 1),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PATH": f"{Path(self.python).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        return {**os.environ, **own, **self.variables}


@dataclass
class RunningAirflow:
    """An Airflow whose parts run; a context manager that stops them.

    Attributes:
        settings: How it was started.
        password: Of the user "admin".
        variables: Environment of its parts, for commands such as `airflow pools import`.
        processes: By the name of the part: "api-server", "scheduler", "dag-processor", "triggerer", "worker-1".
    """

    settings: LocalAirflow
    password: str
    variables: Mapping[str, str]
    processes: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)

    def __enter__(self) -> "RunningAirflow":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Address of the UI."""
        return f"http://{HOST}:{self.settings.port}"

    def log(self, part: str) -> Path:
        """What a part has said."""
        return self.settings.home / f"{part}.log"

    def migrate(self) -> None:
        """Bring the database to this version of Airflow.

        Raises:
            LocalAirflowError: It cannot be used.
        """
        done = subprocess.run(
            [self.settings.python, "-m", "airflow", "db", "migrate"], env=dict(self.variables), capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise LocalAirflowError(
                f"`airflow db migrate` failed: {said[-1] if said else done.returncode}. Next: correct the address of the database."
            )

    def restart(self, part: str) -> None:
        """Start a part that does not run."""
        with self.log(part).open("ab") as log:
            self.processes[part] = subprocess.Popen(
                self.settings.command(part),
                env=dict(self.variables),
                cwd=self.settings.home,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def kill(self, part: str) -> None:
        """End a part and all its processes with SIGKILL."""
        self._signal(part, signal.SIGKILL)
        self.processes.pop(part).wait()

    def wait_until_healthy(self, limit_seconds: float = 240) -> None:
        """Wait until every part answers.

        Raises:
            LocalAirflowError: One ended, or they are not healthy in time.
        """
        end = time.monotonic() + limit_seconds
        while time.monotonic() < end:
            self.refuse_ended()
            found = self._health()
            if all((found.get(part) or {}).get("status") == "healthy" for part in _PARTS):
                return
            time.sleep(0.3)
        raise LocalAirflowError(f"it is not healthy after {limit_seconds:.0f} s. Next: see the logs in {self.settings.home}.")

    def refuse_ended(self) -> None:
        """Look whether all parts run.

        Raises:
            LocalAirflowError: One has ended.
        """
        for part, process in self.processes.items():
            if process.poll() is not None:
                raise LocalAirflowError(f"{part} ended: {self._last_line(part)}. Next: see {self.log(part)}.")

    def stop(self) -> None:
        """Stop all parts; those that do not end in time are killed."""
        for part in self.processes:
            self._signal(part, signal.SIGTERM)
        end = time.monotonic() + _STOP_SECONDS
        for part, process in self.processes.items():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
            # What a part has forked may outlive it.
            self._signal(part, signal.SIGKILL)
            process.wait()
        self.processes.clear()

    def _signal(self, part: str, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.processes[part].pid, number)

    def _health(self) -> dict[str, Any]:
        try:
            # No proxy stands before loopback.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{self.url}/api/v2/monitor/health", timeout=10) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except (OSError, ValueError):
            return {}

    def _last_line(self, part: str) -> str:
        lines = self.log(part).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def serve(settings: LocalAirflow, say: Callable[[str], object]) -> None:
    """Run it until Ctrl-C or SIGTERM.

    Args:
        settings: How to start it.
        say: Shows a line to the person who started it.

    Raises:
        LocalAirflowError: It cannot start, or a part of it ended.
    """
    say("Starting Airflow ...")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    # Also Ctrl-C by hand: a shell that starts this in the background has it ignored.
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with settings.start() as running:
            running.wait_until_healthy()
            say(f"Airflow: {running.url}   user {USER}, password {running.password}   (Ctrl-C stops it)")
            while True:
                time.sleep(1)
                running.refuse_ended()
    except KeyboardInterrupt:
        say("Airflow is stopped.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError:
            return False
    return True


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


__all__ = ["HOST", "USER", "LocalAirflow", "LocalAirflowError", "RunningAirflow", "serve"]
