"""Batches of a large file need no more memory than those of a small one; measured in processes of their own."""

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

SMALL_BYTES, LARGE_BYTES = 50 * 10**6, 400 * 10**6
ROW_BYTES = 4000
MOST_GROWTH_MIB = 60

# Prints the rows read, and the most memory that the process ever held, in MiB. (getrusage would tell that of the process which
# started it, if that was more.)
_READ = """
import re, sys
from pathlib import Path
from etl_assets.connectors.files import FilesResource
batches = getattr(FilesResource(base_folder=sys.argv[1]), sys.argv[2])("file", rows=1000)
print(sum(len(batch) for batch in batches), int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def _rows(count: int) -> Iterator[tuple[int, str, str]]:
    """Rows of two long texts, no two alike."""
    words = [f"{random.Random(seed).getrandbits(7900):01975x}" for seed in range(100)]
    return ((number, f"{words[number % 97]}{number}", words[number % 89]) for number in range(count))


def _write_csv(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.write("n,a,b\n")
        file.writelines(f"{number},{a},{b}\n" for number, a, b in _rows(count))


def _write_json_lines(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.writelines(f'{{"n": {number}, "a": "{a}", "b": "{b}"}}\n' for number, a, b in _rows(count))


def _write_parquet(path: Path, count: int, row_group: int) -> None:
    schema = pa.schema([("n", pa.int64()), ("a", pa.string()), ("b", pa.string())])
    rows = _rows(count)
    with pyarrow.parquet.ParquetWriter(path, schema, use_dictionary=False, compression="none") as writer:
        for start in range(0, count, row_group):
            numbers, a, b = zip(*(next(rows) for _ in range(min(row_group, count - start))), strict=True)
            writer.write_table(pa.table([numbers, a, b], schema=schema), row_group_size=row_group)


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (_write_csv, "read_csv_batches"),
        (_write_json_lines, "read_json_lines_batches"),
        (lambda path, count: _write_parquet(path, count, 2000), "read_parquet_batches"),
        (lambda path, count: _write_parquet(path, count, count), "read_parquet_batches"),
    ],
    ids=["CSV", "JSON lines", "Parquet of many row groups", "Parquet of one row group"],
)
def test_memory_is_flat_in_the_size_of_the_file(write: Callable[[Path, int], None], read: str) -> None:
    """A file eight times as large needs about the same memory, read in batches of the same size."""
    peaks = {}
    for size in (SMALL_BYTES, LARGE_BYTES):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "file", size // ROW_BYTES)
            done = subprocess.run([sys.executable, "-c", _READ, folder, read], capture_output=True, text=True, check=True, timeout=120)
        rows, peaks[size] = map(int, done.stdout.split())
        assert rows == size // ROW_BYTES
    assert peaks[LARGE_BYTES] - peaks[SMALL_BYTES] < MOST_GROWTH_MIB, peaks
