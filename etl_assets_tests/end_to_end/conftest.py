"""The demo, run once for the tests of a file (files go to one process each), in a home of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from etl_assets.loading.postgres import PostgresResource

ROOT = Path(__file__).parents[2]
CLI = (sys.executable, "-m", "etl_assets.cli")


@dataclass(frozen=True)
class Home:
    """An ETL_HOME with its server, and what the demo said in it."""

    path: Path
    demo: "subprocess.CompletedProcess[str]"

    @property
    def variables(self) -> dict[str, str]:
        bin_folder = str(Path(sys.executable).parent)
        return {**os.environ, "ETL_HOME": str(self.path), "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *arguments: str, variables: Mapping[str, str] | None = None, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
        """Run `etl-assets ARGUMENTS` in the project's folder."""
        command = [*CLI, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env={**self.variables, **(variables or {})}, capture_output=True, text=True, check=False, timeout=timeout
        )

    def database(self, name: str = "warehouse") -> PostgresResource:
        return PostgresResource(url=self.run("postgres", "url", name).stdout.strip())


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    """A home in which the demo ran."""
    with tempfile.TemporaryDirectory(prefix="etl-assets-demo-") as name:
        Path(name).chmod(0o755)
        empty = Home(Path(name), subprocess.CompletedProcess([], 1))
        try:
            yield Home(Path(name), empty.run("demo"))
        finally:
            empty.run("postgres", "stop")
