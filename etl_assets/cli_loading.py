"""Commands about loads: what one would do, what they did, who may load, and the rows that are missing from their tables.

Not here: what the commands do (`loading/`, `replay.py`).
"""

from collections.abc import Sequence
from pathlib import Path

import click

from etl_assets.cli_places import import_module, warehouse


@click.command()
@click.argument("assets", nargs=-1)
@click.option("-m", "--module", required=True, help="Module that defines the assets, such as etl_assets.definitions.")
def plan(assets: Sequence[str], module: str) -> None:
    """Print what the next load of ASSETS, such as clean/orders, or of all would do to their tables: the SQL, without running it."""
    from etl_assets.assets import defined_asset, defined_assets
    from etl_assets.errors import EtlError

    import_module(module)
    database = warehouse()
    refused = 0
    for name in assets or defined_assets():
        known = defined_asset(name)
        try:
            planned = database.plan(known.table, known.contract.table, known.options, where=name)
        except EtlError as error:
            refused += 1
            click.echo(f"-- {name}: it would fail. {error}\n")
            continue
        there = "is there" if planned.exists else "is made"
        how = f", {planned.strategy.value}" if planned.strategy else ""
        click.echo(f"-- {name}: {known.options.disposition.value}{how}; the table {known.table} {there}")
        for line in filter(None, (f"its shape changes: {planned.says}" if planned.says else "", planned.notes)):
            click.echo(f"-- {line}")
        click.echo("".join(f"{statement};\n" for statement in planned.statements) or "-- nothing changes but its rows\n")
    if refused:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("asset", required=False)
@click.option("--failed", is_flag=True, help="Only loads that failed.")
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest first.")
def loads(asset: str | None, failed: bool, most: int) -> None:
    """List loads, of ASSET such as clean/orders or of all: when, how, how many rows, and why one failed."""
    from etl_assets.loading.loads import list_loads

    found = list_loads(warehouse(), asset, failed=failed, most=most)
    if not found:
        of = f" of {asset}" if asset else ""
        click.echo(f"No load{of} failed." if failed else f"There is no load{of} yet.")
    for one in found:
        of = f"{one.asset} [{one.partition}]" if one.partition else one.asset
        how = f"{one.disposition}/{one.strategy}" if one.strategy else one.disposition
        counts = {"read": one.rows_read, "loaded": one.rows_loaded, "changed": one.rows_changed}
        counts |= {"quarantined": one.rows_quarantined, "dropped": one.rows_dropped}
        rows = ", ".join(f"{name} {'-' if count is None else format(count, ',')}" for name, count in counts.items())
        when, run = f"{one.recorded_at:%Y-%m-%d %H:%M:%S}", one.run_id or "-"
        click.echo(f"{when}  {one.status:<9}  {of}  {how}  {rows}  {one.seconds:.2f} s  {one.orchestrator} {run}")
        if one.status == "failed":
            state = f" (SQLSTATE {one.sqlstate})" if one.sqlstate else ""
            click.echo(f"    {one.error_class}{state}: {one.message}")


@click.command()
@click.argument("role")
@click.option("-m", "--module", required=True, help="Module that defines the assets, such as etl_assets.definitions.")
def grants(role: str, module: str) -> None:
    """Print the SQL that gives ROLE what it needs to load the assets of a module, and no more. An administrator runs it with psql."""
    from etl_assets.assets import defined_assets
    from etl_assets.loading.grants import grant_script

    import_module(module)
    click.echo(grant_script(role, [asset.table.schema for asset in defined_assets().values()]), nl=False)


@click.group()
def quarantine() -> None:
    """Rows that contracts refused: look at them, export them, load them after a fix. DATABASE_URL says where, else the embedded server."""


@quarantine.command("list")
@click.argument("asset", required=False)
def list_(asset: str | None) -> None:
    """List the rows that are missing from their tables, of ASSET such as clean/orders or of all."""
    from etl_assets.loading.quarantine import open_rows, refused_rows

    database = warehouse()
    rows = open_rows(database, asset)
    for row in rows:
        click.echo(f"{row.id:>8}  {row.asset}  {row.position or '-'}  {', '.join(row.rules)}")
    click.echo(f"{len(rows)} rows are missing from their tables." if rows else "No row is missing from its table.")
    refused = refused_rows(database, asset)
    for name in sorted({row.asset for row in refused}):
        of_asset = [row for row in refused if row.asset == name]
        click.echo(
            f"{name}: its last load failed as a whole, {len(of_asset)} rows broke the contract (ids {of_asset[0].id} to {of_asset[-1].id})."
        )


@quarantine.command()
@click.argument("number", type=int)
def show(number: int) -> None:
    """Show one row, by its NUMBER: the record as it was before conversion, and every rule it broke."""
    import json

    from etl_assets.loading.quarantine import row_of

    row = row_of(warehouse(), number)
    click.echo(f"{row.asset}, {row.position or 'position unknown'}, {row.quarantined_at:%Y-%m-%d %H:%M:%S %Z}, load {row.load_id}")
    click.echo(f"{', '.join(row.rules)}: {row.message}")
    click.echo(json.dumps(row.record, ensure_ascii=False, indent=2))


@quarantine.command()
@click.argument("asset")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--plain", is_flag=True, help="Leave cells that a spreadsheet would take for formulas as they are.")
def export(asset: str, file: Path, plain: bool) -> None:
    """Write the rows of ASSET that are missing from its table into FILE: .csv, .xlsx or .jsonl.

    Cells that start like a formula get an apostrophe in front, so that opening the file runs nothing.
    """
    from etl_assets.loading.quarantine import export_rows, open_rows

    count = export_rows(open_rows(warehouse(), asset), file, guarded=not plain)
    click.echo(f"{count} rows written to {file}")


@quarantine.command()
@click.argument("asset")
@click.option("-m", "--module", required=True, help="Module that defines the asset, such as etl_assets.definitions.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
def replay(asset: str, module: str, dry_run: bool) -> None:
    """Send the rows of ASSET that are missing from its table through its contract again, and load those that pass, once.

    Use it after the contract was corrected, or the records in etl.quarantine.
    """
    from etl_assets.replay import replay as send_again

    import_module(module)
    done = send_again(warehouse(), asset, dry_run=dry_run)
    would = "would be " if dry_run else ""
    there = f", {done.passing - done.loaded} are there already" if not dry_run and done.loaded < done.passing else ""
    click.echo(f"{done.passing} rows keep the contract now; {done.passing if dry_run else done.loaded} {would}loaded{there}.")
    for row, message in done.failing:
        click.echo(f"{row.id:>8}  {row.position or '-'}  {message}")
    if done.failing:
        click.echo(f"{len(done.failing)} rows still break it.")
    if done.unreadable:
        click.echo(f"{len(done.unreadable)} rows could not be read from their source: correct them there, and materialise the asset.")


__all__ = ["grants", "loads", "plan", "quarantine"]
