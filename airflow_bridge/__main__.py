"""`airflow-bridge`: the command line of the bridge. Standard library only; each command imports its own half.

Not here: what the commands do.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; errors are one message and exit code 1."""
    parser = argparse.ArgumentParser(prog="airflow-bridge", description="Convert Dagster asset jobs into Airflow DAGs.")
    commands = parser.add_subparsers(dest="command", required=True)
    export = _command(commands, "export", "write one manifest per job", _export)
    _project(export)
    export.add_argument("-o", "--output", required=True, type=Path, help="folder for the manifests")
    export.add_argument("--strict", action="store_true", help="write nothing when there is a warning or an error about a job")
    export.add_argument("--pools", type=Path, metavar="FILE", help="also write the jobs' pools, for `airflow pools import FILE`")
    export.add_argument(
        "--pool-slots", action="append", default=[], metavar="[POOL=]N", help="slots of a pool, or of every pool (default: 1)"
    )
    check = _command(commands, "check", "say what is stale, what cannot work, and what is not converted", _check)
    _project(check)
    check.add_argument("-o", "--output", type=Path, help="folder of the exported manifests; without it only the project is looked at")
    check.add_argument("--strict", action="store_true", help="warnings fail too")
    diff = _command(commands, "diff", "say what changes in the DAGs between two exports; exit code 1 when something does", _diff)
    diff.add_argument("old", type=Path, help="manifest, or folder of manifests")
    diff.add_argument("new", type=Path, help="manifest, or folder of manifests")
    doctor = _command(commands, "doctor", "say what would keep DAGs from working well on this machine", _doctor)
    doctor.add_argument("--manifests", type=Path, metavar="DIR", help="folder of the exported manifests")
    doctor.add_argument("-m", "--module", help="the project, to see whether the manifests are stale")
    doctor.add_argument("-a", "--attribute", default="defs", help="name of the Definitions in it (default: defs)")
    doctor.add_argument("-l", "--location", help="name of the code location that they were exported with (default: the module)")
    doctor.add_argument("--strict", action="store_true", help="warnings fail too")
    serve = _command(commands, "serve", "run an Airflow of one's own with the DAGs, to try them; Ctrl-C stops it", _serve)
    serve.add_argument("--dags", required=True, type=Path, help="folder of the DAG files")
    serve.add_argument("--home", required=True, type=Path, help="folder for Airflow's own files")
    serve.add_argument(
        "--database",
        default="AIRFLOW_DATABASE_URL",
        metavar="VARIABLE",
        help="variable with the address of an empty PostgreSQL database (default: AIRFLOW_DATABASE_URL)",
    )
    serve.add_argument("--port", type=int, default=8080, help="TCP port on 127.0.0.1 (default: 8080)")
    serve.add_argument("--slots", type=int, default=4, help="tasks that run at the same time (default: 4)")
    chosen = parser.parse_args(arguments)
    sys.exit(chosen.run(chosen))


def _command(commands: Any, name: str, says: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}.")
    parser.set_defaults(run=run)
    return parser


def _project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--module", required=True, help="importable module with the definitions, such as etl_assets.definitions")
    parser.add_argument("-a", "--attribute", default="defs", help="name of the Definitions in it (default: defs)")
    parser.add_argument("-j", "--job", action="append", default=[], help="name of a job, may be repeated (default: all jobs)")
    parser.add_argument("-l", "--location", help="name of the code location in Dagster's workspace (default: the module)")


def _export(chosen: argparse.Namespace) -> int:
    from airflow_bridge.export import ExportError, manifests_of, read_project, write, write_pools

    try:
        slots, otherwise = _slots(chosen.pool_slots)
        manifests = manifests_of(read_project(chosen.module, attribute=chosen.attribute, location=chosen.location), chosen.job)
    except (ExportError, ValueError) as error:
        return _error(str(error))
    if chosen.pool_slots and chosen.pools is None:
        return _error("--pool-slots says nothing without pools. Next: name their file with --pools.")
    pools = sorted({pool for manifest in manifests for pool in manifest.pools})
    unknown = sorted(set(slots) - set(pools))
    if unknown:
        return _error(f"--pool-slots: there is no pool {', '.join(unknown)}; there are {', '.join(pools) or 'none'}. Next: correct it.")
    serious = _remarks(manifests, notes=False)
    if chosen.strict and serious:
        return _error("nothing was written: --strict allows no warning. Next: see above.")
    try:
        paths = write(manifests, chosen.output)
    except OSError as error:
        return _error(f"{chosen.output} cannot be written ({error.strerror}). Next: name a folder with -o.")
    for path in paths:
        sys.stdout.write(f"wrote {path}\n")
    if chosen.pools is not None:
        count = write_pools(manifests, chosen.pools, slots, otherwise)
        sys.stdout.write(f"wrote {chosen.pools} ({count} pools); next: airflow pools import {chosen.pools}\n")
    return 0


