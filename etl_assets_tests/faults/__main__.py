"""The long run by hand: `python -m etl_assets_tests.faults`, or `make faults`.

Not here: the short run of the tests (`test_faults.py`).
"""

import json
import sys
from pathlib import Path

import click

from etl_assets_tests.faults.suite import run_faults, run_naive


@click.command()
@click.option("--faults", type=click.IntRange(1), default=540, show_default=True, help="How many faults.")
@click.option("--rows", type=click.IntRange(100), default=10_000, show_default=True, help="Rows of each delivery.")
@click.option("--seed", type=int, default=7, show_default=True, help="Draws the same faults again.")
@click.option("--binaries", type=click.Path(exists=True, path_type=Path), help="bin folder of another PostgreSQL.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write.")
def main(faults: int, rows: int, seed: int, binaries: Path | None, report: Path | None) -> None:
    """Load under faults, and say what was lost, doubled or seen half; exit code 1 when anything was."""
    found = run_faults(faults=faults, seed=seed, rows=rows, binaries=binaries, out=sys.stderr)
    naive = run_naive(faults=8, seed=seed)
    result = {**found.as_dict(), "mutant_failed": not naive.holds, "mutant": {"lost": naive.lost, "duplicated": naive.duplicated}}
    text = json.dumps(result, indent=2) + "\n"
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(text, encoding="utf-8")
    click.echo(text, nl=False)
    sys.exit(0 if found.holds and not naive.holds else 1)


if __name__ == "__main__":
    main()
