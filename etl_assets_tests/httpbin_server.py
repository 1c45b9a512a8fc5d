"""httpbin as a server of its own for tests, and how a test starts and stops any server.

A server counts as started once `answers` says that it is this very server, and not another program on the same port, that answers.

Not here: servers that `make acceptance` installs (`acceptance/servers.py`).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from etl_assets.ports import free_port

# Where Linux offers it, the server ends with the test run even when that is killed and cleans up nothing.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
START_SECONDS = 60
STOP_SECONDS = 20
# Of a venv of its own, which the Makefile makes: httpbin's dependencies do not go together with those of Airflow.
HTTPBIN_PYTHON = Path(sys.prefix) / "httpbin" / "bin" / "python"


class ServerNotStartedError(Exception):
    """A server did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True, kw_only=True)
class RunningServer:
    """A server process that answered.

    Attributes:
        process: The process; its output goes to the log.
        port: TCP port on 127.0.0.1.
    """

    process: "subprocess.Popen[bytes]"
    port: int


def start_server(
    command: Callable[[int], Sequence[str]],
    answers: Callable[[int], bool],
    *,
    folder: Path,
    port: int | None = None,
    **popen: Any,
) -> RunningServer:
    """Start a server and wait until it answers.

    Args:
        command: Gives the command line for a port.
        answers: Whether it is this server that answers on a port; OSError means not yet.
        folder: Working folder of the server; its output is appended to `server.log` in it.
        port: A port that must be used; None takes a free one, and another one when somebody else was faster.
        popen: Passed on to `subprocess.Popen`.

    Raises:
        ServerNotStartedError: The process ended, or did not answer in time.
    """
    log = folder / "server.log"
    for attempts_left in (2, 1, 0):
        chosen = port or free_port()
        said_before = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*_ENDS_WITH_US, *command(chosen)],
                cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **popen,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        try:
            while process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    if answers(chosen):
                        return RunningServer(process=process, port=chosen)
                time.sleep(0.05)
        except BaseException:
            stop_server(process)
            raise
        outcome = f"did not answer within {START_SECONDS} s" if process.poll() is None else f"ended with {process.returncode}"
        stop_server(process)
        said = log.read_bytes()[said_before:].decode(errors="replace")
        taken = "EADDRINUSE" in said or "address already in use" in said.lower()
        if port is not None or not taken or not attempts_left:
            raise ServerNotStartedError(f"{command(chosen)} on port {chosen} {outcome}. It said:\n{said[-3000:] or '(nothing)'}")
    raise AssertionError("the last attempt returns or raises")


def stop_server(process: "subprocess.Popen[bytes]") -> None:
    """End a server and the processes it started, kindly first; does nothing when it has ended."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    # The server leads a group of its own; what is left of it goes too.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def temporary_folder(*, owner: tuple[int, int] | None = None) -> Iterator[Path]:
    """An empty folder that every account may enter; it belongs to `owner`, a user and a group, when one is given."""
    with tempfile.TemporaryDirectory(prefix="etl-assets-server-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if owner is not None:
            os.chown(folder, *owner)
        yield folder


@contextlib.contextmanager
def served(command: Callable[[int], Sequence[str]], answers: Callable[[int], bool], *, folder: Path, **popen: Any) -> Iterator[int]:
    """The port of a server that runs inside the `with` block; see `start_server`."""
    running = start_server(command, answers, folder=folder, **popen)
    try:
        yield running.port
    finally:
        stop_server(running.process)


def get(url: str, **arguments: Any) -> requests.Response:
    """GET from a server on this machine, past any proxy that the environment names."""
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=5, **arguments)


@contextlib.contextmanager
def serve_httpbin() -> Iterator[str]:
    """The base URL of a running httpbin, such as `http://127.0.0.1:40123`, without a slash at the end.

    Raises:
        ServerNotStartedError: httpbin is not installed, or did not start.
    """
    if not HTTPBIN_PYTHON.exists():
        raise ServerNotStartedError(f"{HTTPBIN_PYTHON} does not exist. Next: `make acceptance` installs httpbin.")
    # The socket is made here and handed over, so nobody else can answer on its port.
    with temporary_folder() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        command = [
            str(HTTPBIN_PYTHON), "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}", "--threads", "8",
            "--access-logfile", "-", "httpbin:app",
        ]  # fmt: skip
        running = start_server(
            lambda _: command,
            lambda _: get(f"http://127.0.0.1:{port}/uuid").status_code == 200,
            folder=folder, port=port, pass_fds=(listener.fileno(),),
            # gunicorn keeps a control socket in its home.
            env={**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
        )  # fmt: skip
        # From here on the port is closed as soon as httpbin ends.
        listener.close()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            stop_server(running.process)


__all__ = ["RunningServer", "ServerNotStartedError", "get", "serve_httpbin", "served", "start_server", "stop_server", "temporary_folder"]