def _check(chosen: argparse.Namespace) -> int:
    from airflow_bridge.export import ExportError, export_again, location_of, manifests_of, read_project, stale

    location = chosen.location or (location_of(chosen.output, chosen.module) if chosen.output is not None else None)
    try:
        manifests = manifests_of(read_project(chosen.module, attribute=chosen.attribute, location=location), chosen.job)
    except ExportError as error:
        return _error(str(error))
    _remarks(manifests, notes=True)
    levels = {remark.level for manifest in manifests for remark in manifest.remarks}
    outdated = stale(manifests, chosen.output, everything=not chosen.job) if chosen.output is not None else []
    for one in outdated:
        sys.stdout.write(f"{one} Next: {export_again(chosen.module, chosen.output, location)}\n")
    failed = bool(outdated) or "error" in levels or (chosen.strict and "warning" in levels)
    if not failed:
        sys.stdout.write(f"{len(manifests)} jobs can be converted{', and are exported as they are' if chosen.output else ''}.\n")
    return int(failed)


def _diff(chosen: argparse.Namespace) -> int:
    from airflow_bridge.differences import differences
    from airflow_bridge.manifest import ManifestError

    try:
        said = differences(chosen.old, chosen.new)
    except ManifestError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for one in said:
        sys.stdout.write(f"{one}\n")
    return int(bool(said))


def _doctor(chosen: argparse.Namespace) -> int:
    from airflow_bridge.doctor import examine

    if chosen.module is not None and chosen.manifests is None:
        return _error("-m says nothing without manifests. Next: name their folder with --manifests.")
    found = examine(chosen.manifests, chosen.module, chosen.attribute, chosen.location)
    for remark in found:
        sys.stdout.write(f"{remark}\n")
    serious = [remark for remark in found if remark.level == "error" or (chosen.strict and remark.level == "warning")]
    if not serious:
        sys.stdout.write("Nothing keeps DAGs from running here.\n")
    return int(bool(serious))


def _serve(chosen: argparse.Namespace) -> int:
    from airflow_bridge.local_airflow import LocalAirflow, LocalAirflowError, serve

    url = os.environ.get(chosen.database, "")
    if not url:
        return _error(f"variable {chosen.database} is not set. Next: set it to the address of an empty PostgreSQL database for Airflow.")
    settings = LocalAirflow(
        home=chosen.home.absolute(), dags=chosen.dags.absolute(), database_url=url, port=chosen.port, slots=chosen.slots
    )
    try:
        serve(settings, lambda line: sys.stdout.write(f"{line}\n") and sys.stdout.flush())
    except LocalAirflowError as error:
        return _error(str(error))
    return 0


def _remarks(manifests: Sequence[Any], *, notes: bool) -> int:
    """Print what is to be said of the jobs; returns how many warnings and errors there are."""
    serious = 0
    for manifest in manifests:
        for remark in manifest.remarks:
            serious += remark.level != "note"
            if notes or remark.level != "note":
                (sys.stdout if notes else sys.stderr).write(f"{manifest.job}: {remark}\n")
    return serious


def _slots(given: Sequence[str]) -> tuple[dict[str, int], int]:
    named, otherwise = {}, 1
    for one in given:
        pool, _, count = one.rpartition("=")
        if not count.isdigit() or int(count) < 1:
            raise ValueError(f"--pool-slots {one}: the slots are no whole number above 0. Next: such as --pool-slots database=4.")
        if pool:
            named[pool] = int(count)
        else:
            otherwise = int(count)
    return named, otherwise


def _error(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 1


if __name__ == "__main__":
    main()
