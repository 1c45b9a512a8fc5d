"""Rules about a table as a whole: references to other tables, the number of rows, the age of a column, its columns."""

import datetime
from typing import Annotated, Any

import dagster as dg
import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.typing import DataFrame

from etl_assets.assets import RowPolicy, etl_asset
from etl_assets.contracts import Contract
from etl_assets.errors import ContractDefinitionError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource

ROWS: dict[str, pd.DataFrame] = {}


class Airports(pa.DataFrameModel):
    """Airports, one row per airport."""

    airport: str

    class Config:
        metadata = {"primary_key": ["airport"]}


class Flights(pa.DataFrameModel):
    """Flights, one row per flight."""

    id: int
    dest: str = pa.Field(nullable=True, metadata={"references": "air/airports.airport", "most_failed": 1})

    class Config:
        metadata = {"primary_key": ["id"]}


@etl_asset(schema="air")
def airports() -> DataFrame[Airports]:
    """Airports."""
    return ROWS["airports"]


@etl_asset(schema="air", rows=RowPolicy(most_quarantined=0.9))
def flights() -> DataFrame[Flights]:
    """Flights."""
    return ROWS["flights"]


def run(postgres: PostgresResource, *assets: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    """Materialise into PostgreSQL without raising."""
    return dg.materialize(list(assets), resources={"io_manager": PostgresIOManager(postgres=postgres)}, raise_on_error=False)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def why(result: dg.ExecuteInProcessResult) -> str:
    """Description of the first failure."""
    data = next(event for event in result.all_events if event.is_step_failure).step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


def frame(*dests: str | None) -> pd.DataFrame:
    return pd.DataFrame({"id": [str(number) for number in range(len(dests))], "dest": list(dests)}, dtype="str")


# -- references -----------------------------------------------------------------------------------------------------------


def test_a_row_without_its_partner_goes_to_the_quarantine(postgres: PostgresResource) -> None:
    """A value that is no key of the other asset's table breaks the rule; NULL references nothing."""
    ROWS.update(airports=pd.DataFrame({"airport": ["JFK", "LGA"]}), flights=frame("JFK", "SJU", None))
    result = run(postgres, airports, flights)
    assert result.success
    assert checks(result)["dest_references_airports"] is False
    assert postgres.read_table("flights", schema="air")["id"].tolist() == [0, 2]
    assert postgres.read_query("SELECT rules::text FROM etl.quarantine")["rules"].tolist() == ["{dest_references_airports}"]


def test_the_limit_of_the_rule_stops_the_load(postgres: PostgresResource) -> None:
    """More rows without a partner than the rule allows, and nothing is loaded."""
    ROWS.update(airports=pd.DataFrame({"airport": ["JFK"]}), flights=frame("JFK", "SJU", "BQN", "JFK"))
    result = run(postgres, airports, flights)
    assert "dest_references_airports 2 of 4 (at most 1)" in why(result)
    assert not postgres.has_table("flights", schema="air")


def test_the_other_asset_comes_first() -> None:
    """An asset that is referenced is a dependency, as if it were an input."""
    assert flights.asset_deps[flights.key] == {airports.key}


def test_a_reference_to_a_table_that_is_not_there(postgres: PostgresResource) -> None:
    """A table that was never made is named, with what to do."""
    ROWS["flights"] = frame("JFK")
    assert "materialise air/airports first" in why(run(postgres, flights))


@pytest.mark.parametrize("given", ["airports", "", ".airport", "clean/airports."])
def test_a_reference_that_names_no_column_is_refused(given: str) -> None:
    """A reference names an asset and a column of it."""

    class Wrong(pa.DataFrameModel):
        x: str = pa.Field(metadata={"references": given})

    with pytest.raises(ContractDefinitionError, match="names no column"):
        Contract(Wrong)


# -- number of rows -------------------------------------------------------------------------------------------------------


def counted(**policy: Any) -> dg.AssetsDefinition:
    @etl_asset(schema="air", name="airports", rows=RowPolicy(**policy))
    def asset() -> DataFrame[Airports]:
        """Airports."""
        return ROWS["airports"]

    return asset


def some(count: int) -> pd.DataFrame:
    return pd.DataFrame({"airport": [f"A{number}" for number in range(count)]}, dtype="str")


@pytest.mark.parametrize(
    ("policy", "first", "second", "problem"),
    [
        ({"least_rows": 2}, 2, 1, "1 rows are fewer than 2"),
        ({"least_rows": 1}, 1, 0, "0 rows are fewer than 1"),
        ({"most_rows": 2}, 2, 3, "3 rows are more than 2"),
        ({"most_change": 0.5}, 10, 4, "4 rows are -60% against the 10 of the load before"),
        ({"most_change": 0.5}, 10, 16, "16 rows are +60% against the 10"),
        ({"most_change": 0.5}, 10, 5, ""),
        ({"most_change": 0.5}, 0, 5, ""),  # nothing to compare with
    ],
)
def test_bounds_on_the_number_of_rows(postgres: PostgresResource, policy: dict[str, Any], first: int, second: int, problem: str) -> None:
    """Outside its bounds nothing is loaded, and the check says by how much; the table keeps its rows."""
    ROWS["airports"] = some(first)
    assert run(postgres, counted(**policy)).success
    ROWS["airports"] = some(second)
    result = run(postgres, counted(**policy))
    assert (result.success, checks(result)["row_count"]) == (not problem, not problem)
    if problem:
        assert problem in why(result)
        assert len(postgres.read_table("airports", schema="air")) == first


def test_without_bounds_there_is_no_such_check() -> None:
    """An asset without bounds has no check of its number of rows."""
    assert "row_count" not in {spec.name for spec in counted().check_specs}


@pytest.mark.parametrize("policy", [{"least_rows": -1}, {"most_change": -0.1}, {"least_rows": 3, "most_rows": 2}])
def test_bounds_that_contradict_themselves_are_refused(policy: dict[str, Any]) -> None:
    """Bounds are not below zero, and the lower one not above the upper one."""
    with pytest.raises(ContractDefinitionError):
        RowPolicy(**policy)


# -- age ------------------------------------------------------------------------------------------------------------------


class Aged(pa.DataFrameModel):
    """Rows with two ages."""

    at: Annotated[pd.DatetimeTZDtype, "us", "UTC"] = pa.Field(nullable=True, metadata={"fresh_within": datetime.timedelta(hours=2)})
    day: pa.Date = pa.Field(nullable=True, metadata={"fresh_within": datetime.timedelta(days=1)})


@etl_asset(schema="air")
def aged() -> DataFrame[Aged]:
    """Rows with two ages."""
    return ROWS["aged"]


@pytest.mark.parametrize(("hours", "fresh"), [(1, True), (3, False), (None, False)])
def test_the_age_of_a_column(postgres: PostgresResource, hours: int | None, fresh: bool) -> None:
    """The newest value counts; an old table is loaded all the same, and the check says so. A column without values is not fresh."""
    now = datetime.datetime.now(datetime.UTC)
    at = None if hours is None else [now - datetime.timedelta(days=9), now - datetime.timedelta(hours=hours)]
    days = None if hours is None else [(now - datetime.timedelta(days=ago)).date() for ago in (9, hours // 2)]
    ROWS["aged"] = pd.DataFrame(
        {"at": pd.Series(at or [None], dtype="datetime64[us, UTC]"), "day": pd.Series(days or [None], dtype=object)}
    )
    result = run(postgres, aged)
    assert result.success
    assert (checks(result)["at_fresh"], checks(result)["day_fresh"]) == (fresh, hours is not None)


@pytest.mark.parametrize(
    ("annotation", "given"),
    [(pa.Date, 5), (pa.Date, datetime.timedelta(0)), (int, datetime.timedelta(1)), (pa.DateTime, datetime.timedelta(1))],
)
def test_an_age_that_cannot_be_told_is_refused(annotation: Any, given: Any) -> None:
    """An age needs a date or an instant, and a time above zero."""

    class Wrong(pa.DataFrameModel):
        x: annotation = pa.Field(metadata={"fresh_within": given})

    with pytest.raises(ContractDefinitionError):
        Contract(Wrong)


# -- columns --------------------------------------------------------------------------------------------------------------


def test_a_change_of_columns_is_told(postgres: PostgresResource) -> None:
    """A load that changes the shape of the table warns, naming what changes; the next one does not."""
    postgres.load(pd.DataFrame({"airport": ["JFK"], "name": ["Kennedy"]}), table="airports", schema="air")
    ROWS["airports"] = some(1)
    evaluations = {check.check_name: check for check in run(postgres, airports).get_asset_check_evaluations()}
    assert (evaluations["columns_unchanged"].passed, evaluations["columns_unchanged"].description) == (
        False,
        "The table changed: -name text",
    )
    assert checks(run(postgres, airports))["columns_unchanged"] is True


def test_rules_that_cannot_only_warn() -> None:
    """A row of a wrong type cannot be stored, so its rule cannot be turned into a warning."""

    class Wrong(pa.DataFrameModel):
        x: int

        class Config:
            metadata = {"rules": {"x_type": {"severity": "warn"}}}

    with pytest.raises(ContractDefinitionError, match="cannot only warn"):
        Contract(Wrong)
