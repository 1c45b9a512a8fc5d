"""JSON lines by blocks: whatever the lines hold, and wherever a block ends, the rows are those of reading line by line."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl_assets import threads
from etl_assets.connectors import json_blocks
from etl_assets.connectors.files import FilesResource
from etl_assets.connectors.json_blocks import read_json_blocks
from etl_assets.connectors.json_table import table_of
from etl_assets.connectors.records import parse_json_lines
from etl_assets.errors import SourceFormatError

Told = tuple[list[str], list[dict[str, str | None]], list[tuple[str, str, str, str]]]

NUMBERS = [
    "0", "-0", "7", "-12", "1.5", "1.50", "1.0", "-0.0", "1e2", "1E-7", "0.00001", "0.0000001", "123456789012345678",
    "12345678901234567890123",
    "0.1234567890123456789", "100", "1e400", "5", "2.5", "123456789012345", "1234567.25", "NaN", "Infinity", "01", "1.", "+1",
]  # fmt: skip
NUMBER = st.from_regex(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)
VALUES = [
    *NUMBERS, *NUMBERS[:12], "true", "false", "null", '"x"', '"2013-01-01"', '"2013-01-01T00:00:00Z"',
    '""', '"\\u00e9\\n"', '"\\ud83d\\ude00"', '"\\ud800"', '"\\u0000"',
    '{"b": 1.50}', "[1.0, null]", '"a\\": 1.50, "', '"\\"n\\": 1.50"', '"🚀 é"',
]  # fmt: skip
KEYS = ["n", "m", "a", 'q\\"n', "é", "source_position", "k\\u0041", "\\ud800"]
OBJECTS = st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=4).map(
    lambda pairs: "{" + ", ".join(f'"{key}": {value}' for key, value in pairs) + "}"
)
LINES = st.lists(
    st.tuples(st.one_of(OBJECTS, OBJECTS, OBJECTS, st.sampled_from(["", "  ", "[1]", "{}{}", "{", "x", "\t", '{"n":1}{"n":2}'])),
              st.sampled_from(["\n", "\n", "\n", "\r\n", "\r"])),
    max_size=8,
).map(lambda lines: "".join(f"{line}{end}" for line, end in lines))  # fmt: skip


def by_blocks(
    content: str, *, block: int, rows: int | None = None, flatten: str | None = None, tables: bool = True, piece: int | None = None
) -> Told:
    """Columns, rows and unreadable lines of a file, of which tables are cut or, as other objects, parsed.

    With a size of pieces any number of lines may be left out of a block as no objects.
    """
    text = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content.encode())), encoding="utf-8", newline="")  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        if not tables:
            patch.setattr(json_blocks, "table_of", lambda *_: None)
        if piece is not None:
            patch.setattr(json_blocks, "_PIECE_BYTES", piece)
            patch.setattr(json_blocks, "_FEW", 1.0)
        parts = list(read_json_blocks(text, name="a.jsonl", rows=rows, flatten=flatten, block=block))
    assert all(rows is None or part.table.num_rows <= rows for part in parts)
    table = pa.concat_tables([part.table for part in parts], promote_options="default") if parts else pa.table({})
    names = [name for name in table.column_names if name != "source_position"]
    return names, table.to_pylist(), [(row.position, row.raw, row.rule, row.says) for part in parts for row in part.unreadable]


def by_lines(content: str, *, flatten: str | None = None) -> Told:
    """The same by the reader that goes line by line."""
    lines = enumerate(io.StringIO(content, newline=""), start=1)
    found = parse_json_lines(lines, where="a.jsonl", separator=flatten)
    names = list(dict.fromkeys(name for row in found.rows for name in row))
    rows = [
        {**{name: row.get(name) for name in names}, "source_position": f"a.jsonl line {number}"}
        for row, number in zip(found.rows, found.numbers, strict=True)
    ]
    return names, rows, [(row.position, row.raw, row.rule, row.says) for row in found.unreadable]


@given(
    LINES, st.integers(1, 120), st.sampled_from([None, 1, 3]), st.sampled_from([None, "_"]), st.booleans(), st.sampled_from([None, 1, 20])
)
@example('{"n": 1}\n{"n": 1.50}\n', 200, None, None, False, None)
@example('{"n": 1.5}\n{"n": 7}\n{"n": 7.0}\n', 10, None, None, False, None)
@example('{"a": "x"}\n{"n": 1}\n', 8, 1, None, False, None)
@example('{"a": null}\n{"a": "2013-01-01"}\n', 8, None, None, False, None)
@example('{"q\\"n": 1.50, "n": 1.5}\n', 200, None, None, False, None)
@example('{"n": 1}\n{"n": 2\n\r\n{"n": 1.50}\r\n{"n\n', 200, None, None, True, 1)
@example('{"n": 1}\n {"m": 2}\n{"n": 3}\n', 200, None, None, True, 100)
@example('{"n": 1}\r{"n": 2\r{"n": 3}\n', 200, None, None, True, 100)
@example('{"n": 1}\n{"n": x}\n{"n": 3\n{"n": {}}\n{"m": 4}\n', 200, None, None, True, 1)
@settings(max_examples=1000, deadline=None)
def test_blocks_give_what_lines_give(
    content: str, block: int, rows: int | None, flatten: str | None, tables: bool, piece: int | None
) -> None:
    """Columns in their order, texts as they are written, positions and unreadable lines are the same."""
    assert by_blocks(content, block=block, rows=rows, flatten=flatten, tables=tables, piece=piece) == by_lines(content, flatten=flatten)


@pytest.mark.parametrize(
    "broken", [["{"], ['{"n": 5, "t": "cut'], ["x"] * 200, ['{"n": 5 "t": "a"}'], ['{"n": 5, "t": "a"', '{"n": }'], [""]]
)
def test_lines_near_a_broken_one_stay_fast(broken: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of lines that are no objects on the face of it only they are looked at one by one, of others those near them."""
    looked_at: list[str] = []

    def counting(lines: Any, **options: Any) -> Any:
        given = list(lines)
        looked_at.extend(line for _, line in given)
        return parse_json_lines(given, **options)

    lines = [f'{{"n": {number}, "t": "text {number}"}}' for number in range(20_000)]
    for number, line in enumerate(broken):
        lines.insert(5_000 + 7 * number, line)
    monkeypatch.setattr(json_blocks, "parse_json_lines", counting)
    content = "".join(f"{line}\n" for line in lines)
    assert by_blocks(content, block=2**22) == by_lines(content)
    hidden = [line for line in broken if line.startswith("{") and line.endswith("}")]
    assert len(looked_at) <= len(broken) + len(hidden) * json_blocks._PIECE_BYTES / 28


