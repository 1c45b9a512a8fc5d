"""Watermarks of every kind of value: the order of the database counts, and a value is told from its neighbour.

Not here: bounds (`test_incremental.py`), the text form alone (`../test_watermarks.py`).
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from etl_assets.connectors.incremental import Incremental
from etl_assets.errors import SourceFormatError
from etl_assets.local_postgres import LocalPostgres
from etl_assets.watermarks import Value, Watermark, from_text, to_text
from etl_assets_tests.connectors.places import Place, empty


@pytest.fixture(scope="module")
def reader(postgres_server: LocalPostgres) -> str:
    """URL of a PostgreSQL database of this file."""
    postgres_server.create_database("test_incremental_values")
    return postgres_server.url("test_incremental_values")


@pytest.fixture
def place_of(reader: str, tmp_path: Path) -> Callable[[str], Place]:
    """An empty database of a kind."""
    return lambda kind: empty(kind, reader, tmp_path)


# -- the order of the database ------------------------------------------------------------------------------------------

# Bytes would be ordered B, C, a, d.
LETTERS = [[(1, "a"), (2, "B")], [(3, "C"), (4, "d")], [(5, "E")]]
WITHOUT_CASE = {"sqlite": "CREATE TABLE t (id int, n text COLLATE NOCASE)", "duckdb": "CREATE TABLE t (id int, n text COLLATE NOCASE)"}


@pytest.mark.parametrize("kind", WITHOUT_CASE)
def test_text_is_compared_in_the_order_of_the_database(place_of: Callable[[str], Place], kind: str) -> None:
    """Where the database orders text without case, so do the reads: each gives the rows that came since the last one."""
    place = place_of(kind)
    place.execute(WITHOUT_CASE[kind])
    committed: dict[str, Value] = {}
    reads = []
    for rows in LETTERS:
        place.execute(f"INSERT INTO t VALUES {', '.join(map(str, rows))}")
        ids, reached = place.ids(committed, Incremental(column="n"))
        committed.update(reached)
        reads.append(ids)
    assert reads == [[i for i, _ in rows] for rows in LETTERS]


@pytest.mark.parametrize("most_rows", [1, 2])
@pytest.mark.parametrize("kind", WITHOUT_CASE)
def test_texts_that_the_database_takes_for_equal_come_together(place_of: Callable[[str], Place], kind: str, most_rows: int) -> None:
    """Values that differ in case only are ties: none is lost between two reads."""
    place = place_of(kind)
    place.execute(WITHOUT_CASE[kind], "INSERT INTO t VALUES (1, 'a'), (2, 'A'), (3, 'b'), (4, 'B'), (5, 'b')")
    assert place.all_ids(Incremental(column="n", most_rows=most_rows)) == [[1, 2], [3, 4, 5]]


# -- kinds of values ----------------------------------------------------------------------------------------------------

# Type, a value, and the next one that the type can tell from it.
NEIGHBOURS = {
    "postgresql": [
        ("bigint", "9007199254740993", "9007199254740994"),
        ("numeric", "0.1000000000000000000000000001", "0.1000000000000000000000000002"),
        ("numeric(12,2)", "1.10", "1.11"),
        ("double precision", "0.1", "0.10000000000000002"),
        ("real", "0.1", "0.10000001"),
        ("real", "16777216", "16777218"),
        ("text", "it''s 9", "it''s a"),
        ("varchar(3)", "", "a"),
        ("char(3)", "a", "ab"),
        ("uuid", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"),
        ("date", "0001-01-01", "0001-01-02"),
        ("date", "9999-12-30", "9999-12-31"),
        ("timestamp", "2026-03-01 12:00:00.000001", "2026-03-01 12:00:00.000002"),
        ("timestamptz", "2026-03-29 00:59:59.999999+00", "2026-03-29 02:00:00+01"),
    ],
    "sqlite": [
        ("INTEGER", "9007199254740993", "9007199254740994"),
        ("REAL", "0.1", "0.10000000000000002"),
        ("TEXT", "2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z"),
        ("TEXT", "9", "a"),
    ],
    "duckdb": [
        ("BIGINT", "9007199254740993", "9007199254740994"),
        ("UBIGINT", "18446744073709551614", "18446744073709551615"),
        ("HUGEINT", "170141183460469231731687303715884105726", "170141183460469231731687303715884105727"),
        ("DECIMAL(38,10)", "1.0000000001", "1.0000000002"),
        ("DOUBLE", "0.1", "0.10000000000000002"),
        ("FLOAT", "0.1", "0.10000001"),
        ("VARCHAR", "9", "a"),
        ("UUID", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"),
        ("DATE", "0001-01-01", "0001-01-02"),
        ("TIMESTAMP", "2026-03-01 12:00:00.000001", "2026-03-01 12:00:00.000002"),
        ("TIMESTAMP_NS", "2026-03-01 12:00:00.000001", "2026-03-01 12:00:00.000002"),
        ("TIMESTAMPTZ", "2026-03-29 00:59:59.999999+00", "2026-03-29 02:00:00+01"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "type_", "value", "following"), [(kind, *case) for kind, cases in NEIGHBOURS.items() for case in cases], ids=str
)
def test_a_value_tells_itself_from_the_next(place_of: Callable[[str], Place], kind: str, type_: str, value: str, following: str) -> None:
    """Written as text and read back, the watermark lets through the next value that the type knows, and not itself."""
    place = place_of(kind)
    place.execute(f"CREATE TABLE t (id int, n {type_})", f"INSERT INTO t VALUES (1, '{value}')")
    first, reached = place.ids({}, Incremental(column="n"))
    kept = {source: from_text(source, *to_text(Watermark(source=source, value=given))).value for source, given in reached.items()}
    place.execute(f"INSERT INTO t VALUES (2, '{following}')")
    assert (first, place.ids(kept, Incremental(column="n"))[0]) == ([1], [2])


@pytest.mark.parametrize(
    ("kind", "type_", "value"),
    [
        ("postgresql", "timestamptz", "infinity"), ("postgresql", "timestamp", "infinity"), ("postgresql", "date", "infinity"),
        ("postgresql", "timestamp", "20000-01-01"), ("postgresql", "date", "0001-01-01 BC"),
        ("duckdb", "TIMESTAMP", "infinity"), ("duckdb", "TIMESTAMPTZ", "infinity"), ("duckdb", "DATE", "infinity"),
        ("duckdb", "TIMESTAMP_NS", "2026-03-01 12:00:00.000000001"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_held_is_no_watermark(place_of: Callable[[str], Place], kind: str, type_: str, value: str) -> None:
    """Infinity, years that Python has not and nanoseconds would become another value, and rows be lost: an error."""
    place = place_of(kind)
    place.execute(f"CREATE TABLE t (id int, n {type_})", f"INSERT INTO t VALUES (1, '{value}')")
    with pytest.raises(SourceFormatError, match="no date that a watermark can hold"):
        place.ids({}, Incremental(column="n"), columns=["id"])
