"""`etl-assets`: help for a newcomer, and one clear error for everything that can go wrong."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl_assets_tests.end_to_end.conftest import CLI, ROOT, Home


@pytest.mark.parametrize(
    "arguments", [["--help"], ["demo", "-h"], ["ui", "-h"], ["exec", "-h"], ["postgres", "-h"], ["postgres", "start", "-h"]]
)
def test_help(arguments: list[str]) -> None:
    """Every command explains itself."""
    done = subprocess.run([*CLI, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 3


def test_help_names_the_first_step() -> None:
    """The help tells a newcomer which command to start with."""
    assert "Start with `etl-assets demo`" in subprocess.run([*CLI, "-h"], capture_output=True, text=True, check=True).stdout


def test_postgres_life_cycle(home: Home) -> None:
    """status, url and start of a running server agree on its port."""
    status, url, start = (home.run("postgres", name).stdout for name in ("status", "url", "start"))
    port = url.rsplit(":", 1)[1].split("/")[0]
    assert f"127.0.0.1:{port}" in status
    assert f"127.0.0.1:{port}" in start


def test_status_of_a_stopped_server(tmp_path: Path) -> None:
    """Without a server status says so, with exit code 3."""
    done = subprocess.run(
        [*CLI, "postgres", "status"], env={**os.environ, "ETL_HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "PostgreSQL was never started here.\n")


def fails(home: Home, *arguments: str, **variables: str) -> str:
    """The message of a command that fails, which is one line and no traceback."""
    done = home.run(*arguments, variables=variables)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert "Next:" in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["demo"], {"ETL_ENVIRONMENT": "moon"}, "'moon' is unknown; known: ['local', 'test', 'production']"),
        (["demo"], {"ETL_ENVIRONMENT": "production"}, "production starts no server by itself"),
        (["postgres", "start"], {"ETL_POSTGRES_PORT": "80"}, "'80' is no port"),
        (["postgres", "start"], {"ETL_POSTGRES_BIN": "/nowhere"}, "there is no PostgreSQL server in this folder"),
        (["postgres", "start"], {"ETL_HOME": "/dev/null/x"}, "cannot be used"),
        (["postgres", "url"], {"ETL_HOME": "/nowhere"}, "does not run"),
        (["exec", "--", "no-such-command"], {}, "the command cannot be run"),
    ],
)
def test_wrong_settings_are_one_message(home: Home, arguments: list[str], variables: dict[str, str], said: str) -> None:
    """A wrong setting ends in one message that names it and the next step."""
    assert said in fails(home, *arguments, **variables)


def test_traceback_on_demand(home: Home) -> None:
    """The traceback is there for who asks for it."""
    assert "Traceback" in home.run("--traceback", "postgres", "start", variables={"ETL_POSTGRES_BIN": "/nowhere"}).stderr


def test_outside_a_project(tmp_path: Path) -> None:
    """In a folder without workspace.yaml the error says where to go."""
    done = subprocess.run(
        [*CLI, "ui"], cwd=tmp_path, env={**os.environ, "ETL_HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert "there is no dagster.yaml" in done.stderr


def test_taken_port_of_the_ui(home: Home) -> None:
    """A port that is taken is named, with the option that gives another."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert "--port 3001" in fails(home, "ui", "--port", port)


@pytest.fixture
def kept(home: Home) -> Iterator[int]:
    """Rows of clean.weather before; a broken source must leave them."""
    query = "SELECT count(*) AS n FROM clean.weather"
    before = int(home.database().read_query(query).iat[0, 0])
    yield before
    assert int(home.database().read_query(query).iat[0, 0]) == before


@pytest.mark.parametrize(
    ("asset", "variables", "said"),
    [
        ("raw/weather", {"NYC_FILES_FOLDER": "/nowhere"}, "raw/weather: /nowhere/weather.csv: there is no such file"),
        (
            "raw/planes",
            {"NYC_PLANES_API_URL": "http://127.0.0.1:1/"},
            "raw/planes: http://127.0.0.1:1/planes.json: the API does not answer",
        ),
        ("raw/flights", {"NYC_OPERATIONS_URL": "postgresql://etl:guess@127.0.0.1:{port}/operations"}, "refused the credentials"),
        ("raw/airports", {"DATABASE_URL": "postgresql://etl:guess@127.0.0.1:{port}/warehouse"}, "refused the credentials"),
    ],
)
def test_broken_sources_name_the_asset(home: Home, kept: int, asset: str, variables: dict[str, str], said: str) -> None:
    """A source or database that fails is one message naming asset, cause and next step; tables keep their rows, passwords stay hidden."""
    port = home.run("postgres", "url").stdout.rsplit(":", 1)[1].split("/")[0]
    code = f"""
import dagster as dg
from etl_assets.definitions import defs
from etl_assets.terminal import materialise
import sys
with dg.DagsterInstance.ephemeral() as instance:
    job = defs.resolve_job_def("__ASSET_JOB")
    result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey.from_user_string({asset!r})], raise_on_error=False,
        run_config={{"loggers": {{"console": {{"config": {{"log_level": "CRITICAL"}}}}}}}})
    for event in result.all_events:
        if event.is_step_failure:
            print("SAID", event.step_failure_data.user_failure_data.description)
"""
    given = " ".join(f"{name}='{value.format(port=port)}'" for name, value in variables.items())
    done = home.run("exec", "--", "/bin/sh", "-c", f'{given} exec "{sys.executable}" -c "$0"', code)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SAID")] or [done.stdout + done.stderr]
    assert asset in line
    assert said in line
    assert "Next:" in line
    assert "guess" not in line


def test_stopped_ui_leaves_no_process(home: Home) -> None:
    """The UI listens on loopback only, and stopping it ends all its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ui = subprocess.Popen(
        [*CLI, "ui", "--port", str(port)], cwd=ROOT, env=home.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not _answers(port):
            assert time.monotonic() < deadline, "the UI did not start"
            time.sleep(0.5)
        children = _descendants(ui.pid)
        assert _listening_beyond_loopback(children) == []
    finally:
        ui.send_signal(signal.SIGTERM)
        ui.wait(60)
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [pid for pid in children if _alive(pid)] == []


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _listening_beyond_loopback(pids: list[int]) -> list[str]:
    """Addresses other than loopback on which one of the processes listens."""
    sockets = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(str(link.readlink()))
            except OSError:
                continue
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            loopback = fields[1].startswith(("0100007F:", "00000000000000000000000001000000:"))
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets and not loopback:
                found.append(fields[1])
    return found
