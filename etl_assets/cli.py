"""`etl-assets`: the command line. Each command is a few lines; imports that take time happen inside the command that needs them.

Not here: commands about loads and their tables (`cli_loading.py`), what the commands do (`local_postgres.py`, `terminal.py`, the
example's `sources/`).
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etl_assets import cli_loading
from etl_assets.cli_places import import_module, settings
from etl_assets.errors import ConfigurationError, EtlError

if TYPE_CHECKING:
    from etl_assets.config import Settings

STOP_SECONDS = 8


class _Group(click.Group):
    """Shows an error of ours as one message; the traceback only when asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EtlError as error:
            if ctx.params.get("traceback"):
                raise
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="etl-assets")
@click.option("--verbose", is_flag=True, help="Show what is done, step by step.")
@click.option("--traceback", is_flag=True, help="Show where in the code an error came from.")
def main(verbose: bool, traceback: bool) -> None:
    """ETL as typed Dagster assets, loaded into PostgreSQL.

    Start with `etl-assets demo`: it starts a PostgreSQL server in the folder .etl, fills the sources of the example and
    materialises its tables. Then `etl-assets ui` opens them in the Dagster UI.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not verbose:
        logging.getLogger("etl_assets").setLevel(logging.ERROR)
    # A stop by `kill` runs the same clean-up as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@main.command()
@click.option(
    "--operations",
    type=click.Choice(["postgres", "sqlite"]),
    default="postgres",
    show_default=True,
    help="Which source database holds the flights.",
)
def demo(operations: str) -> None:
    """Build the example's sources and materialise its tables."""
    started = time.monotonic()
    found = settings()
    click.echo("Starting PostgreSQL and the sources ...")
    with _everything(found, operations) as variables:
        os.environ.update(variables)
        import dagster as dg

        from etl_assets.definitions import defs
        from etl_assets.terminal import materialise, summary

        click.echo("Materialising the flight operations mart ...")
        with dg.DagsterInstance.get() as instance:
            outcome = materialise(defs.resolve_job_def("nyc_flights"), instance, sys.stdout)
            if outcome.success:
                months = ("2013-01-01", "2013-12-01")
                outcome += materialise(defs.resolve_job_def("nyc_flights_by_month"), instance, sys.stdout, partitions=months)
    click.echo(f"\n{summary(outcome.tables)}\n")
    if outcome.warnings:
        click.echo("Checks that found something; these rows are loaded or in etl.quarantine, none is lost (a row may break several rules):")
        for warning in outcome.warnings:
            click.echo(f"  {warning}")
    if not outcome.success:
        for reason in outcome.failures:
            click.echo(f"error: {reason}", err=True)
        click.echo("error: the job failed; tables named above as FAILED kept their former state.", err=True)
        sys.exit(1)
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s. `.venv/bin/etl-assets postgres url` prints the address of the tables.")
    click.echo("See them in the Dagster UI: `make ui`.")


