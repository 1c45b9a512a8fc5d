"""`airflow-bridge`: the command line of the bridge. Standard library only; each command imports its own half.

Not here: what the commands do.
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Run one command; errors are one message and exit code 1."""
    parser = argparse.ArgumentParser(prog="airflow-bridge", description="Convert Dagster asset jobs into Airflow DAGs.")
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser(
        "export", help="write one manifest per job", description="Write one manifest per job of a Dagster project."
    )
    export.add_argument("-m", "--module", required=True, help="importable module with the definitions, such as etl_assets.definitions")
    export.add_argument("-a", "--attribute", default="defs", help="name of the Definitions in it (default: defs)")
    export.add_argument("-j", "--job", action="append", default=[], help="name of a job, may be repeated (default: all jobs)")
    export.add_argument("-o", "--output", required=True, type=Path, help="folder for the manifests")
    export.add_argument("-l", "--location", help="name of the code location in Dagster's workspace (default: the module)")
    chosen = parser.parse_args()
    sys.exit(_export(chosen))


def _export(chosen: argparse.Namespace) -> int:
    from airflow_bridge.export import ExportError
    from airflow_bridge.export import export as run

    try:
        written = run(chosen.module, chosen.output, attribute=chosen.attribute, jobs=chosen.job, location=chosen.location)
    except ExportError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for path in written:
        sys.stdout.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    main()
