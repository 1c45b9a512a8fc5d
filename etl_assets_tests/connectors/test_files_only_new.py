"""Files that were loaded are not loaded again: the hash of each file's content commits with its rows."""

import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import openpyxl
import pandera.pandas as pa
import pyarrow
import pyarrow.parquet
import pytest
from pandera.typing import DataFrame

from etl_assets.accounting import Account, open_account
from etl_assets.assets import etl_asset
from etl_assets.connectors.excel import ExcelResource
from etl_assets.connectors.files import HASH, FilesResource, Only
from etl_assets.errors import SourceFormatError, SourceNotFoundError
from etl_assets.loading.io_manager import PostgresIOManager
from etl_assets.loading.postgres import PostgresResource
from etl_assets.retry_settings import Retry
from etl_assets_tests.connectors import fault_store
from etl_assets_tests.connectors.file_reading import positions_of, put

ONE = "id,n\n1,x\n"
TWO = "id,n\n2,y\n"


@pytest.fixture
def files(tmp_path: Path) -> FilesResource:
    """Files below an empty folder."""
    return FilesResource(base_folder=str(tmp_path))


def digest(content: str | bytes) -> str:
    """The name of a file's watermark."""
    return HASH + hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def read_new(
    files: FilesResource, marks: Mapping[str, Any], only: Only = "new", path: str = "*.csv", read: str = "read_csv"
) -> tuple[list[str], Account]:
    """The positions of the rows that are new above committed marks, and the account."""
    with open_account(lambda: marks) as account:
        found = getattr(files, read)(path, only=only)
        positions = [place for frame in found for place in positions_of(frame)] if isinstance(found, Iterator) else positions_of(found)
    return positions, account


# -- what is left out --------------------------------------------------------------------------------------------------


def test_at_first_everything_is_new(files: FilesResource, tmp_path: Path) -> None:
    """Before the first load all files are read, and each has a watermark with its name."""
    put(tmp_path, "1.csv", ONE)
    put(tmp_path, "2.csv", TWO)
    positions, account = read_new(files, {})
    assert positions == ["1.csv line 2", "2.csv line 2"]
    assert account.reached == {digest(ONE): "1.csv", digest(TWO): "2.csv"}


@pytest.mark.parametrize("only", ["new", "new_or_changed"])
def test_a_loaded_file_is_left_out(files: FilesResource, tmp_path: Path, only: Only) -> None:
    """Only the file that no load brought is read, and only it has a watermark to commit."""
    put(tmp_path, "1.csv", ONE)
    put(tmp_path, "2.csv", TWO)
    positions, account = read_new(files, {digest(ONE): "1.csv"}, only)
    assert (positions, account.reached, account.rows_read) == (["2.csv line 2"], {digest(TWO): "2.csv"}, 1)


@pytest.mark.parametrize("only", ["new", "new_or_changed"])
def test_a_renamed_copy_is_left_out(files: FilesResource, tmp_path: Path, only: Only) -> None:
    """The content counts, not the name."""
    put(tmp_path, "copy of 1.csv", ONE)
    positions, account = read_new(files, {digest(ONE): "1.csv"}, only)
    assert (positions, account.reached) == ([], {})


def test_two_files_of_the_same_content_are_one(files: FilesResource, tmp_path: Path) -> None:
    """Of files that are equal only the first one is read."""
    put(tmp_path, "1.csv", ONE)
    put(tmp_path, "2.csv", ONE)
    assert read_new(files, {})[0] == ["1.csv line 2"]


def test_the_content_as_stored_counts(files: FilesResource, tmp_path: Path) -> None:
    """A packed file is another one than the file in it."""
    put(tmp_path, "1.csv", gzip.compress(ONE.encode(), mtime=0))
    assert read_new(files, {digest(ONE): "1.txt"})[0] == ["1.csv line 2"]


def test_a_changed_file_is_an_error_for_new(files: FilesResource, tmp_path: Path) -> None:
    """A file that was loaded with another content is refused: its rows would come twice."""
    put(tmp_path, "1.csv", ONE + "2,z\n")
    with pytest.raises(SourceFormatError, match=r'1.csv: the file has changed since it was loaded. Next: .* say only="new_or_changed"'):
        read_new(files, {digest(ONE): "1.csv"})


@pytest.mark.parametrize("path", ["1.csv", "./1.csv", "x/../1.csv", "{folder}/1.csv"])
def test_a_changed_file_is_known_however_its_path_is_written(files: FilesResource, tmp_path: Path, path: str) -> None:
    """Another way to write the path does not make the file another one."""
    put(tmp_path, "1.csv", ONE + "2,z\n")
    with pytest.raises(SourceFormatError, match="the file has changed since it was loaded"):
        read_new(files, {digest(ONE): "1.csv"}, path=path.replace("{folder}", str(tmp_path)))


