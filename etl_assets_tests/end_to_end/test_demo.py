"""`etl-assets demo`: the tables hold the known facts of the data."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from etl_assets_tests.end_to_end.conftest import CLI, ROOT, Home


def value(home: Home, query: str) -> Any:
    """The single value of a query on the warehouse."""
    return home.database().read_query(query).iat[0, 0]


def test_demo_succeeds(home: Home) -> None:
    """The demo ends well and says how to open the UI."""
    assert home.demo.returncode == 0, home.demo.stdout + home.demo.stderr
    assert "make ui" in home.demo.stdout


@pytest.mark.parametrize(
    ("table", "read", "loaded", "quarantined", "dropped"),
    [
        ("raw/flights", "336,776", "336,776", "0", "0"),
        ("raw/planes", "3,322", "3,322", "0", "0"),
        ("raw/weather", "26,115", "26,115", "0", "0"),
        ("raw/airports", "1,458", "1,458", "0", "0"),
        ("raw/airlines", "18", "16", "0", "2"),
        ("clean/flights", "336,776", "336,776", "0", "0"),
        ("clean/weather", "26,115", "26,114", "1", "0"),
        ("clean/airports", "1,458", "1,455", "3", "0"),
        ("clean/planes", "3,322", "3,322", "0", "0"),
        ("clean/airlines", "16", "16", "0", "0"),
    ],
)
def test_summary_accounts_for_every_row(home: Home, table: str, read: str, loaded: str, quarantined: str, dropped: str) -> None:
    """The summary prints rows read, loaded, quarantined and dropped per table."""
    line = rf"^{table} +{read} +{loaded} +{quarantined} +{dropped} +[\d.]+$"
    assert re.search(line, home.demo.stdout, re.MULTILINE), home.demo.stdout


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT count(*) FROM clean.flights", 336_776),
        ("SELECT count(*) FROM (SELECT DISTINCT year, month, day, carrier, flight, origin FROM clean.flights) AS keys", 336_776),
        ("SELECT sum(dep_delay_minutes)::bigint FROM clean.flights", 4_152_200),
        ("SELECT sum(distance_miles)::bigint FROM clean.flights", 350_217_607),
        ("SELECT count(*) FROM clean.flights WHERE is_cancelled", 8_255),
        ("SELECT count(*) FROM clean.flights WHERE arrival_minute = 1440", 150),
        ("SELECT count(*) FROM raw.flights WHERE dep_time = 2400", 29),
        # 2400 is midnight at the end of the day: every known departure agrees with the HHMM integer of the source.
        (
            "SELECT count(*) FROM clean.flights c JOIN raw.flights r USING (year, month, day, carrier, flight, origin) "
            "WHERE to_char(c.departed_at AT TIME ZONE 'America/New_York', 'HH24MI')::int <> r.dep_time::int % 2400",
            0,
        ),
        ("SELECT count(*) FROM clean.flights f WHERE NOT EXISTS (SELECT FROM clean.airports a WHERE a.airport = f.dest)", 7_602),
        ("SELECT count(*) FROM clean.flights f WHERE tailnum IS NOT NULL AND tailnum NOT IN (SELECT tailnum FROM clean.planes)", 50_094),
        ("SELECT count(*) FROM clean.planes WHERE manufacturer = 'AIRBUS'", 736),
        ("SELECT count(*) FROM clean.planes WHERE manufacturer = 'MCDONNELL DOUGLAS'", 237),
        ("SELECT count(*) FROM clean.planes WHERE year_built IS NULL", 70),
        # The hour that the clock change repeats is there twice at each of three airports.
        ("SELECT count(*) FROM clean.weather WHERE hour_at IN ('2013-11-03T05:00Z', '2013-11-03T06:00Z')", 6),
        ("SELECT max(wind_speed_mph) < 100 FROM clean.weather", True),
        ("SELECT record->>'wind_speed_mph' FROM etl.quarantine WHERE asset = 'clean/weather'", "1048.36058"),
        ("SELECT source_position FROM etl.quarantine WHERE asset = 'clean/weather'", "weather.csv line 1011"),
        ("SELECT count(*) FROM clean.airports WHERE airport = 'SYA' AND longitude_degrees > 0", 1),
        ("SELECT sum(flights)::bigint FROM clean.airlines", 336_776),
        ("SELECT sum(flights)::bigint FROM mart.on_time_performance", 336_776),
        ("SELECT sum(cancelled)::bigint FROM mart.on_time_performance", 8_255),
        ("SELECT sum(flights)::bigint FROM mart.delay_by_weather", 336_776),
        ("SELECT count(*) FROM mart.fleet_age", 16),
        ("SELECT sum(flights)::bigint FROM mart.daily_departures", 336_776),
        ("SELECT count(*) FROM mart.daily_departures WHERE flight_date = '2013-11-03'", 3),
        ("SELECT string_agg(DISTINCT disposition, ' ' ORDER BY disposition) FROM etl.loads", "merge replace replace_partition"),
    ],
)
def test_facts(home: Home, query: str, expected: object) -> None:
    """The tables hold what is known of the published data."""
    assert value(home, query) == expected


def test_weather_is_worse_when_it_rains(home: Home) -> None:
    """The join on the instant makes sense: flights leave later in low visibility than under a clear sky, at each airport."""
    query = """SELECT bool_and(low.mean_dep_delay_minutes > clear.mean_dep_delay_minutes) FROM mart.delay_by_weather low
        JOIN mart.delay_by_weather clear USING (origin) WHERE low.condition = 'low visibility' AND clear.condition = 'clear'"""
    assert value(home, query)


def test_quarantined_airports(home: Home) -> None:
    """The three misplaced airports are in the quarantine, with the rules they broke."""
    rows = home.database().read_query(
        "SELECT DISTINCT record->>'airport' AS airport FROM etl.quarantine WHERE asset = 'clean/airports' ORDER BY 1"
    )
    assert rows["airport"].tolist() == ["DVT", "EEN", "MYF"]


@pytest.mark.parametrize("said", ["dest_references_airports: 7,602 rows", "tailnum_references_planes: 50,094 rows"])
def test_missing_partners_are_reported(home: Home, said: str) -> None:
    """Flights without a known airport or plane are reported by checks, and loaded."""
    assert f"clean/flights: {said}" in home.demo.stdout


def test_ledger_has_every_load(home: Home) -> None:
    """Each of the 14 tables has a load in the ledger whose rows add up."""
    adds_up = "rows_read = rows_loaded + rows_quarantined + rows_dropped"
    query = f"SELECT count(DISTINCT asset) FROM etl.loads WHERE status = 'succeeded' AND {adds_up}"
    assert value(home, query) == 14


def tables(home: Home, database: str = "warehouse") -> dict[str, str]:
    """A checksum per table of the warehouse, over all rows in a fixed order."""
    found = home.database(database)
    names = found.read_query(
        "SELECT table_schema::text AS schema, table_name::text AS name FROM information_schema.tables "
        "WHERE table_schema IN ('raw', 'clean', 'mart') ORDER BY 1, 2"
    )
    return {
        f"{schema}.{name}": str(
            found.read_query(f'SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) AS sum FROM "{schema}"."{name}" t').iat[0, 0]
        )
        for schema, name in names.to_numpy()
    }


def test_killed_demo_leaves_nothing_half_and_the_next_ends_the_same(home: Home) -> None:
    """A demo killed with -9 leaves every table as it was, and the one after it ends in the same tables, from flights in SQLite too."""
    before = tables(home)
    victim = subprocess.Popen([*CLI, "demo"], cwd=ROOT, env=home.variables, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert victim.stdout is not None
    for line in victim.stdout:
        if "... clean/flights" in line:
            break
    time.sleep(0.5)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    assert (len(before), tables(home)) == (14, before)
    again = home.run("demo", "--operations", "sqlite")
    assert again.returncode == 0, again.stderr
    assert tables(home) == before


def test_airflow_lands_the_same_tables(home: Home, tmp_path: Path) -> None:
    """The commands of docs/airflow/set-up.md export the jobs and run them in a real Airflow, which ends in the same tables as Dagster."""
    (block,) = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "airflow" / "set-up.md").read_text(), re.DOTALL | re.MULTILINE)
    commands = block.replace("make install-development\n", "").replace(".venv/bin", str(Path(sys.executable).parent))
    commands = commands.replace("$PWD/.etl", str(tmp_path)).replace(".etl", str(tmp_path))
    home.run("exec", "--", sys.executable, "-c", "from etl_assets.config import *; embedded_database(read_settings(), 'from_airflow')")
    variables = {"DATABASE_URL": home.run("postgres", "url", "from_airflow").stdout.strip()}
    done = subprocess.run(
        ["/bin/sh", "-ec", commands],
        cwd=ROOT,
        env={**home.variables, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert (done.stdout + done.stderr).count("state=success") >= 2
    assert tables(home, "from_airflow") == tables(home)
    orchestrators = home.database("from_airflow").read_query("SELECT DISTINCT orchestrator FROM etl.loads")
    assert orchestrators["orchestrator"].tolist() == ["airflow"]


def test_dagster_knows_the_runs(home: Home) -> None:
    """The runs are in Dagster's storage in PostgreSQL, those of the demo and the one that Airflow made."""
    runs = home.database("dagster").read_query("SELECT count(*) FILTER (WHERE status = 'SUCCESS') AS succeeded FROM runs")
    assert int(runs["succeeded"].iat[0]) >= 3
