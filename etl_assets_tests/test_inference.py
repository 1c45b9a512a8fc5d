"""A first contract from data: what it says, and that the data keeps it."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pandas as pd
import pytest

from etl_assets.assets import defined_assets
from etl_assets.contract_pages import write_page
from etl_assets.contracts import Contract
from etl_assets.frames import TEXT
from etl_assets.inference import infer, of_table, write_contract
from etl_assets.loading.table import ColumnSpec, TableSpec
from etl_assets.pipelines.nyc_flights import clean as example

CLI = [sys.executable, "-m", "etl_assets.cli", "contract"]


def text(*cells: str | None) -> "pd.Series[Any]":
    return pd.Series(pd.array(list(cells), dtype=TEXT))


def contract(frame: pd.DataFrame, **options: Any) -> Contract:
    """The contract that is written for a frame, read back."""
    names: dict[str, Any] = {}
    exec(write_contract(infer(frame), name="Rows", source="made", rows=len(frame), **options), names)
    return Contract(names["Rows"])


@pytest.mark.parametrize(
    ("cells", "annotation"),
    [
        (["1", "-2"], "int"),
        (["1", None], "pd.Int64Dtype"),
        (["00501", "10001"], "str"),  # a code
        (["0", "1"], "int"),
        (["1.50", "20.00"], "Annotated[pa.Decimal, 14, 2, None]"),
        (["1.5", "2.25"], "float"),
        (["1e5", "2"], "float"),
        (["12345678901234567890", "1"], "Annotated[pa.Decimal, 38, 0, None]"),  # a float would round it
        (["true", "false"], "bool"),
        (["true", None], "pd.BooleanDtype"),
        (["2026-01-01", "9999-12-31"], "pa.Date"),
        (["2026-01-01T00:00:00Z", "2026-01-01T00:00:00+02:00"], 'Annotated[pd.DatetimeTZDtype, "us", "UTC"]'),
        (["2026-01-01 00:00:00"], "pa.DateTime"),
        (["03/04/2026"], "str"),  # day and month are not guessed
        (["NA", "1"], "str"),
        ([None, None], "str"),
    ],
)
def test_types(cells: list[str | None], annotation: str) -> None:
    """A type is named when every cell converts to it without loss, and nothing is guessed."""
    assert infer(pd.DataFrame({"x": text(*cells)}))[0].annotation == annotation


def test_few_values_only_warn() -> None:
    """A small set of values is proposed, and another value is loaded with a warning; a large one is not proposed."""
    frame = pd.DataFrame({"few": text(*["a", "b"] * 40), "many": text(*map(str, range(80))), "short": text(*["x"] * 80)})
    (few, many, _) = infer(frame)
    assert (few.values, many.values) == (("a", "b"), ())
    other = frame.head(1).assign(few=text("z"))
    assert len(contract(frame).split(other, where="x").valid) == 1


def test_no_bounds_come_from_the_sample() -> None:
    """The smallest and largest value of the data become no rule."""
    frame = pd.DataFrame({"x": text(*map(str, range(100)))})
    other = pd.DataFrame({"x": text("-5", "1000")})
    assert len(contract(frame).split(other, where="x").valid) == 2


def test_the_key_is_the_first_unique_column_or_the_one_given() -> None:
    """A column that is unique and never NULL is proposed as key."""
    frame = pd.DataFrame({"a": text("1", "1"), "b": text("1", "2"), "c": text("1", "2")})
    assert (contract(frame).primary_key, contract(frame, key=["a", "c"]).primary_key) == (("b",), ("a", "c"))


@pytest.mark.parametrize("name", ["First Name", "2013", "class", 'a"b\\c', "größe", "\u202ex", "_x", "a.b"])
def test_any_name_of_a_column(name: str) -> None:
    """A column whose name is no Python name keeps it."""
    assert [column.name for column in contract(pd.DataFrame({name: text("1", "2")})).columns] == [name]


CELLS = st.one_of(
    st.none(),
    st.sampled_from(["1", "-7", "00501", "1.50", "2.25", "true", "2026-01-01", "NA", "", " ", 'a"b', "\\N"]),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.text(st.characters(codec="utf-8"), max_size=6),
)


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(st.integers(1, 8).flatmap(lambda rows: st.lists(st.lists(CELLS, min_size=rows, max_size=rows), min_size=1, max_size=3)))
def test_data_keeps_its_own_contract(columns: list[list[str | None]]) -> None:
    """Whatever the data: the contract written for it can be read, and the data keeps it."""
    frame = pd.DataFrame({f"c{place}": text(*cells) for place, cells in enumerate(columns)})
    assert not contract(frame).split(frame, where="x").rejected


def test_a_table_as_its_database_declares_it() -> None:
    """Types, NULLs and key of a table come from its database."""
    spec = TableSpec(
        columns=(
            ColumnSpec(name="id", type="bigint", nullable=False), ColumnSpec(name="n", type="integer"),
            ColumnSpec(name="price", type="numeric(8,2)"), ColumnSpec(name="tags", type="text[]"),
            ColumnSpec(name="at", type="timestamp with time zone"),
        ),
        primary_key=("id",),
    )  # fmt: skip
    names: dict[str, Any] = {}
    exec(write_contract(of_table(spec), name="Rows", source="shop", rows=None, key=spec.primary_key), names)
    read = Contract(names["Rows"])
    assert [(column.name, column.postgres_type, column.nullable) for column in read.columns] == [
        ("id", "bigint", False), ("n", "bigint", True), ("price", "numeric(8,2)", True), ("tags", "text[]", True),
        ("at", "timestamp with time zone", True),
    ]  # fmt: skip
    assert read.primary_key == ("id",)


# -- command line ---------------------------------------------------------------------------------------------------------


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*CLI, *arguments], cwd=folder, env=os.environ, capture_output=True, text=True, check=False)


def test_infer_from_a_file_and_a_database(tmp_path: Path) -> None:
    """The command prints a contract that Python reads, for a file in any notation and for a table."""
    (tmp_path / "orders.csv").write_bytes("id;name\n1;Müller\n2;Meier\nx\n".encode("cp1252"))
    printed = run(tmp_path, "infer", "orders.csv", "--name", "Orders").stdout
    names: dict[str, Any] = {}
    exec(printed, names)
    assert [column.name for column in Contract(names["Orders"]).columns] == ["id", "name"]
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
    connection.close()
    printed = run(tmp_path, "infer", "sqlite:///shop.db", "--table", "orders").stdout
    exec(printed, names)
    assert Contract(names["Rows"]).primary_key == ("id",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["infer", "nope.csv"], "there is no such file"),
        (["infer", "sqlite:///x.db"], "add --table"),
        (["infer", "x.csv", "--name", "my orders"], "no name of a class"),
        (["docs", "-m", "no_such_module"], "cannot be imported"),
    ],
)
def test_what_cannot_be_inferred(tmp_path: Path, arguments: list[str], said: str) -> None:
    """One message says what is wrong."""
    done = run(tmp_path, *arguments)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_page_of_contracts() -> None:
    """A page has a section per asset with its description, columns and rules."""
    key = example.weather.key.to_user_string()
    page = write_page({key: defined_assets()[key].contract}, title="Contracts")
    assert "## clean/weather" in page
    assert "| `wind_speed_mph` | double precision | yes |" in page
    assert "| `wind_speed_mph_le` | wind_speed_mph <= " in page