def test_a_changed_file_is_read_when_asked_for(files: FilesResource, tmp_path: Path) -> None:
    """With new_or_changed it is read whole, and has a new watermark."""
    put(tmp_path, "1.csv", ONE + "2,z\n")
    positions, account = read_new(files, {digest(ONE): "1.csv"}, "new_or_changed")
    assert (positions, account.reached) == (["1.csv line 2", "1.csv line 3"], {digest(ONE + "2,z\n"): "1.csv"})


def test_all_asks_for_no_watermark(files: FilesResource, tmp_path: Path) -> None:
    """By default files are read whatever was loaded, and nothing is kept of them."""
    put(tmp_path, "1.csv", ONE)
    positions, account = read_new(files, {digest(ONE): "1.csv"}, "all")
    assert (positions, account.reached, account.only_new) == (["1.csv line 2"], {}, False)


def test_asking_for_new_files_is_told(files: FilesResource, tmp_path: Path) -> None:
    """The account knows that the rows are to be added, even where all files are new."""
    put(tmp_path, "1.csv", ONE)
    assert read_new(files, {})[1].only_new


def test_a_glob_may_name_no_file(files: FilesResource) -> None:
    """Where only what is new is read, no file is nothing new."""
    positions, account = read_new(files, {})
    assert (positions, account.reached, account.rows_read) == ([], {}, 0)


def test_a_named_file_must_be_there(files: FilesResource) -> None:
    """A single file that is missing is an error for new ones too."""
    with pytest.raises(SourceNotFoundError):
        read_new(files, {}, path="1.csv")


def test_a_file_that_cannot_be_read_keeps_no_watermark(files: FilesResource, tmp_path: Path) -> None:
    """A file that fails half-way is not noted as loaded."""
    put(tmp_path, "1.csv", gzip.compress(ONE.encode() * 1000)[:-8])
    with open_account() as account, pytest.raises(SourceFormatError):
        files.read_csv("*.csv", only="new")
    assert account.reached == {}


def _parquet(folder: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"id": [1]}), folder / "a.parquet")


