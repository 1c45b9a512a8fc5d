"""What `PostgresResource.load` takes: frames, Arrow tables, several of either, and functions that make them; rows it may leave out.

Not here: a load that fails for a moment or comes twice (`test_given_again.py`), single values (`test_type_matrix.py`), dispositions
(`test_dispositions.py`), rows of assets (`test_batches.py`).
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from etl_assets.errors import ConfigurationError, EtlError, UnstorableValueError
from etl_assets.loading.postgres import PostgresResource
from etl_assets.local_postgres import LocalPostgres
from etl_assets.retry_settings import Retry
from etl_assets_tests.statements import run

AT_ONCE = Retry(attempts=3, initial_seconds=0, jitter=False)
FRAME = pd.DataFrame({"id": [1, 2, 3, 4], "note": pd.Series(["a", None, "", "é"], dtype="str")})
TABLE = pa.table({"id": pa.array([1, 2, 3, 4]), "note": pa.array(["a", None, "", "é"])})
STORED = [(1, "a"), (2, None), (3, ""), (4, "é")]
HALVES = [FRAME.head(2), FRAME.tail(2)]
BEFORE = pd.DataFrame({"id": [9], "note": ["before"]})


@pytest.fixture(scope="module")
def database(postgres_server: LocalPostgres) -> PostgresResource:
    """A database of this file."""
    postgres_server.create_database("test_given")
    return PostgresResource(url=postgres_server.url("test_given"), retry=AT_ONCE)


@pytest.fixture
def postgres(database: PostgresResource) -> PostgresResource:
    """The database, emptied: a new one for each test would take most of the time."""
    run(database.url, "DROP SCHEMA IF EXISTS etl CASCADE", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


def stored(postgres: PostgresResource) -> list[tuple[Any, ...]]:
    """The rows of `public.t`, in order."""
    return run(postgres.url, "SELECT id, note FROM public.t ORDER BY id")


def ledger(postgres: PostgresResource) -> list[tuple[Any, ...]]:
    """Outcome and error of each load, in order."""
    return run(postgres.url, "SELECT status, error_class FROM etl.loads ORDER BY recorded_at")


def begun(postgres: PostgresResource) -> None:
    """A load that is there before the one that fails."""
    postgres.load(BEFORE, table="t", watermarks={"orders": 1})


def as_before(postgres: PostgresResource) -> bool:
    """Whether table, watermark and quarantine are those of `begun`."""
    rows, kept = stored(postgres), run(postgres.url, "SELECT count(*) FROM etl.quarantine")
    return (rows, postgres.watermarks("public/t"), kept) == ([(9, "before")], {"orders": 1}, [(0,)])


# -- kinds ----------------------------------------------------------------------------------------------------------------


def reader() -> pa.RecordBatchReader:
    """The rows as a reader of two batches."""
    return pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches(max_chunksize=2))


KINDS: dict[str, Callable[[], Any]] = {
    "frame": lambda: FRAME,
    "frame with an index of its own": lambda: FRAME.set_index(pd.Index(list("wxyz"))),
    "table": lambda: TABLE,
    "table of several chunks": lambda: pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]),
    "table with a dictionary": lambda: TABLE.set_column(1, "note", TABLE["note"].dictionary_encode()),
    "record batch": lambda: TABLE.to_batches()[0],
    "reader": reader,
    "list of frames": lambda: HALVES,
    "tuple of frames": lambda: tuple(HALVES),
    "list of tables": lambda: [TABLE.slice(0, 2), TABLE.slice(2)],
    "list of both": lambda: [FRAME.head(2), TABLE.slice(2)],
    "list that begins with no rows": lambda: [FRAME.head(0), *HALVES],
    "list with columns in another order": lambda: [HALVES[0], HALVES[1][["note", "id"]]],
    "iterator": lambda: iter(HALVES),
    "generator": lambda: (half for half in HALVES),
    "generator of batches": lambda: (batch for batch in TABLE.to_batches(max_chunksize=1)),
    "function that makes a generator": lambda: lambda: (half for half in HALVES),
    "function that makes a list": lambda: lambda: HALVES,
    "function that makes a reader": lambda: reader,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_each_kind_are_stored(postgres: PostgresResource, kind: str) -> None:
    """However rows are handed over, the table holds them, with NULL apart from the empty text."""
    result = postgres.load(KINDS[kind](), table="t")
    assert (result.rows_loaded, stored(postgres)) == (4, STORED)


@pytest.mark.parametrize("kind", KINDS)
def test_the_types_of_each_kind_are_the_same(postgres: PostgresResource, kind: str) -> None:
    """However rows are handed over, the columns have the same types."""
    result = postgres.load(KINDS[kind](), table="t")
    assert [(column.name, column.type) for column in result.columns] == [("id", "bigint"), ("note", "text")]


NOTHING: dict[str, Callable[[], Any]] = {
    "frame": lambda: FRAME.head(0),
    "table": lambda: TABLE.slice(0, 0),
    "table without batches": lambda: TABLE.schema.empty_table(),
    "record batch": lambda: TABLE.to_batches()[0].slice(0, 0),
    "list of an empty frame": lambda: [FRAME.head(0)],
    "reader without batches": lambda: pa.RecordBatchReader.from_batches(TABLE.schema, []),
    "function that makes an empty frame": lambda: lambda: iter([FRAME.head(0)]),
}


@pytest.mark.parametrize("kind", NOTHING)
def test_no_rows_with_columns_make_an_empty_table(postgres: PostgresResource, kind: str) -> None:
    """What has columns and no rows empties the table, which keeps their types."""
    postgres.load(FRAME, table="t")
    result = postgres.load(NOTHING[kind](), table="t")
    assert (result.rows_loaded, [column.type for column in result.columns], stored(postgres)) == (0, ["bigint", "text"], [])


@pytest.mark.parametrize("given", [[], (), iter([]), list], ids=["list", "tuple", "iterator", "function"])
def test_nothing_at_all_is_refused(postgres: PostgresResource, given: Any) -> None:
    """Where not even an empty frame comes, nobody knows the columns: an error with what to give, and the table stays."""
    begun(postgres)
    with pytest.raises(ConfigurationError, match=r"public/t: there is no frame, .* Next: give an empty frame"):
        postgres.load(given, table="t")
    assert as_before(postgres)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (5, "a int holds no rows"),
        (None, "a NoneType holds no rows"),
        ({"id": [1]}, "a str among the rows is no frame"),
        ([{"id": 1}], "a dict among the rows is no frame"),
        ([FRAME, None], "a NoneType among the rows is no frame"),
        (FRAME["id"], "a Series holds no rows|a int among the rows is no frame"),
        (lambda: 5, "a int holds no rows"),
    ],
    ids=["number", "None", "dict", "list of dicts", "None in a list", "Series", "function of a number"],
)
def test_what_holds_no_rows_is_refused(postgres: PostgresResource, given: Any, says: str) -> None:
    """Anything else is an error that names its type, and says what is taken; the table stays."""
    begun(postgres)
    with pytest.raises(ConfigurationError, match=rf"^public/t: ({says}).* Next: give .*DataFrame"):
        postgres.load(given, table="t")
    assert as_before(postgres)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns.*a|'a'"),
        (pd.DataFrame(), "no columns"),
        (pd.DataFrame({"": [1]}), "name"),
        (pd.DataFrame({"a\0b": [1]}), "name|NUL"),
        (pd.DataFrame({"x" * 64: [1]}), "63"),
    ],
    ids=["a name twice", "no columns", "no name", "NUL in a name", "a name of 64 letters"],
)
def test_columns_that_no_table_has_are_refused(postgres: PostgresResource, frame: pd.DataFrame, says: str) -> None:
    """Columns that a table cannot have are an error that says which."""
    with pytest.raises(EtlError, match=says):
        postgres.load(frame, table="t")


def test_columns_that_are_numbers_are_named_by_them(postgres: PostgresResource) -> None:
    """A frame without names of columns has the numbers for names."""
    postgres.load(pd.DataFrame([[1, "a"]]), table="t")
    assert run(postgres.url, 'SELECT "0", "1" FROM public.t') == [(1, "a")]


# -- several --------------------------------------------------------------------------------------------------------------

OTHER_COLUMNS = {
    "one more": FRAME.tail(2).assign(extra=1),
    "one less": FRAME.tail(2)[["id"]],
    "another name": FRAME.tail(2).rename(columns={"note": "remark"}),
}


@pytest.mark.parametrize("how", ["list", "generator", "function"])
@pytest.mark.parametrize("other", OTHER_COLUMNS)
def test_other_columns_in_the_middle_are_refused(postgres: PostgresResource, other: str, how: str) -> None:
    """A frame of other columns than the first one is an error that lists both."""
    frames = [HALVES[0], OTHER_COLUMNS[other], HALVES[1]]
    given = {"list": frames, "generator": iter(frames), "function": lambda: iter(frames)}[how]
    columns = re.escape(str(list(OTHER_COLUMNS[other].columns)))
    with pytest.raises(UnstorableValueError, match=rf"^public/t: .*{columns}.*\['id', 'note'\].* Next: make them the same"):
        postgres.load(given, table="t")


@pytest.mark.parametrize("other", OTHER_COLUMNS)
def test_other_columns_in_the_middle_leave_the_table(postgres: PostgresResource, other: str) -> None:
    """The frames before it are not stored either, and the ledger has the failure."""
    begun(postgres)
    with pytest.raises(UnstorableValueError):
        postgres.load([HALVES[0], OTHER_COLUMNS[other]], table="t", watermarks={"orders": 2})
    assert as_before(postgres)
    assert ledger(postgres) == [("succeeded", None), ("failed", "UnstorableValueError")]


@pytest.mark.parametrize(
    ("values", "back"),
    [
        (pd.Series([3.0, 4.0]), [1, 2, 3, 4]),
        (pd.Series([3, None], dtype="Int64"), [1, 2, 3, None]),
        (pd.Series([3, 4], dtype="int8"), [1, 2, 3, 4]),
        (pd.Series([Decimal(3), None], dtype=object), [1, 2, 3, None]),
        (pd.Series([None, None], dtype=object), [1, 2, None, None]),
    ],
    ids=["whole floats", "Int64", "int8", "decimals", "nothing but NULL"],
)
def test_other_dtypes_in_the_middle_are_stored_as_the_first(postgres: PostgresResource, values: "pd.Series[Any]", back: list[Any]) -> None:
    """A frame of other dtypes is stored in the type of the first one, where its values fit."""
    postgres.load([pd.DataFrame({"id": [1, 2]}), pd.DataFrame({"id": values})], table="t")
    assert run(postgres.url, "SELECT id FROM public.t") == [(value,) for value in back]


@pytest.mark.parametrize(
    ("value", "says"),
    [(4.5, r"'4\.5' \(float\)"), ("4", r"'4' \(str\)"), (2**63, r"'9223372036854775808' \(int\)"), (True, r"'True' \(bool\)")],
    ids=["a fraction", "text", "too large", "a boolean"],
)
def test_other_dtypes_in_the_middle_that_do_not_fit_are_refused(postgres: PostgresResource, value: Any, says: str) -> None:
    """A value of a later frame that the type of the first does not hold is an error with column, row of all rows, and value."""
    begun(postgres)
    frames = [pd.DataFrame({"id": [1, 2, 3], "note": "a"}), pd.DataFrame({"id": pd.Series([4, value], dtype=object), "note": "a"})]
    with pytest.raises(UnstorableValueError, match=rf"^public/t, column id, row 5: {says} cannot be stored exactly as bigint"):
        postgres.load(frames, table="t")
    assert as_before(postgres)


def test_a_function_is_asked_once(postgres: PostgresResource) -> None:
    """A load that goes well makes its rows once: a query behind the function is not run a second time."""
    made: list[int] = []

    def rows() -> Iterator[pd.DataFrame]:
        made.append(1)
        yield from HALVES

    postgres.load(rows, table="t")
    assert (len(made), stored(postgres)) == (1, STORED)


# -- rows that cannot be stored -------------------------------------------------------------------------------------------

LONG = [pd.DataFrame({"id": [1, 2], "note": ["ab", "abc"]}), pd.DataFrame({"id": [3, 4], "note": ["abcd", "é"]})]


@pytest.fixture
def narrow(postgres: PostgresResource) -> PostgresResource:
    """A database whose table takes notes of two letters, and has a row."""
    run(postgres.url, "CREATE TABLE public.t (id bigint, note varchar(2))", "INSERT INTO public.t VALUES (9, 'x')")
    return postgres


@pytest.mark.parametrize("how", ["list", "generator", "function", "one frame"])
def test_a_share_of_bad_rows_goes_to_the_quarantine(narrow: PostgresResource, how: str) -> None:
    """Rows that the table refuses are kept beside it with their record and their place among all rows; the others are stored."""
    given = {"list": LONG, "generator": iter(LONG), "function": lambda: iter(LONG), "one frame": pd.concat(LONG)}[how]
    result = narrow.load(given, table="t", disposition="append", most_quarantined=0.5)
    kept = run(narrow.url, "SELECT source_position, record, rules, asset FROM etl.quarantine ORDER BY id")
    assert (result.rows_loaded, result.rows_refused, stored(narrow)) == (2, 2, [(1, "ab"), (4, "é"), (9, "x")])
    assert kept == [
        ("row 2", {"id": 2, "note": "abc"}, ["note_storable"], "public/t"),
        ("row 3", {"id": 3, "note": "abcd"}, ["note_storable"], "public/t"),
    ]


def test_the_ledger_counts_rows_in_quarantine(narrow: PostgresResource) -> None:
    """Rows read are those loaded and those in the quarantine."""
    narrow.load(LONG, table="t", disposition="append", most_quarantined=0.5)
    assert run(narrow.url, "SELECT status, rows_read, rows_loaded, rows_quarantined FROM etl.loads") == [("succeeded", 4, 2, 2)]


def test_more_bad_rows_than_allowed_are_refused(narrow: PostgresResource) -> None:
    """Above the share the load fails, says how many rows were bad and shows the first; table, watermark and quarantine stay."""
    with pytest.raises(UnstorableValueError, match=r"2 of 4 rows cannot be stored \(at most 49\.0% may\), the first at row 2: .*too long"):
        narrow.load(LONG, table="t", disposition="append", most_quarantined=0.49, watermarks={"orders": 2})
    assert (stored(narrow), narrow.watermarks("public/t"), ledger(narrow)) == ([(9, "x")], {}, [("failed", "UnstorableValueError")])


@pytest.mark.parametrize("most", [-0.1, 1.1, float("nan"), 50], ids=str)
def test_a_share_beyond_all_rows_is_refused(narrow: PostgresResource, most: float) -> None:
    """A share is from 0 to 1: 50 per cent written as 50 would let everything through."""
    with pytest.raises(ConfigurationError, match="most_quarantined"):
        narrow.load(FRAME, table="t", disposition="append", most_quarantined=most)


# -- memory ---------------------------------------------------------------------------------------------------------------

MEMORY = """
import resource
import pandas as pd
from etl_assets.loading.postgres import PostgresResource

def rows():
    for start in range(0, BATCHES * 50_000, 50_000):
        yield pd.DataFrame({"id": range(start, start + 50_000), "word": [f"word {n}" * 5 for n in range(50_000)]})

result = PostgresResource(url=URL).load(GIVEN, table="memory")
assert result.rows_loaded == BATCHES * 50_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("given", ["rows()", "rows"], ids=["generator", "function"])
def test_memory_does_not_grow_with_the_batches(postgres: PostgresResource, given: str) -> None:
    """Ten times the batches cost no more than a few batches more of memory."""
    peaks = []
    for batches in (4, 40):
        code = MEMORY.replace("BATCHES", str(batches)).replace("URL", repr(postgres.url)).replace("GIVEN", given)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        peaks.append(int(done.stdout.strip().splitlines()[-1]))
    assert peaks[1] - peaks[0] < 60, peaks
