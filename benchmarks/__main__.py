"""Measure and write docs/reports: `python -m benchmarks [CHAPTER ...] [--rounds N]`; all chapters without any named.

A chapter takes 1 to 15 minutes, all of them an hour. The bridge's chapters start an Airflow.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import contracts, extract, load, modes, pipeline, steps, streams
from benchmarks.place import Place, opened
from benchmarks.report import Row, write

_ROUNDS = 3
_OF_DATA: dict[str, Callable[[Place, int], list[Row]]] = {
    "load": load.measured,
    "modes": modes.measured,
    "extract": extract.measured,
    "contracts": contracts.measured,
    "pipeline": pipeline.measured,
    "streams": streams.measured,
    "steps": steps.measured,
}
_PACKAGES = ("dagster", "duckdb", "numpy", "pandas", "pandera", "pgpq", "psycopg2-binary", "pyarrow", "SQLAlchemy", "adbc-driver-sqlite")
_OF_PEERS = ("adbc-driver-postgresql", "dlt", "duckdb", "pandas", "polars")


def main() -> int:
    """Measure what the arguments name; 1 when a floor does not hold."""
    from benchmarks import bridge

    of_bridge: dict[str, Callable[[], list[Row]]] = {"parse": bridge.parse, "run": bridge.run, "cpu": bridge.cpu}
    known = [*_OF_DATA, *of_bridge]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help=f"of {', '.join(known)}; all without any")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("BENCHMARK_ROUNDS", _ROUNDS)), help="how often each method runs")
    given = parser.parse_args()
    unknown = sorted(set(given.chapters) - set(known))
    if unknown:
        parser.error(f"{', '.join(unknown)}: unknown; known: {', '.join(known)}")
    missed = 0
    for name in given.chapters or known:
        started = time.perf_counter()
        if name in _OF_DATA:
            with opened() as place:
                rows = _OF_DATA[name](place, given.rounds)
            versions = write(name, rows, _PACKAGES, _OF_PEERS)
        else:
            rows = of_bridge[name]()
            versions = write(f"bridge, {name}", rows, bridge.PACKAGES, ("astronomer-cosmos",) if name == "parse" else ())
        missed += _told(rows)
        told = ", ".join(f"{package} {version}" for package, version in versions.items())
        sys.stdout.write(f"{name}: {time.perf_counter() - started:.0f} s; {told}\n\n")
    return 1 if missed else 0


def _told(rows: Sequence[Row]) -> int:
    """Print the rows; how many miss their floor."""
    for row in rows:
        state = "missed" if not row.holds else "holds" if row.floor is not None else "no floor"
        sys.stdout.write(f"{row.name}: {row.shown} ({state})\n")
    return sum(not row.holds for row in rows)


if __name__ == "__main__":
    sys.exit(main())