def test_pieces_that_are_broken_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where piece after piece has lines in the way, no more are looked at as tables: looking costs something."""
    tried: list[int] = []
    monkeypatch.setattr(json_blocks, "read_json", lambda data, types: tried.append(len(data)))
    content = f'{{"n": 1}}\n{{"n": x, "t": "{"long" * 250}"}}\n' * 8_000
    assert by_blocks(content, block=2**22) == by_lines(content)
    pieces = len(content) / json_blocks._PIECE_BYTES
    assert 2 < len([size for size in tried if size < 2 * json_blocks._PIECE_BYTES]) < pieces / 2


@pytest.mark.parametrize("value", ["[" * 50_000 + "]" * 50_000, '{"a":' * 50_000 + "1" + "}" * 50_000], ids=["lists", "objects"])
@pytest.mark.parametrize("tables", [True, False])
def test_values_that_are_nested_deeply(value: str, tables: bool) -> None:
    """Their line is one that cannot be read, and all others are."""
    content = f'{{"n": 1}}\n{{"n": 3, "m": {value}}}\n{{"n": 2}}\n'
    _, rows, unreadable = by_blocks(content, block=10_000_000, tables=tables)
    assert [(row["n"], row["source_position"]) for row in rows] == [("1", "a.jsonl line 1"), ("2", "a.jsonl line 3")]
    assert [(position, rule, says) for position, _, rule, says in unreadable] == [
        ("a.jsonl line 2", "json", "a value is nested too deeply")
    ]


@pytest.mark.usefixtures("no_line_by_line")
@pytest.mark.parametrize("tables", [True, False])
def test_braces_in_many_lines_are_not_deep(tables: bool) -> None:
    """Lines with some braces in their text are no reason for the slow way."""
    _, rows, _ = by_blocks("".join(f'{{"n": {number}, "t": "{"[" * 50}{"{" * 49}"}}\n' for number in range(9)), block=10_000, tables=tables)
    assert len(rows) == 9


@pytest.fixture
def no_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading line by line fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("read line by line")

    monkeypatch.setattr(json_blocks, "parse_json_lines", refuse)


@pytest.mark.usefixtures("no_line_by_line")
def test_flat_objects_are_not_read_line_by_line() -> None:
    """Numbers that Arrow would write otherwise, missing keys, times and escapes are no reason for the slow way."""
    content = '{"n": 1.10, "at": "2013-01-01T00:00:00Z"}\n{"n": 12, "b": true}\n\n{"n": -0, "m": 1e5}\r\n{"n": null, "t": "a\\"b"}\n'
    names, rows, _ = by_blocks(content, block=10_000)
    assert names == ["n", "at", "b", "m", "t"]
    assert [row["n"] for row in rows] == ["1.10", "12", "-0", None]
    assert (rows[0]["at"], rows[1]["b"], rows[2]["m"], rows[3]["t"]) == ("2013-01-01T00:00:00Z", "true", "1e5", 'a"b')
    assert rows[2]["source_position"] == "a.jsonl line 4"


@pytest.mark.usefixtures("no_line_by_line")
@pytest.mark.parametrize("size", range(16))
def test_numbers_of_any_size_stay_as_written(size: int) -> None:
    """Arrow gives large and small ones an exponent that they did not have, from sizes that are its own affair."""
    zeros = "0" * size
    written = [f"0.{zeros}12", f"-12{zeros}", f"12{zeros}.5", f"1{zeros}.0", f"9{'9' * size}", f"1e{size}", f"1.5E-{size}", "0.25", "0"]
    for tables in (True, False):
        _, rows, _ = by_blocks("".join(f'{{"n": {number}, "m": 1}}\n' for number in written), block=10_000, tables=tables)
        assert [row["n"] for row in rows] == written


@given(st.lists(st.tuples(NUMBER, NUMBER, st.sampled_from(["", " ", "\t"])), min_size=1, max_size=5))
@example([("0.1000000000000000055", "1", ""), ("95.30000000000001", "-0", " ")])
@example([("0.0000001", "0.5", ""), ("0.25", "-0.00000125", "")])
@example([("8.9999999999999996", "7", ""), ("123456.7890000001", "1e3", " ")])
@example([("123456789.1234567", "-0", ""), ("999999999.9999999", "0", "\t"), ("1.5", "5E-1", "")])
@settings(max_examples=600, deadline=None)
def test_numbers_stay_as_written(numbers: list[tuple[str, str, str]]) -> None:
    """However many digits they have, and whatever is near them."""
    content = "".join(f'{{"n":{space}{first}{space},"m":{second}{space}}}\n' for first, second, space in numbers)
    for tables in (True, False):
        _, rows, _ = by_blocks(content, block=10_000, tables=tables)
        assert [(row["n"], row["m"]) for row in rows] == [(first, second) for first, second, _ in numbers]


@pytest.mark.parametrize("value", [0.1, 1e22, 5e-324, 123456.789, 1 / 3, 2**53 + 1, -0.0, 1e16, 10**18])
def test_numbers_of_python_stay_as_written(value: Any) -> None:
    """What Python's own writer makes of a number is what arrives."""
    content = "".join(f"{json.dumps({'n': number})}\n" for number in (value, 1.5, 7))
    for tables in (True, False):
        _, rows, _ = by_blocks(content, block=10_000, tables=tables)
        assert [row["n"] for row in rows] == [json.dumps(value), "1.5", "7"]