def _workbook(folder: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active["A1"], workbook.active["A2"] = "id", 1
    workbook.save(folder / "a.xlsx")


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (lambda folder: put(folder, "a.csv", ONE), "read_csv"),
        (lambda folder: put(folder, "a.csv", ONE), "read_csv_batches"),
        (lambda folder: put(folder, "a.json", '[{"id": 1}]'), "read_json"),
        (lambda folder: put(folder, "a.jsonl", '{"id": 1}'), "read_json_lines"),
        (lambda folder: put(folder, "a.jsonl", '{"id": 1}'), "read_json_lines_batches"),
        (_parquet, "read_parquet"),
        (_parquet, "read_parquet_batches"),
        (_workbook, "read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_format_leaves_out_what_was_loaded(tmp_path: Path, write: Callable[[Path], Any], read: str) -> None:
    """CSV, JSON, JSON lines, Parquet and Excel, whole and in batches."""
    files: Any = ExcelResource(base_folder=str(tmp_path)) if read == "read" else FilesResource(base_folder=str(tmp_path))
    write(tmp_path)
    first, account = read_new(files, {}, path="a.*", read=read)
    again, nothing = read_new(files, account.reached, path="a.*", read=read)
    assert (len(first), again, nothing.reached) == (1, [], {})


# -- what is hashed is what is read ------------------------------------------------------------------------------------


class _Replaced(dict[str, bytes]):
    """A file that somebody replaces every time it has been opened."""

    count = 0

    def __getitem__(self, name: str) -> bytes:
        self.count += 1
        return f"id,n\n{self.count},x\n".encode()


def test_a_file_is_hashed_and_read_in_one(tmp_path: Path) -> None:
    """A file that is replaced between hashing and reading is not loaded under the hash of the other one."""
    fault_store.store.__init__()  # type: ignore[misc]
    fault_store.store.files = _Replaced({"bucket/a.csv": b""})
    with open_account() as account:
        frame = FilesResource(base_folder="faulty://bucket", retry=Retry(attempts=1)).read_csv("a.csv", only="new")
    content = f"id,n\n{frame['id'][0]},x\n"
    assert (account.reached, len(fault_store.store.opened)) == ({digest(content): "a.csv"}, 1)
    fault_store.store.__init__()  # type: ignore[misc]


# -- assets ------------------------------------------------------------------------------------------------------------


class Orders(pa.DataFrameModel):
    """Orders, one row per order."""

    id: int
    n: str = pa.Field(nullable=True)

    class Config:
        metadata = {"primary_key": ["id"]}


def orders_asset(write: str, only: Only = "new", path: str = "*.csv") -> dg.AssetsDefinition:
    """The asset raw/orders, which reads what is new."""

    @etl_asset(schema="raw", write=write)
    def orders(files: FilesResource) -> DataFrame[Orders]:
        return files.read_csv(path, only=only)

    return orders


@pytest.fixture
def load(postgres: PostgresResource, files: FilesResource) -> Callable[[dg.AssetsDefinition], str]:
    """Materialise an asset: "" when it succeeds, else what Dagster says of it."""

    def materialise(asset: dg.AssetsDefinition) -> str:
        resources = {"io_manager": PostgresIOManager(postgres=postgres), "postgres": postgres, "files": files}
        result = dg.materialize([asset], resources=resources, raise_on_error=False)
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        return str(failures[0].user_failure_data.description) if failures and failures[0].user_failure_data else str(failures or "")

    return materialise


def table(postgres: PostgresResource) -> list[tuple[Any, ...]]:
    """The rows of raw.orders."""
    return [tuple(row) for row in postgres.read_query("SELECT id, n FROM raw.orders ORDER BY 1, 2").astype(object).to_numpy()]


Load = Callable[[dg.AssetsDefinition], str]


def test_the_second_load_adds_the_new_file_only(load: Load, postgres: PostgresResource, tmp_path: Path) -> None:
    """Each file is loaded once, whatever lies beside it."""
    put(tmp_path, "1.csv", ONE)
    assert load(orders_asset("append")) == ""
    put(tmp_path, "2.csv", TWO)
    assert load(orders_asset("append")) == ""
    assert table(postgres) == [(1, "x"), (2, "y")]


@pytest.mark.parametrize("write", ["append", "merge"])
def test_a_load_without_a_new_file_changes_nothing(load: Load, postgres: PostgresResource, tmp_path: Path, write: str) -> None:
    """A run that finds nothing new succeeds."""
    put(tmp_path, "1.csv", ONE)
    assert [load(orders_asset(write)), load(orders_asset(write))] == ["", ""]
    assert table(postgres) == [(1, "x")]


def test_a_renamed_copy_is_not_loaded_again(load: Load, postgres: PostgresResource, tmp_path: Path) -> None:
    """The ledger in PostgreSQL goes by content."""
    put(tmp_path, "1.csv", ONE)
    load(orders_asset("append"))
    (tmp_path / "1.csv").rename(tmp_path / "one.csv")
    put(tmp_path, "2.csv", TWO)
    assert load(orders_asset("append")) == ""
    assert table(postgres) == [(1, "x"), (2, "y")]


def test_a_changed_file_stops_the_load(load: Load, postgres: PostgresResource, tmp_path: Path) -> None:
    """The failure says what to do, and the table is left as it was."""
    put(tmp_path, "1.csv", ONE)
    load(orders_asset("append"))
    put(tmp_path, "1.csv", ONE + "2,z\n")
    assert "1.csv: the file has changed since it was loaded" in load(orders_asset("append"))
    assert table(postgres) == [(1, "x")]


def test_a_changed_file_is_merged_by_its_key(load: Load, postgres: PostgresResource, tmp_path: Path) -> None:
    """With new_or_changed and merge a corrected file corrects its rows."""
    put(tmp_path, "1.csv", ONE)
    put(tmp_path, "2.csv", TWO)
    load(orders_asset("merge", "new_or_changed"))
    put(tmp_path, "1.csv", "id,n\n1,corrected\n3,z\n")
    assert load(orders_asset("merge", "new_or_changed")) == ""
    assert table(postgres) == [(1, "corrected"), (2, "y"), (3, "z")]


def test_replace_is_refused(load: Load, postgres: PostgresResource, tmp_path: Path) -> None:
    """Replacing the table by what is new would drop what was loaded before."""
    put(tmp_path, "1.csv", ONE)
    said = load(orders_asset("replace"))
    assert "it reads only what is new, and replace would drop the rows loaded before" in said
    assert postgres.read_query("SELECT to_regclass('raw.orders') IS NULL AS gone")["gone"].tolist() == [True]


def test_a_failed_load_notes_no_file(load: Load, postgres: PostgresResource, tmp_path: Path) -> None:
    """What a load read that was refused is read again by the next one."""
    put(tmp_path, "1.csv", ONE)
    load(orders_asset("append"))
    put(tmp_path, "2.csv", "id,n\nnone,y\n")
    assert "break the contract" in load(orders_asset("append"))
    assert postgres.watermarks("raw/orders") == {digest(ONE): "1.csv"}


def test_a_corrected_file_is_loaded_after_a_failed_load(load: Load, postgres: PostgresResource, tmp_path: Path) -> None:
    """It was never loaded, so it has not changed since."""
    put(tmp_path, "1.csv", "id,n\nnone,y\n")
    load(orders_asset("append"))
    put(tmp_path, "1.csv", ONE)
    assert load(orders_asset("append")) == ""
    assert table(postgres) == [(1, "x")]