@main.command()
@click.option("--port", type=click.IntRange(1024, 65535), default=3000, show_default=True, help="TCP port on 127.0.0.1.")
def ui(port: int) -> None:
    """Serve the Dagster UI on loopback, with everything the example needs. Ctrl-C stops it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(
                "etl-assets ui", f"port {port} on 127.0.0.1 is taken ({error.strerror}).", "give another one, such as --port 3001."
            ) from error
    with _everything(settings(), "postgres") as variables:
        click.echo(f"Dagster UI: http://127.0.0.1:{port}   (ready in half a minute; Ctrl-C stops it)")
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
        sys.exit(_run(command, variables))


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec(command: Sequence[str]) -> None:
    """Run COMMAND with the embedded PostgreSQL, the example's sources and all variables.

    Example: etl-assets exec -- dagster asset list -m etl_assets.definitions
    """
    with _everything(settings(), "postgres") as variables:
        sys.exit(_run(command, variables))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def preview(file: Path) -> None:
    """Look at a CSV, JSON or Excel FILE: encoding, delimiter, header rows, first rows, and the call that reads it so."""
    from etl_assets.connectors.preview import as_text
    from etl_assets.connectors.preview import preview as look_at

    for found in look_at(file):
        click.echo(as_text(found))


@main.group()
def contract() -> None:
    """Contracts: a first one from data, and a page that people read."""


@contract.command("infer")
@click.argument("source")
@click.option("--table", help="Table of SOURCE, when that is the address of a database.")
@click.option("--schema", help="Schema of the table.")
@click.option("--sheet", help="Sheet of SOURCE, when that is a workbook; else its first visible one.")
@click.option("--name", default="Rows", show_default=True, help="Name of the contract.")
def infer_(source: str, table: str | None, schema: str | None, sheet: str | None, name: str) -> None:
    """Print a first contract for SOURCE, a CSV, JSON, Excel or Parquet file or the address of a database, to review and edit.

    Types, NULLs, small sets of values and a key come from the data; smallest and largest values become no rule.
    """
    from etl_assets.inference import infer, of_table, write_contract

    if not name.isidentifier():
        raise ConfigurationError("--name", f"{name!r} is no name of a class.", "give one such as Orders.")
    if table is not None:
        from etl_assets.connectors.sql import SqlResource

        spec = SqlResource(url=source).columns(table, schema=schema)
        click.echo(write_contract(of_table(spec), name=name, source=table, rows=None, key=spec.primary_key), nl=False)
        return
    if "://" in source:
        raise ConfigurationError("contract infer", "the address of a database needs a table.", "add --table.")
    from etl_assets.connectors.preview import read_as_proposed

    frame = read_as_proposed(Path(source), sheet)
    click.echo(write_contract(infer(frame), name=name, source=Path(source).name, rows=len(frame)), nl=False)


@contract.command()
@click.option("-m", "--module", required=True, help="Module that defines the assets, such as etl_assets.definitions.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write; else it is printed.")
@click.option("--title", default="Data contracts", show_default=True, help="Heading of the page.")
def docs(module: str, output: Path | None, title: str) -> None:
    """Write the contracts of all assets of a module as one Markdown page: tables, columns, rules."""
    from etl_assets.assets import defined_assets
    from etl_assets.contract_pages import write_page

    import_module(module)
    page = write_page({key: asset.contract for key, asset in defined_assets().items()}, title=title)
    if output is None:
        click.echo(page, nl=False)
    else:
        output.write_text(page, encoding="utf-8")
        click.echo(f"{output} written")


@main.group()
def postgres() -> None:
    """The embedded PostgreSQL server, in the folder ETL_HOME (default .etl)."""


@postgres.command()
def start() -> None:
    """Start the server, and make it and its database `warehouse` first when they are not there."""
    from etl_assets.config import WAREHOUSE

    server = settings().local_postgres
    status = server.start()
    server.create_database(WAREHOUSE)
    click.echo(f"PostgreSQL {status.version} runs on 127.0.0.1:{status.port}, data in {status.data}")


@postgres.command()
def stop() -> None:
    """Stop the server; its data stays."""
    settings().local_postgres.stop()
    click.echo("PostgreSQL is stopped.")


@postgres.command()
@click.confirmation_option(prompt="This deletes the server with all its databases. Go on?")
def remove() -> None:
    """Stop the server and delete it with all its data."""
    settings().local_postgres.remove()
    click.echo("PostgreSQL and its data are removed.")


@postgres.command()
def status() -> None:
    """Say whether the server runs; exit code 3 when it does not."""
    found = settings().local_postgres.status()
    if not found.running:
        click.echo("PostgreSQL is stopped." if found.version else "PostgreSQL was never started here.")
        sys.exit(3)
    click.echo(f"PostgreSQL {found.version} runs on 127.0.0.1:{found.port}, process {found.pid}, data in {found.data}")


@postgres.command()
@click.argument("database", default="warehouse")
def url(database: str) -> None:
    """Print the address of DATABASE, password included, and make it when it is missing; the server must run."""
    server = settings().local_postgres
    server.create_database(database)
    click.echo(server.url(database))


@contextlib.contextmanager
def _everything(settings: "Settings", operations: str) -> "Iterator[dict[str, str]]":
    """The embedded server, the built sources and the running API, as the variables that resources and dagster.yaml read."""
    from etl_assets.config import dagster_variables, embedded_database, warehouse_url
    from etl_assets.pipelines.nyc_flights.resources import FILES_FOLDER, OPERATIONS_URL, PLANES_API_URL
    from etl_assets.pipelines.nyc_flights.sources.build import build_sources
    from etl_assets.pipelines.nyc_flights.sources.planes_api import serve_planes

    project = Path.cwd()
    for name in ("dagster.yaml", "workspace.yaml"):
        if not (project / name).is_file():
            raise ConfigurationError("etl-assets", f"there is no {name} in {project}.", "go to the project's folder first.")
    folder = settings.home / "sources"
    sqlite = operations == "sqlite"
    operations_url = f"sqlite:///{folder / 'operations.db'}" if sqlite else embedded_database(settings, "operations")
    variables = {"DATABASE_URL": warehouse_url(settings), **dagster_variables(settings, project)}
    sources = build_sources(folder, operations_url)
    variables |= {OPERATIONS_URL: sources.operations_url, FILES_FOLDER: str(sources.files)}
    with serve_planes(sources.planes, folder / "planes_api.log") as api:
        yield {**variables, PLANES_API_URL: api}


def _run(command: Sequence[str], variables: dict[str, str]) -> int:
    """Run a command to its end; Ctrl-C or kill stops it with all its children."""
    try:
        child = subprocess.Popen(command, env={**os.environ, **variables}, start_new_session=True)
    except OSError as error:
        raise ConfigurationError(command[0], f"the command cannot be run ({error.strerror}).", "check its name and your PATH.") from error
    try:
        return child.wait()
    except (KeyboardInterrupt, SystemExit):
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if _ended(child, lambda: os.killpg(child.pid, signal_number), STOP_SECONDS):  # noqa: B023 - called at once
                break
        return 130


def _ended(child: "subprocess.Popen[bytes]", stop: Callable[[], None], seconds: float) -> bool:
    """Ask the process group to stop; True when no process of it is left."""
    deadline = time.monotonic() + seconds
    try:
        stop()
        while time.monotonic() < deadline:
            child.poll()
            os.killpg(child.pid, 0)
            time.sleep(0.1)
    except ProcessLookupError:
        child.wait()
        return True
    return False


for command in (cli_loading.plan, cli_loading.loads, cli_loading.grants, cli_loading.quarantine):
    main.add_command(command)

if __name__ == "__main__":
    main()