@pytest.mark.parametrize(
    ("others", "tried"), [([], 9), ([3], 9), ([1, 3, 4, 6], 9), ([0, 1, 2], 3), ([5, 6, 7], 8)], ids=["none", "one", "few", "first", "last"]
)
def test_tables_are_looked_for_while_there_are_some(others: list[int], tried: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block with other objects does not end it, three one after another do: looking costs something."""
    calls = []
    monkeypatch.setattr(threads, "TOGETHER", 1)  # in order
    monkeypatch.setattr(json_blocks, "table_of", lambda *given: calls.append(1) or table_of(*given))
    lines = ['{"n" :1}' if number in others else '{"n": 1}' for number in range(9)]
    _, rows, _ = by_blocks("".join(f"{line}\n" for line in lines), block=9)
    assert [row["n"] for row in rows] == ["1"] * 9
    assert len(calls) == tried


def test_a_byte_of_another_encoding_is_an_error(tmp_path: Path) -> None:
    """It is found wherever it stands."""
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "x"}\n' * 1000 + b'{"a": "caf\xe9"}\n' + b'{"a": "x"}\n' * 1000)
    with pytest.raises(SourceFormatError, match="not utf-8 \\(byte 0xe9"):
        FilesResource(base_folder=str(tmp_path)).read_json_lines("a.jsonl")
