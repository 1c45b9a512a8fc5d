"""Where Arrow takes its memory from, in a process that works with frames."""

import os
import subprocess
import sys

import pyarrow as pa
import pytest

PRINTED = "import etl_assets.frames, pyarrow; print(pyarrow.default_memory_pool().backend_name)"


def memory_of(program: str, **environment: str) -> str:
    """The allocator that a new process names at its end."""
    without = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    done = subprocess.run([sys.executable, "-c", program], env={**without, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_memory_comes_from_jemalloc() -> None:
    """Wherever Arrow has it, and would take mimalloc."""
    if "jemalloc" not in pa.supported_memory_backends():
        pytest.fail("this test wants a build of Arrow with jemalloc, as those for Linux are")
    assert memory_of(PRINTED) == "jemalloc"


def test_who_chose_another_keeps_it() -> None:
    """By the environment, or beforehand in Python."""
    assert memory_of(PRINTED, ARROW_DEFAULT_MEMORY_POOL="mimalloc") == "mimalloc"
    assert memory_of(f"import pyarrow; pyarrow.set_memory_pool(pyarrow.system_memory_pool()); {PRINTED}") == "system"
